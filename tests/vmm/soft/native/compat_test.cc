// Random user-mode instructions of 16- and 32-bit code, with segments that have a base and a limit, may not be written,
// or are 16-bit stacks, on the host's own processor and in the engine. DEJAVM_SEED picks the cases, DEJAVM_CASES how
// many.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "tests/vmm/soft/native/differences.h"
#include "tests/vmm/soft/native/host_compat.h"
#include "tests/vmm/soft/native/random_case.h"
#include "tests/vmm/soft/native/user_guest.h"

namespace dejavm::soft {
namespace {

struct CompatCase {
  Case k;
  Segments segments;
};

std::vector<uint8_t> random_bytes(Random& r) {
  static constexpr uint8_t kPrefixes[] = {0x66, 0x66, 0x67, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x36, 0x3e};
  std::vector<uint8_t> b;
  if (r.below(2) == 0)
    for (unsigned n = 1 + r.below(2); n > 0; --n) b.push_back(kPrefixes[r.below(sizeof kPrefixes)]);
  switch (r.below(8)) {
    case 0: b.push_back(0x0f); break;
    case 1: b.push_back(static_cast<uint8_t>(0xd8 + r.below(8))); break;
    case 2: {  // what 64-bit code does not have, and the stack frames
      static constexpr uint8_t kOpcodes[] = {0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x62, 0x63, 0x63,
                                             0xc8, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0x40, 0x4f};
      b.push_back(kOpcodes[r.below(sizeof kOpcodes)]);
      break;
    }
    default: break;
  }
  while (b.size() < 15) b.push_back(static_cast<uint8_t>(r.next()));
  return b;
}

Segments random_segments(Random& r) {
  Segments s;
  s.code = r.below(2) ? CodeMode::k32 : CodeMode::k16;
  s.small_data = s.code == CodeMode::k16 ? r.below(4) != 0 : r.below(4) == 0;
  s.read_only = r.below(4) == 0;
  s.narrow_stack = r.below(2);
  return s;
}

// A displacement that stands alone is made an offset in the window.
void put_displacement_in_reach(Random& r, Case& k, const Segments& s) {
  const bool alone = k.d.has_mem && k.d.has_modrm && k.d.base == kNoReg && k.d.index == kNoReg;
  if (!alone || s.small_data) return;
  const auto find = static_cast<uint32_t>(k.d.disp);
  for (size_t at = 1; at + 4 <= k.d.len; ++at) {
    uint32_t v;
    std::memcpy(&v, &k.bytes[at], sizeof v);
    if (v != find) continue;
    v = static_cast<uint32_t>(kWindow + r.below(kWindowSize));
    std::memcpy(&k.bytes[at], &v, sizeof v);
    return;
  }
}

uint64_t random_register(Random& r, const Segments& s) {
  if (s.small_data && r.below(2)) return (r.next() & 0xffff0000) | r.below(kWindowSize);
  return random_gpr(r) & 0xffffffff;
}

bool make_case(Random& r, CompatCase& c) {
  Case& k = c.k;
  c.segments = random_segments(r);
  k.compat = true;
  k.bytes = random_bytes(r);
  if (decode(k.bytes, c.segments.code, k.d) != DecodeStatus::kOk || is_left_out(k.d.op)) return false;
  if (k.d.seg == kFs || k.d.seg == kGs || k.d.seg == kCs) return false;
  if (k.d.has_mem && !k.d.has_modrm) return false;
  put_displacement_in_reach(r, k, c.segments);
  k.bytes.resize(k.d.len);
  if (decode(k.bytes, c.segments.code, k.d) != DecodeStatus::kOk || k.d.len != k.bytes.size()) return false;
  k.before.gpr = {};
  for (unsigned n = 0; n < 8; ++n) k.before.gpr[n] = random_register(r, c.segments);
  if (c.segments.narrow_stack)
    k.before.gpr[kRsp] = (r.next() & 0xffff0000) | (r.below(8) ? 0x1000 + r.below(64) : r.below(0x2100));
  else if (r.below(4)) k.before.gpr[kRsp] = kWindow + 0x1000 + r.below(64);
  if (r.below(2)) k.before.gpr[kRcx] = r.below(80);
  k.before.rflags = 0x202 | (r.next() & (kArithFlags | kDF_));
  k.before.rip = c.segments.code == CodeMode::k32 ? kInsnAddress : kInsnAddress - kCode16Base;
  random_fx(r, k.before.fx);
  return true;
}

// The engine's segments as the host's descriptors say.
void choose_segments(UserGuest& guest, const Segments& s) {
  constexpr uint16_t kUser = kSegP | kSegS | 0x60;
  const bool wide = s.code == CodeMode::k32;
  VcpuState& v = guest.fresh;
  v.segment[kCs] = {0xf, static_cast<uint16_t>(kUser | 0xb | (wide ? kSegDb | kSegG : 0)), wide ? 0xffffffff : 0xffff,
                    wide ? 0 : kCode16Base};
  const SegmentState small{0x17, kUser | 3 | kSegDb, kWindowSize - 1, kWindow},
      flat{0x27, kUser | 3 | kSegDb | kSegG, 0xffffffff, 0};
  v.segment[kDs] = v.segment[kEs] = s.small_data ? small : flat;
  if (s.read_only) v.segment[kDs].attributes &= static_cast<uint16_t>(~2);
  v.segment[kSs] = s.narrow_stack ? SegmentState{0x37, kUser | 3, kWindowSize - 1, kWindow} : flat;
}

std::string name_of(const CompatCase& c) {
  const Segments& s = c.segments;
  return std::string(op_name(c.k.d.op)) + (s.code == CodeMode::k32 ? " (32-bit code" : " (16-bit code") +
         (s.narrow_stack ? ", 16-bit stack" : "") + (s.small_data ? ", small data" : "") +
         (s.read_only ? ", read-only DS)" : ")");
}

TEST(HostCompat, RandomInstructionsDoWhatTheHostsProcessorDoes) {
  if (!host_has_compat())
    GTEST_SKIP() << "this host's kernel refuses modify_ldt, so its processor cannot be asked about 16-bit code";
  const uint64_t seed = number_from_environment("DEJAVM_SEED", 1),
                 cases = number_from_environment("DEJAVM_CASES", 60'000);
  UserGuest guest;
  Differences differences;
  auto* host_window = reinterpret_cast<uint8_t*>(kWindow);
  std::vector<uint8_t> initial(kWindowSize), host_memory(kWindowSize);
  Random fill(seed);
  for (uint8_t& b : initial) b = static_cast<uint8_t>(fill.next());
  for (uint64_t n = 0; n < cases; ++n) {
    Random r(seed * 0x100000001b3 + n * 0x9e3779b97f4a7c15);
    CompatCase c;
    while (!make_case(r, c)) {}
    std::memcpy(guest.window(), initial.data(), kWindowSize);
    choose_segments(guest, c.segments);
    guest.put(c.k);
    UserState ours, host;
    const int vector = guest.execute(c.k, ours);
    if (guest.met_the_harness) continue;
    int signal = 0;
    const std::string what = repeated_difference([&] {
      std::memcpy(host_window, initial.data(), kWindowSize);
      host = c.k.before;
      signal = run_on_host(c.k.bytes, host, c.segments);
      std::memcpy(host_memory.data(), host_window, kWindowSize);
      return difference(c.k, host, signal, ours, vector, host_memory, guest.window());
    });
    if (!what.empty()) differences.add({c.k.d, c.k.before, host, signal, ours, vector}, name_of(c), n, what);
  }
  differences.finish(seed);
}

}  // namespace
}  // namespace dejavm::soft
