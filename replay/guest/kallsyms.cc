#include "replay/guest/kallsyms.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "replay/snapshot/core_notes.h"

namespace dejavm {
namespace {

// What a kernel can have; beyond that a table is no table.
constexpr uint64_t kMaxSymbols = 4'000'000, kMaxNameBytes = 1024, kImageStart = 0xffffffff80000000,
                   kMaxImageBytes = uint64_t{1} << 30;

using Lines = std::map<std::string, std::string, std::less<>>;

// "KEY=value" lines.
Lines parse_lines(const std::vector<uint8_t>& bytes) {
  Lines out;
  const std::string text(bytes.begin(), std::find(bytes.begin(), bytes.end(), 0));
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size()), equals = text.find('=', at);
    if (equals < end) out[text.substr(at, equals - at)] = text.substr(equals + 1, end - equals - 1);
    at = end + 1;
  }
  return out;
}

std::optional<uint64_t> number(const Lines& lines, std::string_view key, int base) {
  const auto found = lines.find(key);
  if (found == lines.end()) return std::nullopt;
  const std::string& text = found->second;
  uint64_t v = 0;
  const bool minus = text.starts_with('-');
  const auto [end, error] = std::from_chars(text.data() + (minus ? 1 : 0), text.data() + text.size(), v, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return minus ? 0 - v : v;
}

Error bad(std::string why) { return {ErrorKind::kBadInput, "the guest's kernel symbols: " + why}; }

// The image, in blocks; one that is not there fails everything.
class Image {
 public:
  Image(const GuestMemory& memory, const GuestKernel& kernel) : memory_(memory), kernel_(kernel) {}
  bool read(uint64_t address, void* to, uint64_t len) const {
    return read_kernel_image(memory_, kernel_, address, to, len);
  }
  template <class T>
  bool get(uint64_t address, T& value) const {
    return read(address, &value, sizeof value);
  }

 private:
  const GuestMemory& memory_;
  const GuestKernel& kernel_;
};

Result<void> read_tables(const Image& image, const Lines& lines, GuestKernel& kernel) {
  std::array<uint64_t, 6> at{};
  static constexpr const char* kNames[] = {"kallsyms_names",       "kallsyms_num_syms", "kallsyms_token_table",
                                           "kallsyms_token_index", "kallsyms_offsets",  "kallsyms_relative_base"};
  for (size_t n = 0; n < at.size(); ++n) {
    const auto a = number(lines, fmt::format("SYMBOL({})", kNames[n]), 16);
    if (!a) return bad(fmt::format("its VMCOREINFO does not say where {} is; Linux does from 6.0 on", kNames[n]));
    at[n] = *a;
  }
  uint32_t count = 0;
  uint64_t base = 0;
  if (!image.get(at[1], count) || !image.get(at[5], base)) return bad("its tables are not in memory");
  if (count == 0 || count > kMaxSymbols) return bad(fmt::format("there are {} of them", count));
  std::array<uint16_t, 256> index{};
  if (!image.get(at[3], index)) return bad("its token index is not in memory");
  std::array<std::string, 256> tokens;
  for (size_t t = 0; t < tokens.size(); ++t)
    for (uint64_t from = at[2] + index[t];; ++from) {
      char c = 0;
      if (!image.get(from, c) || tokens[t].size() > kMaxNameBytes) return bad(fmt::format("token {} has no end", t));
      if (c == 0) break;
      tokens[t] += c;
    }
  std::vector<int32_t> offsets(count);
  if (!image.read(at[4], offsets.data(), uint64_t{count} * 4)) return bad("its offsets are not in memory");
  // With per-CPU symbols as absolute ones, those that are relative to the base are negative.
  const bool negative = std::any_of(offsets.begin(), offsets.end(), [](int32_t o) { return o < 0; });
  kernel.symbols.reserve(count);
  uint64_t from = at[0];
  for (uint32_t n = 0; n < count; ++n) {
    uint8_t length[2] = {};
    if (!image.read(from, length, 1)) return bad("its names are not in memory");
    ++from;
    unsigned parts = length[0];
    if (parts & 0x80) {  // from 6.1 on: 15 bits
      if (!image.read(from++, &length[1], 1)) return bad("its names are not in memory");
      parts = (parts & 0x7f) | static_cast<unsigned>(length[1]) << 7;
    }
    std::vector<uint8_t> which(parts);
    if (parts == 0 || parts > kMaxNameBytes || !image.read(from, which.data(), parts))
      return bad(fmt::format("symbol {} has {} parts", n, parts));
    from += parts;
    std::string name;
    for (const uint8_t t : which) {
      name += tokens[t];
      if (name.size() > kMaxNameBytes) return bad(fmt::format("symbol {} has no end", n));
    }
    if (name.size() < 2) return bad(fmt::format("symbol {} has no name", n));
    const int64_t o = offsets[n];
    const uint64_t address = !negative ? base + static_cast<uint32_t>(offsets[n])
                             : o >= 0  ? static_cast<uint64_t>(o)
                                       : base - 1 - static_cast<uint64_t>(o);
    kernel.symbols.push_back({address, name[0], name.substr(1)});
  }
  return {};
}

}  // namespace

bool read_kernel_image(const GuestMemory& memory, const GuestKernel& kernel, uint64_t address, void* to, uint64_t len) {
  if (address < kImageStart || address - kImageStart > kMaxImageBytes || len > kMaxImageBytes) return false;
  return memory.read(Gpa{address - kImageStart + kernel.text_physical}, to, len);
}

Symbols symbols_of(const GuestKernel& kernel) {
  std::vector<std::pair<uint64_t, std::string>> all;
  for (const KernelSymbol& s : kernel.symbols)
    if (s.address >= kImageStart) all.push_back({s.address, s.name});
  return Symbols::of(all);
}

std::string kernel_place(const GuestMemory& memory, uint64_t rip) {
  if (rip < kImageStart) return {};
  const auto kernel = GuestKernel::find(memory);
  return kernel ? symbols_of(*kernel).name(rip) : std::string();
}

const KernelSymbol* GuestKernel::symbol(std::string_view name) const {
  const auto found =
      std::find_if(symbols.begin(), symbols.end(), [&](const KernelSymbol& s) { return s.name == name; });
  return found != symbols.end() ? &*found : nullptr;
}

Result<GuestKernel> GuestKernel::find(const GuestMemory& memory) {
  std::string why = "there is no VMCOREINFO in its memory: it is no Linux, or not far enough in its boot";
  for (const MemoryRegion& r : memory.regions())
    for (uint64_t p = 0; p < r.len_bytes && !r.hidden; p += kPageSize) {
      if (!(r.flags[p / kPageSize] & kPageWritten) || !is_vmcoreinfo(r.host + p)) continue;
      const Lines lines = parse_lines(vmcoreinfo(r.host + p).desc);
      GuestKernel k;
      k.release = lines.at("OSRELEASE");
      const auto physical = number(lines, "NUMBER(phys_base)", 10), offset = number(lines, "KERNELOFFSET", 16);
      if (!physical) {
        why = "its VMCOREINFO has no phys_base: it is no kernel for x86-64";
        continue;
      }
      k.text_physical = *physical;
      k.offset = offset.value_or(0);
      auto read = read_tables(Image(memory, k), lines, k);
      if (read) return k;
      why = read.error().message;
    }
  return why.starts_with("the guest") ? Error{ErrorKind::kBadInput, why} : bad(why);
}

}  // namespace dejavm
