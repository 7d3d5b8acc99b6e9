#include "replay/replay/verify.h"

#include <gtest/gtest.h>

#include "tests/replay/trace/sample_trace.h"

namespace dejavm {
namespace {

// A board that answers every read with what it was told.
struct ScriptedBoard final : ExitHandler {
  uint64_t answer = 0;
  bool ok = true;
  CpuidResult cpuid_answer;
  uint64_t io_read(Position, Port, unsigned) override { return answer; }
  void io_write(Position, Port, unsigned, uint64_t) override {}
  uint64_t mmio_read(Position, Gpa, unsigned) override { return answer; }
  void mmio_write(Position, Gpa, unsigned, uint64_t) override {}
  bool msr_read(Position, uint32_t, uint64_t& v) override {
    v = answer;
    return ok;
  }
  bool msr_write(Position, uint32_t, uint64_t) override { return ok; }
  uint64_t cr8_read(Position) override { return answer; }
  void cr8_write(Position, uint64_t) override {}
  CpuidResult cpuid(Position, uint32_t, uint32_t, uint64_t, uint64_t) override { return cpuid_answer; }
  int acknowledge_interrupt(Position) override { return answer == kNoVector ? -1 : static_cast<int>(answer); }
};

// Does with the two seams what the machine would do to make `e`. False: an input did not come, or came differently.
bool act(const Event& e, ScriptedBoard& board, VerifyingExits& exits, ReplayInputs& inputs) {
  board.answer = e.value;
  board.ok = e.ok;
  board.cpuid_answer = e.cpuid;
  uint64_t ignored;
  switch (e.kind) {
    case EventKind::kIoRead: exits.io_read(e.at, {static_cast<uint16_t>(e.address)}, e.size); return true;
    case EventKind::kIoWrite: exits.io_write(e.at, {static_cast<uint16_t>(e.address)}, e.size, e.value); return true;
    case EventKind::kMmioRead: exits.mmio_read(e.at, {e.address}, e.size); return true;
    case EventKind::kMmioWrite: exits.mmio_write(e.at, {e.address}, e.size, e.value); return true;
    case EventKind::kMsrRead: exits.msr_read(e.at, static_cast<uint32_t>(e.address), ignored); return true;
    case EventKind::kMsrWrite: exits.msr_write(e.at, static_cast<uint32_t>(e.address), e.value); return true;
    case EventKind::kCr8Read: exits.cr8_read(e.at); return true;
    case EventKind::kCr8Write: exits.cr8_write(e.at, e.value); return true;
    case EventKind::kCpuid: exits.cpuid(e.at, static_cast<uint32_t>(e.address), e.subleaf, e.cr4, e.xcr0); return true;
    case EventKind::kInterrupt: exits.acknowledge_interrupt(e.at); return true;
    case EventKind::kPlace: exits.place(e.at, {{}, e.address}, e.ok); return true;
    case EventKind::kDmaRead:
      exits.dma_read(e.at, static_cast<uint16_t>(e.subleaf), {e.address}, static_cast<uint32_t>(e.value), e.ok, e.data);
      return true;
    case EventKind::kConsole: {
      const Input i = inputs.take(e.at, {});
      return i.kind == Input::Kind::kConsole && i.data == e.data;
    }
    case EventKind::kControl: return inputs.take(e.at, {}).kind == Input::Kind::kNone;
    case EventKind::kStop: return inputs.take(e.at, {}).kind == Input::Kind::kStop;
    case EventKind::kIdle: return inputs.idle(e.at, e.now, e.next_event) == Nanos{e.value};
  }
  return false;
}

struct Replayed {
  explicit Replayed(std::vector<uint8_t> bytes = sample_trace())
      : reader(TraceReader::open(std::make_unique<MemorySource>(std::move(bytes), "sample")).take()),
        log(*reader, reader->keyframes().front()),
        exits(board, log),
        inputs(log) {}
  bool act(const Event& e) { return dejavm::act(e, board, exits, inputs); }
  std::unique_ptr<TraceReader> reader;
  ScriptedBoard board;
  LogVerifier log;
  VerifyingExits exits;
  ReplayInputs inputs;
};

TEST(Verify, TheSameRunFollowsTheLogToItsEnd) {
  Replayed run;
  for (const Event& e : sample_events()) EXPECT_TRUE(run.act(e)) << describe(e);
  run.log.finish({0, {62}}, true);
  EXPECT_FALSE(run.log.divergence()) << run.log.divergence()->message;
  EXPECT_FALSE(run.log.stop());
  EXPECT_EQ(run.log.exits(), 13u);
  EXPECT_EQ(run.log.index(), 21u);
}

TEST(Verify, EveryChangedOperandAndAnswerIsNoticedAtOnce) {
  const auto events = sample_events();
  for (size_t i = 0; i < events.size(); ++i) {
    if (!is_exit(events[i].kind)) continue;
    for (int change = 0; change < 5; ++change) {
      Event e = events[i];
      if (change == 0) ++e.at.retired.value;
      if (change == 1) e.value = e.kind == EventKind::kInterrupt ? 0x31 : e.value + 1;
      if (change == 2) ++e.address;
      if (change == 3) e.ok = !e.ok;
      if (change == 4) e.cpuid.edx ^= 1;
      const bool is_msr = e.kind == EventKind::kMsrRead || e.kind == EventKind::kMsrWrite,
                 is_cpuid = e.kind == EventKind::kCpuid;
      const bool addressed = e.kind <= EventKind::kMmioWrite || is_msr || is_cpuid;
      if ((change == 1 && (is_cpuid || (e.kind == EventKind::kMsrRead && !e.ok))) || (change == 2 && !addressed) ||
          (change == 3 && !is_msr) || (change == 4 && !is_cpuid))
        continue;  // not an operand of this kind
      Replayed run;
      for (size_t k = 0; k < i; ++k) ASSERT_TRUE(run.act(events[k]));
      EXPECT_FALSE(run.log.stop());
      run.act(e);
      ASSERT_TRUE(run.log.divergence()) << describe(e);
      EXPECT_TRUE(run.log.stop());
      EXPECT_EQ(run.log.divergence()->event, i);
      const std::string& text = run.log.divergence()->message;
      EXPECT_NE(text.find("expected " + describe(events[i])), std::string::npos) << text;
      EXPECT_NE(text.find("at event " + std::to_string(i)), std::string::npos) << text;
      EXPECT_TRUE(i == 0 || text.find(describe(events[i - 1])) != std::string::npos) << text;
      EXPECT_EQ(run.inputs.take(e.at, {}).kind, Input::Kind::kStop) << "the run must end soon";
    }
  }
}

TEST(Verify, AMissingExitIsNoticedAtTheNextBoundary) {
  Replayed run;
  run.act(sample_events()[0]);
  EXPECT_EQ(run.inputs.take({0, {13}}, {}).kind, Input::Kind::kStop);
  ASSERT_TRUE(run.log.divergence());
  EXPECT_NE(run.log.divergence()->message.find("nothing happened"), std::string::npos) << run.log.divergence()->message;
}

TEST(Verify, AnEndBeforeTheLogsEndIsADifference) {
  Replayed run;
  for (size_t i = 0; i < 18; ++i) run.act(sample_events()[i]);
  run.log.finish({0, {62}}, false);
  EXPECT_FALSE(run.log.divergence());
  run.log.finish({0, {62}}, true);
  EXPECT_TRUE(run.log.divergence());
}

TEST(Verify, AnExitAfterTheLogsEndIsADifferenceOnlyIfTheLogIsWhole) {
  Replayed run;
  for (const Event& e : sample_events()) run.act(e);
  run.exits.io_read({0, {63}}, {0x60}, 1);
  ASSERT_TRUE(run.log.divergence());
  EXPECT_NE(run.log.divergence()->message.find("expected the end of the log"), std::string::npos);

  auto bytes = sample_trace();
  const Replayed whole;
  bytes.resize(whole.reader->frames()[whole.reader->frames().size() - 2].offset);  // without end and index
  Replayed cut(bytes);
  for (const Event& e : sample_events()) EXPECT_TRUE(cut.act(e));
  EXPECT_FALSE(cut.log.stop());
  cut.exits.io_read({0, {63}}, {0x60}, 1);
  EXPECT_FALSE(cut.log.divergence());
  EXPECT_TRUE(cut.log.exhausted());
  EXPECT_EQ(cut.inputs.take({0, {64}}, {}).kind, Input::Kind::kStop);
}

TEST(Verify, InputsComeOnlyAtTheirPosition) {
  const auto events = sample_events();
  Replayed run;
  for (size_t i = 0; i < 15; ++i) run.act(events[i]);
  EXPECT_EQ(run.inputs.next_poll({0, {47}}).value, 50u);
  EXPECT_EQ(run.inputs.take({0, {49}}, {}).kind, Input::Kind::kNone);
  EXPECT_EQ(run.inputs.take({0, {50}}, {}).kind, Input::Kind::kConsole);
  EXPECT_EQ(run.inputs.take({0, {50}}, {}).kind, Input::Kind::kNone);
  EXPECT_GT(run.inputs.next_poll({0, {50}}).value, 50u);
}

TEST(Verify, ADifferentIdleIsADifference) {
  for (const int change : {0, 1, 2}) {
    const auto events = sample_events();
    Replayed run;
    for (size_t i = 0; i < 16; ++i) run.act(events[i]);
    Event e = events[16];
    if (change == 0) ++e.at.retired.value;
    if (change == 1) ++e.now.value;
    if (change == 2) ++e.next_event.value;
    run.act(e);
    EXPECT_TRUE(run.log.divergence()) << change;
  }
}

}  // namespace
}  // namespace dejavm
