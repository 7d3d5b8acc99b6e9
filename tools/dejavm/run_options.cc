#include "tools/dejavm/run_options.h"

namespace dejavm::cli {

void add_keyframe_option(CLI::App& app, Options& o) {
  app.add_option("--keyframe-every", o.keyframe_interval,
                 "instructions between keyframes, from which a replay can start; 0: none [100M]")
      ->type_name("N")
      ->transform(instruction_count());
}

void add_sandbox_option(CLI::App& app, Options& o) {
  app.add_option_function<std::string>(
         "--sandbox", [&o](const std::string& v) { o.sandbox = v == "on"; },
         "once the guest runs, dejavm can start no program, open no connection and gain no privilege: on or off [on]")
      ->check(CLI::IsMember({"on", "off"}));
}

void add_limit_options(CLI::App& app, Options& o) {
  app.add_option_function<std::string>(
         "--max-time", [&o](const std::string& v) { o.max_time_ns = parse_duration(v); },
         "stop once so many seconds of the guest's time have passed, with status 4; 10m and 2h, too")
      ->type_name("SECONDS");
  app.add_option("--max-instructions", o.max_instructions,
                 "stop once so many are complete, with status 4; 5M is 5000000")
      ->type_name("N")
      ->transform(instruction_count());
}

void add_limited_options(CLI::App& app, Options& o) {
  add_sandbox_option(app, o);
  add_limit_options(app, o);
  app.add_flag("--json", o.json, "the result as one JSON object on standard output");
}

}  // namespace dejavm::cli
