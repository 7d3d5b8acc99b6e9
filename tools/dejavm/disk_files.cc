#include "tools/dejavm/disk_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/filesystem/ext4.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {
namespace {

using Json = nlohmann::ordered_json;
using Files = std::map<std::string, FileOnDisk>;

Error no_file_system(const DiskThen& then) {
  return {ErrorKind::kHost, fmt::format("{}: the disk has no ext2, ext3 or ext4 file system that can be read{}",
                                        then.name, then.trace ? "; perhaps with its image: --image FILE" : "")};
}

const char* kind_of(uint16_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "folder";
  if (S_ISLNK(mode)) return "link";
  return "other";
}

// By partition.
std::map<unsigned, Files> all_files(DiskThen& then) {
  std::map<unsigned, Files> out;
  for (const Partition& partition : partitions_of(then.content(), then.len_bytes, then.block_bytes)) {
    auto fs = Ext4::open(then.content(), partition);
    if (!fs) continue;
    auto files = (*fs)->files();
    if (files) out[partition.number] = files.take();
    else fmt::print(stderr, "{}: partition {}: {}\n", then.name, partition.number, files.error().message);
  }
  return out;
}

// Two moments of a disk, and the pages that differ.
struct Compared {
  DiskThen& a;
  DiskThen& b;
  const std::vector<Extent>& differ;

  bool is_equal(uint64_t offset, uint64_t len_bytes) const {
    std::vector<uint8_t> one(len_bytes), two(len_bytes);
    return a.read(offset, one) && b.read(offset, two) && one == two;
  }
  // Whether the same place has other bytes: a page that differs may do so beside it.
  bool has_changed(uint64_t offset, uint64_t len_bytes) const {
    const uint64_t end = offset + len_bytes;
    auto next = std::ranges::upper_bound(differ, offset, {}, &Extent::offset);
    if (next != differ.begin()) --next;
    for (; next != differ.end() && next->offset < end; ++next) {
      const uint64_t first = std::max(offset, next->offset), last = std::min(end, next->offset + next->len_bytes);
      if (first < last && !is_equal(first, last - first)) return true;
    }
    return false;
  }
};

// What has become of a file, "" if nothing. The times of access are not looked at.
std::string change_of(const FileOnDisk* before, const FileOnDisk* after, const Compared& disks) {
  if (before == nullptr) return "added";
  if (after == nullptr) return "removed";
  if (before->inode != after->inode || before->generation != after->generation) return "replaced";
  if (before->len_bytes != after->len_bytes || before->extents != after->extents) return "changed";
  for (const auto& [offset, len_bytes] : after->extents)
    if (disks.has_changed(offset, len_bytes)) return "changed";
  if (before->mode != after->mode || before->changed != after->changed || before->modified != after->modified)
    return "touched";
  return "";
}

struct ChangedFile {
  unsigned partition;
  std::string what, path;
  uint64_t len_before, len_after;
};

void add_changes(unsigned partition, const Files& before, const Files& after, const Compared& disks,
                 std::vector<ChangedFile>& out) {
  std::map<std::string, std::pair<const FileOnDisk*, const FileOnDisk*>> both;
  for (const auto& [path, file] : before) both[path].first = &file;
  for (const auto& [path, file] : after) both[path].second = &file;
  for (const auto& [path, pair] : both) {
    const std::string what = change_of(pair.first, pair.second, disks);
    if (what.empty()) continue;
    out.push_back(
        {partition, what, path, pair.first ? pair.first->len_bytes : 0, pair.second ? pair.second->len_bytes : 0});
  }
}

}  // namespace

int list_files(DiskThen& then, const DiskToolOptions& o) {
  const auto all = all_files(then);
  if (all.empty()) return fail(no_file_system(then), kUsage);
  Json j = Json::array();
  for (const auto& [partition, files] : all)
    for (const auto& [path, file] : files) {
      if (!o.json) {
        std::puts(
            fmt::format("{} {:06o} {:>12} {} {}", partition, file.mode, file.len_bytes, file.modified, path).c_str());
        continue;
      }
      j.push_back({{"partition", partition},
                   {"path", path},
                   {"kind", kind_of(file.mode)},
                   {"mode", file.mode},
                   {"bytes", file.len_bytes},
                   {"modified", file.modified}});
    }
  if (o.json) std::puts(line_of(j).c_str());
  return kDone;
}

int read_file(DiskThen& then, const DiskToolOptions& o) {
  Error problem = no_file_system(then);
  for (const Partition& partition : partitions_of(then.content(), then.len_bytes, then.block_bytes)) {
    if (o.partition && *o.partition != partition.number) continue;
    auto fs = Ext4::open(then.content(), partition);
    if (!fs) continue;
    bool begun = false;
    auto done = (*fs)->read(o.path, [&](std::span<const uint8_t> bytes) -> Result<void> {
      begun = true;
      if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size()) return {};
      return Error{ErrorKind::kHost, "standard output cannot be written"};
    });
    if (done) return kDone;
    problem = done.error();
    if (begun) break;
  }
  return fail(problem, kUsage);
}

int show_changed_files(DiskThen& a, DiskThen& b, const std::vector<Extent>& differ, const DiskToolOptions& o) {
  const auto before = all_files(a), after = all_files(b);
  if (before.empty()) return fail(no_file_system(a), kUsage);
  if (after.empty()) return fail(no_file_system(b), kUsage);
  std::vector<ChangedFile> changes;
  const Files none;
  const Compared disks{a, b, differ};
  for (const auto& [number, files] : before)
    add_changes(number, files, after.contains(number) ? after.at(number) : none, disks, changes);
  for (const auto& [number, files] : after)
    if (!before.contains(number)) add_changes(number, none, files, disks, changes);
  Json j = Json::array();
  for (const ChangedFile& c : changes) {
    if (o.json)
      j.push_back({{"partition", c.partition},
                   {"what", c.what},
                   {"path", c.path},
                   {"bytes_before", c.len_before},
                   {"bytes_after", c.len_after}});
    else
      std::puts(fmt::format("{:<8} {} {}", c.what, c.path,
                            c.len_before == c.len_after ? fmt::format("({} bytes)", c.len_after)
                                                        : fmt::format("({} to {} bytes)", c.len_before, c.len_after))
                    .c_str());
  }
  if (o.json) std::puts(line_of(Json{{"files", j}}).c_str());
  else std::puts(fmt::format("{} files differ", changes.size()).c_str());
  return kDone;
}

}  // namespace dejavm::cli
