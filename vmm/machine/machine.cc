#include "vmm/machine/machine.h"

#include <algorithm>

#include <fmt/format.h>

#include "vmm/boot/boot.h"
#include "vmm/boot/firmware_config.h"
#include "vmm/kvm/kvm_engine.h"
#include "vmm/kvm/kvm_step.h"
#include "vmm/machine/disk.h"
#include "vmm/soft/soft_engine.h"

namespace dejavm {
namespace {

constexpr uint64_t kFlagIf = 1 << 9;
// A CPU that has been halted for so long, with devices ticking and nothing of it an interrupt, will not wake.
constexpr uint64_t kHaltedForeverNs = 3'600'000'000'000;

Error host_error(std::string message) { return {ErrorKind::kHost, std::move(message)}; }

std::string describe_registers(const VcpuState& s) {
  return fmt::format(
      "at instruction {}, rip {:#x} cs {:#06x} rflags {:#x} rsp {:#x} cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} "
      "efer {:#x}",
      s.retired, s.rip, s.segment[kCs].selector, s.rflags, s.gpr[kRsp], s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

}  // namespace

struct Machine::Impl final : GuestDma {
  MachineConfig config;
  TranslateOptions translation;
  std::unique_ptr<GuestMemory> memory;
  std::vector<std::unique_ptr<Disk>> disks;
  std::vector<RunControl> controls;
  std::unique_ptr<Board> board;
  ExitHandler* dma_log = nullptr;  // of the run in progress
  std::unique_ptr<Engine> engine;
  std::vector<VcpuState> vcpus;  // as of the last sync_out
  MachineClock::State clock;
  std::string detail;
  Retired at;  // vCPU 0's, between runs of the engine
  Nanos time_limit = kNever;
  // The present halt: where it began, to tell one that lasts for ever.
  Retired halted_at = kForever;
  Nanos halted_since;

  Position position() const { return {0, at}; }
  Nanos now() const { return {at.value + clock.time_base_ns}; }

  void pull() {
    for (uint32_t n = 0; n < vcpus.size(); ++n) engine->get_state(n, vcpus[n]);
    at = {vcpus[0].retired};
  }
  void set_time_base(uint64_t ns) {
    clock.time_base_ns = ns;
    for (RunControl& c : controls) c.time_base_ns = ns;
  }
  VcpuState power_on_vcpu() const {
    VcpuState s = reset_vcpu_state();
    s.random_seed = config.seed;
    s.retired = at.value;
    return s;
  }
  // INIT leaves the FPU, the TSC and most MSRs alone (SDM vol. 3, table 10-1).
  VcpuState after_init() const {
    VcpuState s = reset_vcpu_state();
    const VcpuState& old = vcpus[0];
    s.fpu = old.fpu;
    s.retired = old.retired;
    s.tsc_adjust = old.tsc_adjust;
    s.tsc_aux = old.tsc_aux;
    s.pat = old.pat;
    s.mtrr_def_type = old.mtrr_def_type;
    s.mtrr_fixed = old.mtrr_fixed;
    s.mtrr_variable = old.mtrr_variable;
    s.random_counter = old.random_counter;
    s.random_seed = old.random_seed;
    return s;
  }
  void reset() {
    pull();
    for (uint32_t n = 0; n < vcpus.size(); ++n) engine->power_on(n, power_on_vcpu());
    board->reset(now());
    ++clock.resets;
  }

  // What this host's processor does not have, a machine under KVM is without from here on, on any engine.
  Result<void> fit_to_host(std::string_view engine_name) {
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
  Result<std::unique_ptr<Engine>> make_engine(std::string_view name) const {
    const CpuModel& model = *find_cpu_model(config.cpu_model);
    if (name == "deterministic")
      return soft::make_soft_engine(model, *memory, config.vcpus,
                                    {.strict = config.strict, .revision = config.revision, .translation = translation});
    if (name == "kvm") return kvm::make_kvm_engine(model, *memory, config.cpu_without);
    if (name == "kvm-step") return kvm::make_step_engine(model, *memory, config.revision);
    return host_error(fmt::format("unknown engine '{}'; there are 'deterministic', 'kvm' and 'kvm-step'", name));
  }
  // RAM in one piece; nullptr: not all of it is.
  uint8_t* dma_target(Gpa gpa, uint64_t len_bytes) const {
    const MemoryRegion* region = memory->find(gpa);
    if (region == nullptr || region->rom || region->hidden) return nullptr;
    const uint64_t offset = gpa.value - region->start.value;
    return region->len_bytes - offset >= len_bytes ? region->host + offset : nullptr;
  }
  // An event that was due while nobody could tell is carried out late, but never before what is logged already.
  Position not_before_now(Position p) const { return {p.vcpu, std::max(p.retired, at)}; }
  bool read(Position where, uint16_t requester, Gpa gpa, std::span<uint8_t> to) override {
    const uint8_t* from = dma_target(gpa, to.size());
    if (from != nullptr) std::copy_n(from, to.size(), to.begin());
    const std::span<const uint8_t> bytes = from != nullptr ? std::span<const uint8_t>(to) : std::span<const uint8_t>();
    if (dma_log != nullptr)
      dma_log->dma_read(not_before_now(where), requester, gpa, static_cast<uint32_t>(to.size()), from != nullptr,
                        bytes);
    return from != nullptr;
  }
  bool write(Position, uint16_t, Gpa gpa, std::span<const uint8_t> from) override {
    if (dma_target(gpa, from.size()) == nullptr) return false;
    CHECK(memory->write(gpa, from.data(), from.size()));
    engine->dma_written(gpa, from.size());
    return true;
  }
  bool disk_step(Position where, uint16_t requester, unsigned number, const Transfer& t, bool& equal) override {
    Disk& disk = *disks[number];
    const bool done = carry_out(where, requester, disk, t, equal);
    if (!disk.loss().empty()) controls[0].stop = true;
    return done;
  }
  bool carry_out(Position where, uint16_t requester, Disk& disk, const Transfer& t, bool& equal) {
    using Kind = Transfer::Kind;
    if (t.kind == Kind::kZeroDisk || t.kind == Kind::kDiscardDisk) return disk.zero(t.disk_offset, t.disk_bytes);
    if (t.kind == Kind::kVerifyDisk || t.kind == Kind::kFlushDisk) return true;
    const Gpa gpa{t.address};
    uint8_t* const bytes = dma_target(gpa, t.len_bytes);
    if (bytes == nullptr && t.kind == Kind::kCompareDisk && dma_log != nullptr)
      dma_log->dma_read(not_before_now(where), requester, gpa, 1, false, {});
    if (bytes == nullptr) return false;
    if (t.kind == Kind::kToDisk) return disk.write(t.disk_offset, {bytes, t.len_bytes});
    std::array<uint8_t, kMaxTransferBytes> content;
    const std::span<uint8_t> piece = std::span(content).first(t.len_bytes);
    if (!disk.read(t.disk_offset, piece)) return false;
    if (t.kind == Kind::kCompareDisk) {
      equal = std::equal(piece.begin(), piece.end(), bytes);
      const uint8_t answer = equal;
      if (dma_log != nullptr) dma_log->dma_read(not_before_now(where), requester, gpa, 1, true, {&answer, 1});
      return true;
    }
    CHECK(memory->write(gpa, piece.data(), piece.size()));
    engine->dma_written(gpa, piece.size());
    return true;
  }
  RunEnd run(Retired until, Inputs& inputs, ExitHandler& exits);
  Input::Kind apply_inputs(Inputs& inputs);
  bool sleep(Inputs& inputs);
};

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
  if (config.vcpus != 1) return host_error(fmt::format("{} vCPUs: a machine has one", config.vcpus));
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
  m.vcpus.resize(config.vcpus);
  m.board = std::make_unique<Board>(m.config, m.controls, console, &m);
  auto engine = m.make_engine(choice.name);
  if (!engine) return engine.error();
  m.engine = engine.take();
  for (uint32_t n = 0; n < config.vcpus; ++n) m.engine->power_on(n, m.power_on_vcpu());
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
  for (const MemoryRegion& r : m.memory->regions()) m.engine->memory_written(r.start, r.len_bytes);
  return {};
}

// Everything that has arrived at this boundary, up to what ends the run or makes it stand still: kNone if nothing does.
Input::Kind Machine::Impl::apply_inputs(Inputs& inputs) {
  for (;;) {
    const Input input = inputs.take(position(), now());
    switch (input.kind) {
      case Input::Kind::kNone:
      case Input::Kind::kStop:
      case Input::Kind::kControl: return input.kind;
      case Input::Kind::kConsole: board->console_input(now(), input.data); break;
    }
  }
}

// The vCPU is halted: skips to the next event. False: nothing will ever wake it.
bool Machine::Impl::sleep(Inputs& inputs) {
  if (!(vcpus[0].rflags & kFlagIf)) {
    detail = "halted with interrupts disabled, " + describe_registers(vcpus[0]);
    return false;
  }
  const Nanos before = now();
  if (halted_at != at) {
    halted_at = at;
    halted_since = before;
  }
  const Nanos to = inputs.idle(position(), before, board->next_event());
  CHECK(to >= before);
  if (to == before || (to - halted_since).value > kHaltedForeverNs) {
    detail = "halted, and nothing will wake it, " + describe_registers(vcpus[0]);
    return false;
  }
  set_time_base(clock.time_base_ns + (to - before).value);
  return true;
}

RunEnd Machine::Impl::run(Retired until, Inputs& inputs, ExitHandler& exits) {
  pull();
  detail.clear();
  RunControl& control = controls[0];
  bool asleep = false;  // the vCPU is halted and an idle skip has just failed
  for (;;) {
    control.stop = false;
    board->advance(now());
    switch (board->request()) {
      case Board::Request::kNone: break;
      case Board::Request::kPowerOff: return RunEnd::kPowerOff;
      case Board::Request::kDebugExit: return RunEnd::kDebugExit;
      case Board::Request::kReset:
        if (config.rom_bytes == 0) return RunEnd::kReset;
        reset();
        continue;
    }
    if (at >= until || now() >= time_limit) return RunEnd::kUntil;
    const Input::Kind taken = apply_inputs(inputs);
    if (taken == Input::Kind::kStop) return RunEnd::kUserStop;
    if (taken == Input::Kind::kControl) return RunEnd::kUntil;
    if (asleep && !control.nmi && !(control.intr && (vcpus[0].rflags & kFlagIf))) return RunEnd::kHaltedForever;
    asleep = false;

    control.until = std::min(until, std::max(inputs.next_poll(position()), at + 1));
    const Nanos event = std::min(board->next_event(), time_limit);
    if (event != kNever)
      control.until = std::min(control.until, Retired{std::max(event.value - clock.time_base_ns, at.value)});
    control.from = at;
    const StopReason why = engine->run(0, control, exits);
    pull();
    switch (why) {
      case StopReason::kLimit:
      case StopReason::kStopped: break;
      case StopReason::kBreak: return RunEnd::kUntil;
      case StopReason::kHalted:
        board->advance(now());
        if (at < until && now() < time_limit && board->request() == Board::Request::kNone) asleep = !sleep(inputs);
        break;
      case StopReason::kInit: {
        control.init = false;
        engine->set_state(0, after_init());
        board->init(0, now());
        break;
      }
      case StopReason::kShutdown: detail = "triple fault " + describe_registers(vcpus[0]); return RunEnd::kTripleFault;
      case StopReason::kUnimplemented: detail = engine->detail(); return RunEnd::kUnimplemented;
      case StopReason::kError:
        detail = engine->detail() + "; " + describe_registers(vcpus[0]);
        return RunEnd::kEngineError;
    }
  }
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
  for (const VcpuState& s : impl_->vcpus)
    if (s.xcr0 & ~model.xcr0_allowed) return "chunk 'vcpu': XCR0 is not one that the machine's CPU model allows";
  return nullptr;
}

void Machine::sync_in(bool memory_told) {
  Impl& m = *impl_;
  for (uint32_t n = 0; n < m.vcpus.size(); ++n) m.engine->set_state(n, m.vcpus[n]);
  m.at = {m.vcpus[0].retired};
  m.set_time_base(m.clock.time_base_ns);
  m.engine->restored(memory_told);
  m.board->restored();
}

}  // namespace dejavm
