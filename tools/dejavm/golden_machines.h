// Goldens that are whole machines and traces of them; beside each a file of what is to come of it:
//   machines/NAME.dvs.zst, NAME.json   a packed snapshot: restores, saves again to the same bytes, runs on to "end"
//   traces/NAME.dvt, NAME.json         a trace: replays to "end"; "check": "devices" replays its exits into devices
//   alone
#pragma once

#include <string>
#include <vector>

#include "replay/state/golden.h"

namespace dejavm::cli {

std::vector<GoldenRow> check_golden_machines(const std::string& folder);
std::vector<GoldenRow> check_golden_traces(const std::string& folder);
// The files beside, as this build would have them.
Result<std::vector<GoldenFile>> update_golden_machines(const std::string& folder);

}  // namespace dejavm::cli
