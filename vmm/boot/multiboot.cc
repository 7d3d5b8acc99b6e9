// Multiboot Specification 0.6.96: a header in the first 8 KiB of the kernel, an information structure in return.
#include <algorithm>
#include <optional>
#include <vector>

#include "vmm/boot/acpi.h"
#include "vmm/boot/bytes.h"
#include "vmm/boot/elf_file.h"
#include "vmm/boot/legacy_tables.h"
#include "vmm/boot/multiboot.h"

namespace dejavm::boot {
namespace {

constexpr uint32_t kHeaderMagic = 0x1badb002, kLoaderMagic = 0x2badb002;
constexpr uint64_t kSearchBytes = 8192, kHeaderBytes = 12, kAddressFieldsEnd = 32;  // 3.1.1
constexpr uint32_t kPageAlign = 1, kMemoryInfo = 2, kVideoMode = 4, kMustUnderstand = 0xffff, kAddressFields = 1 << 16;

std::optional<uint64_t> find_header(std::span<const uint8_t> image) {
  const uint64_t end = std::min<uint64_t>(image.size(), kSearchBytes);
  for (uint64_t at = 0; at + kHeaderBytes <= end; at += 4)
    if (get<uint32_t>(image, at) == kHeaderMagic &&
        get<uint32_t>(image, at) + get<uint32_t>(image, at + 4) + get<uint32_t>(image, at + 8) == 0)
      return at;
  return std::nullopt;
}

// 3.1.3: with bit 16 the header itself says what to load, as one segment.
Result<Elf> read_address_fields(const Target& t, std::span<const uint8_t> image, uint64_t at) {
  if (image.size() - at < kAddressFieldsEnd) return t.bad("the Multiboot header is cut off");
  const uint64_t header = get<uint32_t>(image, at + 12), start = get<uint32_t>(image, at + 16),
                 load_end = get<uint32_t>(image, at + 20), bss_end = get<uint32_t>(image, at + 24),
                 entry = get<uint32_t>(image, at + 28);
  if (header < start || header - start > at)
    return t.bad("the Multiboot header's addresses put the start of the load image (" + hex(start) +
                 ") before the start of the file");
  const uint64_t offset = at - (header - start);
  if (load_end && (load_end < start || load_end - start > image.size() - offset))
    return t.bad("the Multiboot header's load_end_addr " + hex(load_end) + " lies outside the file; is it cut off?");
  const uint64_t file_bytes = load_end ? load_end - start : image.size() - offset;
  if (bss_end && bss_end < start + file_bytes)
    return t.bad("the Multiboot header's bss_end_addr " + hex(bss_end) + " lies before the end of the load image");
  const Segment s{true, false, offset, file_bytes, start, start, bss_end ? bss_end - start : file_bytes, 0};
  return Elf{entry, {s}};
}

// The entry point of an ELF kernel may be given as a virtual address of a segment that is loaded elsewhere.
uint64_t physical_entry(const Elf& elf) {
  for (const Segment& s : elf.segments)
    if (s.load && elf.entry >= s.virtual_start && elf.entry - s.virtual_start < s.len_bytes)
      return s.start + (elf.entry - s.virtual_start);
  return elf.entry;
}

// Where the kernel finds what is handed over to it: the information, the memory map with the list of modules, the
// command line.
struct Handover {
  uint64_t info = kInfo, lists = kLists, command_line = kCommandLine;
  uint64_t end = kLowUsedEnd;
};
constexpr uint64_t kLowest =
    0x1000;  // below lie the GDT and what a firmware's would have: interrupt vectors and its data

bool is_free(const Elf& elf, uint64_t start, uint64_t end) {
  for (const Segment& s : elf.segments)
    if (s.load && s.start < end && start < s.start + s.len_bytes) return false;
  return true;
}

// The usual places unless the kernel lies there, else the first free ones in RAM.
Result<Handover> choose_places(const Target& t, const Elf& elf) {
  if (is_free(elf, kInfo, kLowUsedEnd)) return Handover{};
  constexpr uint64_t kPage = 0x1000;
  const uint64_t len_bytes = 2 * kPage + t.source.append.size() + 1;
  std::vector<uint64_t> candidates{kLowest, kMiB};
  for (const Segment& s : elf.segments)
    if (s.load) candidates.push_back((s.start + s.len_bytes + kPage - 1) & ~(kPage - 1));
  std::sort(candidates.begin(), candidates.end());
  for (const uint64_t at : candidates)
    if (at < kFourGiB && usable(t.ram(), at, len_bytes, kLowest) && is_free(elf, at, at + len_bytes))
      return Handover{.info = at, .lists = at + kPage, .command_line = at + 2 * kPage, .end = at + len_bytes};
  return t.host("the kernel leaves no room for its command line and " + hex(2 * kPage) +
                " bytes of information; give the machine more memory");
}

// 3.3. Flags say which fields are valid; the rest stays zero.
void put_information(const Target& t, const Handover& places, const Initrd& module) {
  constexpr uint32_t kHasMemory = 1, kHasCommandLine = 1 << 2, kHasModules = 1 << 3, kHasMap = 1 << 6,
                     kHasLoaderName = 1 << 9;
  constexpr uint32_t kMapEntryBytes = 20, kModuleBytes = 16;
  Bytes map;
  for (const MapEntry& e : memory_map(t.ram()))
    map.u32(kMapEntryBytes).u64(e.start).u64(e.len_bytes).u32(static_cast<uint32_t>(e.type));
  const uint32_t map_bytes = static_cast<uint32_t>(map.v.size());
  const uint32_t modules = static_cast<uint32_t>(places.lists) + map_bytes, name = modules + kModuleBytes;
  Bytes lists = map;
  if (module.len_bytes) {
    const uint64_t empty_string = places.lists + map_bytes + 12;  // the module's own reserved field
    lists.u32(static_cast<uint32_t>(module.start)).u32(static_cast<uint32_t>(module.start + module.len_bytes));
    lists.u32(static_cast<uint32_t>(empty_string)).u32(0);
  } else {
    lists.zeros(kModuleBytes);
  }
  lists.text("dejavm").u8(0);
  t.put(places.lists, lists.v);

  const uint32_t upper_kib = static_cast<uint32_t>((low_ram_end(t.ram()) - kMiB) / 1024);
  Bytes info;
  info.u32(kHasMemory | kHasCommandLine | kHasModules | kHasMap | kHasLoaderName);
  info.u32(static_cast<uint32_t>(kLowRamEnd / 1024))
      .u32(upper_kib)
      .u32(0)
      .u32(static_cast<uint32_t>(places.command_line));
  info.u32(module.len_bytes ? 1 : 0).u32(module.len_bytes ? modules : 0).zeros(16);
  info.u32(map_bytes).u32(static_cast<uint32_t>(places.lists)).zeros(12).u32(name).zeros(52);
  CHECK(info.v.size() == 120);
  t.put(places.info, info.v);
}

}  // namespace

bool is_multiboot(std::span<const uint8_t> image) { return find_header(image).has_value(); }

Result<void> load_multiboot(const Target& t, std::span<const uint8_t> image) {
  const std::optional<uint64_t> at = find_header(image);
  if (!at) return t.bad("there is no Multiboot header in the first 8 KiB");
  const uint32_t flags = get<uint32_t>(image, *at + 4);
  // A video mode is a wish: a kernel looks at the information's flags to see whether it has one. It has none.
  if (const uint32_t unknown = flags & kMustUnderstand & ~(kPageAlign | kMemoryInfo | kVideoMode))
    return t.bad("the Multiboot header demands features that are not known here (flags " + hex(unknown) + ")");
  Result<Elf> elf = flags & kAddressFields ? read_address_fields(t, image, *at) : read_elf(t.name, image);
  if (!elf) return elf.error();
  const uint64_t entry = flags & kAddressFields ? elf->entry : physical_entry(*elf);
  if (entry >= kFourGiB || !segment_at(*elf, entry))
    return t.bad("the entry point " + hex(entry) + " is in no segment below 4 GiB that the file loads");
  Result<uint64_t> end = put_segments(t, image, *elf, kLowest);
  if (!end) return end.error();
  Result<Handover> places = choose_places(t, *elf);
  if (!places) return places.error();
  if (Result<void> r = put_command_line(t, kMaxCommandLineBytes, places->command_line); !r) return r;
  Result<Initrd> module = put_initrd(t, std::max(*end, places->end), kFourGiB);
  if (!module) return module.error();
  put_information(t, *places, *module);
  put_acpi_tables(t);
  put_legacy_tables(t);
  enter_protected_mode(t, static_cast<uint32_t>(entry));
  t.vcpu.gpr[kRax] = kLoaderMagic;
  t.vcpu.gpr[kRbx] = places->info;
  return {};
}

}  // namespace dejavm::boot
