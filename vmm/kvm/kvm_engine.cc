#include "vmm/kvm/kvm_engine.h"

#include <algorithm>
#include <mutex>

#include "vmm/kvm/crew.h"
#include "vmm/kvm/guest_cpu.h"
#include "vmm/kvm/kvm_cpuid.h"
#include "vmm/kvm/kvm_probe.h"
#include "vmm/kvm/kvm_state.h"
#include "vmm/soft/soft_engine.h"

namespace dejavm::kvm {
namespace {

class KvmEngine final : public Engine {
 public:
  KvmEngine(std::unique_ptr<KvmVm> vm, const CpuModel& model, GuestMemory& memory, uint64_t tsc_khz,
            std::vector<std::string> missing)
      : missing_(std::move(missing)),
        vm_(std::move(vm)),
        soft_(soft::make_soft_engine(model, memory, vm_->vcpus(), {.strict = false, .use_blocks = false})),
        crew_(vm_->vcpus(), tsc_khz) {
    for (uint32_t n = 0; n < vm_->vcpus(); ++n)
      cpus_.push_back(std::make_unique<GuestCpu>(vm_->vcpu(n), n, Common{crew_, memory, *soft_, missing_}));
  }

  std::string_view name() const override { return "kvm"; }
  bool counts() const override { return false; }
  std::vector<std::pair<std::string_view, uint64_t>> counters() const override {
    GuestCpu::Counts all;
    for (const auto& cpu : cpus_) {
      all.entries += cpu->counts().entries;
      all.kicks += cpu->counts().kicks;
      all.soft_steps += cpu->counts().soft_steps;
    }
    return {{"entries", all.entries}, {"interrupted_by_timer", all.kicks}, {"by_deterministic_engine", all.soft_steps}};
  }

  std::vector<ChunkRef> chunks() override { return avx_chunks(*soft_); }
  void power_on(uint32_t vcpu, const VcpuState& s) override {
    if (VcpuAvx::State* avx = cpus_[vcpu]->avx()) *avx = {};
    set_state(vcpu, s);
  }
  void set_state(uint32_t vcpu, const VcpuState& s) override { cpus_[vcpu]->set_state(s); }
  void get_state(uint32_t vcpu, VcpuState& s) const override { cpus_[vcpu]->get_state(s); }
  Standing standing(uint32_t vcpu) const override { return cpus_[vcpu]->standing(); }

  StopReason run(uint32_t vcpu, RunControl& control, ExitHandler& exits) override {
    GuestCpu& cpu = *cpus_[vcpu];
    if (cpu.problem().empty() && !control.init && cpu.sleeps(control)) return StopReason::kHalted;
    std::unique_lock lock(crew_.board);
    crew_.exits = &exits;
    crew_.start_clock(control.from != kForever ? control.from : cpu.standing().retired);
    cpu.enter_run(control);
    const StopReason why = cpu.run(lock);
    crew_.stop_clock();
    cpu.leave_run();
    return why;
  }
  bool runs_together() const override { return cpus_.size() > 1; }
  StopReason run_together(Together& together) override { return crew_.run(cpus_, together); }
  std::string detail() const override {
    for (const auto& cpu : cpus_)
      if (!cpu->problem().empty()) return cpu->problem() + cpu->last_exits();
    return {};
  }

  void memory_written(Gpa, uint64_t) override {}  // the processor sees it by itself
  void dirty_flags_cleared() override {}
  void collect_dirty() override { vm_->collect_dirty(); }

 private:
  std::vector<std::string> missing_;  // features
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<Engine> soft_;
  Crew crew_;
  std::vector<std::unique_ptr<GuestCpu>> cpus_;
};

const Result<KvmProbe>& probed() {
  static const Result<KvmProbe> probe = probe_kvm();
  return probe;
}

}  // namespace

Result<std::vector<std::string>> kvm_lacks(const CpuModel& model) {
  if (!probed()) return probed().error();
  std::vector<std::string> out = probed()->missing;
  for (const std::string& name : out)
    if (!is_optional_feature(name))
      return Error{ErrorKind::kHost, "KVM does not offer guests " + name + ", which every one needs"};
  std::erase_if(out, [&](const std::string& name) { return !has_feature(model, name); });
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::unique_ptr<Engine>> make_kvm_engine(const CpuModel& model, GuestMemory& memory, uint32_t vcpus,
                                                std::span<const std::string> without) {
  if (!probed()) return probed().error();
  auto vm = KvmVm::create(&memory, vcpus);
  if (!vm) return vm.error();
  std::unique_ptr<KvmVm> m = vm.take();
  if (auto done = m->filter_msrs(); !done) return done.error();
  if (auto done = set_cpuid(*m, model, without); !done) return done.error();
  const long khz = m->vcpu().call(KVM_GET_TSC_KHZ);
  if (khz <= 0) return Error{ErrorKind::kHost, "KVM does not tell the frequency of the TSC"};
  return std::unique_ptr<Engine>(
      std::make_unique<KvmEngine>(std::move(m), model, memory, static_cast<uint64_t>(khz), probed()->missing));
}

}  // namespace dejavm::kvm
