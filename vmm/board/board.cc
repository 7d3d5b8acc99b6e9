// The engine's exits, led to the models.
#include "vmm/board/board.h"

#include <algorithm>

#include "vmm/board/buses.h"
#include "vmm/board/wiring.h"

namespace dejavm {
namespace {

constexpr uint32_t kLeaf1EdxApic = 1 << 9;

bool is_apic_msr(uint32_t index) { return row_of_msr(index) != kNoRow && index != address_map::kMsrTscAdjust; }

std::string_view name_of_row(uint8_t row) {
  std::string_view name = "-";
  for_each_row([&]<size_t kRow>() {
    if (row == kRow) name = ModelOfRow<kRow>::kName;
  });
  return name;
}

}  // namespace

std::string_view device_at_port(Port port) { return name_of_row(kRowAtPort[port.value]); }

std::string_view device_at_gpa(Gpa gpa) {
  std::string_view name = "-";
  for_each_row([&]<size_t kRow>() {
    for (const Window& window : std::get<kRow>(kBoardDevices).windows)
      if (gpa.value - window.first < window.len_bytes) name = ModelOfRow<kRow>::kName;
  });
  return name;
}

std::string_view device_of_msr(uint32_t index) { return name_of_row(row_of_msr(index)); }

Board::Board(const MachineConfig& config, std::span<RunControl> controls, Console* console, GuestDma* dma)
    : impl_(std::make_unique<Impl>(config, controls, console, dma)) {}
Board::~Board() = default;

Nanos Board::now(Position at) const { return impl_->time_at(at); }

uint64_t Board::io_read(Position at, Port port, unsigned size) {
  const Nanos t = impl_->enter(at);
  uint64_t value = open_bus(size);
  at_port(impl_->m, impl_->present, port.value,
          [&]<class M>(typename M::State& s, uint64_t offset) { value = M::read(s, t, offset, size); });
  impl_->settle(t);
  return value & open_bus(size);
}

void Board::io_write(Position at, Port port, unsigned size, uint64_t value) {
  const Nanos t = impl_->enter(at);
  at_port(impl_->m, impl_->present, port.value,
          [&]<class M>(typename M::State& s, uint64_t offset) { M::write(s, t, offset, size, value); });
  impl_->settle(t);
}

uint64_t Board::mmio_read(Position at, Gpa gpa, unsigned size) {
  const Nanos t = impl_->enter(at);
  uint64_t value = open_bus(size);
  at_gpa(impl_->m, impl_->present, at.vcpu, gpa.value,
         [&]<class M>(typename M::State& s, uint64_t offset) { value = M::read(s, t, offset, size); });
  impl_->settle(t);
  return value & open_bus(size);
}

void Board::mmio_write(Position at, Gpa gpa, unsigned size, uint64_t value) {
  const Nanos t = impl_->enter(at);
  at_gpa(impl_->m, impl_->present, at.vcpu, gpa.value,
         [&]<class M>(typename M::State& s, uint64_t offset) { M::write(s, t, offset, size, value); });
  impl_->settle(t);
}

bool Board::msr_read(Position at, uint32_t index, uint64_t& value) {
  if (!is_apic_msr(index) || !impl_->has_msr(index)) return false;
  const Nanos t = impl_->enter(at);
  const bool ok = Vlapic::msr_read(impl_->m.get_all<Vlapic>()[at.vcpu], t, index, value);
  impl_->settle(t);
  return ok;
}

bool Board::msr_write(Position at, uint32_t index, uint64_t value) {
  if ((!is_apic_msr(index) && index != address_map::kMsrTscAdjust) || !impl_->has_msr(index)) return false;
  const Nanos t = impl_->enter(at);
  const bool ok = Vlapic::msr_write(impl_->m.get_all<Vlapic>()[at.vcpu], t, index, value);
  impl_->settle(t);
  return ok;
}

uint64_t Board::cr8_read(Position at) { return Vlapic::cr8(impl_->m.get_all<Vlapic>()[at.vcpu]); }

void Board::cr8_write(Position at, uint64_t value) {
  const Nanos t = impl_->enter(at);
  Vlapic::set_cr8(impl_->m.get_all<Vlapic>()[at.vcpu], t, value);
  impl_->settle(t);
}

CpuidResult Board::cpuid(Position at, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) {
  const Vlapic::State& apic = impl_->m.get_all<Vlapic>()[at.vcpu];
  CpuidResult r = without_features(impl_->cpu->cpuid(leaf, subleaf, apic.initial_id, cr4, xcr0), leaf, subleaf,
                                   impl_->config.cpu_without);
  r = in_package(r, leaf, subleaf, impl_->config.vcpus);
  if ((leaf == 1 || leaf == 0x80000001) && !(apic.base & Vlapic::kEnabled)) r.edx &= ~kLeaf1EdxApic;
  return r;
}

int Board::acknowledge_interrupt(Position at) {
  const Nanos t = impl_->enter(at);
  int vector = Vlapic::acknowledge(impl_->m.get_all<Vlapic>()[at.vcpu], t);
  if (vector == Vlapic::kAckFromPic) vector = Vatpic::acknowledge(impl_->m.get<Vatpic>(), t);
  impl_->settle(t);
  return vector < 0 ? -1 : vector;
}

void Board::advance(Nanos t) { impl_->advance(t); }
Nanos Board::next_event() const { return impl_->next_seen; }

void Board::console_input(Nanos t, std::span<const uint8_t> bytes) {
  impl_->advance(t);
  BoardWires::State& w = impl_->m.get<BoardWires>();
  for (uint8_t byte : bytes) {
    if (w.queue_len == BoardWires::kQueueBytes) break;
    w.queue[(w.queue_head + w.queue_len++) % BoardWires::kQueueBytes] = byte;
  }
  impl_->settle(t);
}

size_t Board::console_room() const { return BoardWires::kQueueBytes - impl_->m.get<BoardWires>().queue_len; }

Nanos Board::requested_at() const { return impl_->requested_at; }
Board::Request Board::request() const { return impl_->m.get<BoardWires>().request; }
uint8_t Board::debug_exit_value() const { return impl_->m.get<BoardWires>().debug_exit_value; }

void Board::reset(Nanos t) {
  const Vrtc::State clock = impl_->m.get<Vrtc>();
  impl_->reset_models(false);
  if (impl_->config.revision >= 5) {
    impl_->m.get<Vrtc>() = clock;
    Vrtc::reset_pin(impl_->m.get<Vrtc>(), t);
  }
  impl_->advance_all(t);
  impl_->resume(t);
}

void Board::init(uint32_t vcpu, Nanos t) {
  impl_->advance(t);
  Vlapic::init_reset(impl_->m.get_all<Vlapic>()[vcpu]);
  impl_->settle(t);
}

bool Board::take_nmi(uint32_t vcpu) {
  const bool taken = Vlapic::take_nmi(impl_->m.get_all<Vlapic>()[vcpu]);
  impl_->drive_vcpus();
  return taken;
}

bool Board::take_init(uint32_t vcpu) {
  const bool taken = Vlapic::take_init(impl_->m.get_all<Vlapic>()[vcpu]);
  impl_->drive_vcpus();
  return taken;
}

bool Board::take_startup(uint32_t vcpu, uint8_t& vector) {
  const bool taken = Vlapic::take_startup(impl_->m.get_all<Vlapic>()[vcpu], vector);
  impl_->drive_vcpus();
  return taken;
}

std::vector<ChunkRef> Board::chunks() {
  std::vector<ChunkRef> out;
  for_each_row([&]<size_t kRow>() {
    if (!(impl_->present >> kRow & 1)) return;
    uint32_t instance = 0;
    for (auto& state : impl_->m.states<kRow>())
      out.push_back({&schema_of<ModelOfRow<kRow>>(), instance++, true, &state});
  });
  return out;
}

void Board::restored() {
  Nanos latest{0};
  for (const Vlapic::State& s : impl_->m.get_all<Vlapic>()) latest = std::max(latest, Nanos{s.now_ns});
  impl_->resume(latest);
}

}  // namespace dejavm
