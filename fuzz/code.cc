// Guest code, valid or garbage, self-modifying, across pages: single-stepped, in blocks, translated at once, and
// translated and cut into slices, the machines must end alike. An input: 8 bytes that choose registers and slices, then
// the code, twice: the second half of a long one is placed across a page's end.
#include <memory>

#include "fuzz/fuzz.h"

#include "devices/core/split_mix.h"
#include "tests/vmm/soft/engine/guest.h"

namespace dejavm::soft {
namespace {

constexpr uint64_t kInstructions = 500;

uint64_t mix(uint64_t& state) {
  SplitMix64 random{state};
  const uint64_t value = random.next();
  state = random.state;
  return value;
}

// A machine that is put back after each input.
class Subject {
 public:
  Subject(bool blocks, TranslateOptions translation)
      : guest_(blocks, translation, "dejavm-v2"), fresh_(guest_.state()) {
    for (uint64_t at = 0; at < 0x4000; at += 8) {
      uint64_t s = at;
      guest_.write<uint64_t>(Guest::kData + at, mix(s));
    }
    const MemoryRegion& ram = guest_.memory->regions()[0];
    pristine_.assign(ram.host, ram.host + ram.len_bytes);
  }

  void run(const uint8_t* data, size_t size, bool sliced) {
    const MemoryRegion& ram = guest_.memory->regions()[0];
    for (uint64_t page = 0; page < ram.len_bytes / kPageSize; ++page) {
      if (!(ram.flags[page] & kPageDirty)) continue;
      guest_.code({reinterpret_cast<const char*>(&pristine_[page * kPageSize]), kPageSize}, page * kPageSize);
      ram.flags[page] &= static_cast<uint8_t>(~kPageDirty);
    }
    guest_.engine->dirty_flags_cleared();
    uint64_t seed = 0;
    std::memcpy(&seed, data, 8);
    const auto* code = reinterpret_cast<const char*>(data + 8);
    const size_t n = std::min<size_t>(size - 8, 2048);
    guest_.code({code, n}, Guest::kCode);
    guest_.code({code + n / 2, n - n / 2}, Guest::kCode + 0x2000 - n / 4);
    VcpuState s = fresh_;
    uint64_t r = seed;
    for (unsigned k = 0; k < 16; ++k) s.gpr[k] = mix(r) % 3 ? Guest::kData + mix(r) % 0x3000 : mix(r) % 64;
    s.gpr[kRdi] = Guest::kCode + mix(r) % 0x1000;  // stores there modify code
    s.gpr[kRsp] = Guest::kStack;
    s.rflags = 2 | (mix(r) & kArithFlags);
    if (mix(r) % 8 == 0) s.cr0 |= kCr0TS;
    s.cr4 |= kCr4OSXSAVE;
    s.xcr0 = 7;
    avx() = {};
    if (mix(r) % 16 == 0) s.rflags |= kTF;
    if (mix(r) % 4 == 0)
      s.segment[kCs].attributes = static_cast<uint16_t>(kSegP | kSegS | kSegG | 0xb | kSegDb);  // 32-bit code
    guest_.exits.log.clear();
    guest_.control = RunControl{};
    guest_.engine->set_state(0, s);
    if (!sliced) {
      guest_.run_to(kInstructions);
      return;
    }
    for (uint64_t at = 0; at < kInstructions && guest_.state().activity == Activity::kRunning;)
      guest_.run_to(at = std::min(at + 1 + mix(r) % 50, kInstructions));
  }

  void compare(Subject& other, const char* what) {
    std::string why = differing(guest_.state(), other.guest_.state());
    const MemoryRegion &a = guest_.memory->regions()[0], &b = other.guest_.memory->regions()[0];
    for (uint64_t page = 0; page < a.len_bytes / kPageSize; ++page) {
      if (!((a.flags[page] | b.flags[page]) & kPageDirty)) continue;
      const uint64_t at = page * kPageSize;
      for (uint64_t k = at; k < at + kPageSize; ++k)
        if (a.host[k] != b.host[k]) {
          why += fmt_address(k);
          break;
        }
    }
    if (avx() != other.avx()) why += " AVX";
    if (guest_.exits.log.size() != other.guest_.exits.log.size()) why += " exits";
    if (why.empty()) return;
    std::fprintf(stderr, "%s differs from single-stepping: %s\n", what, why.c_str());
    std::abort();
  }

 private:
  VcpuAvx::State& avx() {
    for (const ChunkRef& c : guest_.engine->chunks())
      if (c.schema->name == VcpuAvx::kName) return *static_cast<VcpuAvx::State*>(c.data);
    std::abort();
  }
  static std::string fmt_address(uint64_t at) {
    char text[32];
    std::snprintf(text, sizeof text, "memory at %#llx ", static_cast<unsigned long long>(at));
    return text;
  }
  Guest guest_;
  const VcpuState fresh_;
  std::vector<uint8_t> pristine_;
};

}  // namespace
}  // namespace dejavm::soft

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm::soft;
  if (size < 9) return 0;
  static auto* steps = new Subject(false, {.on = false});
  static auto* blocks = new Subject(true, {.on = false});
  static auto* hot = new Subject(true, {.on = true, .threshold = 1, .cache_bytes = 1 << 20});
  static auto* sliced = new Subject(true, {.on = true, .threshold = 2, .cache_bytes = 1 << 20});
  steps->run(data, size, false);
  blocks->run(data, size, false);
  hot->run(data, size, false);
  sliced->run(data, size, true);
  blocks->compare(*steps, "in blocks, it");
  hot->compare(*steps, "translated, it");
  sliced->compare(*steps, "translated and sliced, it");
  return 0;
}
