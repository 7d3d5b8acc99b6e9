// Linux's x86 boot protocol, 2.06 and later, from the protected-mode part on (Documentation/arch/x86/boot.rst; offsets
// of the zero page from zero-page.rst). The real-mode setup code is never run: its header tells what the kernel wants,
// and the zero page is filled in as that code would have done.
#include <algorithm>

#include "vmm/boot/acpi.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/legacy_tables.h"

namespace dejavm::boot {
namespace {

// Offsets in the file and, from kSetupSects on, in the zero page.
constexpr uint64_t kSetupSects = 0x1f1, kSysSize = 0x1f4, kBootFlag = 0x1fe, kJumpLength = 0x201, kMagic = 0x202,
                   kVersion = 0x206, kTypeOfLoader = 0x210, kLoadFlags = 0x211, kCode32Start = 0x214,
                   kRamdiskImage = 0x218, kRamdiskSize = 0x21c, kCmdLinePtr = 0x228, kInitrdAddrMax = 0x22c,
                   kKernelAlignment = 0x230, kRelocatable = 0x234, kXloadFlags = 0x236, kCmdLineSize = 0x238,
                   kEnd206 = 0x23c, kPrefAddress = 0x258, kInitSize = 0x260, kEnd210 = 0x264;
// Offsets in the zero page alone.
constexpr uint64_t kAcpiRsdpAddr = 0x70, kE820Entries = 0x1e8, kHeaderLimit = 0x290, kE820Table = 0x2d0;
constexpr size_t kE820EntryBytes = 20;

constexpr uint16_t kBootFlagValue = 0xaa55;
constexpr uint32_t kMagicValue = 0x53726448;  // "HdrS"
constexpr uint8_t kLoadedHigh = 1, kUndefinedLoader = 0xff;
constexpr uint16_t kKernel64 = 1;  // xloadflags: has the 64-bit entry point
constexpr uint64_t kSectorBytes = 512, kEntry64 = 0x200;

struct Kernel {
  std::span<const uint8_t> header;  // the file from 0 to the end of its setup header
  std::span<const uint8_t> code;    // the protected-mode part
  uint16_t version = 0;
  bool entry_64 = false, relocatable = false;
  uint64_t start = 0;      // where it is loaded
  uint64_t run_bytes = 0;  // memory from there that it uses before it looks at the memory map
};

std::string version_text(uint16_t v) {
  return std::to_string(v >> 8) + "." + (v & 0xff ? (v & 0xff) < 10 ? "0" : "" : "0") + std::to_string(v & 0xff);
}

Result<Kernel> read_header(const Target& t, std::span<const uint8_t> image) {
  if (image.size() < kEnd206) return t.bad("this Linux kernel is cut off in its setup header");
  Kernel k;
  k.version = get<uint16_t>(image, kVersion);
  if (k.version < 0x206)
    return t.bad("Linux boot protocol " + version_text(k.version) +
                 " is too old; 2.06 (Linux 2.6.22) or later is needed");
  const uint64_t header_end = kMagic + image[kJumpLength], needed = k.version >= 0x20a ? kEnd210 : kEnd206;
  if (header_end < needed || image.size() < needed)
    return t.bad("the setup header ends at " + hex(std::min<uint64_t>(header_end, image.size())) + ", but protocol " +
                 version_text(k.version) + " has it reach " + hex(needed));
  k.header = image.first(std::min<uint64_t>({header_end, kHeaderLimit, image.size()}));
  if (!(image[kLoadFlags] & kLoadedHigh))
    return t.bad("this is a zImage, for loading below 1 MiB; only a bzImage can be loaded");
  const uint64_t sectors = image[kSetupSects] ? image[kSetupSects] : 4, code_start = (sectors + 1) * kSectorBytes;
  const uint64_t code_bytes = uint64_t{get<uint32_t>(image, kSysSize)} * 16;
  // syssize counts 16-byte paragraphs; the last may be incomplete. A signature may follow the code.
  if (!code_bytes || code_start >= image.size() || code_bytes > ((image.size() - code_start + 15) & ~uint64_t{15}))
    return t.bad("the header has " + hex(code_bytes) + " bytes of code start at " + hex(code_start) +
                 ", but the file ends at " + hex(image.size()) + "; is it cut off?");
  k.code = image.subspan(code_start, std::min(code_bytes, image.size() - code_start));
  k.entry_64 = k.version >= 0x20c && (get<uint16_t>(image, kXloadFlags) & kKernel64);
  if (k.entry_64 && k.code.size() <= kEntry64) return t.bad("the kernel is too short to hold its 64-bit entry point");
  k.relocatable = image[kRelocatable];
  return k;
}

bool fits(const Target& t, uint64_t start, uint64_t len_bytes) {
  return start < kFourGiB && start >= kMiB && usable(t.ram(), start, len_bytes);
}

// At the address the kernel prefers; a relocatable one elsewhere when memory is too small for that.
Result<void> place(const Target& t, Kernel& k) {
  k.run_bytes = k.code.size();
  k.start = get<uint32_t>(k.header, kCode32Start);
  if (k.version >= 0x20a) {
    k.run_bytes = std::max<uint64_t>(k.run_bytes, get<uint32_t>(k.header, kInitSize));
    k.start = get<uint64_t>(k.header, kPrefAddress);
  }
  if (!fits(t, k.start, k.run_bytes) && k.relocatable) {
    const uint64_t alignment = get<uint32_t>(k.header, kKernelAlignment);
    if (!alignment || (alignment & (alignment - 1)))
      return t.bad("the kernel's alignment is " + hex(alignment) + ", not a power of two");
    k.start = (kMiB + alignment - 1) & ~(alignment - 1);
  }
  if (!fits(t, k.start, k.run_bytes))
    return t.host("the kernel needs " + hex(k.run_bytes) + " bytes of memory from " + hex(k.start) +
                  ", but memory below 4 GiB ends at " + hex(low_ram_end(t.ram())) + "; give the machine more memory");
  return {};
}

template <class T>
void set(std::vector<uint8_t>& page, uint64_t offset, T value) {
  __builtin_memcpy(page.data() + offset, &value, sizeof value);
}

void put_zero_page(const Target& t, const Kernel& k, const Initrd& initrd) {
  std::vector<uint8_t> page(kPageSize);
  std::copy(k.header.begin() + kSetupSects, k.header.end(), page.begin() + kSetupSects);
  page[kTypeOfLoader] = kUndefinedLoader;
  set(page, kCode32Start, static_cast<uint32_t>(k.start));
  set(page, kRamdiskImage, static_cast<uint32_t>(initrd.start));
  set(page, kRamdiskSize, static_cast<uint32_t>(initrd.len_bytes));
  set(page, kCmdLinePtr, static_cast<uint32_t>(kCommandLine));
  set(page, kAcpiRsdpAddr, kAcpiTables);
  const std::vector<MapEntry> map = memory_map(t.ram());
  page[kE820Entries] = static_cast<uint8_t>(map.size());
  for (size_t n = 0; n < map.size(); ++n) {
    set(page, kE820Table + n * kE820EntryBytes, map[n].start);
    set(page, kE820Table + n * kE820EntryBytes + 8, map[n].len_bytes);
    set(page, kE820Table + n * kE820EntryBytes + 16, map[n].type);
  }
  t.put(kInfo, page);
}

}  // namespace

bool is_bzimage(std::span<const uint8_t> image) {
  return image.size() >= kVersion && get<uint16_t>(image, kBootFlag) == kBootFlagValue &&
         get<uint32_t>(image, kMagic) == kMagicValue;
}

Result<void> load_bzimage(const Target& t, std::span<const uint8_t> image) {
  Result<Kernel> k = read_header(t, image);
  if (!k) return k.error();
  if (Result<void> r = place(t, *k); !r) return r;
  if (Result<void> r = put_command_line(t, get<uint32_t>(k->header, kCmdLineSize)); !r) return r;
  const uint64_t ceiling = uint64_t{get<uint32_t>(k->header, kInitrdAddrMax)} + 1;
  Result<Initrd> initrd = put_initrd(t, k->start + k->run_bytes, ceiling);
  if (!initrd) return initrd.error();
  t.put(k->start, k->code);
  put_acpi_tables(t);
  put_legacy_tables(t);
  put_zero_page(t, *k, *initrd);
  if (k->entry_64) enter_long_mode(t, k->start + kEntry64);
  else enter_protected_mode(t, static_cast<uint32_t>(k->start));
  t.vcpu.gpr[kRsi] = kInfo;
  return {};
}

}  // namespace dejavm::boot
