// A vCPU of the deterministic engine with RAM and without a board, for tests of single operations.
//   TestCpu t;                          // 64-bit mode, CPL 0, paging on, identity map of 4 MiB, flat segments
//   t.run("\x48\x01\xd8");              // decodes and executes one instruction at t.c.rip
//   t.set_mode(CodeMode::k32) / k16     // protected mode without paging, flat segments / real mode
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/cpu.h"
#include "vmm/soft/mmu.h"

namespace dejavm::soft {

// Records exits and answers reads from a list (zero when it is empty).
struct ScriptedExits : ExitHandler {
  struct Io {
    char kind;
    uint64_t address;
    unsigned size;
    uint64_t value;
  };
  std::vector<Io> log;
  std::vector<uint64_t> answers;
  uint64_t next() {
    if (answers.empty()) return 0;
    const uint64_t v = answers.front();
    answers.erase(answers.begin());
    return v;
  }
  uint64_t io_read(Position, Port p, unsigned s) override {
    log.push_back({'i', p.value, s, 0});
    return next();
  }
  void io_write(Position, Port p, unsigned s, uint64_t v) override { log.push_back({'o', p.value, s, v}); }
  uint64_t mmio_read(Position, Gpa a, unsigned s) override {
    log.push_back({'r', a.value, s, 0});
    return next();
  }
  void mmio_write(Position, Gpa a, unsigned s, uint64_t v) override { log.push_back({'w', a.value, s, v}); }
  bool msr_read(Position, uint32_t i, uint64_t& v) override {
    log.push_back({'m', i, 8, 0});
    v = next();
    return i != 0xdead;
  }
  bool msr_write(Position, uint32_t i, uint64_t v) override {
    log.push_back({'n', i, 8, v});
    return i != 0xdead;
  }
  uint64_t cr8_read(Position) override { return next(); }
  void cr8_write(Position, uint64_t v) override { log.push_back({'8', 0, 8, v}); }
  CpuidResult cpuid(Position, uint32_t leaf, uint32_t sub, uint64_t cr4, uint64_t xcr0) override {
    return find_cpu_model("dejavm-v1")->cpuid(leaf, sub, 0, cr4, xcr0);
  }
  int acknowledge_interrupt(Position) override { return static_cast<int>(next()); }
};

struct TestCpu {
  static constexpr uint64_t kRamBytes = 4 << 20;
  static constexpr uint64_t kPageTables = 0x1000;  // 0x1000-0x3fff
  static constexpr uint64_t kCode = 0x100000, kData = 0x200000, kStack = 0x300000;

  std::unique_ptr<GuestMemory> memory;
  Mmu mmu;
  RunControl control;
  ScriptedExits exits;
  Cpu c;
  Decoded d;

  TestCpu() {
    auto m = GuestMemory::create(kRamBytes, 0);
    CHECK(m.ok());
    memory = m.take();
    c.memory = memory.get();
    c.mmu = &mmu;
    c.control = &control;
    c.exits = &exits;
    c.model = find_cpu_model("dejavm-v1");
    // PML4[0] -> PDPT[0] -> two 2 MiB pages, user-accessible and writable.
    write<uint64_t>(0x1000, 0x2007);
    write<uint64_t>(0x2000, 0x3007);
    write<uint64_t>(0x3000, 0x000087);
    write<uint64_t>(0x3008, 0x200087);
    set_mode(CodeMode::k64);
    c.s.cr4 |= kCr4OSFXSR | kCr4OSXMMEXCPT;
    c.r[kRsp] = kStack;
    c.rip = kCode;
  }

  void set_mode(CodeMode mode) {
    const uint16_t db = mode == CodeMode::k32 ? kSegDb : 0;
    const bool real = mode == CodeMode::k16;
    const uint32_t limit = real ? 0xffff : 0xffffffff;
    for (unsigned i = kEs; i <= kGs; ++i)
      c.set_segment(i, {static_cast<uint16_t>(real       ? 0
                                              : i == kCs ? 8
                                                         : 16),
                        static_cast<uint16_t>(kSegP | kSegS | (i == kCs ? 0xb : 3) | db | (real ? 0 : kSegG) |
                                              (mode == CodeMode::k64 && i == kCs ? kSegL : 0)),
                        limit, 0});
    c.s.cr0 = kCr0ET | kCr0NE | (real ? 0 : kCr0PE);
    c.s.cr4 &= ~kCr4PAE;
    c.s.efer = 0;
    if (mode == CodeMode::k64) {
      c.s.cr0 |= kCr0PG | kCr0WP;
      c.s.cr4 |= kCr4PAE;
      c.s.cr3 = kPageTables;
      c.s.efer = kEferLME | kEferLMA | kEferNXE | kEferSCE;
    }
    c.update_mode();
    c.tlb_flush_all();
  }

  template <class T>
  void write(uint64_t gpa, T v) {
    CHECK(memory->write(Gpa{gpa}, &v, sizeof v));
  }
  template <class T>
  T read(uint64_t gpa) {
    T v{};
    CHECK(memory->read(Gpa{gpa}, &v, sizeof v));
    return v;
  }

  // Decodes and executes one instruction; the fault it took, if any. Faults leave c.rip at the instruction.
  std::optional<GuestFault> run(std::string_view bytes) {
    const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
    CHECK(decode({p, bytes.size()}, c.code_mode, d) == DecodeStatus::kOk);
    return execute(d);
  }
  std::optional<GuestFault> execute(const Decoded& decoded) {
    c.next_rip = c.rip + decoded.len;
    try {
      if (decoded.op == Op::kInvalid) Cpu::fault(kUD);
      exec_function(decoded.op)(c, decoded);
    } catch (const GuestFault& f) {
      return f;
    }
    c.rip = c.next_rip;
    ++c.retired;
    return std::nullopt;
  }
};

}  // namespace dejavm::soft
