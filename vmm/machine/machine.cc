#include "vmm/machine/machine.h"

#include <algorithm>

#include <fmt/format.h>

#include "devices/core/split_mix.h"
#include "vmm/boot/boot.h"
#include "vmm/boot/firmware_config.h"
#include "vmm/kvm/kvm_engine.h"
#include "vmm/kvm/kvm_step.h"
#include "vmm/machine/disk.h"
#include "vmm/machine/machine_impl.h"
#include "vmm/soft/soft_engine.h"

namespace dejavm {
namespace {

Error host_error(std::string message) { return {ErrorKind::kHost, std::move(message)}; }

}  // namespace

std::string describe_registers(const VcpuState& s) {
  return fmt::format(
      "at instruction {}, rip {:#x} cs {:#06x} rflags {:#x} rsp {:#x} cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} "
      "efer {:#x}",
      s.retired, s.rip, s.segment[kCs].selector, s.rflags, s.gpr[kRsp], s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

void Machine::Impl::pull() {
  for (uint32_t n = 0; n < vcpus.size(); ++n) {
    engine->get_state(n, vcpus[n]);
    standing[n] = Engine::standing_of(vcpus[n]);
  }
  if (several()) schedule.retired = at.value;
  else at = {vcpus[0].retired};
}

void Machine::Impl::push() {
  for (uint32_t n = 0; n < vcpus.size(); ++n) {
    engine->set_state(n, vcpus[n]);
    standing[n] = Engine::standing_of(vcpus[n]);
  }
  at = {several() ? schedule.retired : vcpus[0].retired};
}

void Machine::Impl::set_time_base(uint64_t ns) {
  clock.time_base_ns = ns;
  for (RunControl& c : controls) c.time_base_ns = ns;
}

VcpuState Machine::Impl::power_on_vcpu(uint32_t n) const {
  VcpuState s = reset_vcpu_state();
  s.random_seed = n == 0 ? config.seed : SplitMix64::output(config.seed, n);
  s.retired = at.value;
  if (n != 0) s.activity = Activity::kWaitForSipi;
  return s;
}

// Memory types as firmware leaves them: the same on every vCPU (SDM vol. 3, 12.11.8).
void Machine::Impl::like_the_first() {
  for (uint32_t n = 1; n < vcpus.size(); ++n) {
    vcpus[n].pat = vcpus[0].pat;
    vcpus[n].mtrr_def_type = vcpus[0].mtrr_def_type;
    vcpus[n].mtrr_fixed = vcpus[0].mtrr_fixed;
    vcpus[n].mtrr_variable = vcpus[0].mtrr_variable;
    engine->set_state(n, vcpus[n]);
  }
}

void Machine::Impl::reset(Nanos when) {
  pull();
  for (uint32_t n = 0; n < vcpus.size(); ++n) engine->power_on(n, power_on_vcpu(n));
  schedule.current = 0;
  schedule.slice_end = at.value;
  pull();
  board->reset(when);
  ++clock.resets;
}

// What this host's processor does not have, a machine under KVM is without from here on, on any engine.
Result<void> Machine::Impl::fit_to_host(std::string_view engine_name) {
  if (engine_name != "kvm") return {};
  auto lacks = kvm::kvm_lacks(*find_cpu_model(config.cpu_model));
  if (!lacks) return lacks.error();
  std::vector<std::string> all;
  std::set_union(config.cpu_without.begin(), config.cpu_without.end(), lacks->begin(), lacks->end(),
                 std::back_inserter(all));
  config.cpu_without = std::move(all);
  return {};
}

// `name`: as is_engine() has it.
Result<std::unique_ptr<Engine>> Machine::Impl::make_engine(std::string_view name) const {
  const CpuModel& model = *find_cpu_model(config.cpu_model);
  if (name == "deterministic")
    return soft::make_soft_engine(model, *memory, config.vcpus,
                                  {.strict = config.strict, .revision = config.revision, .translation = translation});
  if (name == "kvm") return kvm::make_kvm_engine(model, *memory, config.vcpus, config.cpu_without);
  if (name == "kvm-step") return kvm::make_step_engine(model, *memory, config.vcpus, config.revision);
  return host_error(fmt::format("unknown engine '{}'; there are 'deterministic', 'kvm' and 'kvm-step'", name));
}

Machine::Machine() : impl_(std::make_unique<Impl>()) {}
Machine::~Machine() = default;

void Machine::log_disks_to(DiskLog* log) {
  for (const auto& disk : impl_->disks) disk->log_to(log);
}

Disk& Machine::disk(unsigned number) const { return *impl_->disks.at(number); }

std::optional<std::pair<unsigned, std::string>> Machine::lost_disk() const {
  for (unsigned n = 0; n < impl_->disks.size(); ++n)
    if (const std::string& loss = impl_->disks[n]->loss(); !loss.empty()) return std::pair(n, loss);
  return std::nullopt;
}

Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config, const EngineChoice& choice,
                                                 Console* console, std::vector<std::unique_ptr<DiskImage>> images) {
  if (find_cpu_model(config.cpu_model) == nullptr)
    return host_error("unknown CPU model '" + config.cpu_model + "'; there are dejavm-v1 and dejavm-v2");
  if (config.vcpus < 1 || config.vcpus > kMaxVcpus)
    return host_error(fmt::format("{} vCPUs: a machine has 1 to {}", config.vcpus, kMaxVcpus));
  CHECK(images.size() <= config.disks.size());
  images.resize(config.disks.size());
  auto memory = GuestMemory::create(config.memory_bytes, config.rom_bytes, config.test_device, config.disks);
  if (!memory) return memory.error();
  std::unique_ptr<Machine> machine(new Machine);
  Impl& m = *machine->impl_;
  m.config = config;
  m.translation = choice.translation;
  if (auto done = m.fit_to_host(choice.name); !done) return done.error();
  m.memory = memory.take();
  for (unsigned n = 0; n < images.size(); ++n)
    m.disks.push_back(std::make_unique<Disk>(config.disks[n], n, *m.memory, std::move(images[n])));
  m.controls.resize(config.vcpus);
  if (m.several())
    for (RunControl& control : m.controls) control.turns = &m;
  m.vcpus.resize(config.vcpus);
  m.standing.resize(config.vcpus);
  m.signals.resize(config.vcpus);
  m.turns.resize(config.vcpus);
  first_priorities(config, m.turns);
  m.board = std::make_unique<Board>(m.config, m.controls, console, &m);
  auto engine = m.make_engine(choice.name);
  if (!engine) return engine.error();
  m.engine = engine.take();
  for (uint32_t n = 0; n < config.vcpus; ++n) m.engine->power_on(n, m.power_on_vcpu(n));
  m.pull();
  return machine;
}

Result<void> Machine::boot(const BootSource& source) {
  Impl& m = *impl_;
  m.pull();
  if (auto done = boot::load(source, m.config, *m.memory, m.vcpus[0]); !done) return done;
  for (const ChunkRef& chunk : m.board->chunks())
    if (chunk.schema == &schema_of<Fwcfg>())
      boot::fill_firmware_config(m.config, *static_cast<Fwcfg::State*>(chunk.data));
  m.engine->set_state(0, m.vcpus[0]);
  if (config().rom_bytes == 0) m.like_the_first();
  for (const MemoryRegion& r : m.memory->regions()) m.engine->memory_written(r.start, r.len_bytes);
  return {};
}

void Machine::limit_time(Nanos limit) { impl_->time_limit = limit; }
bool Machine::time_is_up() const { return impl_->now() >= impl_->time_limit; }

RunEnd Machine::run(Retired until, Inputs& inputs, ExitHandler& exits) {
  impl_->dma_log = &exits;
  const RunEnd end = impl_->run(until, inputs, exits);
  impl_->dma_log = nullptr;
  return end;
}

Result<void> Machine::switch_engine(std::string_view engine_name) {
  Impl& m = *impl_;
  sync_out();
  const std::vector<std::string> without = m.config.cpu_without;
  if (auto done = m.fit_to_host(engine_name); !done) return done;
  auto engine = m.make_engine(engine_name);
  if (!engine) {
    m.config.cpu_without = without;
    return engine.error();
  }
  for (uint32_t n = 0; n < m.vcpus.size(); ++n) (*engine)->set_state(n, m.vcpus[n]);
  if (const std::string problem = (*engine)->detail(); !problem.empty()) {
    m.config.cpu_without = without;
    return host_error(problem);
  }
  m.engine = engine.take();
  m.pull();
  m.engine->restored();
  return {};
}

void Machine::set_schedule(const ScheduleConfig& how, uint64_t slice) {
  Impl& m = *impl_;
  m.config.schedule = how;
  m.config.slice = slice;
  m.schedule.slice_end = m.at.value;
  m.schedule.changes = 0;
  m.schedule.missed = 0;
  m.schedule.paused = 0;
  for (VcpuTurn::State& turn : m.turns) turn.priority = 0;
  first_priorities(m.config, m.turns);
}

Machine::SwitchesLeft Machine::switches_left() const {
  const std::vector<ScheduledSwitch>& list = impl_->config.schedule.switches;
  if (list.empty()) return {};
  return {impl_->schedule.missed, list.size() - std::min<uint64_t>(impl_->schedule.changes, list.size())};
}

void Machine::watch_turns(std::function<void(const Turn&)> watcher) { impl_->turn_watcher = std::move(watcher); }
void Machine::hold_others(std::optional<uint32_t> than_vcpu) { impl_->held_for = than_vcpu; }

void Machine::wrap_engine(const std::function<std::unique_ptr<Engine>(std::unique_ptr<Engine>)>& wrap) {
  impl_->engine = wrap(std::move(impl_->engine));
}

Position Machine::position() const { return impl_->position(); }
Nanos Machine::now() const { return impl_->now(); }
Board& Machine::board() { return *impl_->board; }
Engine& Machine::engine() { return *impl_->engine; }
GuestMemory& Machine::memory() { return *impl_->memory; }
const MachineConfig& Machine::config() const { return impl_->config; }
std::string Machine::detail() const { return impl_->detail; }
uint8_t Machine::debug_exit_status() const { return static_cast<uint8_t>(impl_->board->debug_exit_value() << 1 | 1); }

void Machine::write_memory(Gpa gpa, std::span<const uint8_t> bytes) {
  CHECK(impl_->memory->write(gpa, bytes.data(), bytes.size()));
  impl_->engine->memory_written(gpa, bytes.size());
}

std::vector<ChunkRef> Machine::chunks() {
  Impl& m = *impl_;
  std::vector<ChunkRef> out = {{&schema_of<MachineClock>(), 0, true, &m.clock}};
  if (m.several()) {
    out.push_back({&schema_of<Schedule>(), 0, true, &m.schedule});
    for (uint32_t n = 0; n < m.turns.size(); ++n) out.push_back({&schema_of<VcpuTurn>(), n, true, &m.turns[n]});
  }
  for (uint32_t n = 0; n < m.vcpus.size(); ++n) out.push_back({&schema_of<Vcpu>(), n, true, &m.vcpus[n]});
  for (const ChunkRef& c : m.engine->chunks()) out.push_back(c);
  for (const ChunkRef& c : m.board->chunks()) out.push_back(c);
  return out;
}

void Machine::sync_out() {
  impl_->engine->collect_dirty();
  impl_->pull();
}

const char* Machine::misfit() const {
  const CpuModel& model = *find_cpu_model(impl_->config.cpu_model);
  if (impl_->schedule.current >= impl_->config.vcpus)
    return "chunk 'schedule': it is the turn of a vCPU that is not there";
  for (const VcpuState& s : impl_->vcpus)
    if (s.xcr0 & ~model.xcr0_allowed) return "chunk 'vcpu': XCR0 is not one that the machine's CPU model allows";
  return nullptr;
}

void Machine::sync_in(bool memory_told) {
  Impl& m = *impl_;
  m.push();
  m.set_time_base(m.clock.time_base_ns);
  m.engine->restored(memory_told);
  m.board->restored();
}

}  // namespace dejavm
