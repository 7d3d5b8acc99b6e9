#include "replay/replay/lockstep.h"

#include <cstring>

#include <fmt/format.h>

#include "replay/guest/where.h"
#include "replay/state/state_codec.h"
#include "vmm/machine/host.h"
#include "vmm/soft/decode.h"
#include "vmm/soft/undefined.h"

namespace dejavm {
namespace {

constexpr uint64_t kFlagRf = 1 << 16;

// nullptr: this machine has none.
template <class Model>
typename Model::State* state_of(Machine& m) {
  for (const ChunkRef& c : m.chunks())
    if (c.schema == &schema_of<Model>()) return static_cast<typename Model::State*>(c.data);
  return nullptr;
}
VcpuState& vcpu_of(Machine& m) { return *state_of<Vcpu>(m); }

// Of a segment that is not present only selector and base are the guest's to see.
void forget_absent_segments(const VcpuState& from, VcpuState& to) {
  for (unsigned n = 0; n < kSegCount; ++n)
    if (!((from.segment[n].attributes | to.segment[n].attributes) & kSegP)) {
      to.segment[n].attributes = from.segment[n].attributes;
      to.segment[n].limit = from.segment[n].limit;
    }
}

// Takes over, from `from`, what the manuals leave open after this instruction. Returns the reasons.
std::vector<std::string> forgive(const VcpuState& before, const std::vector<uint8_t>& code, const VcpuState& from,
                                 VcpuState& to) {
  std::vector<std::string> reasons;
  const bool mode64 = (before.efer & 1 << 10) && (before.segment[kCs].attributes & kSegL);
  const auto mode = mode64                                    ? soft::CodeMode::k64
                    : before.segment[kCs].attributes & kSegDb ? soft::CodeMode::k32
                                                              : soft::CodeMode::k16;
  soft::Decoded d;
  if (!code.empty() && soft::decode(code, mode, d) == soft::DecodeStatus::kOk) {
    const uint64_t undefined = soft::undefined_flags(d, before.gpr[kRcx]);
    if ((from.rflags ^ to.rflags) & undefined) {
      to.rflags = (to.rflags & ~undefined) | (from.rflags & undefined);
      reasons.push_back(fmt::format("undefined flags of {}", soft::op_name(d.op)));
    }
  }
  if (from.fpu.fip != to.fpu.fip || from.fpu.fdp != to.fpu.fdp || from.fpu.fop != to.fpu.fop) {
    to.fpu.fip = from.fpu.fip;
    to.fpu.fdp = from.fpu.fdp;
    to.fpu.fop = from.fpu.fop;
    reasons.emplace_back(
        "pointers of the last x87 instruction: processors keep them always, or with an exception only");
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
  forget_absent_segments(a, b);
  VcpuAvx::State* const avx_a = state_of<VcpuAvx>(first_);
  VcpuAvx::State* const avx_b = state_of<VcpuAvx>(second_);
  const bool same_avx = avx_a == nullptr || *avx_a == *avx_b;
  if (a == b && same_avx) return true;
  const std::vector<uint8_t> code = instruction_bytes(first_.memory(), before);
  const auto reasons = forgive(before, code, a, b);
  if (a == b && same_avx) {
    for (const std::string& reason : reasons) ++r.explained[reason];
    second_.sync_in();
    return true;
  }
  std::string what;
  for (const FieldDiff& d : diff_states(schema_of<Vcpu>(), &a, &b, 40))
    what += fmt::format("{}: {}, {}\n", d.path, d.expected, d.actual);
  if (!same_avx)
    for (const FieldDiff& d : diff_states(schema_of<VcpuAvx>(), avx_a, avx_b, 40))
      what += fmt::format("{}: {}, {}\n", d.path, d.expected, d.actual);
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
      r.difference =
          LockstepDifference{s.retired,
                             s.rip,
                             {},
                             fmt::format("memory at {:#x}: {:#04x}, {:#04x}; within the last {} instructions\n",
                                         a[n].start.value + byte, a[n].host[byte], b[n].host[byte], memory_every_)};
      return false;
    }
  return true;
}

LockstepResult Lockstep::run(uint64_t instructions) {
  LockstepResult r;
  NoConsoleInputs inputs;
  first_.sync_out();
  second_.sync_out();
  const uint64_t start = first_.position().retired.value;
  while (r.instructions < instructions) {
    const VcpuState before = vcpu_of(first_);
    const Retired next = first_.position().retired + 1;
    const RunEnd a = first_.run(next, inputs, first_.board()), b = second_.run(next, inputs, second_.board());
    r.instructions = first_.position().retired.value - start;
    if (!compare_registers(before, r)) return r;
    if (a != b) {
      r.difference = LockstepDifference{before.retired, before.rip,
                                        disassemble(before, instruction_bytes(first_.memory(), before)),
                                        fmt::format("how the run goes on: {}, {}; {} {}\n", static_cast<int>(a),
                                                    static_cast<int>(b), first_.detail(), second_.detail())};
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
