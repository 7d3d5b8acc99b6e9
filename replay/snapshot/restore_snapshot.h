// Building a machine from a snapshot file and nothing else. The file is mapped copy-on-write, so that the machine runs
// before its memory is read; meanwhile a thread compares all of it with the hashes.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "replay/snapshot/page_hashes.h"
#include "replay/snapshot/snapshot_file.h"
#include "vmm/machine/machine.h"

namespace dejavm {

// A snapshot with those that it changes, the full one first. A parent is looked for by its digest: first under the name
// that the delta gives, then among all files in the delta's folder.
struct SnapshotChain {
  std::vector<std::unique_ptr<SnapshotFile>> files;
  const SnapshotHead& head() const { return files.back()->head(); }
  static Result<SnapshotChain> open(const std::string& path);
  // All of the machine's memory that any file holds, as the chain leaves it: each page once per file, the latest last.
  Result<void> read_memory(const SnapshotFile::Page&) const;
};

// Reads the whole chain and compares it with its hashes.
class Verification {
 public:
  Verification(std::shared_ptr<SnapshotChain>, std::span<const MemoryRegion>);
  ~Verification();  // stops it
  bool failed() const { return failed_; }
  Result<void> wait();
  // Of the memory as restored; after a successful wait().
  const PageHashes& hashes() const { return hashes_; }

 private:
  Result<void> verify();
  std::shared_ptr<SnapshotChain> chain_;
  PageHashes hashes_;
  std::atomic<bool> failed_ = false, stop_ = false;
  Result<void> result_;
  std::thread thread_;
};

struct RestoreOptions {
  EngineChoice engine;  // empty: the one that saved
  bool verify = false;  // compare all of memory before the machine is handed out
  std::vector<BoundImage> images{};
  bool run = true;  // false: the machine is only looked at, so that images which are outside need not be there
};

struct RestoredFile {
  std::unique_ptr<Machine> machine;
  std::shared_ptr<SnapshotChain> chain;
  std::unique_ptr<Verification> verification;  // still running, unless verify
};
Result<RestoredFile> restore_file(const std::string& path, Console*, const RestoreOptions& = {});

// What a Saver needs to write the restored machine as a full snapshot: with the file's own chunks, or as this build
// writes them, with the optional ones that it does not know.
SnapshotHead head_for_rewrite(RestoredFile&, bool as_stored);

}  // namespace dejavm
