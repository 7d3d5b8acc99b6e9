#include "replay/explore/attempt.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/record/recorder.h"
#include "replay/snapshot/saver.h"
#include "replay/store/atomic_file.h"
#include "replay/trace/writer.h"
#include "vmm/machine/host.h"

namespace dejavm {
namespace {

using nlohmann::json;

// Nothing is typed; the run ends once the console has what a test looks for.
class AttemptInputs final : public NoConsoleInputs {
 public:
  AttemptInputs(const WatchedConsole& console, Nanos until) : console_(console), until_(until) {}
  Retired next_poll(Position at) override { return {(at.retired.value / kInterval + 1) * kInterval}; }
  // At a count that depends on nothing but when the guest printed it.
  Input take(Position at, Nanos now) override {
    if (console_.matched() != nullptr && end_ == kForever)
      end_ = {(at.retired.value + kInterval - 1) / kInterval * kInterval};
    if (at.retired >= end_) return {Input::Kind::kStop, {}};
    return NoConsoleInputs::take(at, now);
  }
  Nanos idle(Position at, Nanos now, Nanos next_event) override {
    return std::min(NoConsoleInputs::idle(at, now, next_event), until_);
  }

 private:
  static constexpr uint64_t kInterval = 1'000'000;
  const WatchedConsole& console_;
  Nanos until_;
  Retired end_ = kForever;
};

Result<RunSummary> run_recorded(const AttemptPlan& plan, const Attempt& attempt, Inputs& inputs) {
  auto writer = TraceWriter::create(attempt.trace, true);
  if (!writer) return writer.error();
  RecordOptions o;
  o.boot = plan.about.boot;
  o.append = plan.about.append;
  o.writer = plan.about.writer;
  o.scratch_folder = folder_of(attempt.trace);
  o.keyframe_interval = plan.keyframe_interval;
  o.until = plan.until;
  return record(plan.machine, inputs, **writer, o);
}

RunSummary run_unrecorded(const AttemptPlan& plan, Inputs& inputs) {
  const RunEnd end = plan.machine.run(plan.until, inputs, plan.machine.board());
  return summarize(plan.machine, end, 0, {});
}

Result<void> save_end(const AttemptPlan& plan, const std::string& path) {
  Saver saver(plan.machine, plan.about);
  if (auto done = saver.start(path, {.force = true}); !done) return done;
  auto saved = saver.wait();
  return saved && !*saved ? Result<void>(saved->error()) : Result<void>();
}

Result<AttemptResult> run(const AttemptPlan& plan, const Attempt& attempt) {
  Machine& machine = plan.machine;
  // An engine of its own: the first one's translated code is in memory that copies share.
  if (auto done = machine.switch_engine("deterministic"); !done) return done.error();
  machine.set_schedule(attempt.schedule, attempt.slice);
  machine.limit_time(plan.until_time);
  plan.console.forget();
  if (plan.confine)
    if (auto done = plan.confine(); !done) return done.error();
  AttemptInputs inputs(plan.console, plan.until_time);
  auto summary = attempt.trace.empty() ? run_unrecorded(plan, inputs) : run_recorded(plan, attempt, inputs);
  if (!summary) return summary.error();
  plan.console.finish_line();
  AttemptResult out;
  out.end = name_of(summary->end);
  out.limit = summary->end == RunEnd::kUntil;
  out.instructions = summary->instructions;
  out.why = why_bad(plan.tests, plan.console, *summary, out.limit);
  out.bad = !out.why.empty();
  if (!attempt.console.empty())
    if (auto done = write_text(attempt.console, plan.console.text(), true); !done) return done.error();
  if (!attempt.snapshot.empty() && !out.bad)
    if (auto done = save_end(plan, attempt.snapshot); !done) return done.error();
  return out;
}

void run_command(const std::string& command, AttemptResult& result) {
  const int status = std::system(command.c_str());
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (code == 126 || code == 127) {
    result.unknown = true;
    result.why = fmt::format("'{}' cannot be run", command);
  } else if (code != 0) {
    result.bad = true;
    result.why = fmt::format("command: '{}' ended with status {}", command, code);
  }
}

}  // namespace

std::string run_attempt(const AttemptPlan& plan, const Attempt& attempt) {
  const auto done = run(plan, attempt);
  if (!done) return json{{"error", done.error().message}}.dump(-1, ' ', false, json::error_handler_t::replace);
  return json{{"bad", done->bad},
              {"why", done->why},
              {"end", done->end},
              {"limit", done->limit},
              {"instructions", done->instructions}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

AttemptResult result_of(const Copies::Done& done) {
  AttemptResult out;
  if (!done.answer) {
    out.unknown = true;
    out.why = done.fault;
    return out;
  }
  const json answer = json::parse(*done.answer);
  if (answer.contains("error")) {
    out.unknown = true;
    out.why = answer["error"];
    return out;
  }
  out.bad = answer["bad"];
  out.why = answer["why"];
  out.end = answer["end"];
  out.limit = answer["limit"];
  out.instructions = answer["instructions"];
  return out;
}

void name_files_of_commands(const std::vector<BadTest>& tests, const std::string& base, Attempt& attempt) {
  for (const BadTest& test : tests) {
    if (test.is_command()) attempt.console = base + ".console";
    if (test.kind() == BadKind::kSnapshot) attempt.snapshot = base + ".dvs";
  }
}

void run_commands(const std::vector<BadTest>& tests, const Attempt& attempt, AttemptResult& result) {
  setenv("DEJAVM_CONSOLE", attempt.console.c_str(), 1);
  setenv("DEJAVM_SNAPSHOT", attempt.snapshot.c_str(), 1);
  for (const BadTest& test : tests)
    if (test.is_command() && !result.bad && !result.unknown) run_command(test.command(), result);
  for (const std::string& path : {attempt.console, attempt.snapshot})
    if (!path.empty()) ::unlink(path.c_str());
}

}  // namespace dejavm
