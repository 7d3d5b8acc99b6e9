// The rest: identification, time, random numbers, TLB and cache control, SMAP's flag. Source: Intel SDM vol. 2.
#include "devices/core/split_mix.h"
#include "vmm/soft/mmu.h"
#include "vmm/soft/system/control.h"

namespace dejavm::soft {
namespace {

using sys::require_cpl0;

void put_edx_eax(Cpu& c, uint64_t v) {
  c.set_reg(kRax, 4, v);
  c.set_reg(kRdx, 4, v >> 32);
}

uint64_t edx_eax(const Cpu& c) { return c.reg(kRax, 4) | c.reg(kRdx, 4) << 32; }

void check_tsc(const Cpu& c) {
  if ((c.s.cr4 & kCr4TSD) && c.cpl != 0) Cpu::fault(kGP, 0);
}

// Answer n of RDRAND and RDSEED is SplitMix64's output n for the machine's seed. Part of the trace format: a recording
// replays only with the same answers.
uint64_t next_random(Cpu& c) { return SplitMix64::output(c.s.random_seed, c.s.random_counter++); }

// Entropy never runs out: CF is always 1, the other arithmetic flags are 0.
void random(Cpu& c, const Decoded& d) {
  ++c.unlogged_reads;
  c.set_reg(d.operands[0].reg, d.op_size, next_random(c));
  c.set_arith(kArithFlags, kCF);
}

}  // namespace

void exec_cpuid(Cpu& c, const Decoded&) {
  const uint32_t leaf = static_cast<uint32_t>(c.r[kRax]), subleaf = static_cast<uint32_t>(c.r[kRcx]);
  const CpuidResult v = c.exits->cpuid(c.position(), leaf, subleaf, c.s.cr4, c.s.xcr0);
  c.r[kRax] = v.eax;
  c.r[kRbx] = v.ebx;
  c.r[kRcx] = v.ecx;
  c.r[kRdx] = v.edx;
}

void exec_rdtsc(Cpu& c, const Decoded&) {
  check_tsc(c);
  ++c.unlogged_reads;
  put_edx_eax(c, c.tsc());
}

void exec_rdtscp(Cpu& c, const Decoded&) {
  check_tsc(c);
  ++c.unlogged_reads;
  put_edx_eax(c, c.tsc());
  c.set_reg(kRcx, 4, c.s.tsc_aux);
}

// No performance counter exists, so each number is invalid.
void exec_rdpmc(Cpu&, const Decoded&) { Cpu::fault(kGP, 0); }

void exec_rdmsr(Cpu& c, const Decoded&) {
  require_cpl0(c);
  put_edx_eax(c, read_msr(c, static_cast<uint32_t>(c.r[kRcx])));
}

void exec_wrmsr(Cpu& c, const Decoded&) {
  require_cpl0(c);
  write_msr(c, static_cast<uint32_t>(c.r[kRcx]), edx_eax(c));
}

void exec_rdrand(Cpu& c, const Decoded& d) { random(c, d); }
void exec_rdseed(Cpu& c, const Decoded& d) { random(c, d); }

// The address is only looked up: no segment check, and a non-canonical one does nothing.
void exec_invlpg(Cpu& c, const Decoded& d) {
  require_cpl0(c);
  uint64_t at = c.effective_address(d);
  if (!c.long64()) at = (at + c.s.segment[d.seg].base) & 0xffffffff;
  else if (d.seg == kFs || d.seg == kGs) at += c.s.segment[d.seg].base;
  if (Cpu::canonical(at)) c.tlb_invlpg(at);
}

// The TLB holds the current PCID's entries and global ones only, so naming another PCID finds nothing to do beyond
// what naming the current one does.
void exec_invpcid(Cpu& c, const Decoded& d) {
  require_cpl0(c);
  const uint64_t type = c.reg(d.operands[0].reg, c.long64() ? 8 : 4);
  std::array<uint64_t, 2> descriptor;  // PCID, linear address
  c.read_linear(c.linear(d.seg, c.effective_address(d), 16, Access::kRead), descriptor.data(), 16);
  const auto [pcid, address] = descriptor;
  if (type > 3) Cpu::fault(kGP, 0);
  if (type <= 1 && ((pcid >> 12) || (pcid != 0 && !(c.s.cr4 & kCr4PCIDE)))) Cpu::fault(kGP, 0);
  if (type == 0 && !Cpu::canonical(address)) Cpu::fault(kGP, 0);
  if (type == 0) c.tlb_invlpg(address);
  else if (type == 2) c.tlb_flush_all();
  else c.tlb_flush_nonglobal();
}

// There is no cache to write back or to lose.
void exec_invd(Cpu& c, const Decoded&) { require_cpl0(c); }
void exec_wbinvd(Cpu& c, const Decoded&) { require_cpl0(c); }

void exec_clac(Cpu& c, const Decoded&) {
  if (c.cpl != 0) Cpu::fault(kUD);
  c.other_flags &= ~uint64_t{kAC_};
  choose_fast(c);
}

void exec_stac(Cpu& c, const Decoded&) {
  if (c.cpl != 0) Cpu::fault(kUD);
  c.other_flags |= kAC_;
  choose_fast(c);
}

// Not in the CPU model.
void exec_monitor(Cpu&, const Decoded&) { Cpu::fault(kUD); }
void exec_mwait(Cpu&, const Decoded&) { Cpu::fault(kUD); }

}  // namespace dejavm::soft
