#include "tools/dejavm/golden_tool.h"

#include "devices/catalog.h"
#include "replay/state/golden.h"
#include "tools/dejavm/golden_machines.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {
namespace {

constexpr const char* kWriter = "dejavm " DEJAVM_VERSION;

int check(const GoldenOptions& o) {
  auto manifest = read_manifest(o.folder);
  if (!manifest) return fail(manifest.error());
  auto rows = check_golden_devices(o.folder, device_catalog(), all_upgrades());
  for (GoldenRow& r : check_golden_machines(o.folder)) rows.push_back(std::move(r));
  for (GoldenRow& r : check_golden_traces(o.folder)) rows.push_back(std::move(r));
  rows.push_back(check_manifest(o.folder, *manifest));
  return report_goldens(rows, o.junit);
}

int update(const GoldenOptions& o) {
  auto changes = update_golden_devices(o.folder, kWriter, device_catalog(), all_upgrades());
  if (!changes) return fail(changes.error());
  auto machines = update_golden_machines(o.folder);
  if (!machines) return fail(machines.error());
  changes->insert(changes->end(), machines->begin(), machines->end());
  return apply_goldens(o.folder, *changes, o.yes);
}

}  // namespace

void add_golden_tool(CLI::App& app, GoldenOptions& o) {
  app.require_subcommand(1);
  CLI::App* s = app.add_subcommand(
      "check", "restore every golden, save it again, replay every trace; status 3 if anything differs");
  s->add_option("folder", o.folder, "where the goldens are [golden-snapshots]")->type_name("FOLDER");
  s->add_option("--junit", o.junit, "the outcome for CI systems")->type_name("FILE");
  s = app.add_subcommand("update", "show what this build would save otherwise, field by field; ask; write it");
  s->add_option("folder", o.folder, "where the goldens are [golden-snapshots]")->type_name("FOLDER");
  s->add_flag("--yes", o.yes, "do not ask");
}

int run_golden(const CLI::App& app, const GoldenOptions& o) {
  return app.got_subcommand("check") ? check(o) : update(o);
}

}  // namespace dejavm::cli
