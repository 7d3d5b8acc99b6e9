// A disk of the machine: an image below, what was written above it in memory.
#include "vmm/machine/disk.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "tests/replay/folder.h"

namespace dejavm {
namespace {

constexpr uint64_t kBytes = 1000 * 512;  // not of whole pages

struct Counting final : DiskImage {
  explicit Counting(std::vector<uint8_t> bytes) : content(std::move(bytes)) {}
  bool read(uint64_t offset, std::span<uint8_t> to) override {
    EXPECT_LE(offset + to.size(), content.size());
    std::copy_n(content.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
    return !broken;
  }
  Range range_at(uint64_t) const override { return {Range::Kind::kData, content.size()}; }
  std::vector<uint8_t> content;
  bool broken = false;
};

struct Log final : DiskLog {
  std::map<uint64_t, std::vector<uint8_t>> pieces;
  bool full = false;
  bool piece(unsigned disk, uint64_t number, std::span<const uint8_t> content) override {
    EXPECT_EQ(disk, 0u);
    EXPECT_TRUE(full || pieces.emplace(number, std::vector<uint8_t>(content.begin(), content.end())).second) << number;
    return !full;
  }
  bool read(unsigned, uint64_t offset, std::span<uint8_t> to) override {
    const std::vector<uint8_t>& piece = pieces.at(offset / kDiskPieceBytes);
    std::copy_n(piece.begin() + static_cast<ptrdiff_t>(offset % kDiskPieceBytes), to.size(), to.begin());
    return true;
  }
  std::string why() const override { return "the log is full"; }
};

class DiskTest : public ::testing::Test {
 protected:
  DiskTest() {
    std::mt19937_64 random(1);
    for (uint8_t& byte : model) byte = static_cast<uint8_t>(random());
    auto made = std::make_unique<Counting>(model);
    image = made.get();
    disk = std::make_unique<Disk>(config, 0, *memory, std::move(made));
  }
  std::vector<uint8_t> read(uint64_t offset, uint64_t len_bytes) {
    std::vector<uint8_t> out(len_bytes);
    EXPECT_TRUE(disk->read(offset, out));
    return out;
  }
  std::vector<uint8_t> expected(uint64_t offset, uint64_t len_bytes) const {
    return {model.begin() + static_cast<ptrdiff_t>(offset), model.begin() + static_cast<ptrdiff_t>(offset + len_bytes)};
  }
  const DiskConfig config{.bytes = kBytes, .serial = "T"};
  std::unique_ptr<GuestMemory> memory = GuestMemory::create(1 << 20, 0, false, {&config, 1}).take();
  std::vector<uint8_t> model = std::vector<uint8_t>(kBytes);
  Counting* image = nullptr;
  std::unique_ptr<Disk> disk;
};

TEST_F(DiskTest, ReadsWhatWasWrittenAndElseTheImage) {
  const std::vector<uint8_t> before = model;
  std::mt19937_64 random(2);
  for (unsigned n = 0; n < 2000; ++n) {
    const uint64_t offset = random() % kBytes, len_bytes = std::min(random() % 10'000, kBytes - offset);
    std::vector<uint8_t> bytes(len_bytes, static_cast<uint8_t>(n % 3 == 0 ? 0 : n));
    switch (random() % 3) {
      case 0: ASSERT_TRUE(disk->write(offset, bytes)); break;
      case 1:
        ASSERT_TRUE(disk->zero(offset, len_bytes));
        bytes.assign(len_bytes, 0);
        break;
      default: ASSERT_EQ(read(offset, len_bytes), expected(offset, len_bytes)); continue;
    }
    std::ranges::copy(bytes, model.begin() + static_cast<ptrdiff_t>(offset));
  }
  EXPECT_EQ(read(0, kBytes), model);
  EXPECT_EQ(image->content, before) << "the image is not written";
}

TEST_F(DiskTest, WhatIsWrittenIsInMemoryBehindAllAddresses) {
  ASSERT_TRUE(disk->write(8192, std::vector<uint8_t>(4096, 7)));
  const Gpa bits = disk_region(0), content = bits + disk_bitmap_bytes(kBytes);
  uint8_t byte = 0;
  ASSERT_TRUE(memory->read(bits, &byte, 1));
  EXPECT_EQ(byte, 1 << 2);
  ASSERT_TRUE(memory->read(content + 8192, &byte, 1));
  EXPECT_EQ(byte, 7);
  EXPECT_TRUE(*memory->page_flags(content + 8192) & kPageDirty);
  EXPECT_FALSE(*memory->page_flags(content) & kPageDirty);
}

TEST_F(DiskTest, EachPieceIsLoggedOnceAndAnewForANewLog) {
  Log log;
  disk->log_to(&log);
  read(kDiskPieceBytes - 100, 200);
  EXPECT_EQ(log.pieces.size(), 2u);
  read(0, kBytes);
  EXPECT_EQ(log.pieces.size(), (kBytes + kDiskPieceBytes - 1) / kDiskPieceBytes);
  for (const auto& [number, content] : log.pieces)
    EXPECT_EQ(content, expected(number * kDiskPieceBytes, content.size())) << number;
  EXPECT_EQ(log.pieces.rbegin()->second.size(), kBytes % kDiskPieceBytes);
  Log second;
  disk->log_to(&second);
  ASSERT_TRUE(disk->write(0, std::vector<uint8_t>(4096, 1)));
  read(0, 4096);
  EXPECT_TRUE(second.pieces.empty()) << "nothing of the image was read";
  read(4096, 1);
  EXPECT_EQ(second.pieces.size(), 1u);
}

TEST(RawImage, WhatIsNoImageIsRefusedWithTheReason) {
  const Folder where;
  const std::string& folder = where.path;
  std::ofstream(folder + "/empty").close();
  const std::pair<std::string, std::string> kBad[] = {
      {folder + "/none", "No such file"},         {folder, "a directory"},
      {folder + "/empty", "an empty disk image"}, {"/dev/null", "an empty disk image"},
      {"/proc/self/mem", "its size is unknown"},
  };
  for (const auto& [path, why] : kBad) {
    const auto image = RawImage::open(path);
    ASSERT_FALSE(image.ok()) << path;
    EXPECT_EQ(image.error().message.find(path + ": "), 0u) << image.error().message;
    EXPECT_NE(image.error().message.find(why), std::string::npos) << image.error().message;
  }
  std::ofstream(folder + "/sparse") << std::string(5000, 'x');
  std::filesystem::resize_file(folder + "/sparse", 1 << 20);
  const auto image = RawImage::open(folder + "/sparse");
  ASSERT_TRUE(image.ok());
  EXPECT_EQ((*image)->len_bytes(), 1u << 20);
  using Kind = DiskImage::Range::Kind;
  EXPECT_EQ((*image)->range_at(0).kind, Kind::kData);
  const auto end = (*image)->range_at(512 << 10);  // a file system may keep no holes
  EXPECT_TRUE(end.kind == Kind::kZeros || end.kind == Kind::kData);
  EXPECT_GE(end.len_bytes, 512u << 10);
}

TEST_F(DiskTest, WhatWasLoggedIsReadFromTheLogEvenIfTheImageChanges) {
  Log log;
  disk->log_to(&log);
  read(0, 512);
  std::ranges::fill(image->content, uint8_t{0});
  EXPECT_EQ(read(512, 1000), expected(512, 1000));
  image->broken = true;
  EXPECT_EQ(read(4000, 1000), expected(4000, 1000));
  ASSERT_TRUE(disk->write(1, std::vector<uint8_t>(10, 1)));
  EXPECT_EQ(read(11, 100), expected(11, 100)) << "the rest of a page that was written";
  EXPECT_EQ(disk->loss(), "");
  std::vector<uint8_t> out(512);
  EXPECT_FALSE(disk->read(kDiskPieceBytes, out));
  EXPECT_EQ(disk->loss(), "what is there is not known");
}

TEST_F(DiskTest, ALogThatCannotKeepAPieceLosesTheDisk) {
  Log log;
  log.full = true;
  disk->log_to(&log);
  std::vector<uint8_t> out(512);
  EXPECT_FALSE(disk->read(0, out));
  EXPECT_EQ(disk->loss(), "the log is full");
}

TEST(RawImage, TellsThatItHasChanged) {
  const Folder where;
  const std::string path = where.path + "/image";
  std::ofstream(path) << std::string(5000, 'x');
  const auto image = RawImage::open(path);
  ASSERT_TRUE(image.ok());
  EXPECT_FALSE((*image)->changed());
  std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + std::chrono::seconds(1));
  EXPECT_TRUE((*image)->changed());
  std::filesystem::resize_file(path, 100);
  std::vector<uint8_t> out(512);
  EXPECT_FALSE((*image)->read(0, out));
  EXPECT_EQ((*image)->problem(), "it is shorter than it was");
}

TEST_F(DiskTest, AnImageThatCannotBeReadIsTold) {
  EXPECT_EQ(disk->loss(), "");
  image->broken = true;
  std::vector<uint8_t> out(512);
  EXPECT_FALSE(disk->read(0, out));
  EXPECT_FALSE(disk->write(1, std::vector<uint8_t>(10, 1))) << "the rest of the page is the image's";
  EXPECT_TRUE(disk->write(4096, std::vector<uint8_t>(4096, 1)));
}

}  // namespace
}  // namespace dejavm
