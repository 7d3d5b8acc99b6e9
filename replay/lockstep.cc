#include "replay/lockstep.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "replay/where.h"
#include "vmm/soft/decode.h"
#include "vmm/soft/undefined.h"

namespace dejavm {
namespace {

constexpr uint64_t kFlagRf = 1 << 16;

struct NoInputs final : Inputs {
  Retired next_poll(Position) override { return kForever; }
  Input take(Position, Nanos) override { return {}; }
  Nanos idle(Position, Nanos now, Nanos next_event) override { return next_event == kNever ? now : next_event; }
};

VcpuState& vcpu_of(Machine& m) {
  for (const ChunkRef& c : m.chunks())
    if (c.schema == &schema_of<Vcpu>()) return *static_cast<VcpuState*>(c.data);
  CHECK(false);
}

template <class T>
void differ(std::string& out, std::string_view name, T a, T b) {
  if (a != b) out += fmt::format("{}: {:#x}, {:#x}\n", name, a, b);
}

constexpr std::string_view kGprNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr std::string_view kSegNames[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

std::string differences(const VcpuState& a, const VcpuState& b) {
  std::string out;
  differ(out, "rip", a.rip, b.rip);
  differ(out, "rflags", a.rflags, b.rflags);
  for (unsigned n = 0; n < 16; ++n) differ(out, kGprNames[n], a.gpr[n], b.gpr[n]);
  for (unsigned n = 0; n < kSegCount; ++n) {
    differ(out, fmt::format("{} selector", kSegNames[n]), a.segment[n].selector, b.segment[n].selector);
    differ(out, fmt::format("{} base", kSegNames[n]), a.segment[n].base, b.segment[n].base);
    if (!((a.segment[n].attributes | b.segment[n].attributes) & kSegP)) continue;  // of what is not present nothing else counts
    differ(out, fmt::format("{} attributes", kSegNames[n]), a.segment[n].attributes, b.segment[n].attributes);
    differ(out, fmt::format("{} limit", kSegNames[n]), a.segment[n].limit, b.segment[n].limit);
  }
  for (unsigned n = 0; n < 16; ++n)
    for (unsigned half = 0; half < 2; ++half) differ(out, fmt::format("xmm{}[{}]", n, half), a.fpu.xmm[n].q[half], b.fpu.xmm[n].q[half]);
  for (unsigned n = 0; n < 8; ++n) {
    differ(out, fmt::format("x87 register {} mantissa", n), a.fpu.st_mantissa[n], b.fpu.st_mantissa[n]);
    differ(out, fmt::format("x87 register {} exponent", n), a.fpu.st_exponent[n], b.fpu.st_exponent[n]);
  }
  differ(out, "fcw", a.fpu.fcw, b.fpu.fcw);
  differ(out, "fsw", a.fpu.fsw, b.fpu.fsw);
  differ(out, "ftw", a.fpu.ftw, b.fpu.ftw);
  differ(out, "mxcsr", a.fpu.mxcsr, b.fpu.mxcsr);
  differ(out, "fop", a.fpu.fop, b.fpu.fop);
  differ(out, "fip", a.fpu.fip, b.fpu.fip);
  differ(out, "fdp", a.fpu.fdp, b.fpu.fdp);
  differ(out, "cr0", a.cr0, b.cr0), differ(out, "cr2", a.cr2, b.cr2), differ(out, "cr3", a.cr3, b.cr3), differ(out, "cr4", a.cr4, b.cr4);
  differ(out, "efer", a.efer, b.efer), differ(out, "xcr0", a.xcr0, b.xcr0), differ(out, "dr6", a.dr6, b.dr6), differ(out, "dr7", a.dr7, b.dr7);
  differ(out, "gdtr base", a.gdtr.base, b.gdtr.base), differ(out, "idtr base", a.idtr.base, b.idtr.base);
  differ(out, "gdtr limit", a.gdtr.limit, b.gdtr.limit), differ(out, "idtr limit", a.idtr.limit, b.idtr.limit);
  differ(out, "star", a.star, b.star), differ(out, "lstar", a.lstar, b.lstar), differ(out, "sfmask", a.sfmask, b.sfmask);
  differ(out, "kernel_gs_base", a.kernel_gs_base, b.kernel_gs_base), differ(out, "tsc_aux", a.tsc_aux, b.tsc_aux);
  differ(out, "activity", static_cast<unsigned>(a.activity), static_cast<unsigned>(b.activity));
  return out;
}

// Takes over, from `from`, what the manuals leave open after this instruction. Returns the reasons.
std::vector<std::string> forgive(const VcpuState& before, const std::vector<uint8_t>& code, const VcpuState& from, VcpuState& to) {
  std::vector<std::string> reasons;
  const bool mode64 = (before.efer & 1 << 10) && (before.segment[kCs].attributes & kSegL);
  const auto mode = mode64 ? soft::CodeMode::k64 : before.segment[kCs].attributes & kSegDb ? soft::CodeMode::k32 : soft::CodeMode::k16;
  soft::Decoded d;
  if (!code.empty() && soft::decode(code, mode, d) == soft::DecodeStatus::kOk) {
    const uint64_t undefined = soft::undefined_flags(d, before.gpr[kRcx]);
    if ((from.rflags ^ to.rflags) & undefined) {
      to.rflags = (to.rflags & ~undefined) | (from.rflags & undefined);
      reasons.push_back(fmt::format("undefined flags of {}", soft::op_name(d.op)));
    }
  }
  if (from.fpu.fip != to.fpu.fip || from.fpu.fdp != to.fpu.fdp || from.fpu.fop != to.fpu.fop) {
    to.fpu.fip = from.fpu.fip, to.fpu.fdp = from.fpu.fdp, to.fpu.fop = from.fpu.fop;
    reasons.emplace_back("pointers of the last x87 instruction: processors keep them always, or with an exception only");
  }
  if ((from.rflags ^ to.rflags) & kFlagRf) {
    to.rflags ^= kFlagRf;
    reasons.emplace_back("RF between instructions: cleared by the processor when the next one begins");
  }
  return reasons;
}

}  // namespace

bool Lockstep::compare_registers(const VcpuState& before, LockstepResult& r) {
  VcpuState& a = vcpu_of(first_);
  VcpuState& b = vcpu_of(second_);
  std::string what = differences(a, b);
  if (what.empty()) return true;
  const std::vector<uint8_t> code = instruction_bytes(first_.memory(), before);
  const auto reasons = forgive(before, code, a, b);
  what = differences(a, b);
  if (what.empty()) {
    for (const std::string& reason : reasons) ++r.explained[reason];
    second_.sync_in();
    return true;
  }
  r.difference = LockstepDifference{before.retired, before.rip, disassemble(before, code), what};
  return false;
}

bool Lockstep::compare_memory(LockstepResult& r) {
  const auto a = first_.memory().regions(), b = second_.memory().regions();
  for (size_t n = 0; n < a.size(); ++n)
    for (uint64_t at = 0; at < a[n].len_bytes; at += kPageSize) {
      if (!std::memcmp(a[n].host + at, b[n].host + at, kPageSize)) continue;
      uint64_t byte = at;
      while (a[n].host[byte] == b[n].host[byte]) ++byte;
      const VcpuState& s = vcpu_of(first_);
      r.difference = LockstepDifference{s.retired, s.rip, {}, fmt::format("memory at {:#x}: {:#04x}, {:#04x}; within the last {} instructions\n",
                                                                           a[n].start.value + byte, a[n].host[byte], b[n].host[byte], memory_every_)};
      return false;
    }
  return true;
}

LockstepResult Lockstep::run(uint64_t instructions) {
  LockstepResult r;
  NoInputs inputs;
  first_.sync_out(), second_.sync_out();
  const uint64_t start = first_.position().retired.value;
  while (r.instructions < instructions) {
    const VcpuState before = vcpu_of(first_);
    const Retired next = first_.position().retired + 1;
    const RunEnd a = first_.run(next, inputs, first_.board()), b = second_.run(next, inputs, second_.board());
    r.instructions = first_.position().retired.value - start;
    if (!compare_registers(before, r)) return r;
    if (a != b) {
      r.difference = LockstepDifference{before.retired, before.rip, disassemble(before, instruction_bytes(first_.memory(), before)),
                                        fmt::format("how the run goes on: {}, {}; {} {}\n", static_cast<int>(a), static_cast<int>(b), first_.detail(), second_.detail())};
      return r;
    }
    r.end = a;
    if (a != RunEnd::kUntil) break;
    if (r.instructions % memory_every_ == 0 && !compare_memory(r)) return r;
  }
  compare_memory(r);
  return r;
}

}  // namespace dejavm
