// Moves between registers, memory and the stack, address computation, and what fits no family.
#include "vmm/soft/blocks/hot.h"

namespace dejavm::soft {
namespace {

template <class T>
const Insn* mov_rr(Cpu& c, const Insn* i) {
  put<T>(c, i->dst, reg_at<T>(c, i->src));
  DEJAVM_NEXT();
}
template <class T>
const Insn* mov_ri(Cpu& c, const Insn* i) {
  put<T>(c, i->dst, static_cast<T>(i->imm));
  DEJAVM_NEXT();
}
template <class T, bool kIndexed = true>
const Insn* mov_rm(Cpu& c, const Insn* i) {
  const auto* p = readable<T>(c, address_of<kIndexed>(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  put<T>(c, i->dst, *p);
  DEJAVM_NEXT();
}
template <class T, bool kIndexed = true>
const Insn* mov_mr(Cpu& c, const Insn* i) {
  auto* p = writable<T>(c, address_of<kIndexed>(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = reg_at<T>(c, i->src);
  DEJAVM_NEXT();
}
template <class T, bool kIndexed = true>
const Insn* mov_mi(Cpu& c, const Insn* i) {
  auto* p = writable<T>(c, address_of<kIndexed>(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = static_cast<T>(i->imm);
  DEJAVM_NEXT();
}

// D from S, widened by S's signedness.
template <class D, class S>
const Insn* extend_rr(Cpu& c, const Insn* i) {
  put<D>(c, i->dst, static_cast<D>(reg_at<S>(c, i->src)));
  DEJAVM_NEXT();
}
template <class D, class S, bool kIndexed = true>
const Insn* extend_rm(Cpu& c, const Insn* i) {
  const auto* p = readable<S>(c, address_of<kIndexed>(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  put<D>(c, i->dst, static_cast<D>(*p));
  DEJAVM_NEXT();
}
template <class D, class S>
Handler extend(Form form) {
  return form == Form::kRR   ? extend_rr<D, S>
         : form == Form::kRM ? extend_rm<D, S>
         : form == Form::kRB ? extend_rm<D, S, false>
                             : nullptr;
}

template <class T, bool kIndexed = true>
const Insn* lea(Cpu& c, const Insn* i) {
  put<T>(c, i->dst, static_cast<T>(address_of<kIndexed>(c, i)));
  DEJAVM_NEXT();
}

const Insn* push_r(Cpu& c, const Insn* i) {
  const uint64_t sp = c.r[kRsp] - 8;
  auto* p = writable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = reg_at<uint64_t>(c, i->dst);
  c.r[kRsp] = sp;
  DEJAVM_NEXT();
}
const Insn* push_i(Cpu& c, const Insn* i) {
  const uint64_t sp = c.r[kRsp] - 8;
  auto* p = writable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = i->imm;
  c.r[kRsp] = sp;
  DEJAVM_NEXT();
}
const Insn* push_m(Cpu& c, const Insn* i) {
  const uint64_t sp = c.r[kRsp] - 8;
  const auto* from = readable<uint64_t>(c, address_of(c, i));
  auto* p = writable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr || from == nullptr)) DEJAVM_JUMP(slow(c, i));
  *p = *from;
  c.r[kRsp] = sp;
  DEJAVM_NEXT();
}
const Insn* pop_r(Cpu& c, const Insn* i) {
  const uint64_t sp = c.r[kRsp];
  const auto* p = readable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  c.r[kRsp] = sp + 8;
  reg_at<uint64_t>(c, i->dst) = *p;
  DEJAVM_NEXT();
}
const Insn* leave(Cpu& c, const Insn* i) {
  const uint64_t sp = c.r[kRbp];
  const auto* p = readable<uint64_t>(c, sp);
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  c.r[kRsp] = sp + 8;
  c.r[kRbp] = *p;
  DEJAVM_NEXT();
}

const Insn* nop([[maybe_unused]] Cpu& c, const Insn* i) { DEJAVM_NEXT(); }

template <class T>
const Insn* xchg_rr(Cpu& c, const Insn* i) {
  const T a = reg_at<T>(c, i->dst), b = reg_at<T>(c, i->src);
  put<T>(c, i->dst, b);
  put<T>(c, i->src, a);
  DEJAVM_NEXT();
}
template <class T>
const Insn* xchg_mr(Cpu& c, const Insn* i) {
  auto* p = writable<T>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr)) DEJAVM_JUMP(slow(c, i));
  const T old = *p;
  *p = reg_at<T>(c, i->src);
  put<T>(c, i->src, old);
  DEJAVM_NEXT();
}
const Insn* bswap32(Cpu& c, const Insn* i) {
  put<uint32_t>(c, i->dst, __builtin_bswap32(reg_at<uint32_t>(c, i->dst)));
  DEJAVM_NEXT();
}
const Insn* bswap64(Cpu& c, const Insn* i) {
  put<uint64_t>(c, i->dst, __builtin_bswap64(reg_at<uint64_t>(c, i->dst)));
  DEJAVM_NEXT();
}
const Insn* cdqe(Cpu& c, const Insn* i) {
  c.r[kRax] = static_cast<uint64_t>(int64_t{static_cast<int32_t>(c.r[kRax])});
  DEJAVM_NEXT();
}
const Insn* cwde(Cpu& c, const Insn* i) {
  c.r[kRax] = static_cast<uint32_t>(int32_t{static_cast<int16_t>(c.r[kRax])});
  DEJAVM_NEXT();
}
const Insn* cdq(Cpu& c, const Insn* i) {
  c.r[kRdx] = static_cast<uint32_t>(static_cast<int32_t>(c.r[kRax]) >> 31);
  DEJAVM_NEXT();
}
const Insn* cqo(Cpu& c, const Insn* i) {
  c.r[kRdx] = static_cast<uint64_t>(static_cast<int64_t>(c.r[kRax]) >> 63);
  DEJAVM_NEXT();
}

using Bytes16 = std::array<uint64_t, 2>;

inline Xmm& xmm_at(Cpu& c, unsigned n) { return c.s.fpu.xmm[n]; }
// CR0.TS or EM, or CR4.OSFXSR clear: the plain function raises the fault.
inline bool sse_off(const Cpu& c) { return (c.s.cr0 & (kCr0TS | kCr0EM)) || !(c.s.cr4 & kCr4OSFXSR); }
const Insn* movups_load(Cpu& c, const Insn* i) {
  const auto* p = readable<Bytes16>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr || sse_off(c))) DEJAVM_JUMP(slow(c, i));
  xmm_at(c, i->dst).q = *p;
  DEJAVM_NEXT();
}
const Insn* movups_store(Cpu& c, const Insn* i) {
  auto* p = writable<Bytes16>(c, address_of(c, i));
  if (DEJAVM_UNLIKELY(p == nullptr || sse_off(c))) DEJAVM_JUMP(slow(c, i));
  *p = xmm_at(c, i->src).q;
  DEJAVM_NEXT();
}
const Insn* movaps_load(Cpu& c, const Insn* i) {
  const uint64_t a = address_of(c, i);
  const auto* p = readable<Bytes16>(c, a);
  if (DEJAVM_UNLIKELY(p == nullptr || sse_off(c) || (a & 15))) DEJAVM_JUMP(slow(c, i));
  xmm_at(c, i->dst).q = *p;
  DEJAVM_NEXT();
}
const Insn* movaps_store(Cpu& c, const Insn* i) {
  const uint64_t a = address_of(c, i);
  auto* p = writable<Bytes16>(c, a);
  if (DEJAVM_UNLIKELY(p == nullptr || sse_off(c) || (a & 15))) DEJAVM_JUMP(slow(c, i));
  *p = xmm_at(c, i->src).q;
  DEJAVM_NEXT();
}

#define DEJAVM_MOV_SIZES(fn) \
  (size == 1 ? fn<uint8_t> : size == 2 ? fn<uint16_t> : size == 4 ? fn<uint32_t> : fn<uint64_t>)

#define DEJAVM_BASE_SIZES(fn)        \
  (size == 1   ? fn<uint8_t, false>  \
   : size == 2 ? fn<uint16_t, false> \
   : size == 4 ? fn<uint32_t, false> \
               : fn<uint64_t, false>)

Handler mov(Form form, unsigned size) {
  switch (form) {
    case Form::kRR: return DEJAVM_MOV_SIZES(mov_rr);
    case Form::kRI: return DEJAVM_MOV_SIZES(mov_ri);
    case Form::kRM: return DEJAVM_MOV_SIZES(mov_rm);
    case Form::kMR: return DEJAVM_MOV_SIZES(mov_mr);
    case Form::kMI: return DEJAVM_MOV_SIZES(mov_mi);
    case Form::kRB: return DEJAVM_BASE_SIZES(mov_rm);
    case Form::kBR: return DEJAVM_BASE_SIZES(mov_mr);
    case Form::kBI: return DEJAVM_BASE_SIZES(mov_mi);
    default: return nullptr;
  }
}

}  // namespace

Handler move_handler(Op op, Form form, unsigned size, unsigned source_size) {
  if (op == Op::k_mov) return mov(form, size);
  if (op == Op::k_lea && form == Form::kRB)
    return size == 8 ? lea<uint64_t, false> : size == 4 ? lea<uint32_t, false> : nullptr;
  if (op == Op::k_lea) return size == 8 ? lea<uint64_t> : size == 4 ? lea<uint32_t> : nullptr;
  if (op == Op::k_movzx) {  // a 32-bit destination serves the 64-bit one
    if (size < 4) return nullptr;
    return source_size == 1 ? extend<uint32_t, uint8_t>(form) : extend<uint32_t, uint16_t>(form);
  }
  if (op == Op::k_movsx || op == Op::k_movsxd) {
    if (size == 8)
      return source_size == 1   ? extend<uint64_t, int8_t>(form)
             : source_size == 2 ? extend<uint64_t, int16_t>(form)
                                : extend<uint64_t, int32_t>(form);
    if (size == 4 && source_size < 4)
      return source_size == 1 ? extend<uint32_t, int8_t>(form) : extend<uint32_t, int16_t>(form);
  }
  return nullptr;
}

Handler stack_handler(Op op, Form form) {
  if (op == Op::k_push)
    return form == Form::kR ? push_r : form == Form::kRI ? push_i : form == Form::kM ? push_m : nullptr;
  if (op == Op::k_pop) return form == Form::kR ? pop_r : nullptr;
  if (op == Op::k_leave) return leave;
  return nullptr;
}

Handler vector_move_handler(bool load, bool aligned) {
  if (load) return aligned ? movaps_load : movups_load;
  return aligned ? movaps_store : movups_store;
}

Handler other_handler(Op op, Form form, unsigned size) {
  switch (op) {
    case Op::k_nop:
    case Op::k_pause: return nop;
    case Op::k_cdqe: return cdqe;
    case Op::k_cwde: return cwde;
    case Op::k_cdq: return cdq;
    case Op::k_cqo: return cqo;
    case Op::k_bswap: return size == 8 ? bswap64 : size == 4 ? bswap32 : nullptr;
    case Op::k_xchg:
      if (form == Form::kRR) return DEJAVM_MOV_SIZES(xchg_rr);
      if (form == Form::kMR) return DEJAVM_MOV_SIZES(xchg_mr);
      return nullptr;
    default: return nullptr;
  }
}

}  // namespace dejavm::soft
