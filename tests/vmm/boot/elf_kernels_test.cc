// PVH (Xen's pvh.pandoc and start_info.h) and Multiboot (0.6.96) kernels; offsets are written out as there.
#include <elf.h>

#include <algorithm>

#include "tests/vmm/boot/loading.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/default_guest.h"
#include "vmm/boot/layout.h"
#include "vmm/boot/multiboot.h"
#include "vmm/boot/pvh.h"

namespace dejavm::boot {
namespace {

constexpr uint64_t kMemory = 64 << 20;

// An ELF file: one segment of 0x300 bytes from file offset 0x1000 at `start` (0x2000 in memory), and the PVH note.
template <class Ehdr, class Phdr>
std::vector<uint8_t> elf_kernel(uint32_t start, uint32_t entry, bool note, uint32_t note_bytes) {
  std::vector<uint8_t> k(0x1300);
  const bool wide = sizeof(Ehdr) == sizeof(Elf64_Ehdr);
  Ehdr h{};
  std::copy_n(ELFMAG, 4, h.e_ident);
  h.e_ident[EI_CLASS] = wide ? ELFCLASS64 : ELFCLASS32;
  h.e_ident[EI_DATA] = ELFDATA2LSB;
  h.e_ident[EI_VERSION] = EV_CURRENT;
  h.e_type = ET_EXEC;
  h.e_machine = wide ? EM_X86_64 : EM_386;
  h.e_entry = entry + 0x40000000;  // virtual
  h.e_phoff = sizeof h;
  h.e_ehsize = sizeof h;
  h.e_phentsize = sizeof(Phdr);
  h.e_phnum = 2;
  poke(k, 0, h);
  Phdr load{}, notes{};
  load.p_type = PT_LOAD;
  load.p_offset = 0x1000;
  load.p_vaddr = start + 0x40000000;
  load.p_paddr = start;
  load.p_filesz = 0x300;
  load.p_memsz = 0x2000;
  notes.p_type = note ? PT_NOTE : PT_NULL;
  notes.p_offset = 0x800;
  notes.p_filesz = notes.p_memsz = 36 + 16 + note_bytes;
  notes.p_align = 4;
  poke(k, sizeof h, load);
  poke(k, sizeof h + sizeof load, notes);
  // Another owner's note first, with a name and a description that need padding.
  poke(k, 0x800, Elf32_Nhdr{6, 5, 18});
  std::copy_n("Linux", 6, k.begin() + 0x80c);
  poke(k, 0x824 - 8, Elf32_Nhdr{4, note_bytes, 18});
  std::copy_n("Xen", 4, k.begin() + 0x828);
  poke(k, 0x82c, entry);
  for (size_t n = 0; n < 0x300; ++n) k[0x1000 + n] = static_cast<uint8_t>(n * 7 + 1);
  return k;
}

std::vector<uint8_t> elf32(uint32_t start = 0x100000, uint32_t entry = 0x100010, bool note = true) {
  return elf_kernel<Elf32_Ehdr, Elf32_Phdr>(start, entry, note, 4);
}
std::vector<uint8_t> elf64(uint32_t start = 0x100000, uint32_t entry = 0x100010) {
  return elf_kernel<Elf64_Ehdr, Elf64_Phdr>(start, entry, true, 8);
}

struct Loaded : Loading {
  explicit Loaded(const std::vector<uint8_t>& image, uint64_t ram = kMemory) : Loading(ram), file(image) {
    source.kernel = file.path();
    source.append = "one two";
  }
  TempFile file;
};

// `entry_bytes`: from one entry's start to the next; the fields begin at `fields` in it.
void expect_map(const Loading& l, uint64_t list, uint64_t count, uint64_t entry_bytes, uint64_t fields) {
  const std::vector<MapEntry> map = memory_map(l.memory->ram_bytes());
  ASSERT_EQ(count, map.size());
  for (size_t n = 0; n < map.size(); ++n) {
    const uint64_t entry = list + n * entry_bytes + fields;
    EXPECT_EQ(l.at<uint64_t>(entry), map[n].start);
    EXPECT_EQ(l.at<uint64_t>(entry + 8), map[n].len_bytes);
    EXPECT_EQ(l.at<uint32_t>(entry + 16), static_cast<uint32_t>(map[n].type));
  }
}

TEST(Pvh, TheStartInfoTellsEverything) {
  const std::vector<uint8_t> module(5000, 0x77);
  const TempFile initrd(module);
  for (const std::vector<uint8_t>& image : {elf32(), elf64()}) {
    Loaded l(image);
    l.source.initrd = initrd.path();
    const Result<void> r = l.load();
    ASSERT_TRUE(r) << r.error().message;
    expect_startable(l);
    expect_flat_protected_mode(l);
    EXPECT_EQ(l.vcpu.rip, 0x100010u);
    EXPECT_EQ(l.vcpu.cr4, 0u);
    const uint64_t info = l.vcpu.gpr[kRbx];
    EXPECT_EQ(l.at<uint32_t>(info), 0x336ec578u);
    EXPECT_EQ(l.at<uint32_t>(info + 4), 1u);
    EXPECT_EQ(l.at<uint32_t>(info + 8), 0u);
    ASSERT_EQ(l.at<uint32_t>(info + 12), 1u);
    const uint64_t modules = l.at<uint64_t>(info + 16);
    EXPECT_EQ(l.bytes(l.at<uint64_t>(modules), l.at<uint64_t>(modules + 8)), module);
    EXPECT_EQ(l.text(l.at<uint64_t>(info + 24)), "one two");
    EXPECT_EQ(l.at<uint64_t>(l.at<uint64_t>(info + 32)), 0x2052545020445352u);  // "RSD PTR "
    expect_map(l, l.at<uint64_t>(info + 40), l.at<uint32_t>(info + 48), 24, 0);
    EXPECT_EQ(l.bytes(0x100000, 0x300), std::vector<uint8_t>(image.begin() + 0x1000, image.end()));
    EXPECT_EQ(l.bytes(0x100300, 0x1d00), std::vector<uint8_t>(0x1d00));
  }
}

TEST(Pvh, WithoutAnInitrdThereIsNoModule) {
  Loaded l(elf64());
  ASSERT_TRUE(l.load());
  EXPECT_EQ(l.at<uint32_t>(l.vcpu.gpr[kRbx] + 12), 0u);
  EXPECT_EQ(l.at<uint64_t>(l.vcpu.gpr[kRbx] + 16), 0u);
}

TEST(Pvh, WhatCannotBeLoadedIsRefusedForTheRightReason) {
  const auto refused = [](const std::vector<uint8_t>& image, const std::string& part) {
    Loaded l(image);
    expect_message(l.load(), l.file.path(), part);
  };
  const auto changed = [](auto change) {
    std::vector<uint8_t> k = elf64();
    change(k);
    return k;
  };
  constexpr size_t kLoad = sizeof(Elf64_Ehdr);
  refused(elf32(0x100000, 0x100010, false), "PVH");
  refused(elf64(0x100000, 0x102000), "entry point 0x102000");
  refused(elf64(0x1000, 0x1010), "memory from 0x1000");     // where the loader's own tables are
  refused(elf64(0xa0000, 0xa0010), "memory from 0xa0000");  // not RAM
  refused(elf64(0x3fff000, 0x3fff010), "more memory");      // half beyond the end
  refused(changed([](auto& k) { k.resize(0x1200); }), "cut off");
  refused(changed([](auto& k) { k[EI_CLASS] = 3; }), "ELF");
  refused(changed([](auto& k) { poke<uint16_t>(k, 18, EM_AARCH64); }), "x86");
  refused(changed([](auto& k) { poke<uint64_t>(k, 32, ~uint64_t{0}); }), "outside the file");
  refused(changed([](auto& k) { poke<uint64_t>(k, kLoad + offsetof(Elf64_Phdr, p_memsz), 0x100); }), "longer in");
  refused(changed([](auto& k) { poke<uint64_t>(k, kLoad + offsetof(Elf64_Phdr, p_paddr), ~uint64_t{0}); }), "entry");
  refused(changed([](auto& k) {
            Elf64_Phdr p;
            std::memcpy(&p, k.data() + kLoad, sizeof p);
            poke<uint16_t>(k, 56, 3);
            p.p_paddr += 0x1fff;
            poke(k, kLoad + 2 * sizeof p, p);
          }),
          "overlap");
}

TEST(Pvh, NoDamageToHeadersOrNotesDoesHarm) {
  Loading l(kMemory);
  const Target t{l.source, l.config, *l.memory, l.vcpu, "name"};
  for (const std::vector<uint8_t>& whole : {elf32(), elf64()})
    for (uint64_t offset = 0; offset < 0x840; offset == 0xff ? offset = 0x800 : ++offset)
      for (unsigned what = 0; what < 10; ++what) {
        std::vector<uint8_t> image = whole;
        image[offset] = static_cast<uint8_t>(what < 8 ? image[offset] ^ (1u << what) : what == 8 ? 0 : 0xff);
        SCOPED_TRACE(testing::Message() << "offset " << offset << " case " << what);
        l.vcpu = reset_vcpu_state();
        if (const Result<void> r = load_pvh(t, image)) expect_startable(l);
        else expect_message(r, "name: ");
      }
}

TEST(Pvh, NoTruncationDoesHarm) {
  Loading l(kMemory);
  const Target t{l.source, l.config, *l.memory, l.vcpu, "name"};
  for (const std::vector<uint8_t>& whole : {elf32(), elf64()})
    for (uint64_t len = 0; len < whole.size(); ++len) {
      const std::vector<uint8_t> image(whole.begin(), whole.begin() + len);
      EXPECT_FALSE(is_bzimage(image) || is_multiboot(image));
      expect_message(load_pvh(t, image), "name: ");
    }
}

TEST(Pvh, TheDefaultGuestStartsWhenNothingIsGiven) {
  Loading l(4 << 20);
  l.source.append = "hello";
  const Result<void> r = l.load();
  ASSERT_TRUE(r) << r.error().message;
  expect_startable(l);
  const std::span<const uint8_t> image = default_guest();
  EXPECT_EQ(l.vcpu.rip, get<uint32_t>(image, offsetof(Elf32_Ehdr, e_entry)));
  EXPECT_EQ(l.bytes(0x100000, image.size()), std::vector<uint8_t>(image.begin(), image.end()));
  l.source.initrd = "/nonexistent";
  EXPECT_FALSE(l.load());
}

// A Multiboot header at file offset `at` in place of what is there.
std::vector<uint8_t> multiboot(std::vector<uint8_t> image, uint64_t at, uint32_t flags,
                               std::initializer_list<uint32_t> addresses = {}) {
  poke<uint32_t>(image, at, 0x1badb002);
  poke<uint32_t>(image, at + 4, flags);
  poke<uint32_t>(image, at + 8, -(0x1badb002 + flags));
  for (uint32_t a : addresses) poke(image, (at += 4) + 8, a);
  return image;
}

TEST(Multiboot, AnElfKernelGetsItsInformation) {
  const std::vector<uint8_t> content(5000, 0x33);
  const TempFile initrd(content);
  Loaded l(multiboot(elf32(0x100000, 0x100010, false), 0x1100, 3));
  l.source.initrd = initrd.path();
  const Result<void> r = l.load();
  ASSERT_TRUE(r) << r.error().message;
  expect_startable(l);
  expect_flat_protected_mode(l);
  EXPECT_EQ(l.vcpu.gpr[kRax], 0x2badb002u);
  EXPECT_EQ(l.vcpu.rip, 0x100010u);  // the file gives the virtual address
  const uint64_t info = l.vcpu.gpr[kRbx];
  EXPECT_EQ(l.at<uint32_t>(info), 0x24du);  // memory, command line, modules, map, loader's name
  EXPECT_EQ(l.at<uint32_t>(info + 4), 639u);
  EXPECT_EQ(l.at<uint32_t>(info + 8), (kMemory >> 10) - 1024);
  EXPECT_EQ(l.text(l.at<uint32_t>(info + 16)), "one two");
  ASSERT_EQ(l.at<uint32_t>(info + 20), 1u);
  const uint64_t module = l.at<uint32_t>(info + 24);
  const uint64_t start = l.at<uint32_t>(module), end = l.at<uint32_t>(module + 4);
  EXPECT_EQ(start % kPageSize, 0u);  // flag bit 0
  EXPECT_EQ(l.bytes(start, end - start), content);
  EXPECT_EQ(l.text(l.at<uint32_t>(module + 8)), "");
  const uint64_t map_bytes = l.at<uint32_t>(info + 44), map = l.at<uint32_t>(info + 48);
  EXPECT_EQ(l.at<uint32_t>(map), 20u);
  expect_map(l, map, map_bytes / 24, 24, 4);
  EXPECT_EQ(l.text(l.at<uint32_t>(info + 64)), "dejavm");
}

// There is no screen, and the kernel is told of none; it is for the kernel to want one.
TEST(Multiboot, AKernelThatAsksForAVideoModeIsLoaded) {
  Loaded l(multiboot(elf32(0x100000, 0x100010, false), 0x1100, 7));
  const Result<void> r = l.load();
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_FALSE(Loaded(multiboot(elf32(0x100000, 0x100010, false), 0x1100, 0xb)).load());
}

TEST(Multiboot, TheHeadersAddressFieldsReplaceTheElfHeader) {
  std::vector<uint8_t> flat(0x2000);
  for (size_t n = 0; n < flat.size(); ++n) flat[n] = static_cast<uint8_t>(n * 3 + n / 256);
  // Header at offset 0x404, loaded at 0x200404: the image starts at file offset 0x400.
  for (const uint32_t load_end : {0u, 0x201000u}) {
    const std::vector<uint8_t> image =
        multiboot(flat, 0x404, 0x10000, {0x200004, 0x200000, load_end, 0x203000, 0x200030});
    Loaded l(image);
    const Result<void> r = l.load();
    ASSERT_TRUE(r) << r.error().message;
    EXPECT_EQ(l.vcpu.rip, 0x200030u);
    const uint64_t len = load_end ? 0x1000 : 0x1c00;
    EXPECT_EQ(l.bytes(0x200000, len), std::vector<uint8_t>(image.begin() + 0x400, image.begin() + 0x400 + len));
    EXPECT_EQ(l.at<uint8_t>(0x200000 + len), 0);
  }
}

// From 0x1000 on a kernel may lie anywhere in RAM: what is handed over to it goes elsewhere.
TEST(Multiboot, AKernelLoadsWhereverRamIsFree) {
  struct Row {
    uint32_t start, end;
    uint64_t info;
  };
  for (const Row& row : {Row{0x1000, 0x4000, 0x7000}, Row{0x7000, 0x9000, 0x1000}, Row{0x1000, 0x60000, 0x60000},
                         Row{0x1000, 0x9fc00, 0x100000}, Row{0x20000, 0x20800, 0x1000}}) {
    std::vector<uint8_t> flat(0x100);
    for (size_t n = 0; n < flat.size(); ++n) flat[n] = static_cast<uint8_t>(n);
    Loaded l(multiboot(flat, 0, 0x10000, {row.start, row.start, 0, row.end, row.start + 0x40}));
    const Result<void> r = l.load();
    ASSERT_TRUE(r) << r.error().message;
    const uint64_t info = l.vcpu.gpr[kRbx];
    EXPECT_EQ(info, row.info);
    EXPECT_EQ(l.text(l.at<uint32_t>(info + 16)), "one two");
    EXPECT_EQ(l.text(l.at<uint32_t>(info + 64)), "dejavm");
    EXPECT_EQ(l.bytes(row.start + 0x40, 0xc0), std::vector<uint8_t>(flat.begin() + 0x40, flat.end()));
    for (uint64_t a = row.start + 0x100; a < row.end; a += 0x100) EXPECT_EQ(l.at<uint64_t>(a), 0u) << a;
  }
}

TEST(Multiboot, WhatCannotBeLoadedIsRefusedForTheRightReason) {
  const auto refused = [](const std::vector<uint8_t>& image, const std::string& part) {
    Loaded l(image);
    expect_message(l.load(), l.file.path(), part);
  };
  const std::vector<uint8_t> flat(0x3000, 0x90);
  refused(multiboot(flat, 0, 8), "flags 0x8");
  refused(multiboot(flat, 0, 3), "ELF");
  refused(multiboot(flat, 0x1ff8, 0), "neither");  // no room for a header
  refused(multiboot(flat, 2, 0), "neither");       // not aligned
  refused(multiboot(flat, 0, 0x10000, {0x200004, 0x200000, 0, 0, 0x200020}), "before the start");  // of the file
  refused(multiboot(flat, 0, 0x10000, {0x200000, 0x200000, 0x203001, 0, 0x200020}), "load_end_addr");
  refused(multiboot(flat, 0, 0x10000, {0x200000, 0x200000, 0x1fffff, 0, 0x200020}), "load_end_addr");
  refused(multiboot(flat, 0, 0x10000, {0x200000, 0x200000, 0, 0x200100, 0x200020}), "bss_end_addr");
  refused(multiboot(flat, 0, 0x10000, {0x200000, 0x200000, 0, 0, 0x300000}), "entry point");
  refused(multiboot(flat, 0, 0x10000, {0x800, 0x800, 0, 0, 0x820}), "memory from 0x800");
  refused(flat, "neither");
}

TEST(Multiboot, NoDamageToTheHeaderDoesHarm) {
  Loading l(kMemory);
  const Target t{l.source, l.config, *l.memory, l.vcpu, "name"};
  const std::vector<uint8_t> whole =
      multiboot(std::vector<uint8_t>(0x2000, 0x90), 8, 0x10003, {0x200008, 0x200000, 0x201000, 0x203000, 0x200030});
  ASSERT_TRUE(load_multiboot(t, whole));
  const std::vector<uint8_t> interesting{0, 0x7f, 0x80, 0xff};
  for (uint64_t offset = 20; offset < 40; ++offset)
    for (uint8_t value : interesting)
      for (uint64_t len : {uint64_t{40}, uint64_t{0x1000}, uint64_t{0x2000}}) {
        std::vector<uint8_t> image(whole.begin(), whole.begin() + len);
        image[offset] = value;
        l.vcpu = reset_vcpu_state();
        if (const Result<void> r = load_multiboot(t, image)) expect_startable(l);
        else expect_message(r, "name: ");
      }
  for (uint64_t len = 0; len < 0x1008; ++len)
    EXPECT_FALSE(load_multiboot(t, {whole.data(), std::min<uint64_t>(len, 0xfff)})) << len;
}

TEST(Multiboot, APvhKernelWithAMultibootHeaderStartsAsPvh) {
  Loaded l(multiboot(elf32(), 0x1100, 3));
  ASSERT_TRUE(l.load());
  EXPECT_EQ(l.at<uint32_t>(l.vcpu.gpr[kRbx]), 0x336ec578u);
}

}  // namespace
}  // namespace dejavm::boot
