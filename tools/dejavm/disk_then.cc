#include "tools/dejavm/disk_then.h"

#include <algorithm>

#include <fmt/format.h>

#include "replay/replay/position.h"
#include "replay/snapshot/disk_images.h"

namespace dejavm::cli {
namespace {

Error usage(std::string message) { return {ErrorKind::kHost, std::move(message)}; }

bool begins_with(const std::string& path, std::span<const uint8_t> magic) {
  auto file = open_file(path);
  std::vector<uint8_t> start(magic.size());
  return file && (*file)->size() >= start.size() && (*file)->read_at(0, start) && std::ranges::equal(start, magic);
}

Result<void> take_disk(DiskThen& then, Machine& machine, unsigned number, const std::string& image) {
  const auto& disks = machine.config().disks;
  if (number >= disks.size())
    return usage(fmt::format("{}: there is no disk {}; the machine has {}", then.name, number, disks.size()));
  then.disk = &machine.disk(number);
  then.len_bytes = disks[number].bytes;
  then.block_bytes = disks[number].block_bytes;
  if (image.empty()) return {};
  auto opened = open_image(image, disks[number]);
  if (!opened) return opened.error();
  then.disk->start_from(opened.take());
  return {};
}

Result<void> open_trace(DiskThen& then, const std::string& at) {
  auto trace = TraceReader::open(then.name, TraceReader::Check::kAll);
  if (!trace) return trace.error();
  then.trace = trace.take();
  auto timeline = Timeline::open(*then.trace, nullptr);
  if (!timeline) return timeline.error();
  then.timeline = timeline.take();
  auto position = parse_position(*then.trace, at.empty() ? "end" : at);
  if (!position) return position.error();
  return then.timeline->seek(*position);
}

constexpr std::array<uint8_t, 4> kElf{0x7f, 'E', 'L', 'F'};

}  // namespace

Result<DiskThen> open_disk(const std::string& file, const std::string& at, const DiskToolOptions& o) {
  DiskThen then;
  then.name = file;
  if (begins_with(file, kTraceMagic)) {
    if (auto done = open_trace(then, at); !done) return done.error();
    if (auto done = take_disk(then, then.timeline->machine(), o.disk, o.image); !done) return done.error();
    return then;
  }
  if (!at.empty()) return usage(fmt::format("{}: is no trace, so it has no moments to choose from", file));
  if (begins_with(file, kElf)) {
    auto restored = restore_file(file, nullptr, {.engine = "deterministic", .verify = true, .run = false});
    if (!restored) return restored.error();
    then.restored = restored.take();
    if (auto done = take_disk(then, *then.restored.machine, o.disk, o.image); !done) return done.error();
    return then;
  }
  auto raw = open_image_file(file);
  if (!raw) return raw.error();
  then.raw = raw.take();
  then.len_bytes = then.raw->len_bytes();
  return then;
}

Error cannot_read(const DiskThen& then, uint64_t offset) {
  return {ErrorKind::kHost, fmt::format("{}: the disk cannot be read at byte {}", then.name, offset)};
}

}  // namespace dejavm::cli
