// Exact mode: the guest's plain computation is single-stepped by KVM, one count for each step; everything else, events
// included, is the deterministic engine's, on the same state. So counts, exits and answers are those of the
// deterministic engine, and what the processor computed is the processor's.
//
// A step that raises an exception has pushed a frame with TF in it: its registers are put back and the deterministic
// engine does it again, which writes the same frame without.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "vmm/kvm/kvm_cpuid.h"
#include "vmm/kvm/kvm_probe.h"
#include "vmm/kvm/kvm_state.h"
#include "vmm/kvm/kvm_step.h"
#include "vmm/kvm/kvm_vm.h"
#include "vmm/soft/decode.h"
#include "vmm/soft/soft_engine.h"

namespace dejavm::kvm {
namespace {

using soft::Decoded;
using soft::Op;
using soft::OperandKind;
using soft::OpGroup;

constexpr uint64_t kFlagTf = 1 << 8, kFlagIf = 1 << 9, kFlagVm = 1 << 17, kCr0Pe = 1, kCr4Pcide = 1 << 17,
                   kEferLma = 1 << 10;

// What the processor may execute: it depends on registers and memory alone, and where it goes next is known.
bool is_plain(const Decoded& d) {
  switch (d.op) {
    case Op::kInvalid:
    case Op::k_pushf:
    case Op::k_popf:
    case Op::k_in:
    case Op::k_out:
    case Op::k_ins:
    case Op::k_outs:
    case Op::k_ret:
    case Op::k_ud0:
    case Op::k_ud1:
    case Op::k_ud2:
    case Op::k_bound:
    case Op::k_fxsave:
    case Op::k_fxrstor:
    case Op::k_pause:  // of several vCPUs: the end of a turn
    case Op::k_xsave:
    case Op::k_xsaveopt:
    case Op::k_xrstor: return false;
    case Op::k_jmp:
    case Op::k_call: return d.operands[0].kind == OperandKind::kRel;
    default: return soft::op_group(d.op) != OpGroup::kSys;
  }
}

bool is_branch(const Decoded& d) { return d.operand_count != 0 && d.operands[0].kind == OperandKind::kRel; }

class StepEngine final : public Engine {
 public:
  StepEngine(std::unique_ptr<KvmVm> vm, const CpuModel& model, GuestMemory& memory, uint32_t vcpus, uint32_t revision,
             bool native_rep)
      : native_rep_(native_rep),
        vm_(std::move(vm)),
        kvm_(vm_->vcpu()),
        soft_(
            soft::make_soft_engine(model, memory, vcpus, {.strict = false, .revision = revision, .use_blocks = false})),
        memory_(memory),
        states_(vcpus) {
    for (uint32_t n = 0; n < vcpus; ++n) avx_.push_back(avx_of(*soft_, n));
    kvm_.run().kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
  }
  std::string_view name() const override { return "kvm-step"; }
  std::vector<ChunkRef> chunks() override { return avx_chunks(*soft_); }
  void power_on(uint32_t vcpu, const VcpuState& s) override {
    soft_->power_on(vcpu, s);
    set_state(vcpu, s);
  }
  std::vector<std::pair<std::string_view, uint64_t>> counters() const override {
    return {{"by_processor", native_}, {"by_deterministic_engine", soft_steps_}, {"steps_undone", undone_}};
  }
  void set_state(uint32_t vcpu, const VcpuState& s) override {
    if (in_kvm_ == vcpu) in_kvm_.reset();
    states_[vcpu] = s;
    give_soft(vcpu);
  }
  void get_state(uint32_t vcpu, VcpuState& s) const override {
    s = states_[vcpu];
    if (in_kvm_ == vcpu) take_from_kvm(s);
  }

  StopReason run(uint32_t vcpu, RunControl& control, ExitHandler& exits) override {
    current_ = vcpu;
    VcpuState& state = states_[vcpu];
    if (control.from != kForever) state.retired = control.from.value;
    control.from = kForever;
    while (may_step(control) && detail_.empty() && native_step()) {
      ++native_;
      if (++state.retired >= control.until.value) return StopReason::kLimit;
    }
    if (!detail_.empty()) return StopReason::kError;
    to_soft();
    const Retired until = control.until;
    control.from = {state.retired};
    control.until = std::min(until, Retired{state.retired + 1});
    const StopReason why = soft_->run(vcpu, control, exits);
    soft_->get_state(vcpu, state);
    ++soft_steps_;
    if (why == StopReason::kUnimplemented) detail_ = soft_->detail();
    return why;  // kLimit, perhaps before `until`: the run loop asks again
  }
  std::string detail() const override { return detail_; }
  void memory_written(Gpa at, uint64_t len) override { soft_->memory_written(at, len); }
  void dirty_flags_cleared() override { soft_->dirty_flags_cleared(); }
  void collect_dirty() override { vm_->collect_dirty(); }

 private:
  void give_soft(uint32_t vcpu) {
    soft_->set_state(vcpu, states_[vcpu]);
    soft_->get_state(vcpu, states_[vcpu]);
    soft_->restored();  // forgets code and translations
  }
  void to_soft() {
    if (!in_kvm_) return;
    const uint32_t vcpu = *in_kvm_;
    take_from_kvm(states_[vcpu]);
    in_kvm_.reset();
    give_soft(vcpu);
  }
  // PCIDs are only hints: KVM's copy does without, as not every KVM has them.
  void take_from_kvm(VcpuState& s) const {
    const VcpuState& before = states_[*in_kvm_];
    const uint64_t cr3 = before.cr3, pcide = before.cr4 & kCr4Pcide, retired = before.retired;
    if (const auto done = load_state(kvm_, s, avx_[*in_kvm_]); !done) detail_ = done.error().message;
    s.cr3 = cr3;
    s.cr4 |= pcide;
    s.retired = retired;
  }
  bool to_kvm() {
    if (in_kvm_ == current_) return true;
    to_soft();
    VcpuState s = states_[current_];
    s.cr4 &= ~kCr4Pcide;
    if (states_[current_].cr4 & kCr4Pcide) s.cr3 &= ~uint64_t{0xfff};
    if (!store_state(kvm_, s, avx_[current_])) return false;  // a state beyond this KVM: the deterministic engine's
    CHECK(kvm_.call(KVM_GET_REGS, &regs_) >= 0 && kvm_.call(KVM_GET_SREGS, &sregs_) >= 0);
    in_kvm_ = current_;
    return true;
  }

  // Nothing is due at this boundary, and the state is one in which a step is what it seems.
  bool may_step(const RunControl& c) const {
    const VcpuState& s = states_[current_];
    const uint64_t rflags = in_kvm_ == current_ ? regs_.rflags : s.rflags;
    return c.until.value > s.retired && !c.stop && !c.init && !c.nmi && !(c.intr && (rflags & kFlagIf)) &&
           s.activity == Activity::kRunning && !s.pending_debug && !s.sti_shadow && !s.movss_shadow && !s.nmi_pending &&
           !s.init_pending && !s.smi_pending && !(s.dr7 & 0xff) && !(rflags & (kFlagTf | kFlagVm)) && (s.cr0 & kCr0Pe);
  }

  // The next instruction, if it lies within one page of RAM.
  bool fetch(Decoded& d) const {
    const bool mode64 = (sregs_.efer & kEferLma) && sregs_.cs.l;
    kvm_translation t{};
    t.linear_address = mode64 ? regs_.rip : (sregs_.cs.base + regs_.rip) & 0xffffffff;
    if (kvm_.call(KVM_TRANSLATE, &t) < 0 || !t.valid) return false;
    const uint8_t* page = memory_.page(Gpa{t.physical_address});
    if (page == nullptr) return false;
    const uint64_t offset = t.physical_address & (kPageSize - 1);
    const auto mode = mode64 ? soft::CodeMode::k64 : sregs_.cs.db ? soft::CodeMode::k32 : soft::CodeMode::k16;
    return soft::decode({page + offset, std::min<size_t>(15, kPageSize - offset)}, mode, d) == soft::DecodeStatus::kOk;
  }

  bool native_step() {
    if (!to_kvm()) return false;
    Decoded d;
    if (!fetch(d) || !is_plain(d) || (d.rep != soft::Rep::kNone && !native_rep_)) return false;
    kvm_guest_debug debug{};
    debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    CHECK(kvm_.call(KVM_SET_GUEST_DEBUG, &debug) >= 0);
    kvm_run& run = kvm_.run();
    long result;
    while ((result = kvm_.call(KVM_RUN)) < 0 && (errno == EINTR || errno == EAGAIN)) {}
    if (result == 0 && run.exit_reason == KVM_EXIT_DEBUG && went_on(d, run.s.regs.regs.rip)) {
      regs_ = run.s.regs.regs;
      sregs_ = run.s.regs.sregs;
      return true;
    }
    undo(result == 0 && (run.exit_reason == KVM_EXIT_MMIO || run.exit_reason == KVM_EXIT_IO));
    return false;
  }
  bool went_on(const Decoded& d, uint64_t rip) const {
    const bool mode64 = (sregs_.efer & kEferLma) && sregs_.cs.l;
    const uint64_t mask = mode64 ? ~uint64_t{0} : 0xffffffff, next = (regs_.rip + d.len) & mask;
    if (rip == next) return true;
    if (is_branch(d)) return rip == ((next + d.imm) & mask);
    return d.rep != soft::Rep::kNone && rip == regs_.rip;
  }
  void undo(bool access_open) {
    ++undone_;
    if (access_open) {  // it ends as if it had been answered with zeros
      kvm_.run().immediate_exit = 1;
      while (kvm_.call(KVM_RUN) >= 0) {}
      kvm_.run().immediate_exit = 0;
    }
    kvm_vcpu_events events{};
    CHECK(kvm_.call(KVM_GET_VCPU_EVENTS, &events) >= 0);
    events.exception = {};
    events.interrupt.injected = 0;
    CHECK(kvm_.call(KVM_SET_VCPU_EVENTS, &events) >= 0);
    CHECK(kvm_.call(KVM_SET_SREGS, &sregs_) >= 0 && kvm_.call(KVM_SET_REGS, &regs_) >= 0);
  }

  bool native_rep_;
  std::unique_ptr<KvmVm> vm_;
  KvmVcpu& kvm_;  // one for all, as they take turns
  std::unique_ptr<Engine> soft_;
  std::vector<VcpuAvx::State*> avx_;  // of the deterministic engine; nullptr: the CPU model has none
  GuestMemory& memory_;
  // The whole state of each while it is the deterministic engine's; else what steps do not change.
  std::vector<VcpuState> states_;
  std::optional<uint32_t> in_kvm_;  // whose state is there
  uint32_t current_ = 0;
  kvm_regs regs_{};
  kvm_sregs sregs_{};
  uint64_t native_ = 0, soft_steps_ = 0, undone_ = 0;
  mutable std::string detail_;
};

}  // namespace

Result<std::unique_ptr<Engine>> make_step_engine(const CpuModel& model, GuestMemory& memory, uint32_t vcpus,
                                                 uint32_t revision) {
  static const Result<KvmProbe> probe = probe_kvm();
  if (!probe) return probe.error();
  if (!probe->single_step)
    return Error{ErrorKind::kHost,
                 "this KVM does not single-step, which --engine kvm-step needs; 'dejavm host' tells what it can do"};
  auto vm = KvmVm::create(&memory);
  if (!vm) return vm.error();
  std::unique_ptr<KvmVm> m = vm.take();
  if (auto done = m->filter_msrs(); !done) return done.error();
  if (auto done = set_cpuid(*m, model, missing_features(m->system(), model)); !done) return done.error();
  return std::unique_ptr<Engine>(
      std::make_unique<StepEngine>(std::move(m), model, memory, vcpus, revision, probe->rep_single_step));
}

}  // namespace dejavm::kvm
