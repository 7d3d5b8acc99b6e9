// The files of a folder of goldens (golden.h): the manifest, what an update writes, and how both are told to people and
// to CI systems.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "devices/core/result.h"
#include "replay/store/cbor.h"

namespace dejavm {

// Exit statuses of what follows and of golden_main(): wrong usage or a file that cannot be read or written; something
// differs.
inline constexpr int kGoldenDone = 0, kGoldenUsage = 1, kGoldenDiffers = 3;

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

Result<Bytes> read_golden(const std::string& folder, const std::string& path);
Result<void> write_goldens(const std::string& folder, std::span<const GoldenFile>);

std::string golden_table(std::span<const GoldenRow>);  // a line each, its problems below it, and a sum
std::string golden_junit(std::span<const GoldenRow>);  // as CI systems read it

// Prints the table and writes the JUnit file, if one is named; the exit status, as of golden_main.
int report_goldens(std::span<const GoldenRow>, const std::string& junit);
// Shows the changes, asks on a terminal unless `yes`, writes them and the manifest; the exit status.
int apply_goldens(const std::string& folder, std::span<const GoldenFile> changes, bool yes);

}  // namespace dejavm
