// The snapshot file against damage: every bit of its head and of its memory, every length, and hostile numbers.
#include <gtest/gtest.h>

#include <random>

#include "replay/snapshot/snapshot_file.h"
#include "replay/trace/frame.h"
#include "vmm/state/memory.h"

namespace dejavm {
namespace {

struct Board {
  static constexpr std::string_view kName = "sample";
  static constexpr uint16_t kVersion = 1;
  struct State {
    uint64_t a = 0;
    std::array<uint8_t, 8> b{};
    static constexpr auto fields() { return std::tuple{field("a", &State::a).range(0, 100), field("b", &State::b)}; }
  };
};

// 1 MiB of memory with three pages of content; or the second and fourth changed; or the full one with a disk, whose
// image is known in part and has a page of content.
enum class Kind : uint8_t { kFull, kDelta, kWithDisk };
constexpr uint64_t kDiskBytes = 9 * 512;  // two pages
struct Sample {
  SnapshotHead head;
  Bytes file;
};

Sample sample(Kind kind) {
  Sample s;
  SnapshotHead& h = s.head;
  h.writer = "test";
  h.engine = "deterministic";
  h.config.memory_bytes = 1 << 20;
  h.boot = {{"kernel", "vmlinuz", 5, hash128({})}};
  h.append = "console=ttyS0";
  h.bindings = {"console"};
  h.now_ns = 1234;
  h.retired = 1200;
  h.schemas = {&schema_of<Board>()};
  Board::State state{.a = 42};
  const ChunkRef ref{&schema_of<Board>(), 0, true, &state};
  h.state.chunks = store_chunks({&ref, 1});
  h.notes = {{"CORE", 1, Bytes(336, 1)}, {"QEMU", 0, Bytes(440, 2)}};
  if (kind == Kind::kDelta) {
    h.parent = ParentRef{hash128({}), "parent"};
    h.extents = {{0x1000, 0x1000, 1}, {0x2000, 0x1000, 0}, {0x3000, 0x1000, 1}};
  } else {
    h.extents = {{0, 1 << 20, 1}};
    h.mappings = {{0x400000, 0x3000, 0x1000, 0, 0, 5}, {0xffff888000000000, 0, 1 << 20, 0, 0, 6}};
  }
  if (kind == Kind::kWithDisk) {
    h.config.disks = {{.bytes = kDiskBytes, .serial = "S"}, {.bytes = kDiskBytes, .serial = "T"}};
    h.disks = {{"disk.img", false}, {"", true}};
    for (unsigned n = 0; n < 2; ++n) h.extents.push_back({disk_region(n).value, disk_region_bytes(kDiskBytes), 0});
    h.extents.push_back({image_region(0).value + kPageSize, kPageSize, 1});
  }
  for (const MemoryExtent& e : h.extents) h.state.pages += e.len_bytes / kPageSize;
  lay_out(h);
  s.file.resize(h.file_bytes);
  std::mt19937_64 g(1);
  for (const MemoryExtent& e : h.extents)
    for (uint64_t at = 0; e.offset && at < e.len_bytes; at += kPageSize) {
      const uint64_t index = (e.gpa + at) / kPageSize;
      const bool in_image = e.gpa >= kImageRegions;
      if (index != 1 && index != 3 && index != 255 && !in_image) continue;
      uint8_t* const page = &s.file[e.offset + at];
      for (uint64_t i = 0; i < kPageSize; ++i) page[i] = static_cast<uint8_t>(g());
      const Hash128 hash = hash_page(index, page);
      (in_image ? h.blocks.back() : h.blocks[0]).sum += hash;
      if (!in_image) h.state.memory += hash;
    }
  h.state.digest = digest_of(h.state.chunks, h.state.memory);
  const Bytes head = encode_snapshot_head(h);
  std::copy(head.begin(), head.end(), s.file.begin());
  return s;
}

// The reason for refusing, or empty.
std::string refusal(const Bytes& bytes) {
  auto file = SnapshotFile::open(std::make_unique<MemorySource>(bytes));
  if (!file) return file.error().message;
  const auto done = (*file)->verify();
  return done ? "" : done.error().message;
}

class SnapshotDamage : public testing::TestWithParam<Kind> {};
std::string name_of(const testing::TestParamInfo<Kind>& tested) {
  constexpr const char* kNames[] = {"Full", "Delta", "WithDisk"};
  return kNames[static_cast<size_t>(tested.param)];
}
INSTANTIATE_TEST_SUITE_P(Kinds, SnapshotDamage, testing::Values(Kind::kFull, Kind::kDelta, Kind::kWithDisk), name_of);

TEST_P(SnapshotDamage, ItReadsBackAsItWasWritten) {
  const Sample s = sample(GetParam());
  auto file = SnapshotFile::open(std::make_unique<MemorySource>(s.file));
  ASSERT_TRUE(file.ok()) << file.error().message;
  const SnapshotHead& h = (*file)->head();
  EXPECT_EQ(h.writer, s.head.writer);
  EXPECT_EQ(h.config, s.head.config);
  EXPECT_EQ(h.boot, s.head.boot);
  EXPECT_EQ(h.disks, s.head.disks);
  EXPECT_EQ(h.append, s.head.append);
  EXPECT_EQ(h.parent, s.head.parent);
  EXPECT_EQ(h.extents, s.head.extents);
  EXPECT_EQ(h.blocks, s.head.blocks);
  EXPECT_EQ(h.mappings, s.head.mappings);
  EXPECT_EQ(h.notes, s.head.notes);
  EXPECT_EQ(h.state, s.head.state);
  EXPECT_EQ(h.now_ns, 1234u);
  EXPECT_TRUE((*file)->verify().ok());
  // Written again from what was read it is the same file.
  SnapshotHead again = h;
  Bytes head = encode_snapshot_head(again);
  EXPECT_TRUE(std::equal(head.begin(), head.end(), s.file.begin()));
}

TEST_P(SnapshotDamage, EveryFlippedBitIsNoticed) {
  const Sample s = sample(GetParam());
  Bytes bytes = s.file;
  size_t flips = 0;
  auto flip = [&](size_t byte, unsigned bit) {
    bytes[byte] ^= static_cast<uint8_t>(1u << bit);
    EXPECT_NE(refusal(bytes), "") << "byte " << byte << " bit " << bit;
    bytes[byte] ^= static_cast<uint8_t>(1u << bit);
    ++flips;
  };
  // All bits of the head; of memory a bit of each 64 bytes, or all of them in long runs.
  const bool all = std::getenv("DEJAVM_NIGHTLY") != nullptr;
  for (size_t i = 0; i < s.head.data; ++i)
    for (unsigned bit = 0; bit < 8; ++bit) flip(i, bit);
  for (size_t i = s.head.data; i < bytes.size(); i += all ? 1 : 1021) flip(i, static_cast<unsigned>(i % 8));
  std::printf("%zu bits\n", flips);
}

TEST_P(SnapshotDamage, EveryTruncationIsNoticed) {
  const Sample s = sample(GetParam());
  for (size_t len = 0; len < s.file.size(); len += len < s.head.data ? 1 : 997)
    EXPECT_NE(refusal(Bytes(s.file.begin(), s.file.begin() + static_cast<ptrdiff_t>(len))), "") << len;
  Bytes longer = s.file;
  longer.resize(longer.size() + 1);
  EXPECT_NE(refusal(longer), "");
  longer.resize(s.file.size() + 4096);
  EXPECT_NE(refusal(longer), "");
}

// A head that says something else, with hashes and seal as they should be.
std::string forged(const std::function<void(SnapshotHead&)>& change, Kind kind = Kind::kDelta) {
  Sample s = sample(kind);
  change(s.head);
  s.head.state.digest = digest_of(s.head.state.chunks, s.head.state.memory);
  Bytes bytes = encode_snapshot_head(s.head);
  size_t content = 0;
  for (const MemoryExtent& e : s.head.extents) content += e.offset ? e.len_bytes : 0;
  bytes.resize(bytes.size() + content);
  return refusal(bytes);
}

TEST(SnapshotForged, NumbersThatDoNotFitAreRefusedByName) {
  auto extent = [](MemoryExtent e) { return [e](SnapshotHead& h) { h.extents[1] = e; }; };
  EXPECT_NE(forged(extent({0x1800, 0x1000, 0})).find("whole pages"), std::string::npos);
  EXPECT_NE(forged(extent({0x1000, 0x2000, 0})).find("overlaps"), std::string::npos);
  EXPECT_NE(forged(extent({0x2000, 0, 0})).find("whole pages"), std::string::npos);
  EXPECT_NE(forged(extent({0x100000, 0x1000, 0})).find("outside"), std::string::npos);
  EXPECT_NE(forged(extent({0x2000, ~uint64_t{0} - 0xfff, 0})).find("outside"), std::string::npos);
  EXPECT_NE(forged(extent({0x2000, 0x1000, 0x1000})).find("at byte"), std::string::npos);
  // An extent of zeros costs the file nothing, however long; nor may it cost the reader.
  EXPECT_NE(forged([](SnapshotHead& h) {
              h.config.memory_bytes = uint64_t{1} << 39;
              h.extents = {{uint64_t{1} << 33, uint64_t{1} << 38, 0}};
              h.state.pages = uint64_t{1} << 26;
            }).find("blocks"),
            std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.blocks[0].block = 7; }).find("blocks"), std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.blocks.clear(); }).find("blocks"), std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.state.pages = 99; }).find("pages"), std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) {
              h.state.chunks[0].payload = {0xf5, 0xf5};
            }).find("chunk 'sample'"),
            std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.state.chunks[0].payload = Bytes(3000, 0x81); }).find("chunk 'sample'"),
            std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.config.memory_bytes = 0; }).find("memory of 0"), std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.config.memory_bytes = uint64_t{1} << 60; }).find("memory of"),
            std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.parent->name = "../../etc/passwd"; }).find("parent"), std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) {
              h.unknown.push_back({"file.future", 0, 1, true, {0xf5}});
            }).find("'file.future' is unknown"),
            std::string::npos);
  const auto with_disk = [](const std::function<void(SnapshotHead&)>& change) {
    return forged(change, Kind::kWithDisk);
  };
  EXPECT_NE(with_disk([](SnapshotHead& h) { h.disks.pop_back(); }).find("has 2 disks, chunk 'file.disks' names 1"),
            std::string::npos);
  EXPECT_NE(with_disk([](SnapshotHead& h) { h.disks[0].external = true; }).find("outside"), std::string::npos);
  EXPECT_NE(with_disk([](SnapshotHead& h) { h.extents.back().gpa += kPageSize; }).find("outside"), std::string::npos);
  EXPECT_NE(with_disk([](SnapshotHead& h) { h.disks.resize(17); }).find("17 disks"), std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.parent.reset(); }).find("of the machine's"), std::string::npos);
  EXPECT_NE(forged([](SnapshotHead& h) { h.state.chunks.push_back(h.state.chunks[0]); }).find("occurs twice"),
            std::string::npos);
}

}  // namespace
}  // namespace dejavm
