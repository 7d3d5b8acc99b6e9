// A TestCpu with descriptor tables, a TSS and stacks for each privilege level, for tests of system instructions.
//   Machine t(Mode::kProtected, 3);
//   t.gate(0x80, Machine::kCode0, 0x5000, kTrapGate32, 3);
//   EXPECT_EQ(t.outcome("\xcd\x80"sv), "ok");
#pragma once

#include <string>

#include "tests/vmm/soft/fixture.h"
#include "vmm/soft/system/descriptor.h"

namespace dejavm::soft {

using namespace std::literals;
using namespace sys;

enum class Mode : uint8_t { kReal, kV86, kProtected, kCompatibility, kLong };

inline std::string describe(const GuestFault& f) {
  static constexpr const char* kNames[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "?9",
                                           "#TS", "#NP", "#SS", "#GP", "#PF", "?15", "#MF", "#AC", "#MC", "#XM"};
  char text[32];
  if (f.has_error) std::snprintf(text, sizeof text, "%s(%x)", kNames[f.vector], f.error);
  else std::snprintf(text, sizeof text, "%s", kNames[f.vector]);
  return text;
}

struct Machine : TestCpu {
  static constexpr uint64_t kGdt = 0x10000, kIdt = 0x11000, kTss = 0x12000, kTss2 = 0x13000, kLdtTable = 0x14000;
  static constexpr uint64_t kStack0 = 0x20000, kStack1 = 0x24000, kIst1 = 0x28008;  // IST1: to be aligned
  static constexpr uint16_t kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x1b, kData3 = 0x23, kTssSel = 0x28, kTss2Sel = 0x30,
                            kConforming = 0x38, kCode16 = 0x40, kData16 = 0x48, kLong0 = 0x50, kLong3 = 0x5b,
                            kAbsentData = 0x60, kData1 = 0x69, kTssLong = 0x70, kGate = 0x80, kLdtSel = 0x90,
                            kExecuteOnly = 0xa0, kCode1 = 0xa9, kExpandDown = 0xb0, kReadOnly = 0xb8,
                            kAbsentCode = 0xc0, kBothSizes = 0xc8, kFree = 0xd0;
  static constexpr uint16_t kBeyond = 0x100;  // outside the GDT

  // Attributes are those of SegmentState: type 3:0, S, DPL, P, AVL, L, D/B, G.
  static uint64_t segment(uint64_t base, uint32_t limit, unsigned attributes) {
    return (uint64_t{limit} & 0xffff) | (base & 0xffffff) << 16 | uint64_t{attributes & 0xff} << 40 |
           (uint64_t{limit} & 0xf0000) << 32 | uint64_t{attributes >> 8} << 52 | (base & 0xff000000) << 32;
  }
  static uint64_t gate_low(uint16_t selector, uint64_t offset, unsigned type, unsigned dpl, unsigned low_bits = 0) {
    return (offset & 0xffff) | uint64_t{selector} << 16 | uint64_t{low_bits} << 32 |
           uint64_t{0x80u | dpl << 5 | type} << 40 | (offset & 0xffff0000) << 32;
  }
  void descriptor(uint16_t selector, uint64_t low, uint64_t high = 0) {
    write(kGdt + (selector & 0xfff8), low);
    if (high != 0 || c.long_mode()) {
      if (!(low & (uint64_t{1} << 44))) write(kGdt + (selector & 0xfff8) + 8, high);
    }
  }
  // An IDT gate, present. ist: long mode.
  void gate(unsigned vector, uint16_t selector, uint64_t offset, unsigned type, unsigned dpl = 0, unsigned ist = 0) {
    const uint64_t low = gate_low(selector, offset, type, dpl, ist);
    if (c.long_mode()) {
      write(kIdt + 16 * vector, low);
      write(kIdt + 16 * vector + 8, offset >> 32);
    } else {
      write(kIdt + 8 * vector, low);
    }
  }
  void no_gate(unsigned vector) {  // of a valid type, not present
    const uint64_t at = kIdt + vector * (c.long_mode() ? 16 : 8);
    write(at, read<uint64_t>(at) & ~(uint64_t{1} << 47));
  }

  explicit Machine(Mode mode, unsigned cpl = 0) {
    const bool long_mode = mode == Mode::kLong || mode == Mode::kCompatibility;
    set_mode(long_mode ? CodeMode::k64 : mode == Mode::kReal ? CodeMode::k16 : CodeMode::k32);
    build_gdt();
    build_tss(long_mode);
    c.s.idtr = {kIdt, 0xfff};
    for (unsigned v = 0; v < 32; ++v)
      if (mode == Mode::kReal) write<uint32_t>(kIdt + 4 * v, 0x30000000 | v << 4);
      else gate(v, long_mode ? kLong0 : kCode0, 0x30000 + 16 * v, kInterruptGate32);
    c.rip = c.next_rip = mode == Mode::kReal || mode == Mode::kV86 ? 0x1000 : kCode;
    c.set_rflags(2);
    if (mode == Mode::kReal) {
      for (unsigned s = kEs; s <= kGs; ++s) c.set_segment(s, {0x200, 0x93, 0xffff, 0x2000});
      c.r[kRsp] = 0x800;
    } else if (mode == Mode::kV86) {
      c.set_rflags(2 | kVM);
      for (unsigned s = kEs; s <= kGs; ++s) c.set_segment(s, v86_segment(static_cast<uint16_t>(0x200 + s)));
      c.cpl = 3;
      c.r[kRsp] = 0x800;
    } else {
      level(mode, cpl);
    }
    c.update_mode();
    c.tlb_flush_all();
  }

  void level(Mode mode, unsigned cpl) {
    const uint16_t code = mode == Mode::kLong ? (cpl == 3 ? kLong3 : kLong0)
                          : cpl == 3          ? kCode3
                          : cpl == 1          ? kCode1
                                              : kCode0;
    const uint16_t data = cpl == 3 ? kData3 : cpl == 1 ? kData1 : kData0;
    load(kCs, code);
    for (unsigned s : {kEs, kSs, kDs, kFs, kGs}) load(s, data);
    c.cpl = static_cast<uint8_t>(cpl);
    c.update_mode();
  }
  // Loads a segment cache from the GDT without checks.
  void load(unsigned seg, uint16_t selector) {
    Descriptor x;
    x.low = read<uint64_t>(kGdt + (selector & 0xfff8));
    c.set_segment(seg, cache_of(x, selector));
  }

  std::string outcome(std::string_view bytes) {
    const auto f = run(bytes);
    return f ? describe(*f) : "ok";
  }
  // Executes and expects that the fault changed nothing but what the fault itself reports.
  std::string refused(std::string_view bytes) {
    const auto before = everything();
    const std::string what = outcome(bytes);
    EXPECT_NE(what, "ok");
    EXPECT_TRUE(before == everything()) << "state changed by an instruction that faulted with " << what;
    return what;
  }
  struct Everything {
    VcpuState s;
    std::array<uint64_t, kSlotCount> r;
    uint64_t rflags, rip;
    unsigned cpl;
    CodeMode mode;
    bool operator==(const Everything&) const = default;
  };
  Everything everything() const { return {c.s, c.r, c.rflags(), c.rip, c.cpl, c.code_mode}; }

  // The frame at the stack pointer: `count` items of `size` bytes, lowest first. Identity-mapped, SS flat.
  std::vector<uint64_t> frame(unsigned size, unsigned count) {
    std::vector<uint64_t> out;
    const uint64_t at = c.s.segment[kSs].base * (c.code_mode == CodeMode::k64 ? 0 : 1) + c.reg(kRsp, c.stack_size());
    for (unsigned n = 0; n < count; ++n) {
      uint64_t v = 0;
      CHECK(memory->read(Gpa{at + n * size}, &v, size));
      out.push_back(v);
    }
    return out;
  }

 private:
  void build_gdt() {
    c.s.gdtr = {kGdt, 0xff};
    constexpr unsigned kFlat = 0xc00, kFlat64 = 0xa00;
    auto put = [&](uint16_t selector, uint64_t descriptor) { write(kGdt + (selector & 0xfff8), descriptor); };
    put(kCode0, segment(0, 0xfffff, kFlat | 0x9b));
    put(kData0, segment(0, 0xfffff, kFlat | 0x93));
    put(kCode3, segment(0, 0xfffff, kFlat | 0xfb));
    put(kData3, segment(0, 0xfffff, kFlat | 0xf3));
    put(kConforming, segment(0, 0xfffff, kFlat | 0x9f));
    put(kCode16, segment(0, 0xffff, 0x9b));
    put(kData16, segment(0, 0xffff, 0x93));
    put(kLong0, segment(0, 0xfffff, kFlat64 | 0x9b));
    put(kLong3, segment(0, 0xfffff, kFlat64 | 0xfb));
    put(kAbsentData, segment(0, 0xfffff, kFlat | 0x13));
    put(kData1, segment(0, 0xfffff, kFlat | 0xb3));
    put(kExecuteOnly, segment(0, 0xfffff, kFlat | 0x99));
    put(kCode1, segment(0, 0xfffff, kFlat | 0xbb));
    put(kExpandDown, segment(0, 0xfff, 0x400 | 0x97));
    put(kReadOnly, segment(0, 0xfffff, kFlat | 0x91));
    put(kAbsentCode, segment(0, 0xfffff, kFlat | 0x1b));
    put(kBothSizes, segment(0, 0xfffff, 0xe9b));
    if (!c.long_mode()) {
      put(kTssSel, segment(kTss, 0x67, 0x8b));
      put(kTss2Sel, segment(kTss2, 0x67, 0x89));
      put(kLdtSel, segment(kLdtTable, 0x1f, 0x82));
    } else {
      put(kTssLong, segment(kTss, 0x67, 0x8b));
      put(kLdtSel, segment(kLdtTable, 0x1f, 0x82));
    }
    c.set_segment(kLdtr, null_segment(0));
  }
  void build_tss(bool long_mode) {
    c.set_segment(kTr, {long_mode ? kTssLong : kTssSel, 0x8b, 0x67, kTss});
    if (long_mode) {
      write<uint64_t>(kTss + 4, kStack0);
      write<uint64_t>(kTss + 12, kStack1);
      write<uint64_t>(kTss + 0x24, kIst1);
    } else {
      write<uint32_t>(kTss + 4, kStack0);
      write<uint16_t>(kTss + 8, kData0);
      write<uint32_t>(kTss + 12, kStack1);
      write<uint16_t>(kTss + 16, kData1);
    }
  }
};

// ptr16:32 forms of JMP and CALL, in 32-bit code.
inline std::string far_32(char opcode, uint16_t selector, uint32_t offset) {
  std::string s(1, opcode);
  s.append(reinterpret_cast<const char*>(&offset), 4).append(reinterpret_cast<const char*>(&selector), 2);
  return s;
}
inline constexpr char kJmp = '\xea', kCall = '\x9a';

inline constexpr Event kIrq{EventType::kExternal, 0x40};
inline Event exception(uint8_t vector) {
  const bool has_error = vector == kDF || (vector >= kTS && vector <= kPF) || vector == kAC;
  return {EventType::kException, vector, has_error, has_error ? 0x1234u : 0u};
}

}  // namespace dejavm::soft
