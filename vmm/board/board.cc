// The board's buses: which address leads to which model.
#include "vmm/board/board.h"

#include <algorithm>

#include "vmm/board/wiring.h"

namespace dejavm {
namespace {

constexpr uint64_t kIoApicBase = 0xfec00000, kHpetBase = 0xfed00000;
constexpr uint16_t kPmBase = 0x600, kPmEnd = 0x60c, kComBase = 0x3f8, kComEnd = 0x400;
constexpr uint32_t kMsrTscAdjust = 0x3b, kMsrApicBase = 0x1b, kMsrTscDeadline = 0x6e0, kMsrX2apic = 0x800,
                   kMsrX2apicEnd = 0x900;
constexpr uint32_t kLeaf1EdxApic = 1 << 9;

bool is_apic_msr(uint32_t index) {
  return index == kMsrApicBase || index == kMsrTscDeadline || (index >= kMsrX2apic && index < kMsrX2apicEnd);
}

// Calls f.operator()<Model>(state, offset) for the model at a port; false: nothing is there.
template <class F>
bool at_port(BoardModels& m, uint16_t port, F f) {
  switch (port) {
    case 0x20: case 0x21: case 0xa0: case 0xa1: case 0x4d0: case 0x4d1: f.template operator()<Vatpic>(m.vatpic, port); return true;
    case 0x40: case 0x41: case 0x42: case 0x43: case 0x61: f.template operator()<Vatpit>(m.vatpit, port); return true;
    case 0x60: case 0x64: f.template operator()<I8042>(m.i8042, port); return true;
    case 0x70: case 0x71: f.template operator()<Vrtc>(m.vrtc, port); return true;
    case 0x80: case 0x92: case 0xe9: case 0xf4: case 0x402: case 0xcf9: f.template operator()<Sysctl>(m.sysctl, port); return true;
    default: break;
  }
  if (port >= kComBase && port < kComEnd) return f.template operator()<Uart16550>(m.uart, port - kComBase), true;
  if (port >= kPmBase && port < kPmEnd) return f.template operator()<Vpmtmr>(m.vpmtmr, port - kPmBase), true;
  const bool test_port = (port >= 0xe0 && port < 0xec && port != 0xe9) || (port >= 0x2000 && port < 0x2000 + Pctestdev::kLines);
  if (m.has_test_device && test_port) return f.template operator()<Pctestdev>(m.pctestdev, port), true;
  return false;
}

template <class F>
bool at_gpa(BoardModels& m, uint32_t vcpu, uint64_t gpa, F f) {
  if (gpa - kIoApicBase < Vioapic::kWindowBytes) return f.template operator()<Vioapic>(m.vioapic, gpa - kIoApicBase), true;
  if (gpa - kHpetBase < Vhpet::kWindowBytes) return f.template operator()<Vhpet>(m.vhpet, gpa - kHpetBase), true;
  Vlapic::State& apic = m.vlapic[vcpu];
  const uint64_t base = apic.base & ~uint64_t{0xfff};
  if (Vlapic::window_open(apic) && gpa - base < Vlapic::kWindowBytes) return f.template operator()<Vlapic>(apic, gpa - base), true;
  return false;
}

}  // namespace

std::string_view device_at_port(Port port) {
  static BoardModels models;
  std::string_view name = "-";
  at_port(models, port.value, [&]<class M>(typename M::State&, uint64_t) { name = M::kName; });
  return name;
}

std::string_view device_at_gpa(Gpa gpa) {
  static BoardModels models = [] {
    BoardModels m;
    m.vlapic.resize(1);
    m.vlapic[0].base = 0xfee00800;
    return m;
  }();
  std::string_view name = "-";
  at_gpa(models, 0, gpa.value, [&]<class M>(typename M::State&, uint64_t) { name = M::kName; });
  return name;
}

std::string_view device_of_msr(uint32_t index) { return is_apic_msr(index) || index == kMsrTscAdjust ? Vlapic::kName : "-"; }

Board::Board(const MachineConfig& config, std::span<RunControl> controls, Console* console)
    : impl_(std::make_unique<Impl>(config, controls, console)) {}
Board::~Board() = default;

Nanos Board::now(Position at) const { return {at.retired.value + impl_->controls[at.vcpu].time_base_ns}; }

uint64_t Board::io_read(Position at, Port port, unsigned size) {
  const Nanos t = now(at);
  impl_->advance(t);
  uint64_t value = open_bus(size);
  at_port(impl_->m, port.value, [&]<class M>(typename M::State& s, uint64_t offset) { value = M::read(s, t, offset, size); });
  impl_->settle(t);
  return value & open_bus(size);
}

void Board::io_write(Position at, Port port, unsigned size, uint64_t value) {
  const Nanos t = now(at);
  impl_->advance(t);
  at_port(impl_->m, port.value, [&]<class M>(typename M::State& s, uint64_t offset) { M::write(s, t, offset, size, value); });
  impl_->settle(t);
}

uint64_t Board::mmio_read(Position at, Gpa gpa, unsigned size) {
  const Nanos t = now(at);
  impl_->advance(t);
  uint64_t value = open_bus(size);
  at_gpa(impl_->m, at.vcpu, gpa.value, [&]<class M>(typename M::State& s, uint64_t offset) { value = M::read(s, t, offset, size); });
  impl_->settle(t);
  return value & open_bus(size);
}

void Board::mmio_write(Position at, Gpa gpa, unsigned size, uint64_t value) {
  const Nanos t = now(at);
  impl_->advance(t);
  at_gpa(impl_->m, at.vcpu, gpa.value, [&]<class M>(typename M::State& s, uint64_t offset) { M::write(s, t, offset, size, value); });
  impl_->settle(t);
}

bool Board::msr_read(Position at, uint32_t index, uint64_t& value) {
  if (!is_apic_msr(index) || !impl_->has_msr(index)) return false;
  const Nanos t = now(at);
  impl_->advance(t);
  const bool ok = Vlapic::msr_read(impl_->m.vlapic[at.vcpu], t, index, value);
  impl_->settle(t);
  return ok;
}

bool Board::msr_write(Position at, uint32_t index, uint64_t value) {
  if ((!is_apic_msr(index) && index != kMsrTscAdjust) || !impl_->has_msr(index)) return false;
  const Nanos t = now(at);
  impl_->advance(t);
  const bool ok = Vlapic::msr_write(impl_->m.vlapic[at.vcpu], t, index, value);
  impl_->settle(t);
  return ok;
}

uint64_t Board::cr8_read(Position at) { return Vlapic::cr8(impl_->m.vlapic[at.vcpu]); }

void Board::cr8_write(Position at, uint64_t value) {
  const Nanos t = now(at);
  impl_->advance(t);
  Vlapic::set_cr8(impl_->m.vlapic[at.vcpu], t, value);
  impl_->settle(t);
}

CpuidResult Board::cpuid(Position at, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) {
  const Vlapic::State& apic = impl_->m.vlapic[at.vcpu];
  CpuidResult r = without_features(impl_->cpu->cpuid(leaf, subleaf, apic.initial_id, cr4, xcr0), leaf, subleaf, impl_->config.cpu_without);
  if ((leaf == 1 || leaf == 0x80000001) && !(apic.base & Vlapic::kEnabled)) r.edx &= ~kLeaf1EdxApic;
  return r;
}

int Board::acknowledge_interrupt(Position at) {
  const Nanos t = now(at);
  impl_->advance(t);
  int vector = Vlapic::acknowledge(impl_->m.vlapic[at.vcpu], t);
  if (vector == Vlapic::kAckFromPic) vector = Vatpic::acknowledge(impl_->m.vatpic, t);
  impl_->settle(t);
  return vector < 0 ? -1 : vector;
}

void Board::advance(Nanos t) { impl_->advance(t); }
Nanos Board::next_event() const { return impl_->next_seen; }

void Board::console_input(Nanos t, std::span<const uint8_t> bytes) {
  impl_->advance(t);
  BoardWires::State& w = impl_->m.wires;
  for (uint8_t byte : bytes) {
    if (w.queue_len == BoardWires::kQueueBytes) break;
    w.queue[(w.queue_head + w.queue_len++) % BoardWires::kQueueBytes] = byte;
  }
  impl_->settle(t);
}

size_t Board::console_room() const { return BoardWires::kQueueBytes - impl_->m.wires.queue_len; }

Board::Request Board::request() const { return impl_->m.wires.request; }
uint8_t Board::debug_exit_value() const { return impl_->m.wires.debug_exit_value; }

void Board::reset(Nanos t) {
  impl_->reset_models(false);
  impl_->advance_all(t);
  impl_->resume(t);
}

void Board::init(uint32_t vcpu, Nanos t) {
  impl_->advance(t);
  Vlapic::init_reset(impl_->m.vlapic[vcpu]);
  impl_->settle(t);
}

std::vector<ChunkRef> Board::chunks() {
  BoardModels& m = impl_->m;
  std::vector<ChunkRef> out = {
      {&schema_of<Vatpic>(), 0, true, &m.vatpic},   {&schema_of<Vatpit>(), 0, true, &m.vatpit},
      {&schema_of<Vhpet>(), 0, true, &m.vhpet},     {&schema_of<Vioapic>(), 0, true, &m.vioapic},
      {&schema_of<Vpmtmr>(), 0, true, &m.vpmtmr},   {&schema_of<Vrtc>(), 0, true, &m.vrtc},
      {&schema_of<Uart16550>(), 0, true, &m.uart},  {&schema_of<I8042>(), 0, true, &m.i8042},
      {&schema_of<Sysctl>(), 0, true, &m.sysctl},   {&schema_of<BoardWires>(), 0, true, &m.wires}};
  if (m.has_test_device) out.push_back({&schema_of<Pctestdev>(), 0, true, &m.pctestdev});
  for (uint32_t n = 0; n < m.vlapic.size(); ++n) out.push_back({&schema_of<Vlapic>(), n, true, &m.vlapic[n]});
  return out;
}

void Board::restored() {
  Nanos latest{0};
  for (const Vlapic::State& s : impl_->m.vlapic) latest = std::max(latest, Nanos{s.now_ns});
  impl_->resume(latest);
}

}  // namespace dejavm
