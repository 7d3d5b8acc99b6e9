// A machine's configuration as traces and snapshots have it (replay/FORMAT.md, header, key `config`).
#pragma once

#include <string>

#include "replay/store/cbor.h"
#include "vmm/state/config.h"

namespace dejavm {

void encode_config(CborWriter&, const MachineConfig&);
MachineConfig decode_config(CborReader&);  // errors: the reader's
// Empty, or why no machine can be built from it, whoever wrote it.
std::string invalid_config(const MachineConfig&);

}  // namespace dejavm
