// Running a machine as the command line and the control socket want it: recorded or not, with snapshots on the way.
#pragma once

#include <memory>
#include <string>

#include "replay/gdb/session.h"
#include "replay/record/recorder.h"
#include "replay/snapshot/restore_snapshot.h"
#include "replay/snapshot/saver.h"
#include "tools/dejavm/control.h"
#include "tools/dejavm/options.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {

class Driver {
 public:
  // `inputs`: the machine's own. `control`: may be nullptr. `about`: for snapshots and traces.
  Driver(Machine& machine, Inputs& inputs, ControlServer* control, const SnapshotHead& about, const Options& options);

  // Before the run: files that exist, places that the machine has passed.
  Result<void> check() const;
  // The machine was restored from this file: its verification goes on while the machine runs, and ends the run if the
  // file is damaged; the first snapshot may be a delta of it.
  void came_from(const std::string& path, RestoredFile& file) {
    origin_path_ = path;
    origin_ = &file;
  }
  // From here on everything is written to a trace.
  Result<void> start_recording(const std::string& path, bool force);

  // gdb has the machine first, until it detaches.
  void attach(gdb::Wire* wire) { gdb_ = wire; }
  bool attached() const { return gdb_ != nullptr; }

  // Until the machine ends, or is stopped. `progress`: of a recording.
  Outcome run(std::function<void(const Progress&)> progress);

 private:
  class ControlledInputs;
  std::vector<RunStop> stops();
  void report_lost_disk();
  void report_missed_switches();
  void warn_of_changed_images() const;
  std::string image_name(unsigned disk) const;  // empty: it is no file of its own
  void report_save(std::optional<Result<Saved>> result);
  Result<void> start_save(const std::string& path, const SaveOptions& options);
  void poll_saves() { report_save(saver_.poll()); }
  // True: it stands at `until`, at a debug point, or as `wanted`. False: the run is over.
  bool advance(Retired until, const std::function<bool()>& wanted);
  bool debug();  // false: the run is over
  bool serve();  // requests, for as long as the machine is to stand still; false: the run ends
  void serve(const ControlRequest&);
  ControlStatus status() const;
  // Whether a client may have this file written: not what the machine comes from, nor its console. (A trace that is
  // being written is locked.)
  Result<void> may_write(const std::string& path) const;
  void begin_recording();
  void close_trace();
  void failed(const Error& e) { outcome_.status = static_cast<Status>(fail(e, kUsage)); }

  Machine& machine_;
  Inputs& inputs_;
  ControlServer* control_;
  SnapshotHead about_;
  const Options& options_;
  Saver saver_;
  std::string origin_path_;
  RestoredFile* origin_ = nullptr;
  bool saved_ = false;
  std::optional<ControlRequest> save_for_;  // who asked for the save that is running
  size_t snapshots_taken_ = 0;
  bool paused_ = false, ended_ = false;
  std::string trace_path_;
  std::unique_ptr<TraceWriter> writer_;
  std::unique_ptr<Recording> recording_;
  std::function<void(const Progress&)> progress_;
  gdb::Wire* gdb_ = nullptr;
  const std::function<bool()>* wanted_ = nullptr;
  std::unique_ptr<Inputs> controlled_;
  std::unique_ptr<Stops> order_;
  RunEnd end_ = RunEnd::kUserStop;
  Outcome outcome_;
};

}  // namespace dejavm::cli
