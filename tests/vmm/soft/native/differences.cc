#include "tests/vmm/soft/native/differences.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "vmm/soft/cpu.h"

namespace dejavm::soft {
namespace {

Processor ask_cpuid() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  Processor p;
  __get_cpuid(0, &a, &b, &c, &d);
  constexpr unsigned kAmd = 0x444d4163, kHygon = 0x656e6975, kIntel = 0x6c65746e;  // ECX: "cAMD", "uine", "ntel"
  p.amd = c == kAmd || c == kHygon;
  p.intel = c == kIntel;
  __get_cpuid(1, &a, &b, &c, &d);
  const unsigned family = a >> 8 & 0xf;
  p.family = family == 0xf ? family + (a >> 20 & 0xff) : family;
  p.model = (a >> 4 & 0xf) | (family == 0xf || family == 6 ? a >> 12 & 0xf0 : 0);
  return p;
}

// Families on which every kind that the tests meet has been looked into.
bool is_tried(const Processor& p) { return p.amd && p.family == 0x19; }

bool any(const Processor&) { return true; }
bool amd(const Processor& p) { return p.amd; }
bool intel(const Processor& p) { return p.intel; }
bool not_intel(const Processor& p) { return !p.intel; }

bool is_sha(Op op) {
  switch (op) {
    case Op::k_sha1rnds4:
    case Op::k_sha1nexte:
    case Op::k_sha1msg1:
    case Op::k_sha1msg2:
    case Op::k_sha256rnds2:
    case Op::k_sha256msg1:
    case Op::k_sha256msg2: return true;
    default: return false;
  }
}
bool sha_takes_any_address(const Answers& a) {
  const bool other_fault = a.signal == SIGBUS && a.insn.seg == kSs;  // of an address that is not canonical
  return is_sha(a.insn.op) && a.insn.has_mem && a.vector == kGP && (a.signal == 0 || other_fault);
}

bool is_masked_move(Op op) { return op == Op::k_maskmovq || op == Op::k_maskmovdqu; }
bool masked_move_touches_memory(const Answers& a) {
  return is_masked_move(a.insn.op) && a.signal == SIGSEGV && a.vector < 0;
}
bool maskmovq_changed_the_x87_state(const Answers& a) {
  return a.insn.op == Op::k_maskmovq && a.signal != 0 && a.vector >= 0;
}
bool enter_faults_midway(const Answers& a) { return a.insn.op == Op::k_enter && a.signal != 0 && a.vector >= 0; }

bool cmps_faults_at_the_other_operand(const Answers& a) {
  return a.insn.op == Op::k_cmps && a.signal != 0 && a.vector >= 0;
}

bool gather_faults_midway(const Answers& a) {
  const bool gathers = a.insn.op >= Op::k_vpgatherdd && a.insn.op <= Op::k_vgatherqpd;
  return gathers && a.signal != 0 && a.vector >= 0;
}

bool stack_fault_or_protection(const Answers& a) {
  const bool ours_first = a.vector == kSS_ && a.signal == SIGSEGV;
  const bool theirs_first = a.vector == kGP && a.signal == SIGBUS;
  return a.insn.has_mem && a.insn.seg == kSs && (ours_first || theirs_first);
}

bool scan_of_zero(const Answers& a) {
  const bool scans = a.insn.op == Op::k_bsf || a.insn.op == Op::k_bsr;
  return scans && a.signal == 0 && a.vector < 0 && (a.ours.rflags & kZF) && (a.host.rflags & kZF);
}

bool compare_to_flags(Op op) {
  return op == Op::k_fcomi || op == Op::k_fcomip || op == Op::k_fucomi || op == Op::k_fucomip;
}
bool fcomi_left_the_flags(const Answers& a) {
  constexpr uint16_t kPending = 0x80;
  return compare_to_flags(a.insn.op) && (a.host.fx.fsw & kPending) &&
         ((a.host.rflags ^ a.before.rflags) & kArithFlags) == 0;
}

bool all_registers_fault_midway(const Answers& a) {
  return (a.insn.op == Op::k_pusha || a.insn.op == Op::k_popa) && a.signal != 0 && a.vector >= 0;
}

bool ten_bytes_across_the_limit(const Answers& a) {
  const Op op = a.insn.op;
  const bool may_be = op == Op::k_fstp || op == Op::k_fld || op == Op::k_fbstp || op == Op::k_fbld;
  return may_be && a.insn.operands[0].size == 10 && a.signal == SIGSEGV && a.vector == kSS_;
}

constexpr KnownDifference kKnown[] = {
    {.instructions = "SHA1*, SHA256*",
     .what = "a memory operand may be at any address; the engine raises #GP where it is not aligned to 16 bytes",
     .processors = "AMD 19h/11h (tried)",
     .source = "the rule: Intel SDM vol. 2, SHA1RNDS4 and its kin: exceptions type 4, table 2-21",
     .on = amd,
     .is = sha_takes_any_address},
    {.instructions = "MASKMOVQ, MASKMOVDQU",
     .what = "memory is looked at though the mask is zero",
     .processors = "any: left to the processor",
     .source = "SDM vol. 2, MASKMOVQ: a mask of all zeroes",
     .on = any,
     .is = masked_move_touches_memory},
    {.instructions = "MASKMOVQ",
     .what = "whether the x87 state has made its transition when the store faults",
     .processors = "any",
     .source = "tried; no manual says it",
     .on = any,
     .is = maskmovq_changed_the_x87_state},
    {.instructions = "ENTER",
     .what = "which of its accesses faults first, and what has been pushed then",
     .processors = "any",
     .source = "tried; no manual says it",
     .on = any,
     .is = enter_faults_midway},
    {.instructions = "PUSHA, POPA",
     .what = "what has been pushed, or popped into registers, when one of the accesses faults; the engine does nothing",
     .processors = "AMD 19h/11h (tried)",
     .source = "tried; no manual says it",
     .on = any,
     .is = all_registers_fault_midway},
    {.instructions = "FLD m80, FSTP m80, FBLD, FBSTP",
     .what = "eight of the ten bytes fault by their page before the last two fault by the segment's limit",
     .processors = "AMD 19h (tried)",
     .source = "tried with 2 to 10 bytes inside the limit, the page not there: #SS below 8, #PF from 8 on",
     .on = any,
     .is = ten_bytes_across_the_limit},
    {.instructions = "CMPS",
     .what = "which of its two operands faults first, where both would",
     .processors = "any",
     .source = "tried; no manual says it",
     .on = any,
     .is = cmps_faults_at_the_other_operand},
    {.instructions = "VGATHER*, VPGATHER*",
     .what = "how many elements are done when one faults; the engine does as Intel's",
     .processors = "AMD 19h (tried)",
     .source = "SDM vol. 2, VPGATHERDD: faults are delivered from the right to the left",
     .on = not_intel,
     .is = gather_faults_midway},
    {.instructions = "16-byte operands in the stack segment",
     .what =
         "#SS or #GP where the address is neither aligned nor canonical; the engine looks at alignment first, as AMD's",
     .processors = "Intel (its manual; not tried with this table)",
     .source = "AMD APM vol. 2, table 8-8, against SDM vol. 2, table 2-21",
     .on = intel,
     .is = stack_fault_or_protection},
    {.instructions = "FCOMI, FCOMIP, FUCOMI, FUCOMIP",
     .what = "the flags stay where an unmasked exception is raised; the engine sets them, as AMD's",
     .processors = "Intel",
     .source = "SDM vol. 2, FCOMI; AMD APM vol. 5, FCOMI",
     .on = intel,
     .is = fcomi_left_the_flags},
    {.instructions = "BSF, BSR",
     .what = "the destination where the source is zero; the engine keeps it, upper half included, as AMD's",
     .processors = "Intel",
     .source = "AMD APM vol. 3, BSF; SDM vol. 2, BSF: undefined",
     .on = intel,
     .is = scan_of_zero},
};

constexpr KnownDifference kChoiceOfNan = {.instructions = "DPPS, DPPD, HADDPS, HADDPD",
                                          .what = "which of several NaNs comes out; docs/fpu.md has the engine's rule",
                                          .processors = "any",
                                          .source = "SDM vol. 2, DPPS: unspecified; not met on AMD 19h/11h",
                                          .on = any,
                                          .is = nullptr};

const KnownDifference* find(const Answers& answers) {
  for (const KnownDifference& known : kKnown)
    if (known.on(host_processor()) && known.is(answers)) return &known;
  return nullptr;
}

}  // namespace

std::string Processor::name() const {
  return fmt::format("{} family {:x}h model {:x}h", amd ? "AMD" : intel ? "Intel" : "unknown vendor", family, model);
}

const Processor& host_processor() {
  static const Processor processor = ask_cpuid();
  return processor;
}

const KnownDifference& choice_of_nan() { return kChoiceOfNan; }

void Differences::add(const Answers& answers, const std::string& name, uint64_t number, const std::string& text) {
  if (const KnownDifference* known = find(answers)) {
    ++known_[known];
    return;
  }
  std::string bytes;
  for (unsigned n = 0; n < answers.insn.len; ++n) bytes += fmt::format(" {:02x}", answers.insn.bytes[n]);
  add_unknown(name, fmt::format("case {}, {}:{}\n{}", number, name, bytes, text));
}

void Differences::add_unknown(const std::string& name, const std::string& text) {
  constexpr size_t kReportLimit = 20'000;
  if (unknown_[name]++ == 0 && report_.size() < kReportLimit) report_ += text;
}

void Differences::finish(uint64_t seed) const {
  const Processor& host = host_processor();
  for (const auto& [known, count] : known_)
    fmt::print("known difference, {} times: {}: {} ({}; {})\n", count, known->instructions, known->what,
               known->processors, known->source);
  if (unknown_.empty()) return;
  std::string names;
  for (const auto& [name, count] : unknown_) names += fmt::format("{} {}, ", name, count);
  const std::string message = fmt::format(
      "on {}, with seed {}, differences of no known kind: {}\n{}Where the engine is wrong, mend it. Where processors "
      "differ, add a row "
      "to kKnown in tests/vmm/soft/native/differences.cc, with its source.",
      host.name(), seed, names, report_);
  const bool fails = is_tried(host) || std::getenv("DEJAVM_ANY_HOST") != nullptr;
  if (!fails) GTEST_SKIP() << message << " Nobody has tried this family yet; DEJAVM_ANY_HOST=1 makes it a failure.";
  FAIL() << message;
}

}  // namespace dejavm::soft
