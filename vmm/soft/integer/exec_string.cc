// String operations on memory. Source: Intel SDM vol. 2. One call of a plain function is one iteration; a repeated
// operation with iterations left stays at its own address, so that it is one retired instruction per iteration and
// interrupts and limits come between any two. With a count of zero it does nothing and is one instruction.
#include "vmm/soft/integer/exec_string.h"

#include <algorithm>

#include "vmm/soft/integer/flags.h"
#include "vmm/soft/integer/iterate.h"
#include "vmm/soft/mmu.h"

namespace dejavm::soft {
namespace {

uint64_t load(Cpu& c, unsigned seg, uint64_t offset, unsigned size) { return c.load_sized(seg, offset, size); }

bool continues(const Decoded& d, uint64_t flags) { return ((flags & kZF) != 0) == (d.rep == Rep::kRep); }

}  // namespace

void exec_movs(Cpu& c, const Decoded& d) {
  iterate(c, d, [&] {
    const uint64_t v = load(c, d.seg, c.reg(kRsi, d.addr_size), d.op_size);
    c.store_sized(kEs, c.reg(kRdi, d.addr_size), d.op_size, v);
    step(c, d, kRsi);
    step(c, d, kRdi);
    return true;
  });
}

void exec_stos(Cpu& c, const Decoded& d) {
  iterate(c, d, [&] {
    c.store_sized(kEs, c.reg(kRdi, d.addr_size), d.op_size, c.reg(kRax, d.op_size));
    step(c, d, kRdi);
    return true;
  });
}

void exec_lods(Cpu& c, const Decoded& d) {
  iterate(c, d, [&] {
    c.set_reg(kRax, d.op_size, load(c, d.seg, c.reg(kRsi, d.addr_size), d.op_size));
    step(c, d, kRsi);
    return true;
  });
}

void exec_cmps(Cpu& c, const Decoded& d) {
  iterate(c, d, [&] {
    const uint64_t a = load(c, d.seg, c.reg(kRsi, d.addr_size), d.op_size);
    const uint64_t b = load(c, kEs, c.reg(kRdi, d.addr_size), d.op_size);
    const uint64_t flags = sub_flags(a, b, a - b, d.op_size);
    c.set_arith(kArithFlags, flags);
    step(c, d, kRsi);
    step(c, d, kRdi);
    return continues(d, flags);
  });
}

void exec_scas(Cpu& c, const Decoded& d) {
  iterate(c, d, [&] {
    const uint64_t a = c.reg(kRax, d.op_size), b = load(c, kEs, c.reg(kRdi, d.addr_size), d.op_size);
    const uint64_t flags = sub_flags(a, b, a - b, d.op_size);
    c.set_arith(kArithFlags, flags);
    step(c, d, kRdi);
    return continues(d, flags);
  });
}

// --- in bulk ---

namespace {

// A run of `n` iterations on the fast path: host address of the first element, n reduced to what stays within the page
// and does not wrap. n = 0: not on the fast path.
uint8_t* run_at(Cpu& c, const Decoded& d, unsigned seg, unsigned reg, Access access, bool down, uint64_t& n) {
  const unsigned size = d.op_size;
  const uint64_t offset = c.reg(reg, d.addr_size);
  const uint64_t to_wrap = (down ? offset : mask_of(d.addr_size) - offset) / size + (down ? 1 : 0);
  uint64_t linear = 0;
  try {
    linear = c.linear(seg, offset, size, access);
    const uint64_t in_page = linear & 0xfff;
    const uint64_t fit = in_page + size > 4096 ? 0 : down ? in_page / size + 1 : (4096 - in_page) / size;
    n = std::min({n, fit, to_wrap});
    if (n == 0) return nullptr;
    c.linear(seg, down ? offset - (n - 1) * size : offset + (n - 1) * size, size, access);
  } catch (const GuestFault&) {
    n = 0;
    return nullptr;
  }
  uint8_t* host = access == Access::kWrite ? host_for_write(c, linear) : host_for_read(c, linear);
  if (host == nullptr) n = 0;
  return host;
}

uint64_t element(const uint8_t* at, unsigned size) {
  uint64_t v = 0;
  std::memcpy(&v, at, size);
  return v;
}

template <class T>
void fill(uint8_t* to, uint64_t n, T v) {
  for (uint64_t i = 0; i < n; ++i) std::memcpy(to + i * sizeof(T), &v, sizeof(T));
}

void copy(uint8_t* to, const uint8_t* from, uint64_t n, unsigned size, bool down) {
  const uint64_t bytes = n * size;
  if (to + bytes <= from || from + bytes <= to) {
    std::memcpy(to, from, bytes);
    return;
  }
  for (uint64_t i = 0; i < n; ++i) {  // overlapping: each element sees the stores before it
    const uint64_t at = (down ? n - 1 - i : i) * size, v = element(from + at, size);
    std::memcpy(to + at, &v, size);
  }
}

// Iterations until the condition ends the instruction or n are done; sets the flags.
uint64_t compare_run(Cpu& c, const Decoded& d, const uint8_t* a, const uint8_t* b, uint64_t n, bool& go_on) {
  const unsigned size = d.op_size;
  uint64_t i = 0, x = 0, y = 0;
  do {
    x = a != nullptr ? element(a + i * size, size) : c.reg(kRax, size);
    y = element(b + i * size, size);
    ++i;
    go_on = (x == y) == (d.rep == Rep::kRep);
  } while (i < n && go_on);
  c.set_arith(kArithFlags, sub_flags(x, y, x - y, size));
  return i;
}

}  // namespace

uint64_t bulk_string(Cpu& c, const Decoded& d, uint64_t max) {
  const uint64_t count = c.reg(kRcx, d.addr_size);
  const bool down = c.flag(kDF_);
  if (d.rep == Rep::kNone || (down && d.op != Op::k_movs && d.op != Op::k_stos)) return 0;
  uint64_t n = std::min(max, count);
  if (n == 0) return 0;
  const bool uses_source = d.op == Op::k_movs || d.op == Op::k_cmps || d.op == Op::k_lods,
             uses_dest = d.op != Op::k_lods;
  const Access dest_access = d.op == Op::k_movs || d.op == Op::k_stos ? Access::kWrite : Access::kRead;
  const uint8_t* from = uses_source ? run_at(c, d, d.seg, kRsi, Access::kRead, down, n) : nullptr;
  uint8_t* to = uses_dest && n != 0 ? run_at(c, d, kEs, kRdi, dest_access, down, n) : nullptr;
  if (n == 0) return 0;
  const unsigned size = d.op_size;
  if (down) {  // the lowest element, as if it were the first
    if (uses_source) from -= (n - 1) * size;
    to -= (n - 1) * size;
  }
  bool go_on = true;
  switch (d.op) {
    case Op::k_movs: copy(to, from, n, size, down); break;
    case Op::k_stos:
      if (size == 8) fill<uint64_t>(to, n, c.r[kRax]);
      else if (size == 4) fill<uint32_t>(to, n, static_cast<uint32_t>(c.r[kRax]));
      else if (size == 2) fill<uint16_t>(to, n, static_cast<uint16_t>(c.r[kRax]));
      else std::memset(to, static_cast<int>(c.r[kRax] & 0xff), n);
      break;
    case Op::k_lods: c.set_reg(kRax, size, element(from + (n - 1) * size, size)); break;
    default: n = compare_run(c, d, from, to, n, go_on); break;
  }
  const uint64_t far = down ? -(n * size) : n * size;
  if (uses_source) c.set_reg(kRsi, d.addr_size, c.r[kRsi] + far);
  if (uses_dest) c.set_reg(kRdi, d.addr_size, c.r[kRdi] + far);
  c.set_reg(kRcx, d.addr_size, count - n);
  if (count != n && go_on) c.next_rip = c.rip;
  return n;
}

}  // namespace dejavm::soft
