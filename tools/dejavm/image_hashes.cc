#include "tools/dejavm/image_hashes.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "replay/snapshot/disk_images.h"
#include "replay/store/atomic_file.h"

namespace dejavm::cli {
namespace {

constexpr uint64_t kWorthKeeping = 64 << 20;
constexpr size_t kMost = 500;  // lines

std::string cache_file() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::string(cache) + "/dejavm/image-hashes";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? std::string(home) + "/.cache/dejavm/image-hashes" : std::string();
}

int64_t nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

// What tells the file's content from any other; none: nothing does. A change within the last moments may have been
// followed by another at the same time of the file system's clock.
std::optional<std::string> identity_of(int fd, uint64_t len_bytes) {
  struct stat st {};
  if (len_bytes < kWorthKeeping || ::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  const int64_t changed = std::max(nanoseconds(st.st_mtim), nanoseconds(st.st_ctim));
  const int64_t now = std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  constexpr int64_t kMoment = 2'000'000'000;
  if (now - changed < kMoment) return std::nullopt;
  return fmt::format("1 {} {} {} {} {} {}", st.st_dev, st.st_ino, st.st_size, nanoseconds(st.st_mtim),
                     nanoseconds(st.st_ctim), len_bytes);
}

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> out;
  std::ifstream file(path);
  for (std::string line; out.size() < kMost && std::getline(file, line);) out.push_back(line);
  return out;
}

// A cache that cannot be written is none.
void keep(const std::string& cache, std::vector<std::string> lines, const std::string& line) {
  std::error_code ignored;
  std::filesystem::create_directories(folder_of(cache), ignored);
  lines.insert(lines.begin(), line);
  lines.resize(std::min(lines.size(), kMost));
  std::string text;
  for (const std::string& each : lines) text += each + "\n";
  auto file = AtomicFile::create(cache, true);
  if (!file) return;
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  if ((*file)->write_at(0, bytes)) (void)(*file)->commit();
}

}  // namespace

Result<Hash128> image_hash_of(ImageFile& image, uint64_t len_bytes) {
  const auto* raw = dynamic_cast<const RawImage*>(&image);
  const std::string cache = cache_file();
  const auto identity = raw != nullptr && !cache.empty() ? identity_of(raw->fd(), len_bytes) : std::nullopt;
  if (!identity) return image_hash(image, len_bytes);
  const std::vector<std::string> lines = lines_of(cache);
  for (const std::string& line : lines) {
    if (!line.starts_with(*identity + " ")) continue;
    if (const auto hash = hash128_from_hex(std::string_view(line).substr(identity->size() + 1))) return *hash;
  }
  auto hash = image_hash(image, len_bytes);
  // Of a file that has changed meanwhile nothing is known.
  if (hash && identity_of(raw->fd(), len_bytes) == identity) keep(cache, lines, *identity + " " + to_hex(*hash));
  return hash;
}

}  // namespace dejavm::cli
