// The AVX forms of SSE operations: the SSE operation on each half, in two registers that are lent for it, with the
// sources put in place. So that what an operation computes, and how it faults, is written once.
#include "vmm/soft/decode/vex.h"
#include "vmm/soft/avx/operands.h"

namespace dejavm::soft {
namespace {

using avx::Ymm;

constexpr unsigned kFirst = 2, kSecond = 3;  // the registers that are lent; register 0 is implicit in some operations

class Lent {
 public:
  explicit Lent(Cpu& c) : c_(c), first_(sse::get_xmm(c, kFirst)), second_(sse::get_xmm(c, kSecond)) {}
  ~Lent() {
    sse::set_xmm(c_, kFirst, first_);
    sse::set_xmm(c_, kSecond, second_);
  }

 private:
  Cpu& c_;
  __m128i first_, second_;
};

bool is_plain_move(Op op) {
  switch (op) {
    case Op::k_movups:
    case Op::k_movupd:
    case Op::k_movaps:
    case Op::k_movapd:
    case Op::k_movdqa:
    case Op::k_movdqu:
    case Op::k_movntps:
    case Op::k_movntpd:
    case Op::k_movntdq:
    case Op::k_movntdqa:
    case Op::k_lddqu: return true;
    default: return false;
  }
}
bool needs_alignment(Op op) {
  switch (op) {
    case Op::k_movaps:
    case Op::k_movapd:
    case Op::k_movdqa:
    case Op::k_movntps:
    case Op::k_movntpd:
    case Op::k_movntdq:
    case Op::k_movntdqa: return true;
    default: return false;
  }
}
bool narrows(Op op) { return op == Op::k_cvtpd2ps || op == Op::k_cvttpd2dq || op == Op::k_cvtpd2dq; }
bool counts_by_register(const Decoded& d) {
  return d.inner >= Op::k_psrlw && d.inner <= Op::k_psllq && d.operands[2].kind != OperandKind::kImm;
}
bool compares(Op op) { return op == Op::k_cmpps || op == Op::k_cmppd || op == Op::k_cmpss || op == Op::k_cmpsd_x; }

// AVX has 32 predicates where SSE has eight: which relations hold, and whether a quiet NaN is an invalid operand (SDM
// vol. 2, CMPPD, table 3-1). Bit 4 turns the latter round.
enum Relation : uint8_t { kLess = 1, kEqual = 2, kGreater = 4, kUnordered = 8 };
constexpr uint8_t kHolds[16] = {kEqual,
                                kLess,
                                kLess | kEqual,
                                kUnordered,
                                kLess | kGreater | kUnordered,
                                kGreater | kEqual | kUnordered,
                                kGreater | kUnordered,
                                kLess | kEqual | kGreater,
                                kEqual | kUnordered,
                                kLess | kUnordered,
                                kLess | kEqual | kUnordered,
                                0,
                                kLess | kGreater,
                                kGreater | kEqual,
                                kGreater,
                                kLess | kEqual | kGreater | kUnordered};
bool signals(uint64_t predicate) { return (0x6666 >> (predicate & 15) & 1) != (predicate >> 4 & 1); }
// An SSE predicate with the same exceptions: LT or EQ.
uint64_t predicate_with_exceptions(uint64_t predicate) { return signals(predicate) ? 1 : 0; }

template <class T, class Bits>
__m128i compare(__m128i a, __m128i b, uint64_t predicate, bool denormals_are_zeros, unsigned count) {
  sse::Lanes<Bits> x(a), y(b);
  constexpr unsigned kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr Bits kSign = Bits{1} << (8 * sizeof(T) - 1), kInfinity = (kSign - 1) >> kMantissa << kMantissa;
  for (unsigned i = 0; i < count; ++i) {
    Bits p = x[i], q = y[i];
    if (denormals_are_zeros) {
      if (!(p & kInfinity)) p &= kSign;
      if (!(q & kInfinity)) q &= kSign;
    }
    // As integers of sign and magnitude.
    auto key = [](Bits v) {
      return v & kSign ? -static_cast<std::make_signed_t<Bits>>(v & ~kSign) : static_cast<std::make_signed_t<Bits>>(v);
    };
    const bool unordered = (p & ~kSign) > kInfinity || (q & ~kSign) > kInfinity;
    const Relation r = unordered ? kUnordered : key(p) < key(q) ? kLess : key(p) == key(q) ? kEqual : kGreater;
    x[i] = kHolds[predicate & 15] & r ? ~Bits{0} : Bits{0};
  }
  return static_cast<__m128i>(x);
}
__m128i compared(const Cpu& c, const Decoded& d, __m128i a, __m128i b) {
  const bool zeros = c.s.fpu.mxcsr & 0x40, one = d.inner == Op::k_cmpss || d.inner == Op::k_cmpsd_x;
  if (d.inner == Op::k_cmpps || d.inner == Op::k_cmpss)
    return compare<float, uint32_t>(a, b, d.imm, zeros, one ? 1 : 4);
  return compare<double, uint64_t>(a, b, d.imm, zeros, one ? 1 : 2);
}

// Immediates that say something of each half.
uint64_t imm_of_half(const Decoded& d, unsigned half) {
  switch (d.inner) {
    case Op::k_blendps: return d.imm >> (4 * half);
    case Op::k_blendpd:
    case Op::k_shufpd: return d.imm >> (2 * half);
    case Op::k_mpsadbw: return d.imm >> (3 * half);
    case Op::k_cmpps:
    case Op::k_cmppd:
    case Op::k_cmpss:
    case Op::k_cmpsd_x: return predicate_with_exceptions(d.imm);
    default: return d.imm;
  }
}

void move(Cpu& c, const Decoded& d) {
  const Operand &to = d.operands[0], &from = d.operands[1];
  const unsigned bytes = d.vex_256 ? 32 : 16;
  if (needs_alignment(d.inner) && d.has_mem) {
    const bool write = to.kind == OperandKind::kMem;
    const Access access = write ? Access::kWrite : Access::kRead;
    if (c.since(2)) c.aligned_linear(d.seg, c.effective_address(d), bytes, access);
    else if (c.linear(d.seg, c.effective_address(d), bytes, access) & (bytes - 1)) Cpu::fault(kGP, 0);
  }
  if (to.kind == OperandKind::kMem) return avx::store(c, d, avx::get_ymm(c, from.reg), bytes);
  avx::set_ymm(c, to.reg, avx::source(c, d, 1), d.vex_256);
}

void test(Cpu& c, const Decoded& d) {
  const Ymm b = avx::source(c, d, 1), a = avx::get_ymm(c, d.operands[0].reg);
  bool zf = true, cf = true;
  for (unsigned n = 0; n <= (d.vex_256 ? 1u : 0u); ++n) {
    zf = zf && _mm_testz_si128(a.half[n], b.half[n]);
    cf = cf && _mm_testc_si128(a.half[n], b.half[n]);
  }
  sse::set_flags(c, cf, false, zf, false, false);
}

// The SSE operation, with the operands that `e` has.
void legacy(Cpu& c, Decoded e) {
  e.op = e.inner;
  e.vex = false;
  exec_function(e.op)(c, e);
}

void sign_masks(Cpu& c, const Decoded& d) {
  const Ymm v = avx::get_ymm(c, d.operands[1].reg);
  uint64_t mask = 0;
  for (unsigned n = 0; n <= (d.vex_256 ? 1u : 0u); ++n) {
    if (d.inner == Op::k_pmovmskb)
      mask |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(v.half[n]))) << (16 * n);
    else if (d.inner == Op::k_movmskps)
      mask |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(v.half[n])))) << (4 * n);
    else mask |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_pd(_mm_castsi128_pd(v.half[n])))) << (2 * n);
  }
  c.set_reg(d.operands[0].reg, 4, mask);
}

// Vector in, vector out.
void halves(Cpu& c, const Decoded& d) {
  const bool wide = d.vex_256 && vex_form(d.inner).length == VexLength::kBoth;
  const bool has_imm = d.operand_count > 0 && d.operands[d.operand_count - 1].kind == OperandKind::kImm;
  const unsigned vectors = d.operand_count - (has_imm ? 1u : 0u), last = vectors - 1;
  const Operand& from = d.operands[last];
  const bool in_memory = from.kind == OperandKind::kMem,
             narrow_source = in_memory && from.size < 16 && !wide && !compares(d.inner);
  const unsigned whole = wide ? 32 : 16;
  Ymm second, result;
  if (from.kind != OperandKind::kGpr && !narrow_source) second = avx::source(c, d, last);
  // What widens takes each half's elements from half as many bytes.
  const bool widens = wide && from.size != 32 && !counts_by_register(d);
  const Ymm first = vectors == 3 || (vectors == 2 && vex_form(d.inner).shape == VexShape::kTarget)
                        ? avx::get_ymm(c, d.operands[1].reg)
                        : avx::get_ymm(c, d.operands[0].reg);
  Decoded e = d;
  e.operand_count = static_cast<uint8_t>(vectors == 3 ? d.operand_count - 1 : d.operand_count);
  e.operands[0] = {OperandKind::kXmm, kFirst, 16};
  e.operands[1] = from.kind == OperandKind::kGpr || narrow_source
                      ? from
                      : Operand{OperandKind::kXmm, kSecond, std::min<uint8_t>(from.size, 16)};
  if (has_imm) e.operands[e.operand_count - 1] = d.operands[d.operand_count - 1];
  std::optional<GuestFault> fault;
  {
    const Lent lent(c);
    for (unsigned half = 0; half <= (wide ? 1u : 0u); ++half) {
      __m128i b = second.half[half];
      if (counts_by_register(d)) b = second.half[0];
      if (widens) {
        b = _mm_setzero_si128();
        std::memcpy(&b, reinterpret_cast<const uint8_t*>(&second) + half * from.size / 2, from.size / 2);
      }
      sse::set_xmm(c, kFirst, first.half[half]);
      sse::set_xmm(c, kSecond, b);
      e.imm = imm_of_half(d, half);
      // The exceptions of both halves are told before one is raised.
      try {
        legacy(c, e);
      } catch (const GuestFault& f) {
        if (!fault) fault = f;
      }
      result.half[half] = compares(d.inner) ? compared(c, d, first.half[half], b) : sse::get_xmm(c, kFirst);
    }
  }
  if (fault) throw *fault;
  if (narrows(d.inner) && wide) {
    result.half[0] = _mm_unpacklo_epi64(result.half[0], result.half[1]);
    result.half[1] = _mm_setzero_si128();
  }
  avx::set_ymm(c, d.operands[0].reg, result, whole == 32);
}

// Shifts by an immediate: VEX.vvvv = ModRM.rm shifted.
void shift_by_immediate(Cpu& c, const Decoded& d) {
  const Ymm from = avx::get_ymm(c, d.operands[1].reg);
  Ymm result;
  Decoded e = d;
  e.operand_count = 2;
  e.operands[0] = {OperandKind::kXmm, kFirst, 16};
  e.operands[1] = d.operands[2];
  {
    const Lent lent(c);
    for (unsigned half = 0; half <= (d.vex_256 ? 1u : 0u); ++half) {
      sse::set_xmm(c, kFirst, from.half[half]);
      legacy(c, e);
      result.half[half] = sse::get_xmm(c, kFirst);
    }
  }
  avx::set_ymm(c, d.operands[0].reg, result, d.vex_256);
}

bool shifts_by_immediate(const Decoded& d) {
  return d.operand_count == 3 && d.operands[2].kind == OperandKind::kImm && d.inner >= Op::k_psrlw &&
         d.inner <= Op::k_pslldq;
}

}  // namespace

void exec_vex(Cpu& c, const Decoded& d) {
  avx::check_avx(c);
  if (is_plain_move(d.inner)) return move(c, d);
  switch (d.inner) {
    case Op::k_ptest: return test(c, d);
    case Op::k_movmskps:
    case Op::k_movmskpd:
    case Op::k_pmovmskb: return sign_masks(c, d);
    case Op::k_ucomiss:
    case Op::k_ucomisd:
    case Op::k_comiss:
    case Op::k_comisd:
    case Op::k_pcmpestri:
    case Op::k_pcmpistri:
    case Op::k_maskmovdqu: return legacy(c, d);
    case Op::k_pcmpestrm:
    case Op::k_pcmpistrm:
      legacy(c, d);
      c.avx.ymm_high[0] = {};
      return;
    default: break;
  }
  if (d.operands[0].kind != OperandKind::kXmm) return legacy(c, d);
  if (shifts_by_immediate(d)) return shift_by_immediate(c, d);
  // A store between registers: of MOVQ and MOVSS, whose encoding names the destination last.
  halves(c, d);
}

}  // namespace dejavm::soft
