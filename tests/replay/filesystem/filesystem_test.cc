// Partitions as sfdisk makes them and files as mkfs.ext4 does, where these are installed; and damaged ones.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include <fmt/format.h>

#include "replay/filesystem/ext4.h"
#include "tests/replay/folder.h"

namespace dejavm {
namespace {

class MemoryImage final : public DiskImage {
 public:
  explicit MemoryImage(std::vector<uint8_t> bytes) : content(std::move(bytes)) {}
  bool read(uint64_t offset, std::span<uint8_t> to) override {
    EXPECT_LE(offset + to.size(), content.size());
    std::copy_n(content.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
    return true;
  }
  Range range_at(uint64_t) const override { return {Range::Kind::kData, content.size()}; }
  std::vector<uint8_t> content;
};

std::vector<uint8_t> content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool run(const std::string& command) {
  return std::system(("PATH=$PATH:/sbin:/usr/sbin; " + command + " >/dev/null 2>&1").c_str()) == 0;
}

std::string text_of(const std::vector<Partition>& all) {
  std::string out;
  for (const Partition& p : all) out += fmt::format("{}:{}+{} ", p.number, p.offset, p.len_bytes);
  return out;
}

TEST(Partitions, AreThoseThatSfdiskMade) {
  if (!run("command -v sfdisk")) GTEST_SKIP() << "sfdisk is not installed";
  constexpr uint64_t kMib = 1 << 20, kDisk = 32 * kMib;
  const Folder folder;
  const std::string path = folder / "disk";
  const auto made = [&](const std::string& script) {
    std::ofstream(path).close();
    std::filesystem::resize_file(path, kDisk);
    EXPECT_TRUE(run(fmt::format("printf '{}' | sfdisk {}", script, path)));
    MemoryImage image(content_of(path));
    return text_of(partitions_of(image, kDisk, 512));
  };
  EXPECT_EQ(made("label: dos\\n2048,2048,L,*\\n8192,4096,L\\n"),
            fmt::format("1:{}+{} 2:{}+{} ", kMib, kMib, 4 * kMib, 2 * kMib));
  EXPECT_EQ(made("label: dos\\n2048,2048,L\\n8192,40960,E\\n10240,2048,L\\n16384,4096,L\\n"),
            fmt::format("1:{}+{} 5:{}+{} 6:{}+{} ", kMib, kMib, 5 * kMib, kMib, 8 * kMib, 2 * kMib));
  const std::string gpt = made("label: gpt\\n2048,2048,L\\n8192,4096,L,-,\\n16384,,L\\n");
  EXPECT_TRUE(gpt.starts_with(fmt::format("1:{}+{} 2:{}+{} 3:{}+", kMib, kMib, 4 * kMib, 2 * kMib, 8 * kMib))) << gpt;
  EXPECT_EQ(made("label: dos\\n"), fmt::format("0:0+{} ", kDisk)) << "an empty table";
}

TEST(Partitions, DamagedTablesEndInSomeAnswerWithinTheDisk) {
  std::mt19937_64 random(1);
  for (unsigned n = 0; n < 2000; ++n) {
    MemoryImage image(std::vector<uint8_t>(64 << 10));
    for (unsigned block = 0; block < 3; ++block)
      for (unsigned at = 440; at < 510; ++at)
        image.content[block * 512 + at] = static_cast<uint8_t>(random() % 3 ? random() % 8 : random());
    for (unsigned block = 0; block < 128; ++block) {
      image.content[block * 512 + 510] = 0x55;
      image.content[block * 512 + 511] = 0xaa;
    }
    image.content[450] = n % 2 ? 0xee : 0x05;
    const std::string header = "EFI PART";
    std::copy(header.begin(), header.end(), image.content.begin() + 512);
    image.content[512 + 72] = 2;
    image.content[512 + 84] = n % 3 ? 128 : static_cast<uint8_t>(random());
    const auto all = partitions_of(image, image.content.size(), 512);
    EXPECT_FALSE(all.empty());
    EXPECT_LE(all.size(), 128u);
    for (const Partition& p : all) EXPECT_LE(p.offset + p.len_bytes, image.content.size());
  }
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!run("command -v mkfs.ext4")) GTEST_SKIP() << "mkfs.ext4 is not installed";
    std::filesystem::create_directories(folder / "root/a/b");
    std::ofstream(folder / "root/a/b/small") << "hello\n";
    std::string long_text;
    for (unsigned n = 0; n < 100'000; ++n) long_text += fmt::format("line {}\n", n);
    std::ofstream(folder / "root/a/long") << long_text;
    std::filesystem::create_symlink("a/long", folder / "root/link");
    std::filesystem::create_hard_link(folder / "root/a/long", folder / "root/other");
  }
  MemoryImage made(const std::string& features) {
    const std::string path = folder / "image";
    std::filesystem::remove(path);
    EXPECT_TRUE(run(fmt::format("truncate -s 9M {} && mkfs.ext4 -q -F {} -E offset=1048576 -d {} {} 8M", path, features,
                                folder / "root", path)));
    return MemoryImage(content_of(path));
  }
  const Partition partition{1, 1 << 20, 8 << 20};
  const Folder folder;
};

TEST_F(Files, AreThoseThatWerePutThere) {
  for (const char* features :
       {"", "-O ^extents,^64bit,^metadata_csum", "-b 1024 -O inline_data", "-b 4096 -O ^has_journal"}) {
    MemoryImage image = made(features);
    auto fs = Ext4::open(image, partition);
    ASSERT_TRUE(fs.ok()) << features << ": " << fs.error().message;
    const auto files = (*fs)->files();
    ASSERT_TRUE(files.ok()) << files.error().message;
    std::string names;
    for (const auto& [path, file] : *files) names += path + " ";
    EXPECT_EQ(names, "/a /a/b /a/b/small /a/long /link /lost+found /other ");
    const FileOnDisk& text = files->at("/a/long");
    EXPECT_TRUE(S_ISREG(text.mode));
    EXPECT_TRUE(S_ISDIR(files->at("/a").mode));
    EXPECT_TRUE(S_ISLNK(files->at("/link").mode));
    EXPECT_EQ(text, files->at("/other"));
    const std::vector<uint8_t> expected = content_of(folder / "root/a/long");
    EXPECT_EQ(text.len_bytes, expected.size());
    std::vector<uint8_t> by_extents, by_reading;
    for (const auto& [offset, len_bytes] : text.extents)
      by_extents.insert(by_extents.end(), image.content.begin() + static_cast<ptrdiff_t>(offset),
                        image.content.begin() + static_cast<ptrdiff_t>(offset + len_bytes));
    by_extents.resize(expected.size());
    EXPECT_EQ(by_extents, expected) << features;
    const auto take = [&](std::span<const uint8_t> piece) -> Result<void> {
      by_reading.insert(by_reading.end(), piece.begin(), piece.end());
      return {};
    };
    ASSERT_TRUE((*fs)->read("/link", take).ok());
    EXPECT_EQ(by_reading, expected);
    by_reading.clear();
    ASSERT_TRUE((*fs)->read("/a/b/small", take).ok());
    EXPECT_EQ(std::string(by_reading.begin(), by_reading.end()), "hello\n");
    EXPECT_NE((*fs)->read("/a", take).error().message.find("no regular file"), std::string::npos);
    EXPECT_NE((*fs)->read("/none", take).error().message.find("not found"), std::string::npos);
  }
}

TEST_F(Files, DamagedFileSystemsEndInAnAnswer) {
  const std::vector<uint8_t> good = made("-b 1024").content;
  std::mt19937_64 random(1);
  for (unsigned n = 0; n < 300; ++n) {
    MemoryImage image(good);
    // The superblock, group descriptors, bitmaps and the first inodes.
    for (unsigned k = 0; k < 1 + n % 40; ++k)
      image.content[(1 << 20) + 1024 + random() % (n % 2 ? 4096 : 400'000)] = static_cast<uint8_t>(random());
    auto fs = Ext4::open(image, partition);
    if (!fs) continue;
    (void)(*fs)->files();
    (void)(*fs)->read("/a/long", [](std::span<const uint8_t>) { return Result<void>{}; });
  }
  MemoryImage empty(std::vector<uint8_t>(9 << 20));
  const auto none = Ext4::open(empty, partition);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("no ext2, ext3 or ext4"), std::string::npos) << none.error().message;
  MemoryImage cut(std::vector<uint8_t>(good.begin(), good.begin() + (2 << 20)));
  const auto half = Ext4::open(cut, {1, 1 << 20, 1 << 20});
  if (half) {
    EXPECT_FALSE((*half)->read("/a/long", [](std::span<const uint8_t>) { return Result<void>{}; }).ok());
  }
}

}  // namespace
}  // namespace dejavm
