// Arithmetic and logic on registers, immediates and memory. The host computes the defined flags: LAHF and SETO leave
// them in the form Cpu::arith keeps.
#include "vmm/soft/blocks/hot.h"

namespace dejavm::soft {
namespace {

constexpr uint16_t kNoAF = 0xefff;  // AF is bit 12 of Cpu::arith; logic clears it (docs/cpu.md)

#define DEJAVM_BINARY(Name, insn, mask)                                                          \
  struct Name {                                                                                  \
    static constexpr bool kWrites = true;                                                        \
    template <class T>                                                                           \
    static T apply(T a, T b, uint16_t& f) {                                                      \
      uint16_t ax;                                                                               \
      asm(insn " %[b], %[a]\n\tlahf\n\tseto %%al" : [a] "+q"(a), "=&a"(ax) : [b] "q"(b) : "cc"); \
      f = ax & (mask);                                                                           \
      return a;                                                                                  \
    }                                                                                            \
  };
#define DEJAVM_BINARY_CARRY(Name, insn)                                                                             \
  struct Name {                                                                                                     \
    static constexpr bool kWrites = true;                                                                           \
    template <class T>                                                                                              \
    static T apply(T a, T b, uint16_t& f) {                                                                         \
      uint16_t ax = f;                                                                                              \
      asm("bt $8, %%ax\n\t" insn " %[b], %[a]\n\tlahf\n\tseto %%al" : [a] "+&q"(a), "+&a"(ax) : [b] "q"(b) : "cc"); \
      f = ax;                                                                                                       \
      return a;                                                                                                     \
    }                                                                                                               \
  };
#define DEJAVM_COMPARE(Name, insn, mask)                                                        \
  struct Name {                                                                                 \
    static constexpr bool kWrites = false;                                                      \
    template <class T>                                                                          \
    static T apply(T a, T b, uint16_t& f) {                                                     \
      uint16_t ax;                                                                              \
      asm(insn " %[b], %[a]\n\tlahf\n\tseto %%al" : "=&a"(ax) : [a] "q"(a), [b] "q"(b) : "cc"); \
      f = ax & (mask);                                                                          \
      return a;                                                                                 \
    }                                                                                           \
  };
#define DEJAVM_UNARY(Name, insn)                                                                  \
  struct Name {                                                                                   \
    template <class T>                                                                            \
    static T apply(T a, uint16_t& f) {                                                            \
      uint16_t ax = f;                                                                            \
      asm("bt $8, %%ax\n\t" insn " %[a]\n\tlahf\n\tseto %%al" : [a] "+q"(a), "+&a"(ax) : : "cc"); \
      f = ax;                                                                                     \
      return a;                                                                                   \
    }                                                                                             \
  };

DEJAVM_BINARY(Add, "add", 0xffff)
DEJAVM_BINARY(Sub, "sub", 0xffff)
// Logic: OF and CF are 0.
#define DEJAVM_LOGIC(Name, insn)                                                     \
  struct Name {                                                                      \
    static constexpr bool kWrites = true;                                            \
    template <class T>                                                               \
    static T apply(T a, T b, uint16_t& f) {                                          \
      uint16_t ax = 0;                                                               \
      asm(insn " %[b], %[a]\n\tlahf" : [a] "+&q"(a), "+&a"(ax) : [b] "q"(b) : "cc"); \
      f = ax & kNoAF;                                                                \
      return a;                                                                      \
    }                                                                                \
  };
DEJAVM_LOGIC(And, "and")
DEJAVM_LOGIC(Or, "or")
DEJAVM_LOGIC(Xor, "xor")

// What sees no flags.
#define DEJAVM_QUIET(Name, expression)                     \
  struct Quiet##Name {                                     \
    static constexpr bool kWrites = true;                  \
    template <class T>                                     \
    static T apply(T a, [[maybe_unused]] T b, uint16_t&) { \
      return static_cast<T>(expression);                   \
    }                                                      \
  };
DEJAVM_QUIET(Add, a + b)
DEJAVM_QUIET(Sub, a - b)
DEJAVM_QUIET(And, a& b)
DEJAVM_QUIET(Or, a | b)
DEJAVM_QUIET(Xor, a ^ b)
struct QuietInc {
  template <class T>
  static T apply(T a, uint16_t&) {
    return static_cast<T>(a + 1);
  }
};
struct QuietDec {
  template <class T>
  static T apply(T a, uint16_t&) {
    return static_cast<T>(a - 1);
  }
};
struct QuietNeg {
  template <class T>
  static T apply(T a, uint16_t&) {
    return static_cast<T>(0 - a);
  }
};
DEJAVM_BINARY_CARRY(Adc, "adc")
DEJAVM_BINARY_CARRY(Sbb, "sbb")
DEJAVM_COMPARE(Cmp, "cmp", 0xffff)
DEJAVM_COMPARE(Test, "test", kNoAF)
DEJAVM_UNARY(Inc, "inc")
DEJAVM_UNARY(Dec, "dec")
DEJAVM_UNARY(Neg, "neg")
struct Not {
  template <class T>
  static T apply(T a, uint16_t&) {
    return static_cast<T>(~a);
  }
};

template <class F, class T>
const Insn* rr(Cpu& c, const Insn* i) {
  const T v = F::template apply<T>(reg_at<T>(c, i->dst), reg_at<T>(c, i->src), c.arith);
  if constexpr (F::kWrites) put<T>(c, i->dst, v);
  DEJAVM_NEXT();
}
template <class F, class T>
const Insn* ri(Cpu& c, const Insn* i) {
  const T v = F::template apply<T>(reg_at<T>(c, i->dst), static_cast<T>(i->imm), c.arith);
  if constexpr (F::kWrites) put<T>(c, i->dst, v);
  DEJAVM_NEXT();
}
template <class F, class T, bool kIndexed = true>
const Insn* rm(Cpu& c, const Insn* i) {
  const auto* p = readable<T>(c, address_of<kIndexed>(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  const T v = F::template apply<T>(reg_at<T>(c, i->dst), *p, c.arith);
  if constexpr (F::kWrites) put<T>(c, i->dst, v);
  DEJAVM_NEXT();
}
template <class F, class T, bool kIndexed = true>
const Insn* mr(Cpu& c, const Insn* i) {
  auto* p = F::kWrites ? writable<T>(c, address_of<kIndexed>(c, i))
                       : const_cast<Cell<T>*>(readable<T>(c, address_of<kIndexed>(c, i)));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  const T v = F::template apply<T>(*p, reg_at<T>(c, i->src), c.arith);
  if constexpr (F::kWrites) *p = v;
  DEJAVM_NEXT();
}
template <class F, class T, bool kIndexed = true>
const Insn* mi(Cpu& c, const Insn* i) {
  auto* p = F::kWrites ? writable<T>(c, address_of<kIndexed>(c, i))
                       : const_cast<Cell<T>*>(readable<T>(c, address_of<kIndexed>(c, i)));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  const T v = F::template apply<T>(*p, static_cast<T>(i->imm), c.arith);
  if constexpr (F::kWrites) *p = v;
  DEJAVM_NEXT();
}
template <class F, class T>
const Insn* unary_r(Cpu& c, const Insn* i) {
  put<T>(c, i->dst, F::template apply<T>(reg_at<T>(c, i->dst), c.arith));
  DEJAVM_NEXT();
}
template <class F, class T>
const Insn* unary_m(Cpu& c, const Insn* i) {
  auto* p = writable<T>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = F::template apply<T>(*p, c.arith);
  DEJAVM_NEXT();
}

template <class F>
Handler binary(Form form, unsigned size) {
#define DEJAVM_SIZES(fn) \
  (size == 1 ? fn<F, uint8_t> : size == 2 ? fn<F, uint16_t> : size == 4 ? fn<F, uint32_t> : fn<F, uint64_t>)
#define DEJAVM_BASE_SIZES(fn)           \
  (size == 1   ? fn<F, uint8_t, false>  \
   : size == 2 ? fn<F, uint16_t, false> \
   : size == 4 ? fn<F, uint32_t, false> \
               : fn<F, uint64_t, false>)
  switch (form) {
    case Form::kRR: return DEJAVM_SIZES(rr);
    case Form::kRI: return DEJAVM_SIZES(ri);
    case Form::kRM: return DEJAVM_SIZES(rm);
    case Form::kMR: return DEJAVM_SIZES(mr);
    case Form::kMI: return DEJAVM_SIZES(mi);
    case Form::kRB: return DEJAVM_BASE_SIZES(rm);
    case Form::kBR: return DEJAVM_BASE_SIZES(mr);
    case Form::kBI: return DEJAVM_BASE_SIZES(mi);
    default: return nullptr;
  }
}
template <class F>
Handler unary(Form form, unsigned size) {
  if (form == Form::kR) return DEJAVM_SIZES(unary_r);
  if (form == Form::kM) return DEJAVM_SIZES(unary_m);
  return nullptr;
}

// --- compare and branch: the jcc at i + 1 is executed by the same handler; it counts as an instruction of its own ---

template <unsigned kCc>
inline bool holds(uint16_t f) {
  constexpr unsigned kKind = kCc >> 1;
  bool r;
  if constexpr (kKind == 0) r = f & 1;
  else if constexpr (kKind == 1) r = f & 0x100;
  else if constexpr (kKind == 2) r = f & 0x4000;
  else if constexpr (kKind == 3) r = f & 0x4100;
  else if constexpr (kKind == 4) r = f & 0x8000;
  else if constexpr (kKind == 5) r = f & 0x400;
  else if constexpr (kKind == 6) r = ((f >> 15) ^ f) & 1;
  else r = (((f >> 15) ^ f) & 1) || (f & 0x4000);
  return r != ((kCc & 1) != 0);
}

// Shares the two ways on: `j` is the jcc.
inline const Insn* take(Cpu& c, const Insn* j) {
  c.block_base += j->n + 1u;
  if (const Block* b = linked(c, j)) {
    c.r[kSlotRip] += static_cast<uint64_t>(int64_t{j->disp});
    DEJAVM_GO(b->first);
  }
  DEJAVM_JUMP(go_on_and_link(c, j));
}

template <class F, class T, unsigned kCc, Form kForm>
const Insn* fused(Cpu& c, const Insn* i) {
  T a, b;
  constexpr bool kLoad = kForm == Form::kRM || kForm == Form::kRB;
  constexpr bool kIndexed = kForm == Form::kRM || kForm == Form::kMR || kForm == Form::kMI;
  if constexpr (kIndexed || kForm == Form::kRB || kForm == Form::kBR || kForm == Form::kBI) {
    const auto* p = readable<T>(c, address_of<kIndexed>(c, i));
    if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
    a = kLoad ? reg_at<T>(c, i->dst) : *p;
    b = kLoad ? *p : kForm == Form::kMR || kForm == Form::kBR ? reg_at<T>(c, i->src) : static_cast<T>(i->imm);
  } else {
    a = reg_at<T>(c, i->dst);
    b = kForm == Form::kRR ? reg_at<T>(c, i->src) : static_cast<T>(i->imm);
  }
  F::template apply<T>(a, b, c.arith);
  if (holds<kCc>(c.arith)) DEJAVM_JUMP(take(c, i + 1));
  DEJAVM_GO(i + 2);
}

template <unsigned kCc>
const Insn* jcc(Cpu& c, const Insn* i) {
  if (holds<kCc>(c.arith)) DEJAVM_JUMP(take(c, i));
  DEJAVM_NEXT();
}

template <class F, class T, Form kForm, size_t... kCc>
Handler fused_by_cc(unsigned cc, std::index_sequence<kCc...>) {
  static constexpr Handler kTable[] = {fused<F, T, kCc, kForm>...};
  return kTable[cc];
}
template <class F, Form kForm>
Handler fused_by_size(unsigned size, unsigned cc) {
  constexpr auto kAll = std::make_index_sequence<16>();
  return size == 1   ? fused_by_cc<F, uint8_t, kForm>(cc, kAll)
         : size == 2 ? fused_by_cc<F, uint16_t, kForm>(cc, kAll)
         : size == 4 ? fused_by_cc<F, uint32_t, kForm>(cc, kAll)
                     : fused_by_cc<F, uint64_t, kForm>(cc, kAll);
}
template <class F>
Handler fused_by_form(Form form, unsigned size, unsigned cc) {
  switch (form) {
    case Form::kRR: return fused_by_size<F, Form::kRR>(size, cc);
    case Form::kRI: return fused_by_size<F, Form::kRI>(size, cc);
    case Form::kRM: return fused_by_size<F, Form::kRM>(size, cc);
    case Form::kMR: return fused_by_size<F, Form::kMR>(size, cc);
    case Form::kMI: return fused_by_size<F, Form::kMI>(size, cc);
    case Form::kRB: return fused_by_size<F, Form::kRB>(size, cc);
    case Form::kBR: return fused_by_size<F, Form::kBR>(size, cc);
    case Form::kBI: return fused_by_size<F, Form::kBI>(size, cc);
    default: return nullptr;
  }
}

template <unsigned kCc>
const Insn* setcc_r(Cpu& c, const Insn* i) {
  reg_at<uint8_t>(c, i->dst) = holds<kCc>(c.arith);
  DEJAVM_NEXT();
}
template <unsigned kCc, class T>
const Insn* cmov_rr(Cpu& c, const Insn* i) {
  put<T>(c, i->dst, holds<kCc>(c.arith) ? reg_at<T>(c, i->src) : reg_at<T>(c, i->dst));
  DEJAVM_NEXT();
}
template <unsigned kCc, class T>
const Insn* cmov_rm(Cpu& c, const Insn* i) {
  const auto* p = readable<T>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  put<T>(c, i->dst, holds<kCc>(c.arith) ? *p : reg_at<T>(c, i->dst));
  DEJAVM_NEXT();
}
template <size_t... kCc>
Handler jcc_by_cc(unsigned cc, std::index_sequence<kCc...>) {
  static constexpr Handler kTable[] = {jcc<kCc>...};
  return kTable[cc];
}
template <size_t... kCc>
Handler setcc_by_cc(unsigned cc, std::index_sequence<kCc...>) {
  static constexpr Handler kTable[] = {setcc_r<kCc>...};
  return kTable[cc];
}
template <class T, size_t... kCc>
Handler cmov_by_cc(unsigned cc, Form form, std::index_sequence<kCc...>) {
  static constexpr Handler kRegister[] = {cmov_rr<kCc, T>...};
  static constexpr Handler kMemory[] = {cmov_rm<kCc, T>...};
  return form == Form::kRR ? kRegister[cc] : form == Form::kRM ? kMemory[cc] : nullptr;
}

}  // namespace

Handler alu_handler(Op op, Form form, unsigned size) {
  switch (op) {
    case Op::k_add: return binary<Add>(form, size);
    case Op::k_or: return binary<Or>(form, size);
    case Op::k_adc: return binary<Adc>(form, size);
    case Op::k_sbb: return binary<Sbb>(form, size);
    case Op::k_and: return binary<And>(form, size);
    case Op::k_sub: return binary<Sub>(form, size);
    case Op::k_xor: return binary<Xor>(form, size);
    case Op::k_cmp: return binary<Cmp>(form, size);
    case Op::k_test: return binary<Test>(form, size);
    case Op::k_inc: return unary<Inc>(form, size);
    case Op::k_dec: return unary<Dec>(form, size);
    case Op::k_neg: return unary<Neg>(form, size);
    case Op::k_not: return unary<Not>(form, size);
    default: return nullptr;
  }
}

Handler quiet_handler(Op op, Form form, unsigned size) {
  if (form == Form::kR) {
    switch (op) {
      case Op::k_inc: return unary<QuietInc>(form, size);
      case Op::k_dec: return unary<QuietDec>(form, size);
      case Op::k_neg: return unary<QuietNeg>(form, size);
      default: return nullptr;
    }
  }
  if (form != Form::kRR && form != Form::kRI) return nullptr;
  switch (op) {
    case Op::k_add: return binary<QuietAdd>(form, size);
    case Op::k_or: return binary<QuietOr>(form, size);
    case Op::k_and: return binary<QuietAnd>(form, size);
    case Op::k_sub: return binary<QuietSub>(form, size);
    case Op::k_xor: return binary<QuietXor>(form, size);
    default: return quiet_shift_handler(op, form, size);
  }
}

Handler fused_handler(Op op, Form form, unsigned size, unsigned cc) {
  if (op == Op::k_cmp) return fused_by_form<Cmp>(form, size, cc);
  if (op == Op::k_test) return fused_by_form<Test>(form, size, cc);
  return nullptr;
}

Handler jcc_handler(unsigned cc) { return jcc_by_cc(cc, std::make_index_sequence<16>()); }

Handler setcc_handler(unsigned cc, Form form) {
  return form == Form::kR ? setcc_by_cc(cc, std::make_index_sequence<16>()) : nullptr;
}

Handler cmov_handler(unsigned cc, Form form, unsigned size) {
  constexpr auto kAll = std::make_index_sequence<16>();
  return size == 4 ? cmov_by_cc<uint32_t>(cc, form, kAll) : size == 8 ? cmov_by_cc<uint64_t>(cc, form, kAll) : nullptr;
}

}  // namespace dejavm::soft
