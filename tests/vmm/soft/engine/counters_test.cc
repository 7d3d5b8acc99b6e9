// That what should be fast takes the fast way: no result tells, only the engine's counters.
#include "tests/vmm/soft/engine/guest.h"
#include "vmm/soft/integer/exec_string.h"

namespace dejavm::soft {
namespace {

using namespace std::string_view_literals;

uint64_t counter(const Guest& guest, std::string_view wanted) {
  for (const auto& [name, value] : guest.engine->counters())
    if (name == wanted) return value;
  ADD_FAILURE() << "no counter " << wanted;
  return 0;
}

// Runs the code 100 times over, with RSI at data and ECX counting down.
void run_loop(Guest& guest, std::string_view code) {
  std::string loop(code);
  loop += "\xff\xc9";  // DEC ECX
  loop += "\x0f\x85";  // JNZ to the start
  const int32_t back = -static_cast<int32_t>(loop.size() + 4);
  loop.append(reinterpret_cast<const char*>(&back), 4);
  loop += "\xf4";
  guest.code(loop);
  VcpuState state = guest.state();
  state.gpr[kRcx] = 100;
  state.gpr[kRsi] = Guest::kData;
  state.gpr[kRdi] = Guest::kData + 0x100;
  guest.engine->set_state(0, state);
  EXPECT_EQ(guest.run_to(1'000'000), StopReason::kHalted);
}

TEST(SoftCounters, ALoopRunsInBlocks) {
  Guest guest(true, {.on = false});
  run_loop(guest, "\x90\x90\x90");
  EXPECT_LE(counter(guest, "single_steps"), 20u);
  EXPECT_EQ(counter(guest, "translated_blocks"), 0u);
}

// Jumps whose target the block keeps; instructions across two pages, also with --strict, which looks at each of them.
TEST(SoftCounters, JumpsAndInstructionsAcrossPagesRunInBlocks) {
  for (const bool strict : {false, true}) {
    Guest guest(true, {.on = false}, "dejavm-v1", 1, strict);
    std::string code("\xeb\x00"sv);
    code.append(4093 - code.size(), '\x90');
    code += "\x48\xc7\xc0\x01\x00\x00\x00"sv;
    run_loop(guest, code);
    EXPECT_LE(counter(guest, "single_steps"), 20u) << "strict " << strict;
  }
}

// Repeated string instructions move as many elements at once as lie in the pages and may retire.
TEST(SoftCounters, RepeatedStringInstructionsTakeManyElementsAtOnce) {
  for (const std::string_view bytes : {"\xf3\xa4"sv, "\xf3\xab"sv, "\xf3\xac"sv, "\xf3\xa6"sv, "\xf3\xae"sv}) {
    TestCpu t;
    const auto* code = reinterpret_cast<const uint8_t*>(bytes.data());
    ASSERT_EQ(decode({code, bytes.size()}, CodeMode::k64, t.d), DecodeStatus::kOk);
    choose_fast(t.c);
    t.c.store(kDs, TestCpu::kData, uint64_t{0});  // the page is at hand from now on
    t.c.r[kRsi] = TestCpu::kData;
    t.c.r[kRdi] = TestCpu::kData + 0x100;
    t.c.r[kRcx] = 30;
    EXPECT_EQ(bulk_string(t.c, t.d, 20), 20u) << op_name(t.d.op);
    EXPECT_EQ(t.c.r[kRcx], 10u) << op_name(t.d.op);
  }
}

// Of each of these the translator makes code of its own.
TEST(SoftCounters, CommonInstructionsAreNoCalls) {
  const struct {
    std::string_view name;
    std::string_view bytes;
  } kCommon[] = {
      {"MOV r64, r64", "\x48\x89\xd8"sv},
      {"MOV r32, r32", "\x89\xd8"sv},
      {"MOV r32, imm", "\xb8\x01\x02\x03\x04"sv},
      {"MOV r64, imm", "\x48\xc7\xc0\x01\x00\x00\x00"sv},
      {"MOV r32, m32", "\x8b\x46\x08"sv},
      {"MOV r64, m64", "\x48\x8b\x46\x08"sv},
      {"MOV r8, m8", "\x8a\x46\x08"sv},
      {"MOV m64, r64", "\x48\x89\x46\x08"sv},
      {"MOV m32, imm", "\xc7\x46\x08\x01\x00\x00\x00"sv},
      {"MOVZX r32, m8", "\x0f\xb6\x46\x08"sv},
      {"MOVZX r32, r8", "\x0f\xb6\xc3"sv},
      {"MOVSX r64, m16", "\x48\x0f\xbf\x46\x08"sv},
      {"MOVSXD r64, r32", "\x48\x63\xc3"sv},
      {"LEA", "\x48\x8d\x44\x5e\x10"sv},
      {"ADD r64, r64", "\x48\x01\xd8"sv},
      {"ADD r64, imm", "\x48\x83\xc0\x08"sv},
      {"ADD r32, m32", "\x03\x46\x08"sv},
      {"ADD m32, r32", "\x01\x46\x08"sv},
      {"ADC r64, r64", "\x48\x11\xd8"sv},
      {"SUB r64, r64", "\x48\x29\xd8"sv},
      {"SBB r64, r64", "\x48\x19\xd8"sv},
      {"AND r32, imm", "\x25\xff\x00\x00\x00"sv},
      {"OR r64, r64", "\x48\x09\xd8"sv},
      {"XOR r32, r32", "\x31\xc0"sv},
      {"CMP r64, m64", "\x48\x3b\x46\x08"sv},
      {"CMP m8, imm", "\x80\x7e\x08\x05"sv},
      {"TEST r64, r64", "\x48\x85\xc0"sv},
      {"TEST m8, imm", "\xf6\x46\x08\x01"sv},
      {"INC r64", "\x48\xff\xc0"sv},
      {"NEG r64", "\x48\xf7\xd8"sv},
      {"NOT r64", "\x48\xf7\xd0"sv},
      {"SHL r64, imm", "\x48\xc1\xe0\x04"sv},
      {"SHR r32, imm", "\xc1\xe8\x04"sv},
      {"SAR r64, imm", "\x48\xc1\xf8\x04"sv},
      {"ROL r32, imm", "\xc1\xc0\x04"sv},
      {"IMUL r64, r64", "\x48\x0f\xaf\xc3"sv},
      {"PUSH, POP", "\x53\x5b"sv},
      {"SETZ", "\x0f\x94\xc0"sv},
      {"CMOVZ r64, r64", "\x48\x0f\x44\xc3"sv},
      {"BT r64, imm", "\x48\x0f\xba\xe0\x05"sv},
      {"BSF r64, r64", "\x48\x0f\xbc\xc3"sv},
      {"XCHG r64, r64", "\x48\x87\xd8"sv},
      {"LOCK XADD m32, r32", "\xf0\x0f\xc1\x46\x08"sv},
      {"LOCK CMPXCHG m32, r32", "\xf0\x0f\xb1\x5e\x08"sv},
      {"CALL, RET", "\xe8\x02\x00\x00\x00\xeb\x01\xc3"sv},
      {"JMP", "\xeb\x00"sv},
      {"NOP", "\x0f\x1f\x40\x00"sv},
      {"MOVUPS xmm, m128", "\x0f\x10\x46\x08"sv},
      {"MOVUPS m128, xmm", "\x0f\x11\x46\x08"sv},
      {"MOVAPS xmm, xmm", "\x0f\x28\xc1"sv},
      {"PXOR", "\x66\x0f\xef\xc1"sv},
      {"PADDD", "\x66\x0f\xfe\xc1"sv},
      {"MOVD xmm, r32", "\x66\x0f\x6e\xc3"sv},
      {"MOVQ r64, xmm", "\x66\x48\x0f\x7e\xc0"sv},
  };
  const auto calls_of = [](std::string_view bytes) {
    Guest guest(true, {.on = true, .threshold = 2});
    run_loop(guest, bytes);
    return counter(guest, "translated_blocks") ? std::optional(counter(guest, "translated_as_calls")) : std::nullopt;
  };
  const auto of_the_loop = calls_of("");  // its HLT
  if (!of_the_loop) GTEST_SKIP() << "this host lets no code be made";
  EXPECT_EQ(*of_the_loop, 1u) << "DEC, JNZ";
  for (const auto& [name, bytes] : kCommon) EXPECT_EQ(calls_of(bytes), of_the_loop) << name;
  EXPECT_GT(calls_of("\x9f"sv), of_the_loop) << "LAHF";
}

}  // namespace
}  // namespace dejavm::soft
