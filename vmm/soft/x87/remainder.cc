// FPREM and FPREM1. Where the exponents differ by less than 64 the result is exact and the same on every processor: the
// host's. Beyond, the manuals leave to the processor by how many bits one step reduces (SDM vol. 2, FPREM: 32 to 63);
// ours is always 63, computed in integers, and C0, C1 and C3 are 0.
#include "vmm/soft/x87/state.h"

namespace dejavm::soft {
namespace {

using namespace x87;

constexpr int kReducedBits = 63;

struct Number {
  uint64_t mantissa;  // normalised
  int exponent;       // as if it had no lower bound
};

bool finite_nonzero(const FpuState& f, unsigned st, Number& n) {
  if (is_empty(f, st)) return false;
  const unsigned p = physical(f, st);
  n = {f.st_mantissa[p], f.st_exponent[p] & 0x7fff};
  if (n.mantissa == 0 || n.exponent == 0x7fff || (n.exponent != 0 && !(n.mantissa >> 63))) return false;
  if (n.exponent == 0) n.exponent = 1;
  while (!(n.mantissa >> 63)) {
    n.mantissa <<= 1;
    --n.exponent;
  }
  return true;
}

void remainder(Cpu& c, const Decoded& d) {
  check_x87(c, true);
  note_instruction(c, d);
  FpuState& f = c.s.fpu;
  Number x, y;
  if (!finite_nonzero(f, 0, x) || !finite_nonzero(f, 1, y) || x.exponent - y.exponent < 64) {
    uint8_t flags = 0;
    run_on_host(f, static_cast<uint8_t>(d.opcode), d.modrm, nullptr, flags);
    return;
  }
  f.fsw &= static_cast<uint16_t>(~kConditions);
  if ((f.st_exponent[physical(f, 0)] & 0x7fff) == 0 || (f.st_exponent[physical(f, 1)] & 0x7fff) == 0) {
    f.fsw |= x87::kDE;
    update_summary(f);
    if (!(f.fcw & x87::kDE)) return;
  }
  f.fsw |= kC2;
  uint64_t rest = static_cast<uint64_t>((static_cast<unsigned __int128>(x.mantissa) << kReducedBits) % y.mantissa);
  int exponent = x.exponent - kReducedBits;
  const unsigned p = physical(f, 0);
  const uint16_t sign = f.st_exponent[p] & 0x8000;
  if (rest == 0) exponent = 0;
  while (rest != 0 && !(rest >> 63) && exponent > 1) {
    rest <<= 1;
    --exponent;
  }
  // Exact: the rest is a multiple of y's last place.
  while (exponent < 1 && rest != 0) {
    rest >>= 1;
    ++exponent;
  }
  f.st_mantissa[p] = rest;
  f.st_exponent[p] = static_cast<uint16_t>(sign | (rest >> 63 ? exponent : 0));
}

}  // namespace

void exec_fprem(Cpu& c, const Decoded& d) { remainder(c, d); }
void exec_fprem1(Cpu& c, const Decoded& d) { remainder(c, d); }

}  // namespace dejavm::soft
