// FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XRSTOR (SDM vol. 1, 10.5 and ch. 13; AMD APM vol. 2, 11.5). Our rules where a
// choice is left: FIP, FDP and FOP are stored as 0 unless an unmasked exception is pending, and always loaded (AMD's
// XSaveErPtr); bytes that are reserved or available to software are not written; MXCSR_MASK is ffffh; a component is in
// use (XSTATE_BV) when it differs from its initial state; XSAVEOPT leaves out exactly the components that are not.
#include "vmm/soft/x87/state.h"

namespace dejavm::soft {
namespace {

using namespace x87;

constexpr unsigned kLegacyBytes = 512, kHeaderBytes = 64, kRegisterArea = 32, kXmmArea = 160;
constexpr uint32_t kMxcsrMask = 0xffff;
constexpr uint64_t kX87 = 1, kSse = 2, kAvx = 4;
constexpr unsigned kAvxArea = kLegacyBytes + kHeaderBytes, kAvxBytes = 256;

struct [[gnu::packed]] LegacyHeader {
  uint16_t fcw, fsw;
  uint8_t ftw, reserved;
  uint16_t fop;
  uint64_t fip, fdp;
  uint32_t mxcsr, mxcsr_mask;
};
static_assert(sizeof(LegacyHeader) == 32);

unsigned xmm_count(const Cpu& c) { return c.long64() ? 16 : 8; }

// Without REX.W the pointers are 32-bit offsets and selectors, of which the selectors are 0.
uint64_t pointer(uint64_t v, bool wide) { return wide ? v : v & 0xffffffff; }

LegacyHeader header_of(const FpuState& f, bool wide) {
  LegacyHeader h{f.fcw, f.fsw, f.ftw, 0, 0, 0, 0, f.mxcsr, kMxcsrMask};
  if (f.fsw & kES) {
    h.fop = f.fop;
    h.fip = pointer(f.fip, wide);
    h.fdp = pointer(f.fdp, wide);
  }
  return h;
}

void put_registers(const FpuState& f, uint8_t* area) {
  for (unsigned n = 0; n < 8; ++n) {
    const unsigned p = physical(f, n);
    uint8_t* to = area + kRegisterArea + 16 * n;
    std::memcpy(to, &f.st_mantissa[p], 8);
    std::memcpy(to + 8, &f.st_exponent[p], 2);
  }
}

void load_x87(FpuState& f, const LegacyHeader& h, const uint8_t* area, bool wide) {
  f.fcw = static_cast<uint16_t>((h.fcw & kFcwWritable) | kFcwFixed1);
  set_fsw(f, h.fsw);
  f.ftw = h.ftw;
  f.fop = h.fop & 0x7ff;
  f.fip = pointer(h.fip, wide);
  f.fdp = pointer(h.fdp, wide);
  for (unsigned n = 0; n < 8; ++n) {
    const unsigned p = physical(f, n);
    const uint8_t* from = area + kRegisterArea + 16 * n;
    std::memcpy(&f.st_mantissa[p], from, 8);
    std::memcpy(&f.st_exponent[p], from + 8, 2);
  }
}

void initialise_x87(FpuState& f) {
  f.fcw = 0x37f;
  f.fsw = f.fop = 0;
  f.ftw = 0;
  f.fip = f.fdp = 0;
  f.st_mantissa = {};
  f.st_exponent = {};
}

bool x87_in_use(const FpuState& f) {
  FpuState initial;
  return f.fcw != 0x37f || f.fsw || f.ftw || f.fop || f.fip || f.fdp || f.st_mantissa != initial.st_mantissa ||
         f.st_exponent != initial.st_exponent;
}
bool sse_in_use(const FpuState& f) { return f.xmm != FpuState{}.xmm; }
bool avx_in_use(const Cpu& c) { return c.avx != VcpuAvx::State{}; }

uint64_t area_address(Cpu& c, const Decoded& d, unsigned len, unsigned alignment, Access access) {
  const uint64_t a = c.linear(d.seg, c.effective_address(d), len, access);
  if (a & (alignment - 1)) Cpu::fault(kGP, 0);
  return a;
}

void check_xsave(Cpu& c) {
  if (!(c.s.cr4 & kCr4OSXSAVE)) Cpu::fault(kUD);
  if (c.s.cr0 & kCr0TS) Cpu::fault(kNM);
}

uint64_t requested(const Cpu& c) { return c.s.xcr0 & (c.reg(kRdx, 4) << 32 | c.reg(kRax, 4)); }

void save(Cpu& c, const Decoded& d, bool optimised) {
  check_xsave(c);
  const uint64_t rfbm = requested(c);
  const unsigned bytes = kLegacyBytes + kHeaderBytes + (rfbm & kAvx ? kAvxBytes : 0);
  const uint64_t at = area_address(c, d, bytes, 64, Access::kWrite);
  c.probe_write(at, bytes);
  const FpuState& f = c.s.fpu;
  const uint64_t in_use = (x87_in_use(f) ? kX87 : 0) | (sse_in_use(f) ? kSse : 0) | (avx_in_use(c) ? kAvx : 0);
  const uint64_t written = optimised ? rfbm & in_use : rfbm;
  uint8_t area[kLegacyBytes + 8];
  c.read_linear(at, area, sizeof area);
  const LegacyHeader h = header_of(f, d.rex & 8);
  if (written & kX87) {
    std::memcpy(area, &h, 24);
    area[5] = 0;
    put_registers(f, area);
  }
  if (rfbm & (kSse | kAvx)) std::memcpy(area + 24, &h.mxcsr, 8);
  if (written & kSse) std::memcpy(area + kXmmArea, f.xmm.data(), 16 * xmm_count(c));
  uint64_t bv;
  std::memcpy(&bv, area + kLegacyBytes, 8);
  bv = (bv & ~rfbm) | (rfbm & in_use);
  std::memcpy(area + kLegacyBytes, &bv, 8);
  c.write_linear(at, area, sizeof area);
  if (written & kAvx) c.write_linear(at + kAvxArea, c.avx.ymm_high.data(), 16 * xmm_count(c));
}

}  // namespace

void exec_fxsave(Cpu& c, const Decoded& d) {
  if (c.s.cr0 & (kCr0EM | kCr0TS)) Cpu::fault(kNM);
  const uint64_t at = area_address(c, d, kLegacyBytes, 16, Access::kWrite);
  c.probe_write(at, kLegacyBytes);
  const FpuState& f = c.s.fpu;
  uint8_t area[kLegacyBytes];
  c.read_linear(at, area, sizeof area);
  const LegacyHeader h = header_of(f, d.rex & 8);
  std::memcpy(area, &h, sizeof h);
  put_registers(f, area);
  std::memcpy(area + kXmmArea, f.xmm.data(), 16 * xmm_count(c));
  c.write_linear(at, area, sizeof area);
}

void exec_fxrstor(Cpu& c, const Decoded& d) {
  if (c.s.cr0 & (kCr0EM | kCr0TS)) Cpu::fault(kNM);
  uint8_t area[kLegacyBytes];
  c.read_linear(area_address(c, d, kLegacyBytes, 16, Access::kRead), area, sizeof area);
  LegacyHeader h;
  std::memcpy(&h, area, sizeof h);
  if (h.mxcsr & ~kMxcsrMask) Cpu::fault(kGP, 0);
  FpuState& f = c.s.fpu;
  load_x87(f, h, area, d.rex & 8);
  f.mxcsr = h.mxcsr;
  std::memcpy(f.xmm.data(), area + kXmmArea, 16 * xmm_count(c));
}

void exec_xsave(Cpu& c, const Decoded& d) { save(c, d, false); }
void exec_xsaveopt(Cpu& c, const Decoded& d) { save(c, d, true); }

void exec_xrstor(Cpu& c, const Decoded& d) {
  check_xsave(c);
  uint8_t area[kLegacyBytes + kHeaderBytes];
  const uint64_t at = area_address(c, d, sizeof area, 64, Access::kRead);
  c.read_linear(at, area, sizeof area);
  std::array<uint64_t, 8> header;
  std::memcpy(header.data(), area + kLegacyBytes, sizeof header);
  const uint64_t bv = header[0], rfbm = requested(c);
  // XCOMP_BV and the eight bytes after it: the standard form only.
  if ((bv & ~c.s.xcr0) || header[1] || header[2]) Cpu::fault(kGP, 0);
  LegacyHeader h;
  std::memcpy(&h, area, sizeof h);
  if ((rfbm & (kSse | kAvx)) && (h.mxcsr & ~kMxcsrMask)) Cpu::fault(kGP, 0);
  VcpuAvx::State avx;
  if (rfbm & bv & kAvx) c.read_linear(at + kAvxArea, avx.ymm_high.data(), 16 * xmm_count(c));
  FpuState& f = c.s.fpu;
  if (rfbm & kX87) bv& kX87 ? load_x87(f, h, area, d.rex & 8) : initialise_x87(f);
  if (rfbm & (kSse | kAvx)) f.mxcsr = h.mxcsr;
  if (rfbm & kAvx)
    for (unsigned n = 0; n < xmm_count(c); ++n) c.avx.ymm_high[n] = avx.ymm_high[n];
  if (rfbm & kSse) {
    for (unsigned n = 0; n < xmm_count(c); ++n) {
      if (bv & kSse) std::memcpy(&f.xmm[n], area + kXmmArea + 16 * n, 16);
      else f.xmm[n] = {};
    }
  }
}

}  // namespace dejavm::soft
