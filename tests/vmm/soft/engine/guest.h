// A machine without a board for engine tests: RAM, one vCPU in 64-bit mode at 1 MiB, identity-mapped 4 KiB pages, an
// IDT whose handlers halt. Code is given as bytes; `run_to` stops anywhere.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string_view>

#include "tests/vmm/soft/fixture.h"
#include "vmm/soft/soft_engine.h"

namespace dejavm::soft {

struct Guest {
  static constexpr uint64_t kRamBytes = 16 << 20, kCode = 0x100000, kData = 0x200000, kStack = 0x300000;
  static constexpr uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kPd = 0x3000, kPt = 0x10000;  // 8 page tables from kPt

  std::unique_ptr<GuestMemory> memory;
  std::unique_ptr<Engine> engine;
  RunControl control;
  ScriptedExits exits;

  explicit Guest(bool use_blocks = true, TranslateOptions translation = {.on = true, .threshold = 2},
                 const char* model = "dejavm-v1", uint32_t vcpus = 1, bool strict = false) {
    auto m = GuestMemory::create(kRamBytes, 0);
    CHECK(m.ok());
    memory = m.take();
    engine = make_soft_engine(*find_cpu_model(model), *memory, vcpus,
                              {.strict = strict, .use_blocks = use_blocks, .translation = translation});
    write<uint64_t>(kPml4, kPdpt | 7);
    write<uint64_t>(kPdpt, kPd | 7);
    for (uint64_t t = 0; t < 8; ++t) {
      write<uint64_t>(kPd + 8 * t, (kPt + t * 4096) | 7);
      for (uint64_t p = 0; p < 512; ++p) write<uint64_t>(kPt + t * 4096 + 8 * p, (t << 21 | p << 12) | 7);
    }
    // IDT at 0x8000: every vector leads to its own HLT at 0x9000 + vector.
    for (uint64_t v = 0; v < 256; ++v) {
      const uint64_t target = 0x9000 + v;
      write<uint64_t>(0x8000 + 16 * v, (target & 0xffff) | (0x8ull << 16) | (0x8e00ull << 32) | ((target >> 16) << 48));
      write<uint64_t>(0x8008 + 16 * v, 0);
      write<uint8_t>(target, 0xf4);
    }
    // GDT at 0xa000: null, 64-bit code, data.
    write<uint64_t>(0xa008, 0x00af9b000000ffff);
    write<uint64_t>(0xa010, 0x00cf93000000ffff);
    VcpuState s = reset_vcpu_state();
    s.cr0 = kCr0PE | kCr0ET | kCr0NE | kCr0WP | kCr0PG;
    s.cr3 = kPml4;
    s.cr4 = kCr4PAE | kCr4OSFXSR | kCr4OSXMMEXCPT | kCr4PGE;
    s.efer = kEferLME | kEferLMA | kEferNXE | kEferSCE;
    for (unsigned seg = kEs; seg <= kGs; ++seg)
      s.segment[seg] = {static_cast<uint16_t>(seg == kCs ? 8 : 16),
                        static_cast<uint16_t>(kSegP | kSegS | kSegG | (seg == kCs ? 0xb | kSegL : 3 | kSegDb)),
                        0xffffffff, 0};
    s.idtr = {0x8000, 0xfff};
    s.gdtr = {0xa000, 0x17};
    s.rip = kCode;
    s.gpr[kRsp] = kStack;
    engine->set_state(0, s);
    control.until = kForever;
  }

  template <class T>
  void write(uint64_t gpa, T v) {
    CHECK(memory->write(Gpa{gpa}, &v, sizeof v));
    engine ? engine->memory_written(Gpa{gpa}, sizeof v) : void();
  }
  template <class T>
  T read(uint64_t gpa) {
    T v{};
    CHECK(memory->read(Gpa{gpa}, &v, sizeof v));
    return v;
  }
  void code(std::string_view bytes, uint64_t gpa = kCode) {
    CHECK(memory->write(Gpa{gpa}, bytes.data(), bytes.size()));
    engine->memory_written(Gpa{gpa}, bytes.size());
  }
  StopReason run_to(uint64_t retired) {
    control.until = Retired{retired};
    return engine->run(0, control, exits);
  }
  VcpuState state() {
    VcpuState s;
    engine->get_state(0, s);
    return s;
  }
  // Saves through the chunks and restores into `other`, which has had another life.
  void clone_into(Guest& other) {
    const VcpuState s = state();
    for (const MemoryRegion& r : memory->regions()) {
      std::vector<uint8_t> copy(r.host, r.host + r.len_bytes);
      CHECK(other.memory->write(r.start, copy.data(), copy.size()));
    }
    const auto from = engine->chunks();
    const auto to = other.engine->chunks();
    CHECK(from.size() == to.size());
    for (size_t i = 0; i < from.size(); ++i) std::memcpy(to[i].data, from[i].data, from[i].schema->size);
    other.engine->set_state(0, s);
    other.engine->restored();
  }
};

inline std::string differing(const VcpuState& a, const VcpuState& b) {
  std::string out;
  for (const FieldInfo& f : schema_of<Vcpu>().fields)
    if (std::memcmp(reinterpret_cast<const char*>(&a) + f.offset, reinterpret_cast<const char*>(&b) + f.offset,
                    size_t{f.element_size} * f.count) != 0)
      out += std::string(f.name) + " ";
  return out;
}

}  // namespace dejavm::soft
