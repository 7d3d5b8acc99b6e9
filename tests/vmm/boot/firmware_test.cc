// Firmware images, and files as such.
#include "vmm/boot/firmware.h"
#include "tests/vmm/boot/loading.h"
#include "vmm/boot/layout.h"

namespace dejavm::boot {
namespace {

std::vector<uint8_t> firmware(uint64_t len) {
  std::vector<uint8_t> f(len);
  for (uint64_t n = 0; n < len; ++n) f[n] = static_cast<uint8_t>(n * 5 + n / 4096);
  return f;
}

void expect_loaded(const std::string& path, const std::vector<uint8_t>& image) {
  Result<uint64_t> rom = firmware_rom_bytes(path);
  ASSERT_TRUE(rom) << rom.error().message;
  EXPECT_EQ(*rom % 65536, 0u);
  EXPECT_GE(*rom, image.size());
  EXPECT_LT(*rom - image.size(), 65536u);
  Loading l(4 << 20, *rom);
  l.source.firmware = path;
  const Result<void> r = l.load();
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(l.vcpu, reset_vcpu_state());
  EXPECT_EQ(l.bytes(0x100000000 - image.size(), image.size()), image);
  const uint64_t shadow = std::min<uint64_t>(image.size(), 256 << 10);
  EXPECT_EQ(l.bytes(0x100000 - shadow, shadow), std::vector<uint8_t>(image.end() - shadow, image.end()));
  if (shadow == 256 << 10) {
    EXPECT_EQ(l.bytes(0xbf000, 0x1000), std::vector<uint8_t>(0x1000));
  }
  // What the processor fetches first is the image's last 16 bytes, at both addresses.
  EXPECT_EQ(l.bytes(l.vcpu.segment[kCs].base + l.vcpu.rip, 16), l.bytes(0xffff0, 16));
}

TEST(Firmware, EndsAtFourGiBAndAtOneMiB) {
  for (const uint64_t len : {4096ull, 65536ull, 69632ull, 131072ull, 262144ull, 16ull << 20}) {
    const std::vector<uint8_t> image = firmware(len);
    const TempFile file(image);
    expect_loaded(file.path(), image);
  }
}

TEST(Firmware, SeaBiosLoads) {
  const std::string path = "/usr/share/seabios/bios-256k.bin";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "package seabios is not installed";
  expect_loaded(path, slurp(path));
}

TEST(Firmware, AnImageOfAnImpossibleSizeIsRefused) {
  for (const uint64_t len : {0ull, 1ull, 4095ull, 65537ull, (16ull << 20) + 4096}) {
    const TempFile file(firmware(len));
    const Result<uint64_t> rom = firmware_rom_bytes(file.path());
    ASSERT_FALSE(rom) << len;
    EXPECT_EQ(rom.error().kind, ErrorKind::kBadInput);
    EXPECT_EQ(rom.error().message.find(file.path()), 0u);
    Loading l(4 << 20, 65536);
    l.source.firmware = file.path();
    expect_message(l.load(), file.path());
  }
}

TEST(Firmware, ALargerImageThanTheMachinesWindowIsRefused) {
  const TempFile file(firmware(131072));
  for (const uint64_t window : {0, 65536}) {
    Loading l(4 << 20, window);
    l.source.firmware = file.path();
    expect_message(l.load(), file.path(), "window");
  }
}

TEST(Firmware, StartsAlone) {
  const TempFile file(firmware(65536));
  for (std::string BootSource::*other : {&BootSource::kernel, &BootSource::initrd, &BootSource::append}) {
    Loading l(4 << 20, 65536);
    l.source.firmware = file.path();
    l.source.*other = "something";
    expect_message(l.load(), file.path(), "no kernel");
  }
}

TEST(BootFiles, AFileThatCannotBeReadIsNamedWithTheReason) {
  for (const auto& [path, reason] : {std::pair{"/nonexistent/vmlinuz", "No such file"}, {"/", "Is a directory"}}) {
    Loading l(4 << 20);
    l.source.kernel = path;
    const Result<void> r = l.load();
    expect_message(r, path, reason);
    EXPECT_EQ(r.error().kind, ErrorKind::kHost);
  }
  const TempFile empty(std::vector<uint8_t>{});
  Loading l(4 << 20);
  l.source.kernel = empty.path();
  expect_message(l.load(), empty.path(), "empty");
}

TEST(BootFiles, MoreThanTheLimitIsRefusedEvenWithoutAKnownSize) {
  const TempFile file(firmware(5000));
  EXPECT_TRUE(read_file(file.path(), 5000));
  EXPECT_FALSE(read_file(file.path(), 4999));
  const Result<std::vector<uint8_t>> endless = read_file("/dev/zero", 3 << 20);
  ASSERT_FALSE(endless);
  EXPECT_NE(endless.error().message.find("3 MiB"), std::string::npos) << endless.error().message;
}

TEST(BootFiles, AMissingInitrdIsNamed) {
  const std::string dir = DEJAVM_GUEST_DIR;
  if (!std::filesystem::exists(dir + "/vmlinuz"))
    GTEST_SKIP() << "no guest in " << dir << "; run tools/get-guest " << dir;
  Loading l(256 << 20);
  l.source = {dir + "/vmlinuz", "/nonexistent/initrd", "", ""};
  expect_message(l.load(), "/nonexistent/initrd", "No such file");
}

}  // namespace
}  // namespace dejavm::boot
