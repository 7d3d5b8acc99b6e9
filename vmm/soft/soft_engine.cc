#include "vmm/soft/soft_engine.h"

#include <algorithm>
#include <cstdio>

#include "vmm/soft/blocks/blocks.h"
#include "vmm/soft/cpu.h"
#include "vmm/soft/mmu.h"
#include "vmm/soft/run.h"
#include "vmm/soft/translate/translator.h"

namespace dejavm::soft {
namespace {

class SoftEngine final : public Engine {
 public:
  SoftEngine(const CpuModel& model, GuestMemory& memory, uint32_t vcpus, SoftOptions options)
      : memory_(memory), options_(options), blocks_(memory), vcpus_(vcpus) {
    if (options.translation.on && options.use_blocks) {
      auto translator = Translator::create(options.translation);
      if (translator) translator_ = translator.take();
      else
        std::fprintf(stderr, "dejavm: guest code is interpreted, not translated: %s\n",
                     translator.error().message.c_str());
      blocks_.translator = translator_.get();
    }
    for (uint32_t n = 0; n < vcpus; ++n) {
      vcpus_[n] = std::make_unique<One>();
      Cpu& c = vcpus_[n]->cpu;
      c.index = n;
      c.memory = &memory;
      c.mmu = &vcpus_[n]->mmu;
      c.model = &model;
      c.blocks = &blocks_;
      blocks_.cpus.push_back(&c);
      c.translator = translator_.get();
      c.strict = options.strict;
      c.revision = options.revision;
      c.takes_turns = vcpus > 1;
      set_state(n, reset_vcpu_state());
    }
  }

  std::string_view name() const override { return "deterministic"; }

  void set_state(uint32_t vcpu, const VcpuState& s) override {
    Cpu& c = vcpus_[vcpu]->cpu;
    c.s = s;
    std::copy(s.gpr.begin(), s.gpr.end(), c.r.begin());
    c.rip = c.next_rip = s.rip;
    c.retired = s.retired;
    c.set_rflags(s.rflags);
    for (unsigned seg = 0; seg < kSegCount; ++seg) c.set_segment(seg, s.segment[seg]);
    c.cpl = !c.protected_mode() ? 0 : c.v86() ? 3 : (s.segment[kSs].attributes >> 5) & 3;
    c.tlb_flush_all();
    c.update_mode();
    forget_fast(c);
  }

  void post_nmi(uint32_t vcpu) override { vcpus_[vcpu]->cpu.s.nmi_pending = true; }

  void power_on(uint32_t vcpu, const VcpuState& s) override {
    vcpus_[vcpu]->cpu.avx = {};
    set_state(vcpu, s);
  }

  void get_state(uint32_t vcpu, VcpuState& s) const override {
    One& one = *vcpus_[vcpu];
    s = one.cpu.s;
    std::copy_n(one.cpu.r.begin(), s.gpr.size(), s.gpr.begin());
    s.rip = one.cpu.rip;
    s.retired = one.cpu.retired;
    s.rflags = one.cpu.rflags();
    one.saved_tlb = one.mmu.tlb;
  }

  Standing standing(uint32_t vcpu) const override {
    const Cpu& c = vcpus_[vcpu]->cpu;
    return {{c.retired},
            c.s.activity,
            (c.other_flags & kIF) != 0,
            c.s.pending_debug || (c.s.nmi_pending && !c.s.nmi_blocked)};
  }

  Registers registers(uint32_t vcpu) const override {
    Registers out;
    const Cpu& c = vcpus_[vcpu]->cpu;
    std::copy_n(c.r.begin(), out.gpr.size(), out.gpr.begin());
    out.rip = c.rip;
    out.retired = c.retired;
    return out;
  }
  bool set_debug_points(uint32_t vcpu, DebugPoints* points) override {
    Cpu& c = vcpus_[vcpu]->cpu;
    c.debug = points;
    drop_blocks(c);  // of instructions that are waited for there are none
    forget_fast(c);
    return true;
  }
  std::vector<std::pair<std::string_view, uint64_t>> counters() const override {
    const Translator::Counts translated = translator_ ? translator_->counts() : Translator::Counts{};
    uint64_t unlogged_reads = 0, single_steps = 0;
    for (const auto& one : vcpus_) {
      unlogged_reads += one->cpu.unlogged_reads;
      single_steps += one->cpu.single_steps;
    }
    return {{"unlogged_reads", unlogged_reads},
            {"single_steps", single_steps},
            {"translated_blocks", translated.blocks},
            {"translated_as_calls", translated.left_to_functions}};
  }

  StopReason run(uint32_t vcpu, RunControl& control, ExitHandler& exits) override {
    Cpu& c = vcpus_[vcpu]->cpu;
    c.control = &control;
    c.exits = &exits;
    if (control.from != kForever) {
      c.retired = control.from.value;
      control.from = kForever;
    }
    const StopReason why = run_vcpu(c, options_.use_blocks);
    if (why == StopReason::kUnimplemented) describe(c);
    return why;
  }

  std::string detail() const override { return detail_; }

  void dma_written(Gpa start, uint64_t len_bytes) override {
    memory_written(start, len_bytes);
    for (auto& one : vcpus_) note_dma(one->cpu, start.value, len_bytes);
  }

  void memory_written(Gpa start, uint64_t len_bytes) override {
    for (uint64_t at = start.value, end = start.value + len_bytes; at < end;) {
      const uint64_t n = std::min(end, (at | (kPageSize - 1)) + 1) - at;
      const uint8_t* flags = memory_.page_flags(Gpa{at});
      if (flags != nullptr && (*flags & kPageCode)) blocks_stored(vcpus_[0]->cpu, at, static_cast<unsigned>(n));
      at += n;
    }
  }

  void dirty_flags_cleared() override {
    for (auto& one : vcpus_) forget_fast_writes(one->cpu);
  }

  std::vector<ChunkRef> chunks() override {
    std::vector<ChunkRef> out;
    for (uint32_t n = 0; n < vcpus_.size(); ++n)
      out.push_back({&schema_of<SoftTlb>(), n, false, &vcpus_[n]->saved_tlb});
    for (uint32_t n = 0; n < vcpus_.size() && vcpus_[n]->cpu.model->extended; ++n)
      out.push_back({&schema_of<VcpuAvx>(), n, true, &vcpus_[n]->cpu.avx});
    return out;
  }

  void restored(bool memory_told) override {
    for (auto& one : vcpus_) {
      one->mmu.tlb = one->saved_tlb;
      rebuild_filled(one->cpu);
      one->cpu.update_mode();
    }
    if (!memory_told) drop_blocks(vcpus_[0]->cpu);
  }

 private:
  struct One {
    Cpu cpu;
    Mmu mmu;
    TlbState saved_tlb;  // what get_state saved, what restored() takes: chunk "soft-tlb"
  };

  friend void dejavm::soft::set_threshold(Engine& engine, unsigned threshold);
  friend void dejavm::soft::set_execution(Engine& engine, Execution how);

  void describe(Cpu& c) {
    char text[160];
    int n = std::snprintf(text, sizeof text,
                          "instruction outside the CPU model at %#llx:", static_cast<unsigned long long>(c.rip));
    const uint64_t linear = c.long64() ? c.rip : (c.s.segment[kCs].base + c.rip) & 0xffffffff;
    const uint8_t* page = fetch_host_page(c, c.fetch_gpa);
    for (uint64_t k = linear & 0xfff; k < 4096 && k < (linear & 0xfff) + 15; ++k)
      n += std::snprintf(text + n, sizeof text - static_cast<size_t>(n), " %02x", page[k]);
    detail_ = text;
  }

  GuestMemory& memory_;
  SoftOptions options_;
  BlockCache blocks_;
  std::unique_ptr<Translator> translator_;
  std::vector<std::unique_ptr<One>> vcpus_;
  std::string detail_;
};

}  // namespace

void set_execution(Engine& engine, Execution how) {
  CHECK(engine.name() == "deterministic");
  auto& e = static_cast<SoftEngine&>(engine);
  drop_blocks(e.vcpus_[0]->cpu);
  e.options_.use_blocks = how != Execution::kSteps;
  Translator* translator = how == Execution::kTranslated ? e.translator_.get() : nullptr;
  e.blocks_.translator = translator;
  for (auto& one : e.vcpus_) one->cpu.translator = translator;
}

void set_threshold(Engine& engine, unsigned threshold) {
  CHECK(engine.name() == "deterministic");
  auto& e = static_cast<SoftEngine&>(engine);
  if (e.translator_ != nullptr) e.translator_->set_threshold(threshold);
}

std::unique_ptr<Engine> make_soft_engine(const CpuModel& model, GuestMemory& memory, uint32_t vcpus,
                                         SoftOptions options) {
  return std::make_unique<SoftEngine>(model, memory, vcpus, options);
}

}  // namespace dejavm::soft
