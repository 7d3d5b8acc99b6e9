// Snapshots for shipping: one zstd frame with a checksum, which any zstd tool unpacks too. Holes cost nothing.
#pragma once

#include <string>

#include "devices/core/result.h"

namespace dejavm {

// The snapshot is verified first. Files appear whole; errors leave nothing behind.
Result<void> pack(const std::string& from, const std::string& to, bool force);
// What comes out is verified too, and its pages of zeros are holes again.
Result<void> unpack(const std::string& from, const std::string& to, bool force);

}  // namespace dejavm
