// The golden gate: states that earlier builds saved must restore, save again to the same bytes, and answer as they did.
// For the models of any program (docs/library.md); `dejavm golden` adds whole machines and traces.
//
// In the folder of goldens:
//   manifest.json                         the digest of every other file
//   devices/MODEL/CASE.script             operations on a fresh model (script.h); after a line "save", some more
//   devices/MODEL/vVERSION/CASE.state     the state at "save" as that version of the model's format had it
//   (state_file.h) devices/MODEL/vVERSION/CASE.json      the same for people: "state", field by field; "answers" to the
//   operations after
//                                         "save"; "upgraded", the state as the present version has it, if that is newer
// Files of a version that is not the present one are never written again, but for "upgraded".
#pragma once

#include <span>
#include <string>
#include <vector>

#include "devices/core/device_model.h"
#include "devices/core/result.h"
#include "replay/state/golden_files.h"
#include "replay/state/upgrade.h"

namespace dejavm {

std::vector<GoldenRow> check_golden_devices(const std::string& folder, std::span<const DeviceModel>,
                                            std::span<const Upgrade>);
// What is missing or differs. A model without a script gets one, "reset", of no operation.
Result<std::vector<GoldenFile>> update_golden_devices(const std::string& folder, std::string_view writer,
                                                      std::span<const DeviceModel>, std::span<const Upgrade>);
// A whole program: `golden check [FOLDER] [--junit FILE]`, `golden update [FOLDER] [--yes]`; returns its exit status:
// 0; 3 for a difference, or an update that was not agreed to; 1 for wrong usage or a file that cannot be read or
// written.
int golden_main(int argc, char** argv, std::string_view writer, std::span<const DeviceModel>,
                std::span<const Upgrade> = {});

}  // namespace dejavm
