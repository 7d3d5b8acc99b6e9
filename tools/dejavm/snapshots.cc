#include "tools/dejavm/snapshots.h"

#include <unistd.h>

#include <fmt/format.h>

#include "tools/dejavm/report.h"

namespace dejavm::cli {

Snapshots::Snapshots(Machine& machine, const SnapshotHead& about, const Options& options)
    : machine_(machine), options_(options), saver_(machine, about) {}

Result<void> Snapshots::check() const {
  for (const SnapshotRequest& r : options_.snapshots) {
    if (Retired{r.at} < machine_.position().retired)
      return Error{ErrorKind::kHost, fmt::format("cannot save {} at instruction {}: the machine is at {} already", r.path, r.at,
                                                 machine_.position().retired.value)};
    if (!options_.force && ::access(r.path.c_str(), F_OK) == 0)
      return Error{ErrorKind::kHost, fmt::format("{}: exists; choose another name, or give --force to replace it", r.path)};
  }
  return {};
}

void Snapshots::came_from(const std::string& path, const SnapshotHead& head, const PageHashes& hashes) {
  saver_.came_from({head.state.digest, path.substr(path.rfind('/') + 1)}, head.state.memory, hashes);
}

std::vector<RunStop> Snapshots::stops() {
  std::vector<RunStop> out;
  for (const SnapshotRequest& r : options_.snapshots)
    out.push_back({{r.at}, [this, &r](uint64_t exits) {
                     ++taken_;
                     report(saver_.wait());
                     if (auto done = saver_.start(r.path, {.force = options_.force, .delta = options_.delta, .exits = exits}); !done)
                       status_ = fail(done.error(), kUsage);
                   }});
  return out;
}

int Snapshots::finish() {
  report(saver_.wait());
  if (taken_ < options_.snapshots.size())
    status_ = fail({ErrorKind::kHost, fmt::format("the run ended at instruction {}; {} of {} snapshots were not reached",
                                                  machine_.position().retired.value, options_.snapshots.size() - taken_,
                                                  options_.snapshots.size())},
                   kUsage);
  return status_;
}

void Snapshots::report(std::optional<Result<Saved>> result) {
  if (!result) return;
  if (!*result) {
    status_ = fail(result->error(), kUsage);
    return;
  }
  const Saved& s = **result;
  std::fputs(fmt::format("snapshot: {} at instruction {}, digest {}, {} bytes{}\n", s.path, s.retired, to_hex(s.digest), s.content_bytes,
                         s.delta ? " changed" : "")
                 .c_str(),
             stderr);
}

}  // namespace dejavm::cli
