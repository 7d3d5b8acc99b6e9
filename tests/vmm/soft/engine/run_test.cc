// The run loop: exact counts, stops, interrupts and shadows, self-modifying code, MMIO, and law 6.
#include <fmt/format.h>

#include "tests/vmm/soft/engine/guest.h"

namespace dejavm::soft {
namespace {

using namespace std::literals;

// mov ecx, 1000; again: add rax, rcx; dec ecx; jnz again; hlt
constexpr auto kLoop = "\xb9\xe8\x03\x00\x00\x48\x01\xc8\xff\xc9\x75\xf9\xf4"sv;

TEST(SoftRun, CountsEveryInstructionOfALoop) {
  Guest g;
  g.code(kLoop);
  EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
  EXPECT_EQ(g.state().retired, 1 + 3 * 1000 + 1);
  EXPECT_EQ(g.state().gpr[kRax], 1000u * 1001 / 2);
}

TEST(SoftRun, StopsAtEachInstructionAskedForWithTheSameStateAsStepping) {
  for (uint64_t stop = 0; stop < 60; ++stop) {
    Guest fast, slow(false);
    fast.code(kLoop);
    slow.code(kLoop);
    EXPECT_EQ(fast.run_to(stop), StopReason::kLimit);
    for (uint64_t k = 1; k <= stop; ++k) EXPECT_EQ(slow.run_to(k), StopReason::kLimit);
    EXPECT_EQ(fast.state().retired, stop);
    EXPECT_EQ(differing(fast.state(), slow.state()), "");
  }
}

TEST(SoftRun, EachRepIterationIsOneInstruction) {
  Guest g;
  g.code(
      "\xfc\xb9\x10\x00\x00\x00\xbf\x00\x00\x20\x00\xf3\xaa\xf4"sv);  // cld; mov ecx,16; mov edi,kData; rep stosb; hlt
  EXPECT_EQ(g.run_to(3 + 5), StopReason::kLimit);
  EXPECT_EQ(g.state().gpr[kRcx], 11u);
  EXPECT_EQ(g.state().rip, Guest::kCode + 11);
  EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
  EXPECT_EQ(g.state().retired, 3u + 16 + 1);
}

TEST(SoftRun, AStoreIntoTheRunningBlockTakesEffectAtTheNextInstruction) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    // mov byte [rip+1], 0x42 -> changes the immediate of the next instruction: mov bl, 0x11; hlt
    g.code("\xc6\x05\x01\x00\x00\x00\x42\xb3\x11\xf4"sv);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().gpr[kRbx] & 0xff, 0x42u) << "blocks " << blocks;
  }
}

TEST(SoftRun, CodePatchedInALoopIsDecodedAnew) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    // mov ecx,100; L: mov eax,imm32 (patched each time with ecx); add rbx,rax; mov [rip-10], ecx (the imm32); dec ecx;
    // jnz L; hlt
    g.code("\xb9\x64\x00\x00\x00\xb8\x00\x00\x00\x00\x48\x01\xc3\x89\x0d\xf3\xff\xff\xff\xff\xc9\x75\xee\xf4"sv);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().gpr[kRbx], 100u * 101 / 2 - 1) << "blocks " << blocks;
  }
}

TEST(SoftRun, MmioInTheMiddleOfABlockCarriesItsPositionAndIsSeenOnce) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    g.write<uint64_t>(Guest::kPt + 8 * 0x20, 0xfed00007);  // page 0x20000 maps the HPET's page
    g.exits.answers = {0x1234};
    g.code("\x90\x90\x8b\x04\x25\x00\x00\x02\x00\x90\x89\x04\x25\x04\x00\x02\x00\xf4"sv);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    ASSERT_EQ(g.exits.log.size(), 2u);
    EXPECT_EQ(g.exits.log[0].kind, 'r');
    EXPECT_EQ(g.exits.log[0].address, 0xfed00000u);
    EXPECT_EQ(g.exits.log[1].kind, 'w');
    EXPECT_EQ(g.exits.log[1].value, 0x1234u);
    EXPECT_EQ(g.state().retired, 6u);
  }
}

// A device that answers each write with an interrupt.
struct Interrupting : ScriptedExits {
  RunControl* control = nullptr;
  void mmio_write(Position, Gpa, unsigned, uint64_t) override { control->intr = true; }
  int acknowledge_interrupt(Position) override {
    control->intr = false;
    return 0x40;
  }
};

// Translated, in blocks and in steps alike: the handler runs right behind the write, in the middle of a block.
TEST(SoftRun, AnInterruptThatAWriteRaisesComesRightBehindIt) {
  std::string ends[3];
  for (const int way : {0, 1, 2}) {
    Guest g(way != 0, {.on = way == 2, .threshold = 2});
    g.write<uint64_t>(Guest::kPt + 8 * 0x20, 0xfed00007);
    g.write<uint64_t>(0x8000 + 16 * 0x40, 0x00008e000008b000);  // vector 0x40 leads to 0xb000
    g.code("\x49\x01\xc0\x48\xcf"sv, 0xb000);                   // ADD R8, RAX; IRETQ
    g.code("\xfb\xff\xc0\x89\x04\x25\x00\x00\x02\x00\xff\xc0\xff\xc0\xff\xc9\x75\xef\xf4"sv);
    VcpuState s = g.state();
    s.gpr[kRcx] = 50;
    g.engine->set_state(0, s);
    Interrupting device;
    device.control = &g.control;
    EXPECT_EQ(g.engine->run(0, g.control, device), StopReason::kHalted);
    s = g.state();
    ends[way] = fmt::format("r8 {} rax {} retired {}", s.gpr[kR8], s.gpr[kRax], s.retired);
  }
  EXPECT_EQ(ends[0], "r8 3725 rax 150 retired 402");
  EXPECT_EQ(ends[1], ends[0]);
  EXPECT_EQ(ends[2], ends[0]);
}

// In steps, in blocks and translated: at the top of the address space, an address that is relative to RIP, and an
// instruction across two pages.
TEST(SoftRun, CodeInTheKernelsHalfAndAcrossPagesRunsInEachWay) {
  constexpr uint64_t kHigh = 0xffffffff80000000;
  for (const int way : {0, 1, 2}) {
    Guest g(way != 0, {.on = way == 2, .threshold = 2});
    g.write<uint64_t>(Guest::kPml4 + 8 * 511, Guest::kPdpt | 7);
    g.write<uint64_t>(Guest::kPdpt + 8 * 510, Guest::kPd | 7);
    std::string code("\x48\x8d\x05\x00\x01\x00\x00\x48\x01\xc3"sv);  // LEA RAX, [RIP + 0x100]; ADD RBX, RAX
    code.append(4093 - code.size(), '\x90');
    code += "\x48\xc7\xc2\x44\x33\x22\x11\xff\xc9\x0f\x85"sv;  // MOV RDX, imm, across the pages; DEC ECX; JNZ
    const int32_t back = -static_cast<int32_t>(code.size() + 4);
    code.append(reinterpret_cast<const char*>(&back), 4);
    g.code(code + '\xf4');
    VcpuState s = g.state();
    s.rip = kHigh + Guest::kCode;
    s.gpr[kRcx] = 20;
    g.engine->set_state(0, s);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted) << way;
    EXPECT_EQ(g.state().gpr[kRbx], 20 * (kHigh + Guest::kCode + 7 + 0x100)) << way;
    EXPECT_EQ(g.state().gpr[kRdx], 0x11223344u) << way;
  }
}

TEST(SoftRun, StiHoldsInterruptsBackForOneInstruction) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    g.code("\xfb\x90\x90\xf4"sv);  // sti; nop; nop; hlt
    g.control.intr = true;
    g.exits.answers = {0x40};
    EXPECT_EQ(g.run_to(2), StopReason::kLimit);
    EXPECT_EQ(g.state().rip, Guest::kCode + 2);
    g.control.until = Retired{3};
    g.engine->run(0, g.control, g.exits);
    EXPECT_EQ(g.state().rip, 0x9041u);  // vector 0x40's HLT has retired
    EXPECT_EQ(g.state().retired, 3u);
  }
}

// An interrupt raised at each place of a loop goes in where single-stepping has it, whatever the shadow covers.
TEST(SoftRun, TranslatedCodeKeepsTheShadowOfSti) {
  const std::string_view covered[] = {"\x90"sv, "\x8b\x04\x25\x00\x00\x02\x00"sv /* MMIO */, "\xf3\xa4"sv, "\xfa"sv,
                                      "\x31\xc0"sv};
  for (const std::string_view next : covered) {
    const std::string code = "\xfa\xfb" + std::string(next) + "\x90\xff\xcd\x75" +
                             static_cast<char>(-(6 + static_cast<int>(next.size()) + 1)) + "\xf4";
    for (uint64_t at = 1; at < 60; ++at) {
      std::string ends[2];
      for (const bool translated : {false, true}) {
        Guest g(translated, {.on = translated, .threshold = 1});
        g.write<uint64_t>(Guest::kPt + 8 * 0x20, 0xfed00007);
        g.exits.answers.assign(40, 0x40);
        g.code(code);
        VcpuState s = g.state();
        s.gpr[kRbp] = 9;
        s.gpr[kRcx] = 5;
        s.gpr[kRsi] = s.gpr[kRdi] = Guest::kData;
        g.engine->set_state(0, s);
        g.run_to(at);
        g.control.intr = true;
        g.control.until = Retired{at + 3};
        g.engine->run(0, g.control, g.exits);
        s = g.state();
        ends[translated] = fmt::format("rip {:#x} retired {} rcx {} shadow {} exits {}", s.rip, s.retired, s.gpr[kRcx],
                                       s.sti_shadow, g.exits.log.size());
      }
      ASSERT_EQ(ends[1], ends[0]) << "covered: " << next.size() << " bytes, raised at " << at;
    }
  }
}

TEST(SoftRun, SingleStepTrapsAfterEachInstruction) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    g.code("\x9c\x80\x4c\x24\x01\x01\x9d\x90\x90\xf4"sv);  // pushf; or byte [rsp+1],1; popf; nop; nop
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, 0x9000u + kDB + 1);
    EXPECT_EQ(g.read<uint64_t>(Guest::kStack - 40), Guest::kCode + 8);  // after the first nop
    EXPECT_EQ(g.state().dr6 & 0x4000, 0x4000u);
  }
}

// SYSCALL and SYSRET: what TF they leave decides, not what it was (AMD APM vol. 2, 6.1 and 13.1.4).
TEST(SoftRun, SyscallTrapsAsTfIsAfterIt) {
  for (bool blocks : {true, false}) {
    for (bool cleared : {true, false}) {
      Guest g(blocks);
      g.code("\x0f\x05"sv);
      g.code("\x90\xf4"sv, Guest::kCode + 0x100);
      VcpuState s = g.state();
      s.star = 0x8ull << 32;
      s.lstar = Guest::kCode + 0x100;
      if (cleared) s.sfmask = kTF;
      s.rflags |= kTF;
      g.engine->set_state(0, s);
      EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
      EXPECT_EQ(g.state().rip, cleared ? Guest::kCode + 0x102 : 0x9001 + kDB) << "blocks " << blocks;
      EXPECT_EQ(g.state().dr6 & 0x4000, cleared ? 0u : 0x4000u);
      if (!cleared) {
        EXPECT_EQ(g.read<uint64_t>(g.state().gpr[kRsp]), Guest::kCode + 0x100);
      }
    }
  }
}

TEST(SoftRun, SysretThatLoadsTfTrapsBeforeTheNextInstruction) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    g.write<uint64_t>(0xb000 + 4, Guest::kStack);  // RSP0
    g.code("\x90\x48\x0f\x07"sv);                  // nop; sysretq
    g.code("\x90\x90"sv, Guest::kCode + 0x100);
    VcpuState s = g.state();
    s.star = 0x13ull << 48;
    s.segment[kTr] = {0x28, 0x8b, 0x67, 0xb000};
    s.gpr[kRcx] = Guest::kCode + 0x100;
    s.gpr[kR11] = 2 | kTF;
    g.engine->set_state(0, s);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, 0x9001u + kDB) << "blocks " << blocks;
    EXPECT_EQ(g.read<uint64_t>(g.state().gpr[kRsp]), Guest::kCode + 0x100);
    EXPECT_EQ(g.state().dr6 & 0x4000, 0x4000u);
  }
}

// What earlier builds recorded goes on as it was.
TEST(SoftRun, InMachinesOfRevision1SyscallTrapsAsTfWasBefore) {
  Guest g;
  g.engine = make_soft_engine(*find_cpu_model("dejavm-v1"), *g.memory, 1, {.revision = 1});
  Guest settings;
  VcpuState s = settings.state();
  g.code("\x0f\x05"sv);
  g.code("\x90\xf4"sv, Guest::kCode + 0x100);
  s.star = 0x8ull << 32;
  s.lstar = Guest::kCode + 0x100;
  s.sfmask = kTF;
  s.rflags |= kTF;
  g.engine->set_state(0, s);
  EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
  EXPECT_EQ(g.state().rip, 0x9001u + kDB);
}

// AMD APM vol. 2, 13.1.1.3, and SDM vol. 3, 17.2.3: B0-B3 tell of this exception, the rest of DR6 is only ever added
// to.
TEST(SoftRun, ADebugExceptionClearsTheBreakpointsThatDidNotMatch) {
  struct Row {
    const char* what;
    std::string_view code;
    uint64_t dr7, rflags, dr6;
  };
  for (const Row& row : {Row{"single step", "\x90"sv, 0, kTF, 0x4000}, Row{"instruction", "\x90"sv, 1, 0, 1},
                         Row{"general detect", "\x0f\x21\xc0"sv, 1 << 13, 0, 1 << 13},
                         Row{"data", "\x88\x04\x25\x00\x00\x20\x00"sv, 4 | 1 << 20, 0, 2}}) {
    Guest g;
    g.code(row.code);
    VcpuState s = g.state();
    s.dr[0] = Guest::kCode;
    s.dr[1] = Guest::kData;
    s.dr6 |= 0x800f;
    s.dr7 |= row.dr7;
    s.rflags |= row.rflags;
    g.engine->set_state(0, s);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, 0x9001u + kDB) << row.what;
    EXPECT_EQ(g.state().dr6 & 0xe00f, 0x8000u | row.dr6) << row.what;
  }
}

// What earlier builds recorded goes on as it was.
TEST(SoftRun, InMachinesOfRevision1ADebugExceptionOnlyAddsToDr6) {
  Guest settings;
  VcpuState s = settings.state();
  s.dr6 |= 0xf;
  s.rflags |= kTF;
  Guest g;
  g.engine = make_soft_engine(*find_cpu_model("dejavm-v1"), *g.memory, 1, {.revision = 1});
  g.code("\x90"sv);
  g.engine->set_state(0, s);
  EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
  EXPECT_EQ(g.state().dr6 & 0xe00f, 0x400fu);
}

// Of an operand on the stack that is neither aligned nor canonical #GP is what counts, as on AMD.
TEST(SoftRun, SinceRevision2VmovapsLooksAtTheAlignmentFirst) {
  for (const uint32_t revision : {1u, 2u, kMachineRevision}) {
    Guest settings;
    VcpuState s = settings.state();
    s.cr4 |= kCr4OSXSAVE;
    s.xcr0 = 7;
    s.gpr[kRbp] = 0x8000000000000001;
    Guest g;
    g.engine = make_soft_engine(*find_cpu_model("dejavm-v2"), *g.memory, 1, {.revision = revision});
    g.code("\xc5\xf8\x28\x45\x00"sv);  // vmovaps (%rbp), %xmm0
    g.engine->set_state(0, s);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, 0x9001u + (revision == 1 ? kSS_ : kGP)) << revision;
  }
}

// Rights are CR0.WP's as it is at each store, however often the page was written before with it clear, and with STAC
// between.
TEST(SoftRun, AReadOnlyPageIsWrittenOnlyWhileWpIsClear) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    g.write<uint64_t>(Guest::kPt + 8 * (Guest::kData >> 12), Guest::kData | 5);
    // mov rbx,cr0; mov ecx,9; L: mov rax,rbx; btr rax,16; mov cr0,rax; stac; inc dword [kData]; clac; inc dword
    // [kData]; mov cr0,rbx; cmp dword [kData],0; dec ecx; jnz L; stac; inc dword [kData]
    g.code(
        "\x0f\x20\xc3\xb9\x09\x00\x00\x00\x48\x89\xd8\x48\x0f\xba\xf0\x10\x0f\x22\xc0\x0f\x01\xcb\xff\x04\x25\x00\x00"
        "\x20\x00"
        "\x0f\x01\xca\xff\x04\x25\x00\x00\x20\x00\x0f\x22\xc3\x83\x3c\x25\x00\x00\x20\x00\x00\xff\xc9\x75\xd2\x0f\x01"
        "\xcb"
        "\xff\x04\x25\x00\x00\x20\x00"sv);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, 0x9000u + kPF + 1) << "blocks " << blocks;
    EXPECT_EQ(g.read<uint64_t>(g.state().gpr[kRsp]), 3u);  // a write to a page that is present
    EXPECT_EQ(g.read<uint64_t>(g.state().gpr[kRsp] + 8), Guest::kCode + 57);
    EXPECT_EQ(g.read<uint32_t>(Guest::kData), 18u);
  }
}

// A data breakpoint on what MOV SS reads: the trap comes after the next instruction, and is lost where that faults or
// is INT1.
TEST(SoftRun, ATrapHeldBackByMovSsIsLostWithAFaultAndWithInt1) {
  struct Row {
    std::string_view next;
    uint64_t vector, dr6;
  };
  for (const Row& row : {Row{"\x90"sv, kDB, 1}, Row{"\xf1"sv, kDB, 0}, Row{"\x0f\x0b"sv, kUD, 0}}) {
    Guest g;
    g.write<uint16_t>(Guest::kData, 16);
    g.code("\x8e\x14\x25\x00\x00\x20\x00"sv);  // mov ss, [0x200000]
    g.code(row.next, Guest::kCode + 7);
    VcpuState s = g.state();
    s.dr[0] = Guest::kData;
    s.dr7 |= 1 | 7 << 16;  // DR0: two bytes, read or written
    g.engine->set_state(0, s);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, 0x9001 + row.vector);
    EXPECT_EQ(g.state().dr6 & 0xf, row.dr6);
    EXPECT_EQ(g.state().pending_debug, 0u);
  }
}

// Each of the four, enabled locally or globally, also on a page that was just read.
TEST(SoftRun, EachDataBreakpointTrapsOnAPageThatIsInUse) {
  for (unsigned n = 0; n < 4; ++n) {
    for (const unsigned enable : {1u, 2u}) {
      Guest g;
      g.code("\x8b\x46\x08\x8b\x46\x08\x8b\x06\x90\x90\xf4"sv);  // mov eax, [rsi + 8], twice; mov eax, [rsi]
      VcpuState s = g.state();
      s.gpr[kRsi] = Guest::kData;
      s.dr[n] = Guest::kData;
      s.dr7 |= enable << 2 * n | 15u << (16 + 4 * n);  // four bytes, read or written
      g.engine->set_state(0, s);
      EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
      EXPECT_EQ(g.state().rip, 0x9001u + kDB) << n << " " << enable;
      EXPECT_EQ(g.state().dr6 & 0xf, 1u << n);
      EXPECT_EQ(g.read<uint64_t>(Guest::kStack - 40), Guest::kCode + 8) << n << " " << enable;
    }
  }
}

TEST(SoftRun, XsaveAndXrstorNeedOsxsaveAndTsClear) {
  const struct {
    uint64_t cr4, cr0, rip;
  } kRows[] = {{kCr4OSXSAVE, 0, Guest::kCode + 8}, {0, 0, 0x9001 + kUD}, {kCr4OSXSAVE, kCr0TS, 0x9001 + kNM}};
  for (const auto& row : kRows) {
    Guest g;
    g.code("\x0f\xae\x26\x90\x0f\xae\x2e\xf4"sv);  // XSAVE [RSI]; NOP; XRSTOR [RSI]
    VcpuState s = g.state();
    s.cr4 |= row.cr4;
    s.cr0 |= row.cr0;
    s.xcr0 = 3;
    s.gpr[kRax] = 3;
    s.gpr[kRdx] = 0;
    s.gpr[kRsi] = Guest::kData;
    s.fpu.xmm[5].q = {1, 2};
    g.engine->set_state(0, s);
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, row.rip);
    const bool saved = row.rip == Guest::kCode + 8;
    EXPECT_EQ(g.read<uint64_t>(Guest::kData + 160 + 16 * 5 + 8), saved ? 2u : 0u);
  }
}

TEST(SoftRun, AFaultNamesTheInstructionAndCountsOnlyWhatCompleted) {
  for (bool blocks : {true, false}) {
    Guest g(blocks);
    g.code("\x90\x90\x48\x8b\x04\x25\x00\x00\x00\x40\x90"sv);  // nop; nop; mov rax,[0x40000000] (not mapped)
    EXPECT_EQ(g.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(g.state().rip, 0x9000u + kPF + 1);
    EXPECT_EQ(g.state().cr2, 0x40000000u);
    EXPECT_EQ(g.state().retired, 3u);  // two nops and the handler's HLT
    EXPECT_EQ(g.read<uint64_t>(Guest::kStack - 40), Guest::kCode + 2);
  }
}

// Law 6: the guest clears accessed bits without flushing, and looks at them again: what it sees depends on what the TLB
// still holds, so a restored machine must hold the same.
TEST(SoftRun, AccessedBitsClearedWithoutFlushLookTheSameFromEverySavedMoment) {
  // mov rbx, pte of kData page; mov ecx, 40
  // L: mov al,[kData]; and qword [rbx], ~0x20; mov rdx,[rbx]; shl? accumulate: add rsi, rdx; test cl,7; jnz N; invlpg
  // [kData] N: dec ecx; jnz L; hlt
  const auto code =
      "\xbb\x00\x10\x01\x00"              // mov ebx, kPt + 4096 (the page table of 2-4 MiB: entry 0 is kData)
      "\xb9\x28\x00\x00\x00"              // mov ecx, 40
      "\x8a\x04\x25\x00\x00\x20\x00"      // L: mov al, [kData]
      "\x48\x8b\x13"                      // mov rdx, [rbx]
      "\x48\x01\xd6"                      // add rsi, rdx
      "\x48\x83\x23\xdf"                  // and qword [rbx], ~0x20
      "\xf6\xc1\x07"                      // test cl, 7
      "\x75\x08"                          // jnz N
      "\x0f\x01\x3c\x25\x00\x00\x20\x00"  // invlpg [kData]
      "\xff\xc9"                          // N: dec ecx
      "\x75\xde"                          // jnz L
      "\xf4"sv;
  Guest reference;
  reference.code(code);
  ASSERT_EQ(reference.run_to(~uint64_t{0}), StopReason::kHalted);
  const VcpuState end = reference.state();
  ASSERT_GT(end.retired, 200u);
  for (uint64_t cut = 0; cut < end.retired; cut += 3) {
    Guest first, second;
    first.code(code);
    second.code(kLoop);  // another life before
    second.run_to(500);
    ASSERT_EQ(first.run_to(cut), StopReason::kLimit);
    first.clone_into(second);
    ASSERT_EQ(second.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(differing(second.state(), end), "") << "saved at " << cut;
    EXPECT_EQ(first.run_to(~uint64_t{0}), StopReason::kHalted);
    EXPECT_EQ(differing(first.state(), end), "") << "saving at " << cut << " disturbed the run";
  }
}

}  // namespace
}  // namespace dejavm::soft
