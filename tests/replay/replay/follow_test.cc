// A recording that counts no instructions, as the KVM engine's, run again on the deterministic engine to its log. What
// records here is the deterministic engine too, behind a front that tells as little as KVM does; so this runs anywhere,
// and where the interrupts go in is chosen. tests/tools/engines_test.sh does the same with a real KVM.
#include <gtest/gtest.h>

#include "replay/record/recorder.h"
#include "replay/replay/replayer.h"
#include "replay/timeline/timeline.h"
#include "vmm/machine/host.h"

namespace dejavm {
namespace {

// Positions are five to an instruction (a TSC runs at its own pace); CPUID and CR8 are not told; a place comes before
// each interrupt. With `lose_shadow` an interrupt goes in right behind STI, as where a nested hypervisor's processor
// forgets the interrupt shadow when it re-enters the guest.
class PlaceEngine final : public Engine, private ExitHandler {
 public:
  PlaceEngine(std::unique_ptr<Engine> soft, ExitHandler& board, bool lose_shadow)
      : soft_(std::move(soft)), board_(board), lose_shadow_(lose_shadow) {}
  std::string_view name() const override { return "kvm"; }
  std::vector<ChunkRef> chunks() override { return soft_->chunks(); }
  void restored(bool memory_told) override { soft_->restored(memory_told); }
  void memory_written(Gpa start, uint64_t len_bytes) override { soft_->memory_written(start, len_bytes); }
  void dirty_flags_cleared() override { soft_->dirty_flags_cleared(); }
  void set_state(uint32_t vcpu, const VcpuState& s) override {
    VcpuState inner = s;
    inner.retired = s.retired / kTicks;
    soft_->set_state(vcpu, inner);
  }
  void get_state(uint32_t vcpu, VcpuState& s) const override {
    soft_->get_state(vcpu, s);
    s.retired *= kTicks;
  }

  StopReason run(uint32_t vcpu, RunControl& control, ExitHandler& exits) override {
    exits_ = &exits;
    for (;;) {
      const uint64_t count = soft_->registers(vcpu).retired;
      if (control.init) return StopReason::kInit;
      if (control.stop) {
        control.stop = false;
        return StopReason::kStopped;
      }
      if (control.until <= Retired{count * kTicks}) return StopReason::kLimit;
      const uint64_t limit = (control.until.value + kTicks - 1) / kTicks;
      in_ = {};
      in_.time_base_ns = control.time_base_ns + count * (kTicks - 1);
      in_.until = {control.intr ? count + 1 : std::min(limit, count + 1'000'000'000)};
      if (control.intr) offer(vcpu);
      const StopReason why = soft_->run(vcpu, in_, *this);
      if (why == StopReason::kHalted && control.intr) continue;
      if (why != StopReason::kLimit && why != StopReason::kStopped) return why;
    }
  }
  uint64_t in_the_shadow() const { return in_the_shadow_; }

 private:
  static constexpr uint64_t kTicks = 5;
  void offer(uint32_t vcpu) {
    VcpuState s;
    soft_->get_state(vcpu, s);
    if ((s.rflags & 0x200) == 0) return;
    if (s.sti_shadow) {
      if (!lose_shadow_) return;
      s.sti_shadow = false;
      soft_->set_state(vcpu, s);
      ++in_the_shadow_;
    }
    exits_->place(at({vcpu, {s.retired}}), {s.gpr, s.rip, s.retired * kTicks}, false);
    in_.intr = true;
  }
  Position at(Position p) const { return {p.vcpu, Retired{p.retired.value * kTicks}}; }
  Position next(Position p) {
    in_.stop = true;  // the board may want an interrupt
    return at(p);
  }
  uint64_t io_read(Position p, Port port, unsigned size) override { return exits_->io_read(next(p), port, size); }
  void io_write(Position p, Port port, unsigned size, uint64_t v) override { exits_->io_write(next(p), port, size, v); }
  uint64_t mmio_read(Position p, Gpa gpa, unsigned size) override { return exits_->mmio_read(next(p), gpa, size); }
  void mmio_write(Position p, Gpa gpa, unsigned size, uint64_t v) override {
    exits_->mmio_write(next(p), gpa, size, v);
  }
  bool msr_read(Position p, uint32_t index, uint64_t& v) override { return exits_->msr_read(next(p), index, v); }
  bool msr_write(Position p, uint32_t index, uint64_t v) override { return exits_->msr_write(next(p), index, v); }
  uint64_t cr8_read(Position) override { return 0; }
  void cr8_write(Position, uint64_t) override {}
  CpuidResult cpuid(Position p, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) override {
    return board_.cpuid(p, leaf, subleaf, cr4, xcr0);
  }
  int acknowledge_interrupt(Position p) override {
    in_.intr = false;
    return exits_->acknowledge_interrupt(next(p));
  }

  std::unique_ptr<Engine> soft_;
  ExitHandler& board_;
  const bool lose_shadow_;
  ExitHandler* exits_ = nullptr;
  RunControl in_;
  uint64_t in_the_shadow_ = 0;
};

struct Collect final : Console {
  std::string text;
  void serial(std::span<const uint8_t> bytes) override { text.append(bytes.begin(), bytes.end()); }
};

void follow(bool lose_shadow) {
  Collect first, again;
  MachineConfig config;
  config.memory_bytes = 32 << 20;
  auto machine = Machine::create(config, "deterministic", &first).take();
  PlaceEngine* engine = nullptr;
  machine->wrap_engine([&](std::unique_ptr<Engine> soft) {
    auto front = std::make_unique<PlaceEngine>(std::move(soft), machine->board(), lose_shadow);
    engine = front.get();
    return front;
  });
  ASSERT_TRUE(machine->boot({}).ok());
  NoConsoleInputs none;
  std::vector<uint8_t> bytes;
  auto writer = TraceWriter::create(std::make_unique<MemorySink>(bytes));
  RecordOptions options;
  options.keyframe_interval = 0;
  auto summary = record(*machine, none, *writer, options);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_EQ(summary->end, RunEnd::kPowerOff) << summary->detail;
  EXPECT_EQ(lose_shadow, engine->in_the_shadow() > 0);

  auto trace = TraceReader::open(std::make_unique<MemorySource>(bytes));
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ReplayOptions how;
  how.engine = "deterministic";
  auto replayed = replay(**trace, &again, how);
  ASSERT_TRUE(replayed.ok()) << replayed.error().message;
  EXPECT_EQ(replayed->end, RunEnd::kPowerOff);
  EXPECT_EQ(replayed->exits, summary->exits);
  EXPECT_EQ(first.text, again.text);

  const auto timeline = Timeline::open(**trace, nullptr);
  ASSERT_FALSE(timeline.ok());
  EXPECT_NE(timeline.error().message.find("on KVM"), std::string::npos) << timeline.error().message;
}

TEST(Follow, TheGuestRunsAgainToItsLog) { follow(false); }
TEST(Follow, AnInterruptGoesInWhereItDidThoughTheShadowOfStiIsThere) { follow(true); }

}  // namespace
}  // namespace dejavm
