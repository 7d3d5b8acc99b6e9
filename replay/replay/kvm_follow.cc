#include "replay/replay/kvm_follow.h"

#include <algorithm>

#include <fmt/format.h>

namespace dejavm {
namespace {

// A processor does at most so many instructions in a tick of its TSC. Beyond that the guest is not where it was.
constexpr uint64_t kInstructionsPerTick = 8, kSlackInstructions = 1'000'000;

class FollowEngine final : public Engine, private ExitDecorator<FollowEngine> {
  friend ExitDecorator;

 public:
  FollowEngine(std::unique_ptr<Engine> soft, ExitHandler& board, LogVerifier& log, const TraceReader& trace)
      : ExitDecorator(nullptr),
        soft_(std::move(soft)),
        board_(board),
        log_(log),
        trace_(trace),
        at_{soft_->registers(0).retired},
        count_(at_.value) {
    log_.set_note([this] { return unlogged_note(); });
  }
  std::string_view name() const override { return soft_->name(); }
  std::string detail() const override { return soft_->detail(); }
  void memory_written(Gpa start, uint64_t len_bytes) override { soft_->memory_written(start, len_bytes); }
  void dirty_flags_cleared() override { soft_->dirty_flags_cleared(); }
  std::vector<ChunkRef> chunks() override { return soft_->chunks(); }
  void restored(bool memory_told) override { soft_->restored(memory_told); }

  void set_state(uint32_t vcpu, const VcpuState& s) override {
    soft_->set_state(vcpu, s);
    at_ = {s.retired};
    count_ = s.retired;
  }
  void get_state(uint32_t vcpu, VcpuState& s) const override {
    soft_->get_state(vcpu, s);
    s.retired = at_.value;
  }

  StopReason run(uint32_t vcpu, RunControl& control, ExitHandler& exits) override {
    control.from = kForever;
    control_ = &control;
    to_ = &exits;
    for (;;) {
      if (control.init) return StopReason::kInit;
      if (control.stop) return StopReason::kStopped;
      if (log_.stop() || at_ >= control.until) return StopReason::kLimit;
      const Event* e = log_.ahead(position());
      if (log_.stop()) return StopReason::kLimit;
      if (e == nullptr) return to_the_end(vcpu);
      // What a device does as time goes by is done between two runs, at its time.
      if (is_taken(e->kind) || e->kind == EventKind::kDmaRead) {
        at_ = std::max(at_, e->at.retired);
        return StopReason::kLimit;
      }
      if (e->kind == EventKind::kCr8Write) {  // the engine that recorded noticed it at the exit that follows
        at_ = e->at.retired;
        exits.cr8_write(position(), e->value);
        cr8_ = static_cast<uint8_t>(e->value);
      } else if (e->kind == EventKind::kPlace) {
        if (!to_place(vcpu, *e)) return StopReason::kLimit;
      } else {
        const StopReason why = free_run(vcpu, *e);
        if (why == StopReason::kHalted) {
          if (e->kind == EventKind::kIdle) {
            at_ = e->at.retired;
            return why;
          }
          return lost(*e, "halted");
        }
        if (why == StopReason::kLimit) return lost(*e, "went on without it");
        if (why != StopReason::kStopped) return why;
      }
    }
  }

 private:
  Position position() const { return {0, at_}; }
  StopReason lost(const Event& e, std::string_view what) {
    log_.diverge(position(), fmt::format("expected {}\nthat did not happen: the guest {}", describe(e), what));
    return StopReason::kLimit;
  }

  // Runs with no interrupt until an exit, a halt, for so many instructions at most.
  StopReason soft_run(uint32_t vcpu, uint64_t instructions, uint64_t break_rip) {
    in_ = {};
    in_.until = {count_ + instructions};
    in_.time_base_ns = at_.value + control_->time_base_ns - count_;  // the clock is the log's, as far as it is known
    in_.break_rip = break_rip;
    return resume(vcpu);
  }
  StopReason resume(uint32_t vcpu) {
    const uint64_t reads = soft_unlogged_reads();
    const StopReason why = soft_->run(vcpu, in_, *this);
    if (const uint64_t more = soft_unlogged_reads() - reads; more != 0) {
      unlogged_reads_ += more;
      last_unlogged_ = log_.index();
    }
    count_ = soft_->registers(vcpu).retired;
    return why;
  }
  uint64_t soft_unlogged_reads() const {
    for (const auto& [name, n] : soft_->counters())
      if (name == "unlogged_reads") return n;
    return 0;
  }
  uint64_t bound(const Event& e) const { return (e.at.retired - at_) * kInstructionsPerTick + kSlackInstructions; }
  StopReason free_run(uint32_t vcpu, const Event& e) { return soft_run(vcpu, bound(e), RunControl::kNoBreak); }

  bool to_place(uint32_t vcpu, const Event& e) {
    const uint64_t end = count_ + bound(e);
    StopReason why = StopReason::kLimit;
    for (;;) {
      const Registers r = soft_->registers(vcpu);
      if (r.rip == e.address && place_hash(r) == e.value) break;
      if (count_ >= end) {
        lost(e, "never came there");
        return false;
      }
      if (why == StopReason::kHalted) {
        lost(e, "halted before");
        return false;
      }
      // Past where it stands, which may be at that RIP with other registers.
      why = r.rip == e.address ? soft_run(vcpu, 1, RunControl::kNoBreak) : soft_run(vcpu, end - count_, e.address);
      if (log_.stop()) return false;
      if (why != StopReason::kBreak && why != StopReason::kLimit && why != StopReason::kHalted) {
        lost(e, "did something else before");
        return false;
      }
    }
    const bool nmi = e.ok;
    at_ = e.at.retired;
    to_->place(position(), soft_->registers(vcpu), nmi);
    if (log_.stop()) return false;
    in_ = {};
    in_.until = {count_ + 1};
    in_.time_base_ns = at_.value + control_->time_base_ns - count_;
    (nmi ? in_.nmi : in_.intr) = true;
    acknowledged_ = nmi;
    lift_shadow(vcpu);
    resume(vcpu);
    if (!acknowledged_) log_.diverge(position(), "the guest takes no interrupt here, as it did when it was recorded");
    return !log_.stop();
  }

  // The processor that recorded took an event here. One below a nested hypervisor may do so in the shadow of STI or MOV
  // SS too: it is interrupted in the shadow and entered again without it (QEMU's SVM is such a one).
  void lift_shadow(uint32_t vcpu) {
    VcpuState s;
    soft_->get_state(vcpu, s);
    if (!s.sti_shadow && !s.movss_shadow) return;
    s.sti_shadow = s.movss_shadow = false;
    soft_->set_state(vcpu, s);
  }

  // The log has nothing more: so did the run, until it ended.
  StopReason to_the_end(uint32_t vcpu) {
    at_ = std::max(at_, Retired{trace_.end() ? trace_.end()->instructions : at_.value});
    const RunEnd end = trace_.end() ? trace_.end()->end : RunEnd::kUntil;
    if (end != RunEnd::kTripleFault && end != RunEnd::kHaltedForever) return StopReason::kLimit;
    return soft_run(vcpu, kSlackInstructions * 1000, RunControl::kNoBreak);
  }

  std::string unlogged_note() const {
    if (unlogged_reads_ == 0) return {};
    return fmt::format(
        "\nUp to here the guest has read the TSC or random numbers {} times, last before event {}. A recording on KVM "
        "does not log what it "
        "read, and what it made of that cannot be replayed. To record what can be: the deterministic engine and "
        "--engine kvm-step log "
        "everything; --cpu-without tsc,rdrand,rdseed keeps guests from it that heed CPUID (64-bit Linux reads the TSC "
        "all the same).",
        unlogged_reads_, last_unlogged_);
  }

  // --- the guest's exits: each is the log's next ---
  Position where(Position) {
    const Event* e = log_.ahead(position());
    if (e != nullptr && e->at.retired > at_ && is_exit(e->kind)) at_ = e->at.retired;
    in_.stop = true;  // what comes next may be a place
    return position();
  }
  void done() { cr8_ = control_->cr8; }
  // KVM holds CR8 and answers CPUID itself.
  uint64_t cr8_read(Position) override { return cr8_; }
  void cr8_write(Position, uint64_t value) override { cr8_ = static_cast<uint8_t>(value); }
  CpuidResult cpuid(Position, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) override {
    return board_.cpuid(position(), leaf, subleaf, cr4, xcr0);
  }
  int acknowledge_interrupt(Position at) override {
    acknowledged_ = true;
    in_.intr = false;
    return ExitDecorator::acknowledge_interrupt(at);
  }

  std::unique_ptr<Engine> soft_;
  ExitHandler& board_;
  LogVerifier& log_;
  const TraceReader& trace_;
  RunControl* control_ = nullptr;
  RunControl in_;                                    // the deterministic engine's own
  Retired at_;                                       // the log's
  uint64_t count_;                                   // the deterministic engine's
  uint64_t unlogged_reads_ = 0, last_unlogged_ = 0;  // the latter: before which event
  uint8_t cr8_ = 0;                                  // the guest's view
  bool acknowledged_ = false;
};

}  // namespace

std::unique_ptr<Engine> make_follow_engine(std::unique_ptr<Engine> soft, ExitHandler& board, LogVerifier& log,
                                           const TraceReader& trace) {
  return std::make_unique<FollowEngine>(std::move(soft), board, log, trace);
}

}  // namespace dejavm
