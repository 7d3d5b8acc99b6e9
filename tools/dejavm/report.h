// What the tool says about a run: progress on a terminal, one line at the end or one JSON object, the exit status.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "replay/record/recorder.h"
#include "replay/replay/replayer.h"
#include "tools/dejavm/options.h"

namespace dejavm::cli {

// One line of JSON. Text from a file may be any bytes; what is not UTF-8 is replaced.
std::string line_of(const nlohmann::json&);

// What a command returns at its end: `status`, or kUsage and a message where some of standard output was lost.
int with_output_written(int status);

// Prints the message on standard error; the status for it.
int fail(const Error&);
int fail(const Error&, Status);

// A line on standard error that is rewritten a few times a second; nothing unless that is a terminal which the guest's
// console does not use.
class ProgressLine {
 public:
  explicit ProgressLine(const std::string& console);
  ~ProgressLine();
  std::function<void(const Progress&)> function();

 private:
  void show(const Progress&);
  bool on_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point begin_, last_;
};

// How run, record or restore went.
struct Outcome {
  RunSummary summary;
  bool recorded = false;  // to the end; its digest is in the summary
  std::string trace;
  uint64_t trace_bytes = 0;
  double seconds = 0;
  double ready_seconds = 0;  // from the start of the command to the first instruction
  Status status = kDone;     // kUsage if a snapshot or a trace failed; said already
  std::string suspended;     // to this file
  std::string engine;
  std::vector<std::pair<std::string, uint64_t>> counters;  // the engine's own
};

// The outcome of run or record on standard error, and its exit status.
int report_run(const Options&, const Outcome&, const std::string& verb);
int report_replay(const Options&, const ReplaySummary&, const TraceReader&);

// What the command line chose beyond the usual, for people: ', serial at its baud rate', or nothing.
std::string unusual(const MachineConfig&);

}  // namespace dejavm::cli
