// Recording: runs a machine and logs everything into a trace.
//
//   auto writer = TraceWriter::create(path, force);              // refuses an existing file unless force
//   auto machine = Machine::create(config, engine, console);     // then (*machine)->boot(source)
//   RecordOptions options{.boot = describe_boot(source).take(), .append = source.append};
//   auto summary = record(**machine, inputs, **writer, options); // runs; the file is complete when this returns ok
//
// On an error (a full disk) the file keeps what it has, and a replay of it runs that far.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "replay/record/digest.h"
#include "replay/record/stops.h"
#include "replay/store/scratch_file.h"
#include "replay/trace/exit_decorator.h"
#include "replay/trace/writer.h"
#include "vmm/machine/machine.h"

namespace dejavm {

struct RunSummary {
  RunEnd end = RunEnd::kUntil;
  uint64_t exits = 0;         // from the start of the recording
  uint64_t instructions = 0;  // retired
  Hash128 digest;
  uint8_t debug_exit = 0;  // Machine::debug_exit_status() of RunEnd::kDebugExit
  std::string detail;      // Machine::detail()
};

struct Progress {
  Retired at;
  Nanos now;
  uint64_t exits = 0;
  uint64_t trace_bytes = 0;  // written, or (replaying) of the file
};

struct RecordOptions {
  uint64_t keyframe_interval = 100'000'000;  // instructions; 0: none but the initial state
  std::vector<Retired> keyframes_at{};       // more keyframes
  std::vector<RunStop> stops{};
  Retired until = kForever;
  uint64_t max_events = ~uint64_t{0};  // the run is stopped, as if by the user, once the log has so many
  std::vector<BootImage> boot{};       // for the reader of the trace
  std::string append{};
  std::string writer = "dejavm";
  std::string scratch_folder = "/tmp";              // for a copy of what is read of the disks' images, meanwhile
  std::function<void(const Progress&)> progress{};  // called about every kPollInterval instructions
};
inline constexpr uint64_t kPollInterval = 20'000'000;

// Names, sizes and hashes of what a machine is booted from.
Result<std::vector<BootImage>> describe_boot(const BootSource&);

// From the machine's present state (freshly booted, restored, or in the middle of a run) until it ends; kUntil: at
// options.until, or at its limit of time.
Result<RunSummary> record(Machine&, Inputs&, TraceWriter&, const RecordOptions&);

// The same without a trace: what `run` is measured by. Computes the digest only if asked.
RunSummary run_plain(Machine&, Inputs&, Retired until, bool digest, std::vector<RunStop> stops = {});

// What happened, of a machine whose run ended so. `exits`: logged.
RunSummary summarize(Machine&, RunEnd, uint64_t exits, const Hash128& digest);

// Logs each exit with the answer of `to`, which is the board or ends in it.
class RecordingExits final : public ExitDecorator<RecordingExits> {
 public:
  RecordingExits(ExitHandler& to, TraceWriter& log) : ExitDecorator(&to), log_(log) {}
  void access(EventKind kind, Position at, uint64_t address, unsigned size, uint64_t value) {
    log_.access(kind, at, address, size, value);
  }
  void event(const Event& e) { log_.event(e); }

 private:
  friend ExitDecorator;
  TraceWriter& log_;
};

// Logs each input as the run loop takes it. Stops the run when the log cannot be written or is long enough.
class RecordingInputs final : public Inputs {
 public:
  RecordingInputs(Inputs& from, TraceWriter& log, Machine& machine, const RecordOptions& options)
      : from_(from), log_(log), machine_(machine), options_(options) {}
  Retired next_poll(Position at) override;
  Input take(Position at, Nanos now) override;
  Nanos idle(Position at, Nanos now, Nanos next_event) override;

 private:
  Inputs& from_;
  TraceWriter& log_;
  Machine& machine_;
  const RecordOptions& options_;
  std::vector<uint8_t> rest_;  // of console bytes that did not fit one event
  uint64_t next_progress_ = 0;
};

// Logs the disks' images piece by piece, for as long as it is there, and keeps a copy of each in a file without a name.
class RecordingDisks final : public DiskLog {
 public:
  RecordingDisks(Machine& machine, TraceWriter& log, std::string scratch_folder)
      : machine_(machine), log_(log), folder_(std::move(scratch_folder)) {
    machine_.log_disks_to(this);
  }
  ~RecordingDisks() override { machine_.log_disks_to(nullptr); }
  bool piece(unsigned disk, uint64_t number, std::span<const uint8_t> content) override;
  bool read(unsigned disk, uint64_t offset, std::span<uint8_t> to) override;
  std::string why() const override { return why_; }

 private:
  bool failed(const Error& e);
  Machine& machine_;
  TraceWriter& log_;
  std::string folder_, why_;
  std::unique_ptr<ScratchFile> copy_;
  std::map<std::pair<unsigned, uint64_t>, uint64_t> places_;  // in the copy, by disk and piece
};

// A recording in progress, for a caller that runs the machine itself: Machine::run(..., inputs(), exits()), and
// keyframe() at any stop. It begins where the machine is.
class Recording {
 public:
  Recording(Machine&, Inputs& from, TraceWriter&, const RecordOptions&);
  Inputs& inputs() { return inputs_; }
  ExitHandler& exits() { return exits_; }
  void keyframe();  // unless there is one here already
  bool failed() const { return log_.failed(); }
  uint64_t exits_logged() const { return log_.exits(); }
  Result<RunSummary> finish(RunEnd);
  // The recording ends here, though the machine may go on; to its replay that is a stop by the user.
  Result<RunSummary> stop();

 private:
  Machine& machine_;
  TraceWriter& log_;
  RecordOptions options_;
  MemorySummer summer_;
  Retired keyframe_at_;
  RecordingExits exits_;
  RecordingInputs inputs_;
  RecordingDisks disks_;
};

}  // namespace dejavm
