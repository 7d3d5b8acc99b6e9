// A folder for a test's files, gone after it.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "devices/core/result.h"

namespace dejavm {

struct Folder {
  std::string path = std::filesystem::temp_directory_path() / "dejavm-test-XXXXXX";
  Folder() { CHECK(mkdtemp(path.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

}  // namespace dejavm
