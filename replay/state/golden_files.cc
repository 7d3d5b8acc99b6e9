#include "replay/state/golden_files.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "replay/state/golden_json.h"
#include "replay/store/atomic_file.h"

namespace dejavm {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMaxGoldenBytes = 256 << 20;
constexpr const char* kManifest = "manifest.json";

// Every file of the folder but the manifest and what is written for people, sorted.
Result<std::vector<std::string>> files_of(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string path = fs::relative(it->path(), folder);
    if (it->is_regular_file() && path != kManifest && it->path().extension() != ".md") out.push_back(path);
  }
  if (error) return host_error(folder, "list its files", error.value());
  std::ranges::sort(out);
  return out;
}

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (static_cast<unsigned char>(c) < 0x20 && c != '\n') out += ' ';
    else out += c;
  }
  return out;
}

int fail(const Error& e) {
  fmt::print(stderr, "golden: {}\n", e.message);
  return kGoldenUsage;
}

}  // namespace

Result<Bytes> read_golden(const std::string& folder, const std::string& path) {
  auto file = open_file(folder + "/" + path);
  if (!file) return file.error();
  if ((*file)->size() > kMaxGoldenBytes)
    return Error{ErrorKind::kBadInput, fmt::format("{}: {} bytes are too many for a golden", path, (*file)->size())};
  Bytes out((*file)->size());
  if (auto read = (*file)->read_at(0, out); !read) return read.error();
  return out;
}

Result<void> write_goldens(const std::string& folder, std::span<const GoldenFile> files) {
  for (const GoldenFile& f : files) {
    const std::string path = folder + "/" + f.path;
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    if (error) return host_error(path, "create its folder", error.value());
    if (auto done = write_whole(path, f.content, true); !done) return done;
  }
  return {};
}

Result<GoldenManifest> read_manifest(const std::string& folder) {
  auto j = read_golden_json(folder, kManifest);
  if (!j) return j.error();
  GoldenManifest out;
  const bool good = j->size() == 2 && j->contains("format") && (*j)["format"] == 1 && j->contains("files") &&
                    (*j)["files"].is_object();
  if (good)
    for (const auto& [path, digest] : (*j)["files"].items())
      if (digest.is_string()) out[path] = digest;
  if (!good || out.size() != (*j)["files"].size())
    return Error{ErrorKind::kBadInput, fmt::format("{}/{}: is not a manifest of goldens, format 1", folder, kManifest)};
  return out;
}

GoldenRow check_manifest(const std::string& folder, const GoldenManifest& manifest) {
  GoldenRow row{kManifest, {}, {}};
  auto files = files_of(folder);
  if (!files) {
    row.problems.push_back(files.error().message);
    return row;
  }
  for (const auto& [path, digest] : manifest) {
    if (!std::ranges::binary_search(*files, path)) {
      row.problems.push_back(fmt::format("{}: is missing", path));
      continue;
    }
    auto content = read_golden(folder, path);
    if (!content) row.problems.push_back(content.error().message);
    else if (const std::string now = to_hex(hash128(*content)); now != digest)
      row.problems.push_back(fmt::format("{}: its digest was {}, now {}", path, digest, now));
  }
  for (const std::string& path : *files)
    if (!manifest.contains(path)) row.problems.push_back(fmt::format("{}: is not in the manifest", path));
  row.result = fmt::format("{} files", manifest.size());
  return row;
}

Result<GoldenFile> make_manifest(const std::string& folder) {
  auto files = files_of(folder);
  if (!files) return files.error();
  Json list = Json::object();
  for (const std::string& path : *files) {
    auto content = read_golden(folder, path);
    if (!content) return content.error();
    list[path] = to_hex(hash128(*content));
  }
  return GoldenFile{kManifest, golden_text({{"format", 1}, {"files", std::move(list)}}), {}};
}

std::string golden_table(std::span<const GoldenRow> rows) {
  std::string out;
  size_t width = 0, bad = 0;
  for (const GoldenRow& r : rows) width = std::max(width, r.name.size());
  for (const GoldenRow& r : rows) {
    const bool good = r.problems.empty();
    bad += !good;
    out += fmt::format("{:<{}}  {}\n", r.name, width, good ? "ok    " + r.result : "DIFFERS");
    for (const std::string& p : r.problems) out += fmt::format("    {}\n", p);
  }
  out += bad ? fmt::format("{} of {} goldens differ\n", bad, rows.size())
             : fmt::format("all {} goldens are as they were\n", rows.size());
  return out;
}

std::string golden_junit(std::span<const GoldenRow> rows) {
  const auto bad = std::ranges::count_if(rows, [](const GoldenRow& r) { return !r.problems.empty(); });
  std::string out = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n <testsuite name=\"golden\" tests=\"{}\" "
      "failures=\"{}\" errors=\"0\">\n",
      rows.size(), bad);
  for (const GoldenRow& r : rows) {
    const size_t slash = r.name.rfind('/');
    std::string group = slash == std::string::npos ? "golden" : r.name.substr(0, slash);
    std::ranges::replace(group, '/', '.');
    out += fmt::format("  <testcase classname=\"{}\" name=\"{}\"", xml(group), xml(r.name.substr(slash + 1)));
    if (r.problems.empty()) {
      out += "/>\n";
      continue;
    }
    std::string all;
    for (const std::string& p : r.problems) all += p + "\n";
    out +=
        fmt::format(">\n   <failure message=\"{}\">{}</failure>\n  </testcase>\n", xml(r.problems.front()), xml(all));
  }
  return out + " </testsuite>\n</testsuites>\n";
}

int report_goldens(std::span<const GoldenRow> rows, const std::string& junit) {
  fmt::print("{}", golden_table(rows));
  if (!junit.empty()) {
    const std::string text = golden_junit(rows);
    if (auto done = write_whole(junit, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, true); !done)
      return fail(done.error());
  }
  return std::ranges::all_of(rows, [](const GoldenRow& r) { return r.problems.empty(); }) ? kGoldenDone
                                                                                          : kGoldenDiffers;
}

int apply_goldens(const std::string& folder, std::span<const GoldenFile> changes, bool yes) {
  for (const GoldenFile& f : changes) {
    fmt::print("{}\n", f.path);
    for (const std::string& c : f.changes) fmt::print("    {}\n", c);
  }
  if (!changes.empty() && !yes) {
    if (!isatty(STDIN_FILENO)) {
      fmt::print("{} files would change: nothing was written; --yes writes them\n", changes.size());
      return kGoldenDiffers;
    }
    fmt::print("write these {} files? [y/N] ", changes.size());
    std::fflush(stdout);
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "yes") {
      fmt::print("nothing was written\n");
      return kGoldenDiffers;
    }
  }
  if (auto done = write_goldens(folder, changes); !done) return fail(done.error());
  auto manifest = make_manifest(folder);
  if (!manifest) return fail(manifest.error());
  if (auto old = read_golden(folder, manifest->path); !old || *old != manifest->content)
    if (auto done = write_goldens(folder, {&*manifest, 1}); !done) return fail(done.error());
  if (changes.empty()) fmt::print("nothing to change\n");
  else fmt::print("{} files written\n", changes.size());
  return kGoldenDone;
}

}  // namespace dejavm
