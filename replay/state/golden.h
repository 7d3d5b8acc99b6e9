// The golden gate: states that earlier builds saved must restore, save again to the same bytes, and answer as they did.
// For the models of any program (docs/library.md); `dejavm golden` adds whole machines and traces.
//
// In the folder of goldens:
//   manifest.json                         the digest of every other file
//   devices/MODEL/CASE.script             operations on a fresh model (script.h); after a line "save", some more
//   devices/MODEL/vVERSION/CASE.state     the state at "save" as that version of the model's format had it (state_file.h)
//   devices/MODEL/vVERSION/CASE.json      the same for people: "state", field by field; "answers" to the operations after
//                                         "save"; "upgraded", the state as the present version has it, if that is newer
// Files of a version that is not the present one are never written again, but for "upgraded".
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "devices/core/device_model.h"
#include "devices/core/result.h"
#include "replay/store/cbor.h"
#include "replay/store/hash.h"
#include "replay/state/upgrade.h"

namespace dejavm {

struct GoldenRow {
  std::string name;                   // "devices/vatpic/v1/reset"
  std::string result;                 // of a good one: "same bytes, same answers"
  std::vector<std::string> problems;  // none: good
};

// A file that an update writes, relative to the folder; what is new in it, for people.
struct GoldenFile {
  std::string path;
  Bytes content;
  std::vector<std::string> changes;
};

// The digests of a folder's files, by relative path, as the manifest has them.
using GoldenManifest = std::map<std::string, std::string>;
Result<GoldenManifest> read_manifest(const std::string& folder);
// As one row: files that are missing, not listed, or not those that are listed.
GoldenRow check_manifest(const std::string& folder, const GoldenManifest&);
// The manifest of what the folder holds now.
Result<GoldenFile> make_manifest(const std::string& folder);

std::vector<GoldenRow> check_golden_devices(const std::string& folder, std::span<const DeviceModel>, std::span<const Upgrade>);
// What is missing or differs. A model without a script gets one, "reset", of no operation.
Result<std::vector<GoldenFile>> update_golden_devices(const std::string& folder, std::string_view writer, std::span<const DeviceModel>, std::span<const Upgrade>);
Result<Bytes> read_golden(const std::string& folder, const std::string& path);
Result<void> write_goldens(const std::string& folder, std::span<const GoldenFile>);

std::string golden_table(std::span<const GoldenRow>);  // a line each, its problems below it, and a sum
std::string golden_junit(std::span<const GoldenRow>);  // as CI systems read it

// Prints the table and writes the JUnit file, if one is named; the exit status, as of golden_main.
int report_goldens(std::span<const GoldenRow>, const std::string& junit);
// Shows the changes, asks on a terminal unless `yes`, writes them and the manifest; the exit status.
int apply_goldens(const std::string& folder, std::span<const GoldenFile> changes, bool yes);

// A whole program: `golden check [FOLDER] [--junit FILE]`, `golden update [FOLDER] [--yes]`; returns its exit status: 0; 3 for a
// difference, or an update that was not agreed to; 1 for wrong usage or a file that cannot be read or written.
int golden_main(int argc, char** argv, std::string_view writer, std::span<const DeviceModel>, std::span<const Upgrade> = {});

}  // namespace dejavm
