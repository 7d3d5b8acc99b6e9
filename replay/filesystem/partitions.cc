#include "replay/filesystem/partitions.h"

#include <array>
#include <cstring>
#include <string_view>

namespace dejavm {
namespace {

constexpr unsigned kMaxPartitions = 128;

template <class T>
T at(std::span<const uint8_t> bytes, size_t offset) {
  T value;
  std::memcpy(&value, &bytes[offset], sizeof value);
  return value;
}

class Tables {
 public:
  Tables(DiskImage& disk, uint64_t len_bytes, uint32_t block_bytes)
      : disk_(disk), blocks_(len_bytes / block_bytes), block_bytes_(block_bytes) {}

  std::vector<Partition> read() {
    std::vector<uint8_t> sector(block_bytes_);
    if (!read_block(0, sector) || !is_mbr(sector)) return {};
    constexpr uint8_t kProtective = 0xee;
    if (sector[kTable + kType] == kProtective && read_gpt()) return found_;
    for (unsigned n = 0; n < 4; ++n) {
      const std::span<const uint8_t> entry = std::span(sector).subspan(kTable + n * kEntryBytes, kEntryBytes);
      const uint64_t first = at<uint32_t>(entry, kFirst);
      if (is_extended(entry[kType])) read_chain(first);
      else add(n + 1, first, at<uint32_t>(entry, kCount));
    }
    return found_;
  }

 private:
  static constexpr size_t kTable = 446, kEntryBytes = 16, kType = 4, kFirst = 8, kCount = 12;
  static bool is_mbr(std::span<const uint8_t> sector) { return sector[510] == 0x55 && sector[511] == 0xaa; }
  static bool is_extended(uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

  bool read_block(uint64_t block, std::span<uint8_t> to) {
    return block < blocks_ && disk_.read(block * block_bytes_, to.first(block_bytes_));
  }
  void add(unsigned number, uint64_t first, uint64_t count) {
    if (first == 0 || count == 0 || first >= blocks_ || count > blocks_ - first) return;
    found_.push_back({number, first * block_bytes_, count * block_bytes_});
  }
  // Logical partitions are numbered from 5 on. Each block of the chain leads to the next.
  void read_chain(uint64_t start) {
    uint64_t block = start;
    for (unsigned number = 5; number < kMaxPartitions; ++number) {
      std::vector<uint8_t> sector(block_bytes_);
      if (!read_block(block, sector) || !is_mbr(sector)) return;
      const std::span<const uint8_t> entry = std::span(sector).subspan(kTable, 2 * kEntryBytes);
      add(number, block + at<uint32_t>(entry, kFirst), at<uint32_t>(entry, kCount));
      const uint64_t next = at<uint32_t>(entry, kEntryBytes + kFirst);
      if (next == 0) return;
      block = start + next;
    }
  }
  bool read_gpt() {
    std::vector<uint8_t> header(block_bytes_);
    constexpr std::string_view kSignature = "EFI PART";
    if (!read_block(1, header) || std::memcmp(header.data(), kSignature.data(), kSignature.size()) != 0) return false;
    const auto table = at<uint64_t>(header, 72);
    const auto count = at<uint32_t>(header, 80), entry_bytes = at<uint32_t>(header, 84);
    if (entry_bytes < 128 || entry_bytes > block_bytes_ || block_bytes_ % entry_bytes != 0) return false;
    std::vector<uint8_t> block(block_bytes_);
    const uint32_t in_block = block_bytes_ / entry_bytes;
    for (uint32_t n = 0; n < std::min(count, uint32_t{kMaxPartitions}); ++n) {
      if (n % in_block == 0 && !read_block(table + n / in_block, block)) return true;
      const std::span<const uint8_t> entry = std::span(block).subspan(n % in_block * entry_bytes, entry_bytes);
      const bool is_used = at<uint64_t>(entry, 0) != 0 || at<uint64_t>(entry, 8) != 0;
      const auto first = at<uint64_t>(entry, 32), last = at<uint64_t>(entry, 40);
      if (is_used && last >= first) add(n + 1, first, last - first + 1);
    }
    return true;
  }

  DiskImage& disk_;
  uint64_t blocks_;
  uint32_t block_bytes_;
  std::vector<Partition> found_;
};

}  // namespace

std::vector<Partition> partitions_of(DiskImage& disk, uint64_t len_bytes, uint32_t block_bytes) {
  auto found = Tables(disk, len_bytes, block_bytes).read();
  if (found.empty()) found.push_back({0, 0, len_bytes});
  return found;
}

}  // namespace dejavm
