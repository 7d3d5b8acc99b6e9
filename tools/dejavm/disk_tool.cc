#include "tools/dejavm/disk_tool.h"

#include <algorithm>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/snapshot/disk_images.h"
#include "replay/store/atomic_file.h"
#include "tools/dejavm/disk_files.h"
#include "tools/dejavm/disk_then.h"
#include "tools/dejavm/distinct_files.h"
#include "tools/dejavm/image_commit.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {
namespace {

using Kind = DiskImage::Range::Kind;

Error usage(std::string message) { return {ErrorKind::kHost, std::move(message)}; }

uint64_t unknown_bytes(const DiskThen& then) {
  uint64_t unknown = 0;
  for (uint64_t at = 0; at < then.len_bytes;) {
    const DiskImage::Range range = then.range_at(at);
    const uint64_t count = std::min(range.len_bytes, then.len_bytes - at);
    if (range.kind == Kind::kUnknown) unknown += count;
    at += count;
  }
  return unknown;
}

int extract(const DiskToolOptions& o) {
  if (auto done = distinct_files({{"the input", o.file}, {"--image", o.image}}, {{"-o", o.output}}); !done)
    return fail(done.error(), kUsage);
  auto then = open_disk(o.file, o.at, o);
  if (!then) return fail(then.error());
  const uint64_t unknown = unknown_bytes(*then);
  if (unknown != 0 && !o.partial)
    return fail(usage(fmt::format(
                    "{}: of {} bytes of the disk only the image tells what they are; give it: --image FILE, or leave "
                    "zeros there: --partial",
                    o.file, unknown)),
                kUsage);
  auto out = AtomicFile::create(o.output, o.force);
  if (!out) return fail(out.error(), kUsage);
  if (auto done = write_raw(**out, then->content(), 0, then->len_bytes); !done) return fail(done.error());
  if (auto kept = (*out)->commit(); !kept) return fail(kept.error(), kUsage);
  std::puts(fmt::format("{}: {} bytes{}", o.output, then->len_bytes,
                        unknown ? fmt::format(", of which {} are unknown and zeros", unknown) : "")
                .c_str());
  return kDone;
}

// The image that the disk started from becomes what the disk was at the moment.
int commit(const DiskToolOptions& o) {
  if (auto done = distinct_files({{"the input", o.file}}, {{"the image", o.image}}); !done)
    return fail(done.error(), kUsage);
  auto target = ImageCommit::prepare(o.image);
  if (!target) return fail(target.error(), kUsage);
  auto then = open_disk(o.file, o.at, o);
  if (!then) return fail(then.error());
  if (then->disk == nullptr) return fail(usage(fmt::format("{}: is neither a trace nor a snapshot", o.file)), kUsage);
  if (auto done = (*target)->replace(then->content(), then->len_bytes); !done) return fail(done.error(), kUsage);
  std::puts(fmt::format("{}: is disk {} of {} now", o.image, o.disk, o.file).c_str());
  return kDone;
}

// Pages of 4 KiB that differ, or of which one side is not known, joined.
Result<std::vector<Extent>> differences(DiskThen& a, DiskThen& b) {
  std::vector<Extent> out;
  std::vector<uint8_t> one(kPageSize), two(kPageSize);
  const auto read = [](DiskThen& then, uint64_t at, Kind kind, std::vector<uint8_t>& to) {
    std::ranges::fill(to, uint8_t{0});
    return kind == Kind::kZeros || then.read(at, to);
  };
  for (uint64_t at = 0; at < a.len_bytes;) {
    const DiskImage::Range first = a.range_at(at), second = b.range_at(at);
    const bool alike = first.kind == second.kind && first.kind != Kind::kData;
    const uint64_t count = std::min(alike ? std::min(first.len_bytes, second.len_bytes) : kPageSize, a.len_bytes - at);
    bool equal = alike;
    if (!alike && first.kind != Kind::kUnknown && second.kind != Kind::kUnknown) {
      one.resize(count);
      two.resize(count);
      if (!read(a, at, first.kind, one)) return cannot_read(a, at);
      if (!read(b, at, second.kind, two)) return cannot_read(b, at);
      equal = one == two;
    }
    if (!equal && !out.empty() && out.back().offset + out.back().len_bytes == at) out.back().len_bytes += count;
    else if (!equal) out.push_back({at, count});
    at += count;
  }
  return out;
}

int diff(const DiskToolOptions& o) {
  auto a = open_disk(o.file, o.at, o);
  if (!a) return fail(a.error());
  auto b = open_disk(o.other, o.other_at, o);
  if (!b) return fail(b.error());
  if (a->len_bytes != b->len_bytes)
    return fail(usage(fmt::format("{} has {} bytes, {} has {}", o.file, a->len_bytes, o.other, b->len_bytes)), kUsage);
  auto differ = differences(*a, *b);
  if (!differ) return fail(differ.error());
  if (o.files) return show_changed_files(*a, *b, *differ, o);
  uint64_t bytes = 0;
  for (const Extent& extent : *differ) bytes += extent.len_bytes;
  if (o.json) {
    nlohmann::json j{{"extents", nlohmann::json::array()}, {"bytes", bytes}};
    for (const Extent& extent : *differ) j["extents"].push_back({extent.offset, extent.len_bytes});
    std::puts(line_of(j).c_str());
    return kDone;
  }
  for (const Extent& extent : *differ)
    std::puts(fmt::format("byte {:#x}, {} bytes", extent.offset, extent.len_bytes).c_str());
  std::puts(fmt::format("{} bytes in {} places differ", bytes, differ->size()).c_str());
  return kDone;
}

}  // namespace

void add_disk_tool(CLI::App& app, DiskToolOptions& o) {
  app.require_subcommand(1);
  const auto moment = [&](CLI::App* s) {
    s->add_option("--at", o.at, "of a trace: an instruction, @event:N, @time:T, @keyframe:N, begin or end [end]")
        ->type_name("POSITION");
    s->add_option("--disk", o.disk, "which of the machine's disks [0]")->type_name("N");
  };
  const auto common = [&](CLI::App* s) {
    moment(s);
    s->add_option("--image", o.image,
                  "what the disk started from, checked by size and hash; needed where the file does not hold all of it")
        ->type_name("FILE");
  };
  CLI::App* s = app.add_subcommand("extract", "write a disk as it was at a moment, as a raw image");
  s->add_option("file", o.file, "a trace or a snapshot")->type_name("FILE")->required();
  common(s);
  s->add_flag("--partial", o.partial, "leave zeros where the content is not known");
  s->add_option("-o,--output", o.output, "the image to write")->type_name("FILE")->required();
  s->add_flag("--force", o.force, "replace an existing file");
  s = app.add_subcommand("diff", "where two disks differ, or one at two moments");
  s->add_option("file", o.file, "a trace, a snapshot or a raw image")->type_name("A")->required();
  s->add_option("other", o.other, "another, or the same at another moment")->type_name("B")->required();
  common(s);
  s->add_option("--other-at", o.other_at, "as --at, of B")->type_name("POSITION");
  s->add_flag("--files", o.files, "which files of its ext4 file systems were added, removed or changed");
  s->add_flag("--json", o.json, "as one JSON object");
  s = app.add_subcommand("list", "the files of a disk's ext4 file systems at a moment");
  s->add_option("file", o.file, "a trace, a snapshot or an image")->type_name("FILE")->required();
  common(s);
  s->add_flag("--json", o.json, "as one JSON object");
  s = app.add_subcommand("read", "print a file of a disk's ext4 file system as it was at a moment");
  s->add_option("file", o.file, "a trace, a snapshot or an image")->type_name("FILE")->required();
  s->add_option("path", o.path, "such as /etc/fstab")->type_name("PATH")->required();
  common(s);
  s->add_option("--partition", o.partition, "of this one [the first that has it]")->type_name("N");
  s = app.add_subcommand("commit", "make the image that a disk started from what the disk was at a moment");
  s->add_option("file", o.file, "a trace or a snapshot")->type_name("FILE")->required();
  s->add_option("image", o.image, "the raw image, checked by size and hash; it is replaced as a whole, or not at all")
      ->type_name("IMAGE")
      ->required();
  moment(s);
}

int run_disk_tool(const CLI::App& app, const DiskToolOptions& o) {
  if (app.got_subcommand("commit")) return commit(o);
  if (app.got_subcommand("list") || app.got_subcommand("read")) {
    auto then = open_disk(o.file, o.at, o);
    if (!then) return fail(then.error());
    return app.got_subcommand("list") ? list_files(*then, o) : read_file(*then, o);
  }
  return app.got_subcommand("extract") ? extract(o) : diff(o);
}

}  // namespace dejavm::cli
