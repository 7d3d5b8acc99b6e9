// The PVH boot ABI (Xen's docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h, version 1): a 32-bit
// entry point named by an ELF note, and one structure that says where everything is.
#include "vmm/boot/pvh.h"
#include "vmm/boot/acpi.h"
#include "vmm/boot/bytes.h"
#include "vmm/boot/elf_file.h"
#include "vmm/boot/legacy_tables.h"

namespace dejavm::boot {

bool is_pvh(std::span<const uint8_t> image) {
  const Result<Elf> elf = read_elf("", image);
  return elf && pvh_entry(*elf, image);
}

Result<void> load_pvh(const Target& t, std::span<const uint8_t> image) {
  constexpr uint32_t kMagic = 0x336ec578, kVersion = 1;
  Result<Elf> elf = read_elf(t.name, image);
  if (!elf) return elf.error();
  const std::optional<uint64_t> entry = pvh_entry(*elf, image);
  if (!entry)
    return t.bad(
        "this ELF file has neither a PVH entry point (note XEN_ELFNOTE_PHYS32_ENTRY; Linux: CONFIG_PVH) nor a "
        "Multiboot header");
  if (*entry >= kFourGiB || !segment_at(*elf, *entry))
    return t.bad("the PVH entry point " + hex(*entry) + " is in no segment below 4 GiB that the file loads");
  Result<uint64_t> end = put_segments(t, image, *elf);
  if (!end) return end.error();
  if (Result<void> r = put_command_line(t, kMaxCommandLineBytes); !r) return r;
  Result<Initrd> initrd = put_initrd(t, *end, kFourGiB);
  if (!initrd) return initrd.error();

  const std::vector<MapEntry> map = memory_map(t.ram());
  Bytes lists;
  for (const MapEntry& e : map) lists.u64(e.start).u64(e.len_bytes).u32(static_cast<uint32_t>(e.type)).u32(0);
  const uint64_t modules = initrd->len_bytes ? kLists + lists.v.size() : 0;
  if (modules) lists.u64(initrd->start).u64(initrd->len_bytes).u64(0).u64(0);
  t.put(kLists, lists.v);
  Bytes info;
  info.u32(kMagic).u32(kVersion).u32(0).u32(modules ? 1 : 0).u64(modules).u64(kCommandLine).u64(kAcpiTables);
  info.u64(kLists).u32(static_cast<uint32_t>(map.size())).u32(0);
  t.put(kInfo, info.v);
  put_acpi_tables(t);
  put_legacy_tables(t);
  enter_protected_mode(t, static_cast<uint32_t>(*entry));
  t.vcpu.gpr[kRbx] = kInfo;
  return {};
}

}  // namespace dejavm::boot
