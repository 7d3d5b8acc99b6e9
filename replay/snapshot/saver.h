// Saving a machine to a snapshot file, while it may go on running.
//
// capture: the state's chunks and, for a delta, the list of written pages are taken; then the process forks, and the
// child, whose memory stands still, hashes and writes it. The machine's pause is the capture, not the copy. The child
// finishes its file even if the parent is killed; a file appears whole or not at all.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "replay/snapshot/page_hashes.h"
#include "replay/snapshot/snapshot_file.h"
#include "replay/store/atomic_file.h"
#include "vmm/machine/machine.h"

namespace dejavm {

struct SaveOptions {
  bool force = false;  // replace an existing file
  bool delta = false;  // only what changed since the Saver's latest snapshot, if there is one and it is not the file
                       // that is replaced; else a full one
  uint64_t exits = 0;  // of the run so far
  bool external_base = false;  // leave the images of disks outside, to be found again by their hash
};

struct Saved {
  std::string path;
  Hash128 digest;
  uint64_t retired = 0, file_bytes = 0, content_bytes = 0;  // content: memory in the file that is not zero
  bool delta = false;
  uint64_t pause_ns = 0;  // of host time, for which the machine stood still
};

class Saver {
 public:
  // `about`: writer, boot, append, bindings, names of disks' images; the rest of the head is the machine's, but the
  // state's chunks with their schema_payload if they are there: those of the file that the machine has just been
  // restored from.
  Saver(Machine& machine, SnapshotHead about);
  ~Saver();  // waits
  // The machine came from this file: deltas may follow, unless something was saved already. `hashes`: of its whole
  // memory as restored; kPageDirtySave must be set on what was written since.
  void came_from(const std::string& path, const SnapshotHead& head, const PageHashes& hashes);

  // kHost: the machine knows no hash of an image that is to stay outside.
  static Result<void> can_save(const Machine&, const std::string& path, const SaveOptions&);
  // Returns as soon as the machine may go on. One save runs at a time: waits for the one before.
  Result<void> start(const std::string& path, const SaveOptions&);
  // The end of a save that was started: its result, once; none while it is running or when there is none.
  std::optional<Result<Saved>> poll();
  std::optional<Result<Saved>> wait();
  bool running() const { return child_ > 0; }
  int done_fd() const { return running() ? pipe_ : -1; }  // readable once poll() has something

 private:
  struct Reply;
  std::optional<Result<Saved>> collect(bool block);
  SnapshotHead head_now(const SaveOptions&);
  [[noreturn]] void run_child(int pipe, const std::string& path, const SaveOptions&, SnapshotHead,
                              std::vector<uint64_t> written);
  Result<Reply> write(const std::string& path, const SaveOptions&, SnapshotHead, std::vector<uint64_t> written);
  Result<void> write_images(AtomicFile&, SnapshotHead&, uint64_t& content_bytes);
  std::vector<uint64_t> written_pages() const;

  Machine& machine_;
  SnapshotHead about_;
  PageHashes hashes_;  // as of base_; the child of a save brings them up to date
  std::optional<ParentRef> base_;
  std::string base_path_;
  Hash128 base_memory_;
  pid_t child_ = 0;
  int pipe_ = -1;
  std::optional<Result<Saved>> result_;
  std::string path_;
  uint64_t retired_ = 0, pause_ns_ = 0;
};

}  // namespace dejavm
