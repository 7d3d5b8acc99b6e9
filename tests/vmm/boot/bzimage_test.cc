// Expectations from Linux's Documentation/arch/x86/boot.rst and zero-page.rst; offsets are written out as there.
#include <algorithm>

#include "tests/vmm/boot/loading.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/layout.h"

namespace dejavm::boot {
namespace {

constexpr uint64_t kMemory = 64 << 20;

// A kernel with 2 setup sectors and `code_bytes` of code, each byte telling its place; protocol 2.12, relocatable.
std::vector<uint8_t> kernel(uint64_t code_bytes = 0x3000) {
  std::vector<uint8_t> k(0x600 + code_bytes);
  k[0x1f1] = 2;
  poke<uint32_t>(k, 0x1f4, static_cast<uint32_t>(code_bytes / 16));
  poke<uint16_t>(k, 0x1fe, 0xaa55);
  k[0x200] = 0xeb;
  k[0x201] = 0x66;  // the header ends at 0x268
  poke<uint32_t>(k, 0x202, 0x53726448);
  poke<uint16_t>(k, 0x206, 0x20c);
  k[0x211] = 1;
  poke<uint32_t>(k, 0x214, 0x100000);
  poke<uint32_t>(k, 0x22c, 0x7fffffff);
  poke<uint32_t>(k, 0x230, 0x200000);
  k[0x234] = 1;
  poke<uint16_t>(k, 0x236, 1);
  poke<uint32_t>(k, 0x238, 2047);
  poke<uint64_t>(k, 0x258, 0x1000000);
  poke<uint32_t>(k, 0x260, 0x800000);
  for (uint64_t n = 0; n < code_bytes; ++n) k[0x600 + n] = static_cast<uint8_t>(n ^ (n >> 8));
  return k;
}

struct Loaded : Loading {
  explicit Loaded(const std::vector<uint8_t>& image, std::string append = "", uint64_t ram = kMemory)
      : Loading(ram), file(image) {
    source.kernel = file.path();
    source.append = std::move(append);
  }
  TempFile file;
};

TEST(BzImage, The64BitEntryIsReachedAsTheBootProtocolSays) {
  Loaded l(kernel(), "console=ttyS0 quiet");
  ASSERT_TRUE(l.load());
  expect_startable(l);
  EXPECT_EQ(l.vcpu.rip, 0x1000000u + 0x200);
  EXPECT_EQ(l.vcpu.efer & 0x500, 0x500u);
  EXPECT_EQ(l.vcpu.cr0 & 0x80000001, 0x80000001);
  EXPECT_EQ(l.vcpu.rflags & 0x200, 0u);
  EXPECT_EQ(l.vcpu.segment[kCs].selector, 0x10);  // __BOOT_CS, __BOOT_DS
  for (Seg s : {kDs, kEs, kSs}) EXPECT_EQ(l.vcpu.segment[s].selector, 0x18);
  EXPECT_EQ(l.vcpu.segment[kCs].attributes & kSegL, kSegL);
  // The descriptors in memory say the same as the registers.
  EXPECT_EQ(l.at<uint64_t>(l.vcpu.gdtr.base + 0x10), 0x00af9b000000ffffu);
  EXPECT_EQ(l.at<uint64_t>(l.vcpu.gdtr.base + 0x18), 0x00cf93000000ffffu);
  const uint64_t zero_page = l.vcpu.gpr[kRsi];
  EXPECT_EQ(l.text(l.at<uint32_t>(zero_page + 0x228)), "console=ttyS0 quiet");
  EXPECT_EQ(l.at<uint8_t>(zero_page + 0x210), 0xff);  // type_of_loader: undefined
  EXPECT_EQ(l.at<uint32_t>(zero_page + 0x214), 0x1000000u);
  EXPECT_EQ(l.at<uint32_t>(zero_page + 0x202), 0x53726448u);
  EXPECT_EQ(l.at<uint32_t>(zero_page + 0x218), 0u);
  EXPECT_EQ(l.at<uint64_t>(l.at<uint64_t>(zero_page + 0x70)), 0x2052545020445352u);  // "RSD PTR "
  const std::vector<uint8_t> image = kernel();
  EXPECT_TRUE(std::equal(image.begin() + 0x600, image.end(), l.bytes(0x1000000, 0x3000).begin()));
}

TEST(BzImage, PageTablesMapFourGiBOntoThemselves) {
  Loaded l(kernel());
  ASSERT_TRUE(l.load());
  for (const uint64_t address : {uint64_t{0}, uint64_t{0x1000200}, uint64_t{0x3fffffff}, uint64_t{0xfee00000}}) {
    const uint64_t pml4e = l.at<uint64_t>(l.vcpu.cr3 + 8 * (address >> 39));
    const uint64_t pdpte = l.at<uint64_t>((pml4e & ~0xfffull) + 8 * ((address >> 30) & 511));
    const uint64_t pde = l.at<uint64_t>((pdpte & ~0xfffull) + 8 * ((address >> 21) & 511));
    EXPECT_EQ(pml4e & pdpte & pde & 3, 3u);  // present, writable
    EXPECT_EQ(pde & 0x80, 0x80u);
    EXPECT_EQ(pde & ~0x1fffffull, address & ~0x1fffffull);
  }
  EXPECT_EQ(l.at<uint64_t>(l.vcpu.cr3 + 8), 0u);
}

TEST(BzImage, E820HasAllMemoryAndKeepsTheBiosAreaReserved) {
  Loaded l(kernel(), "", uint64_t{5} << 30);
  ASSERT_TRUE(l.load());
  const uint64_t zero_page = l.vcpu.gpr[kRsi];
  uint64_t ram = 0, end = 0;
  for (uint64_t n = 0; n < l.at<uint8_t>(zero_page + 0x1e8); ++n) {
    const uint64_t entry = zero_page + 0x2d0 + 20 * n, start = l.at<uint64_t>(entry), len = l.at<uint64_t>(entry + 8);
    const uint32_t type = l.at<uint32_t>(entry + 16);
    EXPECT_GE(start, end);
    end = start + len;
    if (type == 1) {
      ram += len;
      EXPECT_TRUE(end <= 0xa0000 || start >= 0x100000);
      EXPECT_TRUE(end <= 0xc0000000 || start >= 0x100000000);
      EXPECT_NE(l.memory->find({start}), nullptr);
      EXPECT_NE(l.memory->find({end - 1}), nullptr);
    }
  }
  EXPECT_EQ(end, uint64_t{6} << 30);
  EXPECT_EQ(ram, (uint64_t{5} << 30) - (0x100000 - 0x9fc00));
}

TEST(BzImage, WithoutThe64BitEntryThe32BitOneIsUsed) {
  for (const uint16_t version : std::initializer_list<uint16_t>{0x206, 0x20a, 0x20c}) {
    std::vector<uint8_t> image = kernel();
    poke<uint16_t>(image, 0x206, version);
    if (version == 0x20c) poke<uint16_t>(image, 0x236, 0);
    Loaded l(image);
    ASSERT_TRUE(l.load());
    expect_startable(l);
    expect_flat_protected_mode(l);
    EXPECT_EQ(l.vcpu.rip, version < 0x20a ? 0x100000u : 0x1000000u);  // pref_address came with 2.10
    EXPECT_EQ(l.at<uint16_t>(l.vcpu.gpr[kRsi] + 0x206), version);
    EXPECT_EQ(l.vcpu.gpr[kRbp] | l.vcpu.gpr[kRdi] | l.vcpu.gpr[kRbx], 0u);
  }
}

TEST(BzImage, TheInitrdLiesInMemoryBelowInitrdAddrMaxAndAboveTheKernel) {
  const std::vector<uint8_t> content(0x12345, 0x5a);
  const TempFile initrd(content);
  for (const uint32_t limit : {0x7fffffffu, 0x2ffffffu, 0x1812345u + 0x800u}) {
    std::vector<uint8_t> image = kernel();
    poke<uint32_t>(image, 0x22c, limit);
    Loaded l(image);
    l.source.initrd = initrd.path();
    const Result<void> r = l.load();
    ASSERT_TRUE(r) << r.error().message;
    const uint64_t start = l.at<uint32_t>(l.vcpu.gpr[kRsi] + 0x218), len = l.at<uint32_t>(l.vcpu.gpr[kRsi] + 0x21c);
    EXPECT_EQ(len, content.size());
    EXPECT_GE(start, 0x1800000u);  // pref_address + init_size
    EXPECT_LE(start + len - 1, std::min<uint64_t>(limit, kMemory - 1));
    EXPECT_EQ(l.bytes(start, len), content);
  }
  std::vector<uint8_t> image = kernel();
  poke<uint32_t>(image, 0x22c, 0x1811000);
  Loaded l(image);
  l.source.initrd = initrd.path();
  expect_message(l.load(), l.file.path(), initrd.path());
}

TEST(BzImage, ARelocatableKernelMovesWhenItsPreferredAddressIsBeyondMemory) {
  Loaded l(kernel(), "", 12 << 20);
  const Result<void> r = l.load();
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(l.vcpu.rip, 0x200200u);  // the lowest multiple of kernel_alignment at or above 1 MiB
  EXPECT_EQ(l.at<uint32_t>(l.vcpu.gpr[kRsi] + 0x214), 0x200000u);
  std::vector<uint8_t> fixed = kernel();
  fixed[0x234] = 0;
  Loaded stays(fixed, "", 12 << 20);
  expect_message(stays.load(), stays.file.path(), "more memory");
}

TEST(BzImage, WhatCannotBeLoadedIsRefusedForTheRightReason) {
  const auto refused = [](auto change, const std::string& part, const std::string& append = "") {
    std::vector<uint8_t> image = kernel();
    change(image);
    Loaded l(image, append);
    expect_message(l.load(), l.file.path(), part);
  };
  refused([](auto& k) { poke<uint16_t>(k, 0x206, 0x205); }, "2.05");
  refused([](auto& k) { k[0x211] = 0; }, "zImage");
  refused([](auto& k) { k[0x201] = 0x10; }, "setup header ends at 0x212");
  refused([](auto& k) { k.resize(0x600 + 0x2ff0); }, "cut off");
  refused([](auto& k) { k.resize(0x230); }, "cut off");
  refused([](auto& k) { poke<uint32_t>(k, 0x1f4, 0); }, "code");
  refused([](auto& k) { poke<uint32_t>(k, 0x260, 0xffffffff); }, "more memory");
  refused(
      [](auto& k) {
        poke<uint64_t>(k, 0x258, 0xfffffffffffff000);
        k[0x234] = 0;
      },
      "more memory");
  refused(
      [](auto& k) {
        poke<uint32_t>(k, 0x230, 3);
        poke<uint64_t>(k, 0x258, 0);
      },
      "power of two");
  refused([](auto& k) { poke<uint32_t>(k, 0x238, 10); }, "at most 10", "eleven char");
  refused([](auto&) {}, "zero byte", std::string("a\0b", 3));
  refused([](auto& k) { poke<uint32_t>(k, 0x202, 0); }, "neither a Linux bzImage");
}

TEST(BzImage, ALastIncompleteParagraphIsNoTruncation) {
  std::vector<uint8_t> image = kernel();
  image.resize(image.size() - 8);
  Loaded l(image);
  EXPECT_TRUE(l.load());
}

// Any header: an answer, and if it is yes, one that can be started.
void try_image(const std::vector<uint8_t>& image, const Target& t, Loading& l) {
  l.vcpu = reset_vcpu_state();
  const Result<void> r = load_bzimage(t, image);
  if (r) expect_startable(l);
  else expect_message(r, "name: ");
}

TEST(BzImage, NoDamageToTheHeaderDoesHarm) {
  const TempFile initrd(std::vector<uint8_t>(100, 1));
  Loading l(kMemory);
  l.source.initrd = initrd.path();
  l.source.append = "console=ttyS0";
  const Target t{l.source, l.config, *l.memory, l.vcpu, "name"};
  for (uint64_t offset = 0x1f1; offset < 0x270; ++offset)
    for (unsigned what = 0; what < 10; ++what) {
      std::vector<uint8_t> image = kernel();
      image[offset] = static_cast<uint8_t>(what < 8 ? image[offset] ^ (1u << what) : what == 8 ? 0 : 0xff);
      SCOPED_TRACE(testing::Message() << "offset " << offset << " case " << what);
      try_image(image, t, l);
    }
}

TEST(BzImage, NoTruncationDoesHarm) {
  Loading l(kMemory);
  const Target t{l.source, l.config, *l.memory, l.vcpu, "name"};
  const std::vector<uint8_t> whole = kernel(0x400);
  for (uint64_t len = 0; len < whole.size(); ++len) {
    const std::vector<uint8_t> image(whole.begin(), whole.begin() + len);
    SCOPED_TRACE(len);
    try_image(image, t, l);
    if (len < whole.size() - 15) {
      EXPECT_FALSE(load_bzimage(t, image));
    }
  }
}

TEST(BzImage, DebiansKernelAndInitrdLoad) {
  const std::string dir = DEJAVM_GUEST_DIR;
  if (!std::filesystem::exists(dir + "/vmlinuz"))
    GTEST_SKIP() << "no guest in " << dir << "; run tools/get-guest " << dir;
  Loading l(256 << 20);
  l.source = {dir + "/vmlinuz", dir + "/initrd", "console=ttyS0", ""};
  const Result<void> r = l.load();
  ASSERT_TRUE(r) << r.error().message;
  expect_startable(l);
  const uint64_t zero_page = l.vcpu.gpr[kRsi];
  EXPECT_EQ(l.vcpu.rip, l.at<uint64_t>(zero_page + 0x258) + 0x200);
  const std::vector<uint8_t> initrd = slurp(dir + "/initrd");
  EXPECT_EQ(l.bytes(l.at<uint32_t>(zero_page + 0x218), l.at<uint32_t>(zero_page + 0x21c)), initrd);
  EXPECT_EQ(l.bytes(l.vcpu.rip - 0x200, 1)[0], 0xfc);  // startup_32 begins with CLD
}

TEST(BzImage, Memtest86PlusLoads) {
  bool any = false;
  for (const auto& [path, entry] :
       {std::pair{"/boot/memtest86+x64.bin", 0x100200}, {"/boot/memtest86+ia32.bin", 0x100000}}) {
    if (!std::filesystem::exists(path)) continue;
    any = true;
    Loading l(kMemory);
    l.source.kernel = path;
    const Result<void> r = l.load();
    ASSERT_TRUE(r) << r.error().message;
    expect_startable(l);
    EXPECT_EQ(l.vcpu.rip, static_cast<uint64_t>(entry));
  }
  if (!any) GTEST_SKIP() << "package memtest86+ is not installed";
}

}  // namespace
}  // namespace dejavm::boot
