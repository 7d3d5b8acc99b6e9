// Shifts, rotates and multiplications of 32 and 64 bits. Flags that the manuals leave undefined are computed as in
// integer/exec_shift.cc and integer/exec_muldiv.cc (docs/cpu.md); the host computes SF, ZF and PF of the result.
#include <bit>
#include <type_traits>

#include "vmm/soft/blocks/hot.h"

namespace dejavm::soft {
namespace {

// Bits of Cpu::arith.
constexpr uint16_t kArithCF = 0x100, kArithOF = 1, kArithSZP = 0xc400;

template <class T>
uint16_t szp(T v) {
  uint16_t ax;
  asm("test %[v], %[v]\n\tlahf" : "=a"(ax) : [v] "r"(v) : "cc");
  return ax & kArithSZP;
}
inline uint16_t carry_overflow(bool carry, bool overflow) {
  return static_cast<uint16_t>((carry ? kArithCF : 0) | (overflow ? kArithOF : 0));
}
template <class T>
bool top(T v) {
  return v >> (8 * sizeof(T) - 1);
}
template <class T>
bool top_bits_differ(T v) {
  return top(static_cast<T>(v ^ v << 1));
}

// n is 1 to 31 or 63.
struct Shl {
  template <class T>
  static T apply(T a, unsigned n, uint16_t& f) {
    const T r = static_cast<T>(a << n);
    const bool carry = top(static_cast<T>(a << (n - 1)));
    f = static_cast<uint16_t>(szp(r) | carry_overflow(carry, top(r) != carry));
    return r;
  }
};
struct Shr {
  template <class T>
  static T apply(T a, unsigned n, uint16_t& f) {
    const T r = static_cast<T>(a >> n);
    f = static_cast<uint16_t>(szp(r) | carry_overflow(a >> (n - 1) & 1, top_bits_differ(r)));
    return r;
  }
};
struct Sar {
  template <class T>
  static T apply(T a, unsigned n, uint16_t& f) {
    const auto v = static_cast<std::make_signed_t<T>>(a);
    const T r = static_cast<T>(v >> n);
    f = static_cast<uint16_t>(szp(r) | carry_overflow(v >> (n - 1) & 1, false));
    return r;
  }
};
struct Rol {
  template <class T>
  static T apply(T a, unsigned n, uint16_t& f) {
    const T r = std::rotl(a, static_cast<int>(n));
    f = static_cast<uint16_t>((f & ~(kArithCF | kArithOF)) | carry_overflow(r & 1, top(r) != (r & 1)));
    return r;
  }
};
struct Ror {
  template <class T>
  static T apply(T a, unsigned n, uint16_t& f) {
    const T r = std::rotr(a, static_cast<int>(n));
    f = static_cast<uint16_t>((f & ~(kArithCF | kArithOF)) | carry_overflow(top(r), top_bits_differ(r)));
    return r;
  }
};

// What sees no flags.
struct QuietShl {
  template <class T>
  static T apply(T a, unsigned n, uint16_t&) {
    return static_cast<T>(a << n);
  }
};
struct QuietShr {
  template <class T>
  static T apply(T a, unsigned n, uint16_t&) {
    return static_cast<T>(a >> n);
  }
};
struct QuietSar {
  template <class T>
  static T apply(T a, unsigned n, uint16_t&) {
    return static_cast<T>(static_cast<std::make_signed_t<T>>(a) >> n);
  }
};
struct QuietRol {
  template <class T>
  static T apply(T a, unsigned n, uint16_t&) {
    return std::rotl(a, static_cast<int>(n));
  }
};
struct QuietRor {
  template <class T>
  static T apply(T a, unsigned n, uint16_t&) {
    return std::rotr(a, static_cast<int>(n));
  }
};

template <class T>
constexpr unsigned kCountMask = 8 * sizeof(T) - 1;

template <class F, class T>
const Insn* by_immediate(Cpu& c, const Insn* i) {  // the lowering masked imm; it is not 0
  put<T>(c, i->dst, F::template apply<T>(reg_at<T>(c, i->dst), static_cast<unsigned>(i->imm), c.arith));
  DEJAVM_NEXT();
}
template <class F, class T>
const Insn* by_cl(Cpu& c, const Insn* i) {
  const unsigned n = static_cast<unsigned>(c.r[kRcx]) & kCountMask<T>;
  const T a = reg_at<T>(c, i->dst);
  put<T>(c, i->dst, n == 0 ? a : F::template apply<T>(a, n, c.arith));
  DEJAVM_NEXT();
}
template <class F, class T>
const Insn* memory_by_immediate(Cpu& c, const Insn* i) {
  auto* p = writable<T>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = F::template apply<T>(*p, static_cast<unsigned>(i->imm), c.arith);
  DEJAVM_NEXT();
}

template <class F, class T>
Handler shift_form(Form form) {
  return form == Form::kRI   ? by_immediate<F, T>
         : form == Form::kRR ? by_cl<F, T>
         : form == Form::kMI ? memory_by_immediate<F, T>
                             : nullptr;
}
template <class F>
Handler shift(Form form, unsigned size) {
  return size == 4 ? shift_form<F, uint32_t>(form) : size == 8 ? shift_form<F, uint64_t>(form) : nullptr;
}

// --- multiplication ---

template <class T>
T multiply(T a, T b, uint16_t& f) {
  std::make_signed_t<T> r;
  const bool overflow =
      __builtin_mul_overflow(static_cast<std::make_signed_t<T>>(a), static_cast<std::make_signed_t<T>>(b), &r);
  f = static_cast<uint16_t>(szp(static_cast<T>(r)) | carry_overflow(overflow, overflow));
  return static_cast<T>(r);
}
template <class T>
const Insn* imul_rr(Cpu& c, const Insn* i) {
  put<T>(c, i->dst, multiply<T>(reg_at<T>(c, i->dst), reg_at<T>(c, i->src), c.arith));
  DEJAVM_NEXT();
}
template <class T>
const Insn* imul_rm(Cpu& c, const Insn* i) {
  const auto* p = readable<T>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  put<T>(c, i->dst, multiply<T>(reg_at<T>(c, i->dst), *p, c.arith));
  DEJAVM_NEXT();
}
template <class T>
const Insn* imul_rri(Cpu& c, const Insn* i) {
  put<T>(c, i->dst, multiply<T>(reg_at<T>(c, i->src), static_cast<T>(i->imm), c.arith));
  DEJAVM_NEXT();
}
template <class T>
const Insn* imul_rmi(Cpu& c, const Insn* i) {
  const auto* p = readable<T>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  put<T>(c, i->dst, multiply<T>(*p, static_cast<T>(i->imm), c.arith));
  DEJAVM_NEXT();
}

template <class T>
void multiply_wide(Cpu& c, T by) {
  const auto p = static_cast<unsigned __int128>(reg_at<T>(c, kRax * 8)) * by;
  const T low = static_cast<T>(p), high = static_cast<T>(p >> (8 * sizeof(T)));
  put<T>(c, kRax * 8, low);
  put<T>(c, kRdx * 8, high);
  c.arith = static_cast<uint16_t>(szp(low) | carry_overflow(high != 0, high != 0));
}
template <class T>
const Insn* mul_r(Cpu& c, const Insn* i) {
  multiply_wide<T>(c, reg_at<T>(c, i->dst));
  DEJAVM_NEXT();
}
template <class T>
const Insn* mul_m(Cpu& c, const Insn* i) {
  const auto* p = readable<T>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  multiply_wide<T>(c, *p);
  DEJAVM_NEXT();
}

template <class T>
Handler multiply_handler(Op op, Form form) {
  if (op == Op::k_mul) return form == Form::kR ? mul_r<T> : form == Form::kM ? mul_m<T> : nullptr;
  return form == Form::kRR    ? imul_rr<T>
         : form == Form::kRM  ? imul_rm<T>
         : form == Form::kRRI ? imul_rri<T>
         : form == Form::kRMI ? imul_rmi<T>
                              : nullptr;
}

}  // namespace

Handler quiet_shift_handler(Op op, Form form, unsigned size) {
  if (form != Form::kRI) return nullptr;
  switch (op) {
    case Op::k_shl: return shift<QuietShl>(form, size);
    case Op::k_shr: return shift<QuietShr>(form, size);
    case Op::k_sar: return shift<QuietSar>(form, size);
    case Op::k_rol: return shift<QuietRol>(form, size);
    case Op::k_ror: return shift<QuietRor>(form, size);
    default: return nullptr;
  }
}

Handler shift_handler(Op op, Form form, unsigned size) {
  switch (op) {
    case Op::k_shl: return shift<Shl>(form, size);
    case Op::k_shr: return shift<Shr>(form, size);
    case Op::k_sar: return shift<Sar>(form, size);
    case Op::k_rol: return shift<Rol>(form, size);
    case Op::k_ror: return shift<Ror>(form, size);
    case Op::k_mul:
    case Op::k_imul:
      return size == 4   ? multiply_handler<uint32_t>(op, form)
             : size == 8 ? multiply_handler<uint64_t>(op, form)
                         : nullptr;
    default: return nullptr;
  }
}

}  // namespace dejavm::soft
