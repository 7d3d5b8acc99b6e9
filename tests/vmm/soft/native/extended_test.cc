// The instructions of dejavm-v2 that dejavm-v1 has not: every opcode of VEX's three maps, and AES, SHA, ADX and so on,
// with random registers, memory and immediates, on the host's own processor and in the engine. Skips where the host
// lacks any of it.
#include <cpuid.h>

#include <cstdlib>
#include <map>

#include "tests/vmm/soft/native/differences.h"
#include "tests/vmm/soft/native/user_guest.h"

namespace dejavm::soft {
namespace {

struct ExtendedGuest : UserGuest {
  ExtendedGuest() : UserGuest("dejavm-v2") {
    fresh.cr4 |= kCr4OSXSAVE;
    fresh.xcr0 = 7;
  }
  VcpuAvx::State& avx() {
    for (const ChunkRef& c : engine->chunks())
      if (c.schema->name == VcpuAvx::kName) return *static_cast<VcpuAvx::State*>(c.data);
    CHECK(false);
    static VcpuAvx::State none;
    return none;
  }
};

// What other processors have and this model has not, decoded as an opcode of its own by nobody here.
bool same_everywhere(Op op) {
  // Approximations are ours; which NaN comes out of a dot product differs between AMD and Intel.
  switch (op) {
    case Op::k_rcpps:
    case Op::k_rcpss:
    case Op::k_rsqrtps:
    case Op::k_rsqrtss:
    case Op::k_dpps:
    case Op::k_dppd: return false;
    default: return true;
  }
}

std::vector<uint8_t> random_vex(Random& r) {
  std::vector<uint8_t> b;
  if (r.below(4) == 0) b.push_back(0x67);
  const unsigned map = 1 + static_cast<unsigned>(r.below(3)), pp = static_cast<unsigned>(r.below(4)),
                 l = static_cast<unsigned>(r.below(2));
  const unsigned vvvv = r.below(4) ? static_cast<unsigned>(r.below(16)) : 15;
  const auto last = static_cast<uint8_t>(vvvv << 3 | l << 2 | pp);
  if (map == 1 && r.below(2)) {
    b.push_back(0xc5);
    b.push_back(static_cast<uint8_t>((r.next() & 0x80) | last));
  } else {
    b.push_back(0xc4);
    b.push_back(static_cast<uint8_t>((r.next() & 0xe0) | map));
    b.push_back(static_cast<uint8_t>((r.below(3) ? 0 : 0x80) | last));
  }
  while (b.size() < 15) b.push_back(static_cast<uint8_t>(r.next()));
  return b;
}
std::vector<uint8_t> random_legacy(Random& r) {
  std::vector<uint8_t> b;
  static constexpr uint8_t kPrefix[] = {0, 0x66, 0xf3};
  const uint8_t prefix = kPrefix[r.below(3)];
  if (prefix) b.push_back(prefix);
  if (r.below(2)) b.push_back(static_cast<uint8_t>(0x40 | r.below(16)));
  b.push_back(0x0f);
  static constexpr uint16_t kOpcodes[] = {0xbc,   0xbd,   0x38f6, 0x38c8, 0x38c9, 0x38ca, 0x38cb, 0x38cc, 0x38cd,
                                          0x38db, 0x38dc, 0x38dd, 0x38de, 0x38df, 0x3a44, 0x3acc, 0x3adf};
  const uint16_t opcode = kOpcodes[r.below(std::size(kOpcodes))];
  if (opcode >> 8) b.push_back(static_cast<uint8_t>(opcode >> 8));
  b.push_back(static_cast<uint8_t>(opcode));
  while (b.size() < 15) b.push_back(static_cast<uint8_t>(r.next()));
  return b;
}

bool make_case(Random& r, Case& k, YmmHigh& high) {
  k.bytes = r.below(4) ? random_vex(r) : random_legacy(r);
  if (decode(k.bytes, CodeMode::k64, k.d) != DecodeStatus::kOk || !is_extended(k.d.op) || !same_everywhere(k.d.inner))
    return false;
  if (k.d.has_mem) {
    // [register] or [register + index], so that memory is mostly where there is some; a SIB byte keeps its index.
    uint8_t* modrm = nullptr;
    for (uint8_t& at : k.bytes)
      if (&at > &k.bytes[0] && at == k.d.modrm) {
        modrm = &at;
        break;
      }
    if (k.d.rip_relative || (k.d.modrm >> 6) == 2 || k.d.base == kNoReg || k.d.seg == kFs || k.d.seg == kGs ||
        modrm == nullptr)
      return false;
  }
  k.bytes.resize(k.d.len);
  for (uint64_t& g : k.before.gpr) g = random_gpr(r);
  if (k.d.has_mem && r.below(8)) {
    k.before.gpr[k.d.base] = kWindow + kWindowSize / 2 - 32 + (r.below(2) ? 0 : r.below(64));
    if (k.d.index != kNoReg && k.d.index != k.d.base) k.before.gpr[k.d.index] = r.below(64);
  }
  k.before.rflags = 0x202 | (r.next() & (kArithFlags | kDF_));
  k.before.rip = kInsnAddress;
  random_fx(r, k.before.fx);
  for (auto& h : high) h = random_vector(r, static_cast<Data>(r.below(3)));
  // Of gathers the indices are to be small, and their scale too.
  const bool gathers = k.d.op >= Op::k_vpgatherdd && k.d.op <= Op::k_vgatherqpd;
  if (gathers && r.below(8)) {
    const bool quads = k.d.op == Op::k_vpgatherqd || k.d.op == Op::k_vpgatherqq || k.d.op == Op::k_vgatherqps ||
                       k.d.op == Op::k_vgatherqpd;
    const uint64_t mask = quads ? 63 : 0x3f0000003f;
    for (uint64_t& q : k.before.fx.xmm[k.d.index]) q &= mask;
    for (uint64_t& q : high[k.d.index]) q &= mask;
  }
  return true;
}

// All of the model: bits of CPUID leaves 7 (bmi1 avx2 bmi2 adx sha), 1 (pclmulqdq aes avx) and 80000001 (lzcnt).
bool host_has_it() {
  constexpr unsigned kLeaf7 = 1u << 3 | 1u << 5 | 1u << 8 | 1u << 19 | 1u << 29, kLeaf1 = 1u << 1 | 1u << 25 | 1u << 28;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__builtin_cpu_supports("avx2") || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & kLeaf7) != kLeaf7)
    return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & kLeaf1) != kLeaf1) return false;
  return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 5);
}

TEST(Host, ExtendedInstructionsDoWhatTheHostsProcessorDoes) {
  if (!host_has_it()) GTEST_SKIP() << "this host's processor has not all that dejavm-v2 has";
  const char* seed_text = std::getenv("DEJAVM_SEED");
  const char* cases_text = std::getenv("DEJAVM_CASES");
  const uint64_t seed = seed_text ? std::strtoull(seed_text, nullptr, 0) : 1,
                 cases = cases_text ? std::strtoull(cases_text, nullptr, 0) : 60'000;
  ExtendedGuest guest;
  Differences differences;
  std::map<std::string, unsigned> done;
  auto* host_window = reinterpret_cast<uint8_t*>(kWindow);
  std::vector<uint8_t> initial(kWindowSize), host_memory(kWindowSize);
  Random fill(seed);
  for (uint8_t& b : initial) b = static_cast<uint8_t>(fill.next());
  for (uint64_t n = 0; n < cases; ++n) {
    Random r(seed * 0x100000001b3 + n * 0x9e3779b97f4a7c15);
    Case k{};
    YmmHigh high{};
    while (!make_case(r, k, high)) k = {};
    const std::string name(k.d.op == Op::k_vex ? "v" + std::string(op_name(k.d.inner)) : op_name(k.d.op));
    ++done[name];
    UserState host = k.before, ours;
    YmmHigh host_high = high;
    {
      UserState warm{};
      warm.fx.fcw = 0x37f;
      warm.fx.mxcsr = 0x1f80;
      YmmHigh none{};
      const uint8_t nop[] = {0x90};
      if (n == 0) run_on_host(nop, warm, none);
    }
    std::memcpy(guest.window(), initial.data(), kWindowSize);
    guest.put(k);
    for (unsigned i = 0; i < 16; ++i) guest.avx().ymm_high[i].q = high[i];
    const int vector = guest.execute(k, ours);
    if (guest.met_the_harness) continue;
    std::memcpy(host_window, initial.data(), kWindowSize);
    const int signal = run_on_host(k.bytes, host, host_high);
    std::memcpy(host_memory.data(), host_window, kWindowSize);
    std::string what = difference(k, host, signal, ours, vector, host_memory, guest.window());
    if (what.empty())
      for (unsigned i = 0; i < 16; ++i)
        for (unsigned h = 0; h < 2; ++h)
          if (host_high[i][h] != guest.avx().ymm_high[i].q[h])
            what += "ymm" + std::to_string(i) + ": host " + hex(host_high[i][h]) + ", ours " +
                    hex(guest.avx().ymm_high[i].q[h]) + "\n";
    if (!what.empty()) differences.add({k.d, k.before, host, signal, ours, vector}, name, n, what);
  }
  std::printf("%llu cases of %zu operations, seed %llu\n", static_cast<unsigned long long>(cases), done.size(),
              static_cast<unsigned long long>(seed));
  differences.finish(seed);
}

}  // namespace
}  // namespace dejavm::soft
