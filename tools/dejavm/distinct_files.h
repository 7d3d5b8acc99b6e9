// The files of one command, told apart by what they are and not by their names.
#pragma once

#include <string>
#include <vector>

#include "devices/core/result.h"

namespace dejavm::cli {

struct NamedFile {
  std::string option;  // as the user knows it: "--console", "the trace"
  std::string path;    // empty: not given
};

// An error if an output is one of the inputs or another output, under whatever names, links included.
Result<void> distinct_files(const std::vector<NamedFile>& inputs, const std::vector<NamedFile>& outputs);

}  // namespace dejavm::cli
