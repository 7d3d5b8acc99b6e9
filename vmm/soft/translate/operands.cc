// Where the operands of instructions are in generated code: registers, addresses, memory by the fast TLB, and flags.
#include <cstddef>

#include "vmm/soft/translate/emit.h"
#include "vmm/soft/translate/registers.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace dejavm::soft {

using Xbyak::Address;
using Xbyak::Reg;
using Xbyak::Reg64;

namespace {

Reg of_size(int number, unsigned size) {
  switch (size) {
    case 1: return Xbyak::Reg8(number, number >= 4 && number < 8);
    case 2: return Xbyak::Reg16(number);
    case 4: return Xbyak::Reg32(number);
    default: return Reg64(number);
  }
}

bool fits32(int64_t v) { return v == static_cast<int32_t>(v); }

}  // namespace

bool Emitter::pinned(unsigned guest) { return kPinned[guest] != kNotPinned; }
Reg Emitter::host(unsigned guest, unsigned size) { return of_size(static_cast<int>(kPinned[guest]), size); }
Reg Emitter::scratch(unsigned n, unsigned size) { return of_size(static_cast<int>(n), size); }

Address Emitter::slot(unsigned guest, unsigned size) const {
  const Xbyak::RegExp where = rbp + (static_cast<int>(offsetof(Cpu, r) + 8 * guest) - kBias);
  return size == 1 ? byte[where] : size == 2 ? word[where] : size == 4 ? dword[where] : qword[where];
}
Address Emitter::at(const Reg64& base, unsigned size) { return Address(8 * size, false, Xbyak::RegExp(base)); }

Reg Emitter::in_register(unsigned guest, unsigned size, unsigned scratch_number) {
  if (pinned(guest)) return host(guest, size);
  const Reg to = scratch(scratch_number, size < 4 ? 4 : size);
  mov(to, slot(guest, size < 4 ? 4 : size));
  return scratch(scratch_number, size);
}

void Emitter::write_guest(unsigned guest, unsigned size, const Reg& value) {
  if (pinned(guest)) {
    if (host(guest, size).getIdx() != value.getIdx()) mov(host(guest, size), of_size(value.getIdx(), size));
    return;
  }
  if (size == 4) {
    // A scratch register was written as 32 bits, and its upper half is clear.
    if (value.getIdx() > 2) mov(edx, of_size(value.getIdx(), 4));
    mov(slot(guest, 8), value.getIdx() > 2 ? Reg64(rdx) : Reg64(value.getIdx()));
    return;
  }
  mov(slot(guest, size), of_size(value.getIdx(), size));
}

bool Emitter::has_address(const Decoded& d) const {
  if (!d.has_mem || d.addr_size != width()) return false;
  return block_->work.mode32 ? d.seg != kCs : fits32(d.disp) || d.rip_relative;
}

void Emitter::effective_address(const Decoded& d, bool with_segment) {
  if (block_->work.mode32) {
    effective_address_to(eax, d);
    if (with_segment && (d.seg == kFs || d.seg == kGs)) add_segment_base(d);
    return;
  }
  if (d.rip_relative)
    mov(rax, block_->work.rip + block_->work.insns[block_->insn.number].off + d.len + static_cast<uint64_t>(d.disp));
  else effective_address_to(rax, d);
  if (with_segment && (d.seg == kFs || d.seg == kGs))
    add(rax, slot(d.seg == kFs ? unsigned{kSlotFsBase} : unsigned{kSlotGsBase}, 8));
}

// 32-bit code: the segment must be writable data of 4 GiB, and the access must not go beyond them.
void Emitter::add_segment_base(const Decoded& d) {
  const bool is_gs = d.seg == kGs;
  block_->host_flags = false;
  if (!block_->segment_checked[is_gs]) {
    block_->segment_checked[is_gs] = true;
    const auto at = static_cast<int>(offsetof(Cpu, s.segment) + d.seg * sizeof(SegmentState)) - kBias;
    cmp(dword[rbp + (at + static_cast<int>(offsetof(SegmentState, limit)))], -1);
    jne(slow_stub().from, T_NEAR);
    movzx(ecx, word[rbp + (at + static_cast<int>(offsetof(SegmentState, attributes)))]);
    and_(ecx, kDataMask);
    cmp(ecx, kWritableData);
    jne(slow_stub().from, T_NEAR);
  }
  cmp(eax, 0xfffffff0);  // within 16 bytes of the end
  jae(slow_stub().from, T_NEAR);
  add(eax, slot(is_gs ? unsigned{kSlotGsBase} : unsigned{kSlotFsBase}, 4));
}

void Emitter::effective_address_to(const Reg& to, const Decoded& d) {
  if (d.rip_relative) {
    mov(to, to.getBit() == 64
                ? block_->work.rip + block_->work.insns[block_->insn.number].off + d.len + static_cast<uint64_t>(d.disp)
                : static_cast<uint32_t>(block_->work.rip + block_->work.insns[block_->insn.number].off + d.len +
                                        static_cast<uint64_t>(d.disp)));
    return;
  }
  const int disp = static_cast<int>(d.disp);
  const bool has_base = d.base != kNoReg, has_index = d.index != kNoReg;
  if (!has_base && !has_index) {
    if (to.getBit() == 64) mov(Reg64(to.getIdx()), static_cast<uint64_t>(d.disp));
    else mov(to, static_cast<uint32_t>(d.disp));
    return;
  }
  Reg64 base, index;
  if (has_base) base = Reg64(in_register(d.base, 8, 0).getIdx());
  if (has_index) index = Reg64(in_register(d.index, 8, 1).getIdx());
  if (!has_index) {
    if (disp == 0) {
      if (to.getIdx() != base.getIdx() || to.getBit() == 32) mov(to, of_size(base.getIdx(), to.getBit() / 8));
    } else {
      lea(to, ptr[base + disp]);
    }
  } else if (!has_base) {
    lea(to, ptr[index * (1 << d.scale) + disp]);
  } else {
    lea(to, ptr[base + index * (1 << d.scale) + disp]);
  }
}

void Emitter::probe(bool write, unsigned size) {
  if (size == 1) mov(rdx, rax);
  else lea(rdx, ptr[rax + (static_cast<int>(size) - 1)]);
  probe_to(rax, write);
  add(rax, ptr[rcx + static_cast<int>(offsetof(FastEntry, addend))]);
}

void Emitter::probe_to(const Reg64& first, bool write) {
  static_assert(sizeof(FastEntry) == 32 && kDataTlbEntries == 2048);
  if (has_bmi2_) {
    rorx(ecx, first.cvt32(), 7);
  } else {
    mov(ecx, first.cvt32());
    shr(ecx, 7);
  }
  and_(ecx, 0xffe0);
  add(rcx, cpu(offsetof(Cpu, fast)));
  and_(rdx, -4096);
  cmp(rdx, ptr[rcx + static_cast<int>(write ? offsetof(FastEntry, write_tag) : offsetof(FastEntry, read_tag))]);
  jne(slow_stub().from, T_NEAR);
  block_->host_flags = false;
}

void Emitter::add_rsp(int n) {
  static_assert(kPinned[kRsp] != kNotPinned);
  const Reg64 r(static_cast<int>(kPinned[kRsp]));
  if (block_->work.mode32) lea(Xbyak::Reg32(r.getIdx()), ptr[r + n]);
  else lea(r, ptr[r + n]);
}

// --- flags ---

Address Emitter::arith() const { return word[rbp + (static_cast<int>(offsetof(Cpu, arith)) - kBias)]; }
Address Emitter::arith_byte(unsigned n) const {
  return byte[rbp + (static_cast<int>(offsetof(Cpu, arith) + n) - kBias)];
}

void Emitter::save_flags(HostFlags kind) {
  block_->host_flags = kind == HostFlags::kAll;
  if (!wanted()) return;
  if (block_->insn.flags_wanted == Wanted::kBranches) {
    block_->host_flags = true;  // AF is no condition, the rest is as after AND
    block_->unsaved = kind;
    return;
  }
  store_flags(kind);
  if (kind != HostFlags::kAll && block_->insn.next_reads) {  // OF is 0, as AND leaves it
    sahf();
    block_->host_flags = true;
  }
}

void Emitter::store_flags(HostFlags kind) {
  lahf();
  switch (kind) {
    case HostFlags::kAll: break;
    case HostFlags::kLogic: and_(ah, 0xee); break;
    case HostFlags::kNoOverflow: and_(ah, 0xef); break;
  }
  // As two bytes: to read AX after writing AH would cost more.
  mov(arith_byte(1), ah);
  if (kind == HostFlags::kAll) seto(arith_byte(0));
  else mov(arith_byte(0), 0);
}

// Flags are mostly stored as two bytes, and a load of both would wait for the stores to reach the cache: so they are
// loaded as two.
void Emitter::load_carry() {
  if (block_->host_flags) return;
  movzx(ecx, arith_byte(1));
  bt(ecx, 0);
}

void Emitter::load_flags() {
  movzx(eax, arith_byte(0));
  add(al, 0x7f);
  mov(ah, arith_byte(1));
  sahf();
}

// Conditions as the hardware numbers them; TEST of the word in memory leaves the answer in ZF.
unsigned Emitter::condition(unsigned cc, bool keep_rax) {
  if (block_->host_flags) return cc;
  constexpr unsigned kNotZero = 5, kZero = 4;
  auto any_of = [&](unsigned at, unsigned mask) {
    test(arith_byte(at), mask);
    return (cc & 1) ? kZero : kNotZero;
  };
  switch (cc >> 1) {
    case 0: return any_of(0, 1);
    case 1: return any_of(1, 1);
    case 2: return any_of(1, 0x40);
    case 3: return any_of(1, 0x41);
    case 4: return any_of(1, 0x80);
    case 5: return any_of(1, 4);
    default: break;
  }
  if (keep_rax) {
    mov(rcx, rax);
    load_flags();
    mov(rax, rcx);
  } else {
    load_flags();
  }
  return cc;
}

void Emitter::jump_if(unsigned cc, Xbyak::Label& to) {
  switch (cc) {
    case 0: jo(to, T_NEAR); break;
    case 1: jno(to, T_NEAR); break;
    case 2: jb(to, T_NEAR); break;
    case 3: jae(to, T_NEAR); break;
    case 4: je(to, T_NEAR); break;
    case 5: jne(to, T_NEAR); break;
    case 6: jbe(to, T_NEAR); break;
    case 7: ja(to, T_NEAR); break;
    case 8: js(to, T_NEAR); break;
    case 9: jns(to, T_NEAR); break;
    case 10: jp(to, T_NEAR); break;
    case 11: jnp(to, T_NEAR); break;
    case 12: jl(to, T_NEAR); break;
    case 13: jge(to, T_NEAR); break;
    case 14: jle(to, T_NEAR); break;
    default: jg(to, T_NEAR); break;
  }
}

}  // namespace dejavm::soft
