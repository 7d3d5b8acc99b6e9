// Shared by the loaders: memory map, command line, initrd, entry states (SDM vol. 3 ch. 3 and 4.5 for descriptors and
// page tables; 12.11 for MTRRs).
#include "vmm/boot/layout.h"

#include <algorithm>
#include <array>

namespace dejavm::boot {
namespace {

constexpr uint64_t kPagePresent = 1, kPageWritable = 2, kPageLarge = 0x80, kLargePageBytes = 2 << 20;
constexpr uint64_t kTableEntries = 512, kDirectories = 4;
constexpr uint64_t kCode64 = 0x00af9b000000ffff, kCode32 = 0x00cf9b000000ffff, kData = 0x00cf93000000ffff,
                   kTss32 = 0x00008b0000000067;
constexpr uint64_t kCr0PE = 1, kCr0ET = 0x10, kCr0PG = 0x80000000, kCr4PAE = 0x20, kEferLMELMA = 0x500;

// Memory types as firmware leaves them: write-back, but the device areas between 640 KiB and 768 KiB and between
// 3 GiB and 4 GiB uncached. Linux turns PAT off where it finds MTRRs disabled.
void set_memory_types(VcpuState& s) {
  constexpr uint64_t kWriteBack = 0x0606060606060606, kEnabled = 0xc00, kValid = 0x800, kTypeWb = 6;
  constexpr uint64_t kPhysicalMask = (uint64_t{1} << 40) - 1, kGiB = 1 << 30;
  s.mtrr_fixed.fill(kWriteBack);
  s.mtrr_fixed[2] = 0;  // 0xa0000-0xbffff
  s.mtrr_variable[0] = kLowRamLimit;
  s.mtrr_variable[1] = (kPhysicalMask & ~(kGiB - 1)) | kValid;
  s.mtrr_def_type = kEnabled | kTypeWb;
}

void set_flat_state(const Target& t, uint64_t rip, uint64_t code_descriptor, uint16_t code_attributes) {
  const std::array<uint64_t, 5> gdt{0, 0, code_descriptor, kData, kTss32};
  t.put_object(kGdt, gdt);
  VcpuState& s = t.vcpu;
  s.gpr.fill(0);
  s.rip = rip;
  s.rflags = 2;
  for (unsigned n = kEs; n <= kGs; ++n) s.segment[n] = {kBootDs, 0xc93, 0xffffffff, 0};
  s.segment[kCs] = {kBootCs, code_attributes, 0xffffffff, 0};
  s.segment[kLdtr] = {};
  s.segment[kTr] = {kBootTr, 0x8b, 0x67, 0};
  s.gdtr = {kGdt, sizeof gdt - 1};
  s.idtr = {0, 0};
  set_memory_types(s);
}

}  // namespace

uint64_t low_ram_end(uint64_t ram_bytes) { return std::min(ram_bytes, kLowRamLimit); }

std::vector<MapEntry> memory_map(uint64_t ram_bytes) {
  std::vector<MapEntry> map{{0, kLowRamEnd, MapType::kRam}, {kLowRamEnd, kMiB - kLowRamEnd, MapType::kReserved}};
  if (low_ram_end(ram_bytes) > kMiB) map.push_back({kMiB, low_ram_end(ram_bytes) - kMiB, MapType::kRam});
  if (ram_bytes > kLowRamLimit) map.push_back({kFourGiB, ram_bytes - kLowRamLimit, MapType::kRam});
  return map;
}

bool usable(uint64_t ram_bytes, uint64_t start, uint64_t len_bytes, uint64_t lowest) {
  if (start < lowest) return false;
  for (const MapEntry& e : memory_map(ram_bytes))
    if (e.type == MapType::kRam && start >= e.start && start - e.start <= e.len_bytes &&
        len_bytes <= e.len_bytes - (start - e.start))
      return true;
  return false;
}

void Target::put(uint64_t gpa, std::span<const uint8_t> bytes) const {
  if (!bytes.empty()) CHECK(memory.write({gpa}, bytes.data(), bytes.size()));
}

Result<void> put_command_line(const Target& t, uint64_t max_bytes, uint64_t at) {
  const std::string& line = t.source.append;
  const uint64_t limit = std::min(max_bytes, kMaxCommandLineBytes);
  if (line.size() > limit)
    return t.host("the command line has " + std::to_string(line.size()) + " bytes; this kernel takes at most " +
                  std::to_string(limit));
  if (line.find('\0') != std::string::npos) return t.host("the command line holds a zero byte");
  t.put(at, {reinterpret_cast<const uint8_t*>(line.c_str()), line.size() + 1});
  return {};
}

Result<Initrd> put_initrd(const Target& t, uint64_t kernel_end, uint64_t ceiling) {
  if (t.source.initrd.empty()) return Initrd{};
  Result<std::vector<uint8_t>> file = read_file(t.source.initrd, kMaxInitrdBytes);
  if (!file) return file.error();
  const uint64_t len = file->size(), top = std::min(ceiling, low_ram_end(t.ram()));
  const uint64_t start = top < len ? 0 : (top - len) & ~(kPageSize - 1);
  if (start < std::max(kernel_end, kMiB))
    return t.host("initrd " + t.source.initrd + " of " + std::to_string(len) +
                  " bytes does not fit between the kernel's end at " + hex(kernel_end) + " and " + hex(top) +
                  "; give the machine more memory");
  t.put(start, *file);
  return Initrd{start, len};
}

void enter_long_mode(const Target& t, uint64_t rip) {
  std::vector<uint64_t> tables((2 + kDirectories) * kTableEntries);
  const auto table = [](uint64_t n) { return (kPageTables + n * kPageSize) | kPagePresent | kPageWritable; };
  tables[0] = table(1);
  for (uint64_t n = 0; n < kDirectories; ++n) tables[kTableEntries + n] = table(2 + n);
  for (uint64_t n = 0; n < kDirectories * kTableEntries; ++n)
    tables[2 * kTableEntries + n] = n * kLargePageBytes | kPagePresent | kPageWritable | kPageLarge;
  t.put(kPageTables, {reinterpret_cast<const uint8_t*>(tables.data()), tables.size() * sizeof tables[0]});
  set_flat_state(t, rip, kCode64, 0xa9b);
  t.vcpu.cr3 = kPageTables;
  t.vcpu.cr4 = kCr4PAE;
  t.vcpu.efer = kEferLMELMA;
  t.vcpu.cr0 = kCr0PE | kCr0ET | kCr0PG;
}

void enter_protected_mode(const Target& t, uint32_t eip) {
  set_flat_state(t, eip, kCode32, 0xc9b);
  t.vcpu.cr0 = kCr0PE | kCr0ET;
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace dejavm::boot
