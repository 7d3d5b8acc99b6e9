// The snapshots that a command line asks for, taken while the guest runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "replay/recorder.h"
#include "replay/save.h"
#include "tools/dejavm/options.h"

namespace dejavm::cli {

class Snapshots {
 public:
  Snapshots(Machine& machine, const SnapshotHead& about, const Options& options);
  // Before the run: names that exist, places that the machine has passed.
  Result<void> check() const;
  // The machine was restored from the file at `path`.
  void came_from(const std::string& path, const SnapshotHead& head, const PageHashes& hashes);
  // For the run. They refer to this object.
  std::vector<RunStop> stops();
  // Waits for the last one and reports. kDone, or kUsage if one failed or was not reached.
  int finish();

 private:
  void report(std::optional<Result<Saved>> result);
  Machine& machine_;
  const Options& options_;
  Saver saver_;
  size_t taken_ = 0;
  int status_ = kDone;
};

}  // namespace dejavm::cli
