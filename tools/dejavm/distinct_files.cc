#include "tools/dejavm/distinct_files.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

namespace dejavm::cli {
namespace {

// What a path leads to: the file that is there, or the place in its folder where one would be.
std::string identity(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) == 0) {
    if (!S_ISREG(st.st_mode)) return {};  // a device or a pipe holds nothing that could be lost
    return fmt::format("{}:{}", st.st_dev, st.st_ino);
  }
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::weakly_canonical(std::filesystem::absolute(path), error);
  return error ? path : whole.string();
}

}  // namespace

Result<void> distinct_files(const std::vector<NamedFile>& inputs, const std::vector<NamedFile>& outputs) {
  std::vector<NamedFile> before = inputs;
  for (const NamedFile& output : outputs) {
    if (output.path.empty()) continue;
    const std::string file = identity(output.path);
    for (const NamedFile& other : before)
      if (!file.empty() && !other.path.empty() && identity(other.path) == file)
        return Error{ErrorKind::kHost,
                     fmt::format("{}: {} and {} are the same file; choose another name for one of them", output.path,
                                 other.option, output.option)};
    before.push_back(output);
  }
  return {};
}

}  // namespace dejavm::cli
