// The gate as a program of its own, for machines of others.
#include <fmt/format.h>

#include "replay/state/golden.h"
#include "replay/state/golden_files.h"

namespace dejavm {
namespace {

int fail(const Error& e) {
  fmt::print(stderr, "golden: {}\n", e.message);
  return kGoldenUsage;
}

}  // namespace

int golden_main(int argc, char** argv, std::string_view writer, std::span<const DeviceModel> models,
                std::span<const Upgrade> upgrades) {
  const std::string what = argc > 1 ? argv[1] : "";
  std::string folder = "golden-snapshots", junit;
  bool yes = false, wrong = what != "check" && what != "update";
  for (int i = 2; i < argc && !wrong; ++i) {
    const std::string_view a = argv[i];
    if (a == "--yes") yes = true;
    else if (a == "--junit" && i + 1 < argc) junit = argv[++i];
    else if (a.starts_with("-")) wrong = true;
    else folder = a;
  }
  if (wrong) {
    fmt::print(stderr, "usage: {} check [FOLDER] [--junit FILE] | update [FOLDER] [--yes]\n",
               argc ? argv[0] : "golden");
    return kGoldenUsage;
  }
  if (what == "check") {
    auto manifest = read_manifest(folder);
    if (!manifest) return fail(manifest.error());
    auto rows = check_golden_devices(folder, models, upgrades);
    rows.push_back(check_manifest(folder, *manifest));
    return report_goldens(rows, junit);
  }
  auto changes = update_golden_devices(folder, writer, models, upgrades);
  return changes ? apply_goldens(folder, *changes, yes) : fail(changes.error());
}

}  // namespace dejavm
