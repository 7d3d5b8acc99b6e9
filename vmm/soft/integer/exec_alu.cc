// Addition, subtraction, logic and comparison. Source: Intel SDM vol. 2. Logic clears AF (docs/cpu.md).
#include "vmm/soft/integer/flags.h"

namespace dejavm::soft {
namespace {

template <class F>
void update(Cpu& c, const Decoded& d, F compute) {  // compute(a, b, size, flags) -> result
  const unsigned size = d.operands[0].size;
  const uint64_t b = d.operand_count > 1 ? c.read_operand(d, 1) & mask_of(size) : 0;
  const uint64_t a = c.read_operand_for_update(d, 0);
  uint64_t flags = c.arith_flags();
  const uint64_t r = compute(a, b, size, flags) & mask_of(size);
  c.write_operand(d, 0, r);
  c.set_arith(kArithFlags, flags);
}

template <class F>
void compare(Cpu& c, const Decoded& d, F flags_of) {
  const unsigned size = d.operands[0].size;
  const uint64_t a = c.read_operand(d, 0), b = c.read_operand(d, 1) & mask_of(size);
  c.set_arith(kArithFlags, flags_of(a, b, size));
}

}  // namespace

void exec_add(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t b, unsigned size, uint64_t& f) {
    f = add_flags(a, b, a + b, size);
    return a + b;
  });
}
void exec_adc(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t b, unsigned size, uint64_t& f) {
    const uint64_t r = a + b + (f & kCF);
    f = add_flags(a, b, r, size);
    return r;
  });
}
void exec_sub(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t b, unsigned size, uint64_t& f) {
    f = sub_flags(a, b, a - b, size);
    return a - b;
  });
}
void exec_sbb(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t b, unsigned size, uint64_t& f) {
    const uint64_t r = a - b - (f & kCF);
    f = sub_flags(a, b, r, size);
    return r;
  });
}
void exec_and(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t b, unsigned size, uint64_t& f) {
    f = szp(a & b, size);
    return a & b;
  });
}
void exec_or(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t b, unsigned size, uint64_t& f) {
    f = szp(a | b, size);
    return a | b;
  });
}
void exec_xor(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t b, unsigned size, uint64_t& f) {
    f = szp(a ^ b, size);
    return a ^ b;
  });
}
void exec_inc(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t, unsigned size, uint64_t& f) {
    f = (f & kCF) | (add_flags(a, 1, a + 1, size) & ~uint64_t{kCF});
    return a + 1;
  });
}
void exec_dec(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t, unsigned size, uint64_t& f) {
    f = (f & kCF) | (sub_flags(a, 1, a - 1, size) & ~uint64_t{kCF});
    return a - 1;
  });
}
void exec_neg(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t, unsigned size, uint64_t& f) {
    f = sub_flags(0, a, 0 - a, size);
    return 0 - a;
  });
}
void exec_not(Cpu& c, const Decoded& d) {
  update(c, d, [](uint64_t a, uint64_t, unsigned, uint64_t&) { return ~a; });
}
void exec_cmp(Cpu& c, const Decoded& d) {
  compare(c, d, [](uint64_t a, uint64_t b, unsigned size) { return sub_flags(a, b, a - b, size); });
}
void exec_test(Cpu& c, const Decoded& d) {
  compare(c, d, [](uint64_t a, uint64_t b, unsigned size) { return szp(a & b, size); });
}

void exec_xchg(Cpu& c, const Decoded& d) {
  const uint64_t a = c.read_operand_for_update(d, 0), b = c.read_operand_for_update(d, 1);
  const unsigned mem = d.operands[1].kind == OperandKind::kMem ? 1 : 0;  // memory first: it may fault
  c.write_operand(d, mem, mem == 0 ? b : a);
  c.write_operand(d, 1 - mem, mem == 0 ? a : b);
}

void exec_xadd(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const uint64_t b = c.read_operand(d, 1), a = c.read_operand_for_update(d, 0), r = (a + b) & mask_of(size);
  if (d.operands[0].kind == OperandKind::kMem) {
    c.write_operand(d, 0, r);
    c.write_operand(d, 1, a);
  } else {
    c.write_operand(d, 1, a);
    c.write_operand(d, 0, r);  // the sum stays when both are one register
  }
  c.set_arith(kArithFlags, add_flags(a, b, r, size));
}

// Memory is written in both cases (SDM: the destination receives a write cycle without regard to the comparison).
void exec_cmpxchg(Cpu& c, const Decoded& d) {
  const unsigned size = d.operands[0].size;
  const uint64_t dest = c.read_operand_for_update(d, 0), acc = c.reg(kRax, size), src = c.read_operand(d, 1);
  const bool equal = dest == acc;
  if (d.operands[0].kind == OperandKind::kMem) c.write_operand(d, 0, equal ? src : dest);
  else if (equal) c.write_operand(d, 0, src);
  if (!equal) c.set_reg(kRax, size, dest);
  c.set_arith(kArithFlags, sub_flags(acc, dest, acc - dest, size));
}

namespace {
template <class T>
void compare_exchange_pair(Cpu& c, const Decoded& d) {
  constexpr unsigned kHalf = sizeof(T), kBytes = 2 * kHalf;
  const uint64_t offset = c.effective_address(d);
  const uint64_t at = kBytes == 16 ? c.aligned_linear(d.seg, offset, 16, Access::kWrite)
                                   : c.linear(d.seg, offset, kBytes, Access::kWrite);
  c.probe_write(at, kBytes);
  std::array<T, 2> old;
  c.read_linear(at, old.data(), kBytes);
  const bool equal = old[0] == static_cast<T>(c.r[kRax]) && old[1] == static_cast<T>(c.r[kRdx]);
  const std::array<T, 2> now = equal ? std::array<T, 2>{static_cast<T>(c.r[kRbx]), static_cast<T>(c.r[kRcx])} : old;
  c.write_linear(at, now.data(), kBytes);
  if (!equal) {
    c.set_reg(kRax, kHalf, old[0]);
    c.set_reg(kRdx, kHalf, old[1]);
  }
  c.set_arith(kZF, when(equal, kZF));
}
}  // namespace

void exec_cmpxchg8b(Cpu& c, const Decoded& d) { compare_exchange_pair<uint32_t>(c, d); }
void exec_cmpxchg16b(Cpu& c, const Decoded& d) { compare_exchange_pair<uint64_t>(c, d); }

}  // namespace dejavm::soft
