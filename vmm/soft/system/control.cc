#include "vmm/soft/system/control.h"

#include "vmm/soft/system/descriptor.h"

namespace dejavm::soft {
namespace sys {
namespace {

constexpr uint64_t kCr0Defined =
    kCr0PE | kCr0MP | kCr0EM | kCr0TS | kCr0ET | kCr0NE | kCr0WP | kCr0AM | kCr0NW | kCr0CD | kCr0PG;
// What a change of these in CR4 does to translations is visible only through a flush.
constexpr uint64_t kCr4Paging = kCr4PSE | kCr4PAE | kCr4PGE | kCr4PCIDE | kCr4SMEP;
constexpr uint64_t kCr3NoFlush = uint64_t{1} << 63;
constexpr uint64_t kPdpteReserved = 0x1e6;  // SDM vol. 3, table 4-8
constexpr uint64_t kCr8Reserved = ~uint64_t{0xf};

uint64_t beyond_physical(const Cpu& c) { return ~((uint64_t{1} << c.model->physical_address_bits) - 1); }

// PAE paging outside long mode: entries with reserved bits are refused as they are "loaded" (4.4.1). The walker reads
// them from memory each time, so no copy is kept: what a guest changes there without MOV to CR3 acts at the next TLB
// miss.
void check_pdptes(const Cpu& c, uint64_t cr3) {
  for (unsigned n = 0; n < 4; ++n) {
    const uint64_t at = (cr3 & 0xffffffe0) + 8 * n;
    const uint8_t* page = c.memory->page(Gpa{at});
    uint64_t e = ~uint64_t{0};
    if (page != nullptr) std::memcpy(&e, page + (at & 0xfff), 8);
    if ((e & 1) && (e & (kPdpteReserved | beyond_physical(c)))) Cpu::fault(kGP, 0);
  }
}

bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer) {
  return (cr0 & kCr0PG) && (cr4 & kCr4PAE) && !(efer & kEferLME);
}

// SDM vol. 3, 9.8.5: what must hold as paging is enabled with EFER.LME.
void check_long_mode_entry(const Cpu& c) {
  const unsigned tss = c.s.segment[kTr].attributes & 0xf;
  if (!(c.s.cr4 & kCr4PAE) || (c.s.segment[kCs].attributes & kSegL) || tss == kTss16 || tss == kTss16Busy)
    Cpu::fault(kGP, 0);
}

unsigned register_size(const Cpu& c) { return c.long64() ? 8 : 4; }

// #UD for a register that does not exist, then #GP for the privilege.
void check_access(const Cpu& c, unsigned n) {
  const bool exists = n == 0 || (n >= 2 && n <= 4) || (n == 8 && c.long64());
  if (!exists) Cpu::fault(kUD);
  require_cpl0(c);
}

}  // namespace

void set_cr0(Cpu& c, uint64_t value) {
  if (value >> 32) Cpu::fault(kGP, 0);
  if ((value & kCr0PG) && !(value & kCr0PE)) Cpu::fault(kGP, 0);
  if ((value & kCr0NW) && !(value & kCr0CD)) Cpu::fault(kGP, 0);
  value = (value & kCr0Defined) | kCr0ET;
  const uint64_t changed = value ^ c.s.cr0;
  uint64_t efer = c.s.efer;
  if (changed & value & kCr0PG) {
    if (efer & kEferLME) {
      check_long_mode_entry(c);
      efer |= kEferLMA;
    } else if (pae_paging(value, c.s.cr4, efer)) {
      check_pdptes(c, c.s.cr3);
    }
  } else if (changed & kCr0PG) {
    if (c.long64() || (c.s.cr4 & kCr4PCIDE)) Cpu::fault(kGP, 0);
    efer &= ~kEferLMA;
  }
  c.s.cr0 = value;
  c.s.efer = efer;
  c.update_mode();
  if (changed & kCr0PG) c.tlb_flush_all();
}

// The TLB has no PCID tags: every load flushes what is not global, and the no-flush bit only is accepted.
void set_cr3(Cpu& c, uint64_t value) {
  if (c.s.cr4 & kCr4PCIDE) value &= ~kCr3NoFlush;
  if (c.long_mode() ? (value & beyond_physical(c)) : value >> 32) Cpu::fault(kGP, 0);
  if (pae_paging(c.s.cr0, c.s.cr4, c.s.efer)) check_pdptes(c, value);
  c.s.cr3 = value;
  c.tlb_flush_nonglobal();
}

void set_cr4(Cpu& c, uint64_t value) {
  if (value & ~c.model->cr4_allowed) Cpu::fault(kGP, 0);
  const uint64_t changed = value ^ c.s.cr4;
  if (c.long_mode() && !(value & kCr4PAE)) Cpu::fault(kGP, 0);
  if ((changed & value & kCr4PCIDE) && (!c.long_mode() || (c.s.cr3 & 0xfff))) Cpu::fault(kGP, 0);
  if ((changed & kCr4Paging) && pae_paging(c.s.cr0, value, c.s.efer)) check_pdptes(c, c.s.cr3);
  c.s.cr4 = value;
  c.update_mode();
  if (changed & kCr4Paging) c.tlb_flush_all();
}

void set_efer(Cpu& c, uint64_t value) {
  if (value & ~c.model->efer_allowed) Cpu::fault(kGP, 0);
  const uint64_t changed = value ^ c.s.efer;
  if ((changed & kEferLME) && (c.s.cr0 & kCr0PG)) Cpu::fault(kGP, 0);
  c.s.efer = (value & ~kEferLMA) | (c.s.efer & kEferLMA);
  c.update_mode();
  if (changed & kEferNXE) c.tlb_flush_all();
}

}  // namespace sys

using namespace sys;

void exec_mov_from_cr(Cpu& c, const Decoded& d) {
  const unsigned n = d.operands[1].reg;
  check_access(c, n);
  const uint64_t value = n == 0   ? c.s.cr0
                         : n == 2 ? c.s.cr2
                         : n == 3 ? c.s.cr3
                         : n == 4 ? c.s.cr4
                                  : c.exits->cr8_read(c.position());
  c.set_reg(d.operands[0].reg, register_size(c), value);
}

void exec_mov_to_cr(Cpu& c, const Decoded& d) {
  const unsigned n = d.operands[0].reg;
  check_access(c, n);
  const uint64_t value = c.reg(d.operands[1].reg, register_size(c));
  if (n == 0) return set_cr0(c, value);
  if (n == 3) return set_cr3(c, value);
  if (n == 4) return set_cr4(c, value);
  if (n == 2) {
    c.s.cr2 = value;
    return;
  }
  if (value & kCr8Reserved) Cpu::fault(kGP, 0);
  c.exits->cr8_write(c.position(), value);
}

// PE can be set but not cleared.
void exec_lmsw(Cpu& c, const Decoded& d) {
  require_cpl0(c);
  constexpr uint64_t kLoaded = kCr0PE | kCr0MP | kCr0EM | kCr0TS;
  const bool memory = d.operands[0].kind == OperandKind::kMem;
  const uint64_t value = memory ? c.load<uint16_t>(d.seg, c.effective_address(d)) : c.r[d.operands[0].reg];
  set_cr0(c, (c.s.cr0 & ~(kLoaded & ~kCr0PE)) | (value & kLoaded));
}

void exec_smsw(Cpu& c, const Decoded& d) {
  if ((c.s.cr4 & kCr4UMIP) && c.cpl != 0) Cpu::fault(kGP, 0);
  if (d.operands[0].kind == OperandKind::kMem)
    c.store<uint16_t>(d.seg, c.effective_address(d), static_cast<uint16_t>(c.s.cr0));
  else c.set_reg(d.operands[0].reg, d.op_size, c.s.cr0);
}

void exec_clts(Cpu& c, const Decoded&) {
  require_cpl0(c);
  c.s.cr0 &= ~kCr0TS;
}

// XCR0 holds x87 (always) and SSE.
void exec_xgetbv(Cpu& c, const Decoded&) {
  if (!(c.s.cr4 & kCr4OSXSAVE)) Cpu::fault(kUD);
  if (c.reg(kRcx, 4) != 0) Cpu::fault(kGP, 0);
  c.set_reg(kRax, 4, c.s.xcr0);
  c.set_reg(kRdx, 4, c.s.xcr0 >> 32);
}

void exec_xsetbv(Cpu& c, const Decoded&) {
  if (!(c.s.cr4 & kCr4OSXSAVE)) Cpu::fault(kUD);
  const uint64_t value = c.reg(kRax, 4) | c.reg(kRdx, 4) << 32;
  if (c.cpl != 0 || c.reg(kRcx, 4) != 0 || (value & ~c.model->xcr0_allowed) || !(value & 1) ||
      ((value & 4) && !(value & 2)))
    Cpu::fault(kGP, 0);
  c.s.xcr0 = value;
}

}  // namespace dejavm::soft
