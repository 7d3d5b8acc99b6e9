// The machine that the command line describes.
#pragma once

#include <memory>

#include "replay/snapshot/snapshot_file.h"
#include "tools/dejavm/options.h"

namespace dejavm::cli {

EngineChoice engine_of(const Options&, const char* otherwise);
// What the machine starts from: where an image was given by itself, the firmware of this host.
Result<BootSource> boot_source_of(const Options&);
void describe_program(SnapshotHead& about);
// Ready for its first instruction. `about`: for its snapshots and traces.
Result<std::unique_ptr<Machine>> assemble(const Options&, Console*, SnapshotHead& about);

}  // namespace dejavm::cli
