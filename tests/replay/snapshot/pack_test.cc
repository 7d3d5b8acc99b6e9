// Packed snapshots: what is in them is the snapshot's file, byte for byte, as zstd itself unpacks it.
#include <gtest/gtest.h>

#include <zstd.h>

#include <fstream>
#include <iterator>
#include <random>

#include "replay/snapshot/pack.h"
#include "replay/snapshot/saver.h"
#include "tests/replay/folder.h"
#include "vmm/machine/host.h"

namespace dejavm {
namespace {

using Content = std::vector<char>;

Content content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write(const std::string& path, const Content& content) {
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

// Several pieces of what compresses, of what does not, and of nothing at all.
void make_snapshot(const std::string& path) {
  MachineConfig config;
  config.memory_bytes = 8 << 20;
  auto machine = Machine::create(config, "deterministic", nullptr);
  ASSERT_TRUE(machine.ok());
  ASSERT_TRUE((*machine)->boot({}).ok());
  std::mt19937_64 random(1);
  for (uint64_t page = 300; page < 1200; ++page) {
    uint8_t* const bytes = (*machine)->memory().page(Gpa{page * kPageSize});
    for (uint64_t i = 0; i < kPageSize; ++i) bytes[i] = static_cast<uint8_t>(page % 3 == 0 ? page : random());
  }
  SnapshotHead about;
  about.writer = "test";
  Saver saver(**machine, about);
  ASSERT_TRUE(saver.start(path, {}).ok());
  const auto saved = saver.wait();
  ASSERT_TRUE(saved && saved->ok());
}

class Pack : public ::testing::Test {
 protected:
  void SetUp() override {
    make_snapshot(plain_);
    ASSERT_TRUE(pack(plain_, packed_, false).ok());
  }
  std::string refusal_of(const Content& content) {
    write(folder_ / "damaged", content);
    const auto done = unpack(folder_ / "damaged", folder_ / "out", false);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
    return done.ok() ? "none" : done.error().message;
  }
  Folder folder_;
  const std::string plain_ = folder_ / "plain", packed_ = folder_ / "packed";
};

TEST_F(Pack, ZstdItselfUnpacksTheFile) {
  const Content plain = content_of(plain_), packed = content_of(packed_);
  EXPECT_LT(packed.size(), plain.size());
  ASSERT_EQ(ZSTD_getFrameContentSize(packed.data(), packed.size()), plain.size());
  Content out(plain.size());
  ASSERT_EQ(ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size()), plain.size());
  EXPECT_TRUE(out == plain);
}

TEST_F(Pack, UnpackingGivesTheFileBack) {
  ASSERT_TRUE(unpack(packed_, folder_ / "back", false).ok());
  EXPECT_TRUE(content_of(folder_ / "back") == content_of(plain_));
}

TEST_F(Pack, NothingIsOverwrittenUnasked) {
  const Content before = content_of(packed_);
  EXPECT_FALSE(pack(plain_, packed_, false).ok());
  EXPECT_FALSE(unpack(packed_, plain_, false).ok());
  EXPECT_TRUE(content_of(packed_) == before);
  EXPECT_TRUE(unpack(packed_, plain_, true).ok());
}

TEST_F(Pack, DamageIsRefusedWithItsReason) {
  const Content packed = content_of(packed_);
  Content cut = packed;
  cut.resize(packed.size() / 2);
  EXPECT_NE(refusal_of(cut).find("cut off"), std::string::npos);
  Content longer = packed;
  longer.push_back('x');
  EXPECT_NE(refusal_of(longer).find("bytes after the packed snapshot"), std::string::npos);
  Content flipped = packed;
  flipped[packed.size() / 2] = static_cast<char>(flipped[packed.size() / 2] ^ 0x10);
  EXPECT_NE(refusal_of(flipped), "none");
  EXPECT_NE(refusal_of(Content(1000, 'x')).find("not a packed snapshot"), std::string::npos);
}

TEST_F(Pack, WhatIsNoSnapshotIsNotUnpacked) {
  const Content text(3 << 20, 'x');
  Content packed(ZSTD_compressBound(text.size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
  EXPECT_NE(refusal_of(packed).find("what is packed there is no snapshot"), std::string::npos);
}

}  // namespace
}  // namespace dejavm
