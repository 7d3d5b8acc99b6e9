// What all fuzz targets share. Built by clang with DEJAVM_FUZZ they are libFuzzer's ($LIB_FUZZING_ENGINE); otherwise
// standalone.cc runs them over the files that it is given, as regression tests.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "devices/core/result.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
