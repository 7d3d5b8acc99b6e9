// What tests of random instructions on the host's own processor share: a case, its random state, a guest in user mode
// whose memory is at the host's addresses, and the comparison.
#pragma once

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/vmm/soft/engine/guest.h"
#include "tests/vmm/soft/native/host_cpu.h"
#include "tests/vmm/soft/sse/values.h"
#include "vmm/soft/undefined.h"

namespace dejavm::soft {

struct Case {
  std::vector<uint8_t> bytes;
  Decoded d;
  UserState before;
  bool compat = false;  // 16- or 32-bit code: eight registers of 32 bits count
};

// Where results and flags change: zero, one, all ones, and the ends of each size's range.
inline uint64_t boundary_gpr(Random& r) {
  static constexpr uint64_t kEnds[] = {0,      1,      0x7f,       0x80,       0xff,      0x7fff,
                                       0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
  const uint64_t end = kEnds[r.below(std::size(kEnds))];
  switch (r.below(4)) {
    case 0: return ~end;
    case 1: return end << 32 | end;
    default: return end;
  }
}

inline uint64_t random_gpr(Random& r) {
  switch (r.below(10)) {
    case 8:
    case 9: return boundary_gpr(r);
    case 0:
    case 1:
    case 2: return kWindow + kWindowSize / 2 - 64 + r.below(128);
    case 3: return kWindow + r.below(kWindowSize);
    case 4: return r.below(64);
    case 5: return ~uint64_t{0} - r.below(64);
    case 6: return r.next() >> r.below(64);
    default: return r.next();
  }
}

inline void random_fx(Random& r, FxImage& fx) {
  fx = FxImage{};
  fx.fcw = static_cast<uint16_t>(r.below(4) ? 0x37f | (r.below(4) << 10) : 0x40 | (r.next() & 0xf3f));
  fx.fsw = static_cast<uint16_t>(r.next() & 0x7f00 & ~0x80);
  if (r.below(4) == 0) fx.fsw |= static_cast<uint16_t>(r.next() & 0x7f & (fx.fcw | 0x40));  // only masked ones
  if (r.below(64) == 0) fx.fsw |= 0x3f;
  if (fx.fsw & ~fx.fcw & 0x3f) fx.fsw |= 0x8080;
  else fx.fsw &= 0x7f7f;
  fx.ftw = static_cast<uint8_t>(r.below(3) ? 0xff : r.next());
  fx.mxcsr = 0x1f80 | (r.below(4) << 13);
  for (auto& st : fx.st) {
    st.mantissa = r.below(8) ? r.next() | uint64_t{1} << 63 : r.below(2) ? r.next() : 0;
    const unsigned kind = r.below(8);
    st.exponent = static_cast<uint16_t>((r.next() & 0x8000) | (kind < 5    ? 16383 - 32 + r.below(80)
                                                               : kind == 5 ? 0
                                                               : kind == 6 ? 0x7fff
                                                                           : r.next() & 0x7fff));
    if (r.below(6) == 0) st.mantissa = uint64_t{1} << 63;
  }
  for (auto& x : fx.xmm) x = random_vector(r, static_cast<Data>(r.below(3)));
}

// --- the guest: CPL 3 with the window and the instruction's page at the host's addresses ---

struct UserGuest : Guest {
  static constexpr uint64_t kWindowGpa = 0x400000, kInsnGpa = 0x500000, kTss = 0xb000;
  explicit UserGuest(const char* model = "dejavm-v1") : Guest(true, {.on = true, .threshold = 2}, model) {
    // What the fixture maps is the kernel's.
    for (uint64_t e = 0; e < 8 * 512; ++e) write<uint64_t>(kPt + 8 * e, e << 12 | 3);
    map(kWindow, kWindowGpa, kWindowSize);
    map(kInsnAddress & ~0xfffull, kInsnGpa, 0x1000);
    write<uint64_t>(kTss + 4, kStack);  // RSP0
  }
  uint64_t next_table = 0x20000;
  void map(uint64_t linear, uint64_t gpa, uint64_t len) {
    const uint64_t pde = kPd + 8 * (linear >> 21 & 0x1ff);
    write<uint64_t>(pde, next_table | 7);
    for (uint64_t p = 0; p < len; p += 4096)
      write<uint64_t>(next_table + 8 * ((linear + p) >> 12 & 0x1ff), (gpa + p) | 7);
    next_table += 4096;
  }
  uint8_t* window() { return memory->page(Gpa{kWindowGpa}); }

  void put(const Case& k) {
    VcpuState s = fresh;
    std::copy(k.before.gpr.begin(), k.before.gpr.end(), s.gpr.begin());
    s.rip = k.before.rip;
    s.rflags = k.before.rflags;
    const FxImage& fx = k.before.fx;
    s.fpu.fcw = fx.fcw;
    s.fpu.fsw = fx.fsw;
    s.fpu.ftw = fx.ftw;
    s.fpu.mxcsr = fx.mxcsr;
    for (unsigned n = 0; n < 16; ++n) s.fpu.xmm[n].q = fx.xmm[n];
    for (unsigned n = 0; n < 8; ++n) {
      const unsigned p = (n + (fx.fsw >> 11)) & 7;
      s.fpu.st_mantissa[p] = fx.st[n].mantissa;
      s.fpu.st_exponent[p] = fx.st[n].exponent;
    }
    engine->set_state(0, s);
    code({reinterpret_cast<const char*>(k.bytes.data()), k.bytes.size()}, kInsnGpa + (kInsnAddress & 0xfff));
    memory_flush();
  }
  void memory_flush() { engine->memory_written(Gpa{kWindowGpa}, kWindowSize); }

  // The instruction that execute() was given last goes to an address where by chance the test's own process has memory:
  // it is not to be tried on the host.
  bool met_the_harness = false;

  // Executes the instruction, all iterations of it. The vector of the fault that it took, or -1.
  int execute(const Case& k, UserState& after) {
    VcpuState s;
    for (uint64_t n = 1; n < 100'000; ++n) {
      run_to(n);
      s = state();
      if (s.activity == Activity::kHalted || s.rip != k.before.rip) break;
    }
    int vector = -1;
    met_the_harness = false;
    if (s.activity == Activity::kHalted) {  // at the handler of vector v: 0x9000 + v, and past its HLT
      vector = static_cast<int>(s.rip - 0x9001);
      const bool has_error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
      const uint64_t frame = s.gpr[kRsp] + (has_error ? 8 : 0);
      s.rip = read<uint64_t>(frame);
      s.rflags = read<uint64_t>(frame + 16);
      s.gpr[kRsp] = read<uint64_t>(frame + 24);
      constexpr int kPageFault = 14;
      met_the_harness = vector == kPageFault && is_mapped_on_host(s.cr2);
    }
    after = k.before;
    std::copy(s.gpr.begin(), s.gpr.end(), after.gpr.begin());
    after.rip = s.rip;
    after.rflags = s.rflags;
    after.fx.fcw = s.fpu.fcw;
    after.fx.fsw = s.fpu.fsw;
    after.fx.ftw = s.fpu.ftw;
    after.fx.mxcsr = s.fpu.mxcsr;
    for (unsigned n = 0; n < 16; ++n) after.fx.xmm[n] = s.fpu.xmm[n].q;
    for (unsigned n = 0; n < 8; ++n) {
      const unsigned p = (n + (s.fpu.fsw >> 11)) & 7;
      after.fx.st[n].mantissa = s.fpu.st_mantissa[p];
      after.fx.st[n].exponent = s.fpu.st_exponent[p];
    }
    return vector;
  }

  VcpuState fresh = [this] {
    VcpuState s = state();
    s.segment[kCs] = {0x1b, static_cast<uint16_t>(kSegP | kSegS | kSegG | 0x60 | 0xb | kSegL), 0xffffffff, 0};
    for (unsigned seg : {kDs, kEs, kSs, kFs, kGs})
      s.segment[seg] = {0x23, static_cast<uint16_t>(kSegP | kSegS | kSegG | 0x60 | 3 | kSegDb), 0xffffffff, 0};
    s.segment[kTr] = {0x28, 0x8b, 0x67, kTss};
    return s;
  }();
};

inline int signal_of(int vector) {
  switch (vector) {
    case -1: return 0;
    case kDE:
    case kMF:
    case kXM: return SIGFPE;
    case kUD: return SIGILL;
    case kBP:
    case kDB: return SIGTRAP;
    case kGP:
    case kPF:
    case kOF:
    case kBR: return SIGSEGV;
    case kSS_:
    case kAC: return SIGBUS;
    default: return -1;
  }
}

inline std::string hex(uint64_t v) {
  char s[20];
  std::snprintf(s, sizeof s, "%016llx", static_cast<unsigned long long>(v));
  return s;
}

inline std::string difference(const Case& k, const UserState& host, int signal, const UserState& ours, int vector,
                              const std::vector<uint8_t>& host_memory, const uint8_t* our_memory) {
  std::string out;
  auto compare = [&](const std::string& what, uint64_t h, uint64_t g) {
    if (h != g) out += what + ": host " + hex(h) + ", ours " + hex(g) + "\n";
  };
  compare("signal", static_cast<uint64_t>(signal), static_cast<uint64_t>(signal_of(vector)));
  if (!out.empty()) return out + "our vector: " + std::to_string(vector) + "\n";
  if (signal != SIGTRAP) compare("rip", host.rip, ours.rip);
  const uint64_t undefined =
      signal ? kArithFlags * (k.d.op == Op::k_div || k.d.op == Op::k_idiv) : undefined_flags(k.d, k.before.gpr[kRcx]);
  compare("flags", host.rflags & (kArithFlags | kDF_) & ~undefined, ours.rflags & (kArithFlags | kDF_) & ~undefined);
  if (destination_is_undefined(k.d, k.before.gpr[kRcx])) return out;
  const uint64_t counts = k.compat ? 0xffffffff : ~uint64_t{0};
  for (unsigned n = 0; n < (k.compat ? 8 : 16); ++n)
    compare("gpr " + std::to_string(n), host.gpr[n] & counts, ours.gpr[n] & counts);
  compare("fcw", host.fx.fcw, ours.fx.fcw);
  compare("fsw", host.fx.fsw, ours.fx.fsw);
  compare("ftw", host.fx.ftw, ours.fx.ftw);
  compare("mxcsr", host.fx.mxcsr, ours.fx.mxcsr);
  for (unsigned n = 0; n < 16; ++n)
    for (unsigned h = 0; h < 2; ++h) compare("xmm" + std::to_string(n), host.fx.xmm[n][h], ours.fx.xmm[n][h]);
  for (unsigned n = 0; n < 8; ++n) {
    compare("st" + std::to_string(n), host.fx.st[n].mantissa, ours.fx.st[n].mantissa);
    compare("exponent of st" + std::to_string(n), host.fx.st[n].exponent, ours.fx.st[n].exponent);
  }
  for (uint64_t a = 0; a < host_memory.size(); ++a)
    if (host_memory[a] != our_memory[a]) {
      compare("memory " + hex(kWindow + a), host_memory[a], our_memory[a]);
      break;
    }
  return out;
}

}  // namespace dejavm::soft
