#include "tools/dejavm/lockstep_tool.h"
#include "tools/dejavm/disks.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/replay/lockstep.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {

void add_lockstep_tool(CLI::App& app, LockstepOptions& o) {
  add_machine_options(app, o.machine);
  app.add_option("--instructions", o.instructions, "how far [1000000]")
      ->type_name("N")
      ->transform(instruction_count())
      ->check(CLI::PositiveNumber);
  app.add_option("--against", o.against, "the engine that judges the deterministic one [kvm-step]")
      ->check(CLI::IsMember({"kvm-step", "deterministic"}));
  app.footer(
      "Two machines from one state, one instruction at a time: registers and flags compared at each, memory now and "
      "then and at the end.\n"
      "Exit status: 0 the same; 3 a difference, which is shown with its instruction.");
}

int run_lockstep(const LockstepOptions& o) {
  std::unique_ptr<Machine> machines[2];
  for (int n = 0; n < 2; ++n) {
    MachineConfig config = o.machine.config;
    auto images = open_disks(o.machine, config);
    if (!images) return fail(images.error(), kUsage);
    auto made = Machine::create(config, n == 0 ? "deterministic" : o.against, nullptr, images.take());
    if (!made) return fail(made.error(), kUsage);
    machines[n] = made.take();
    if (auto done = machines[n]->boot(o.machine.boot); !done) return fail(done.error(), kUsage);
  }
  const LockstepResult r = Lockstep(*machines[0], *machines[1], 100'000).run(o.instructions);
  std::map<std::string, uint64_t> counters;
  for (const auto& [name, n] : machines[1]->engine().counters()) counters[std::string(name)] = n;
  if (o.machine.json) {
    nlohmann::ordered_json j;
    j["instructions"] = r.instructions;
    j["same"] = !r.difference;
    j["explained"] = r.explained;
    j["engine_counters"] = counters;
    if (r.difference)
      j["difference"] = {{"at", r.difference->at},
                         {"rip", r.difference->rip},
                         {"code", r.difference->code},
                         {"what", r.difference->what}};
    fmt::print("{}\n", line_of(j));
    return r.difference ? kDiverged : kDone;
  }
  for (const auto& [reason, n] : r.explained) fmt::print("explained, {} times: {}\n", n, reason);
  if (counters.count("by_processor"))
    fmt::print("of {} instructions the processor executed {}\n", r.instructions, counters["by_processor"]);
  if (!r.difference) {
    fmt::print("lockstep: the same over {} instructions\n", r.instructions);
    return kDone;
  }
  fmt::print("lockstep: deterministic and {} differ after {} instructions, rip {:#x}{}\n{}", o.against,
             r.difference->at, r.difference->rip, r.difference->code, r.difference->what);
  return kDiverged;
}

}  // namespace dejavm::cli
