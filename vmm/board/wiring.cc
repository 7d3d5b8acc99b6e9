#include "vmm/board/wiring.h"

#include <algorithm>

#include "vmm/state/cpu_model.h"

namespace dejavm {
namespace {

constexpr size_t kNoSender = ~size_t{0};
constexpr uint8_t kMcrDtr = 1;
constexpr uint32_t kCascade = 1 << 2;  // IR2 of the first 8259 is the second's

// Calls f.operator()<Model>(state) for every model that is not one per vCPU.
template <class F>
void for_each_model(BoardModels& m, F f) {
  f.template operator()<Vatpic>(m.vatpic);
  f.template operator()<Vatpit>(m.vatpit);
  f.template operator()<Vhpet>(m.vhpet);
  f.template operator()<Vioapic>(m.vioapic);
  f.template operator()<Vpmtmr>(m.vpmtmr);
  f.template operator()<Vrtc>(m.vrtc);
  f.template operator()<Uart16550>(m.uart);
  f.template operator()<I8042>(m.i8042);
  f.template operator()<Sysctl>(m.sysctl);
  f.template operator()<Pctestdev>(m.pctestdev);
}

// The CMOS bytes in which PC firmware looks for the memory's size and the number of processors.
void describe_machine_in_cmos(Vrtc::State& rtc, const MachineConfig& config) {
  const uint64_t low = std::min<uint64_t>(config.memory_bytes, uint64_t{3} << 30);
  const uint64_t high = config.memory_bytes - low;
  auto word = [&](unsigned index, uint64_t value) {
    Vrtc::set_cmos(rtc, index, static_cast<uint8_t>(value));
    Vrtc::set_cmos(rtc, index + 1, static_cast<uint8_t>(value >> 8));
  };
  const uint64_t extended_kb = std::min<uint64_t>((low >> 10) - 1024, 0xfc00);
  word(0x15, 640);
  word(0x17, extended_kb);
  word(0x30, extended_kb);
  word(0x34, low > (16 << 20) ? (low - (16 << 20)) >> 16 : 0);
  word(0x5b, high >> 16);
  Vrtc::set_cmos(rtc, 0x5d, static_cast<uint8_t>(high >> 32));
  Vrtc::set_cmos(rtc, 0x5f, static_cast<uint8_t>(config.vcpus - 1));
  Vrtc::set_cmos(rtc, 0x14, 0x04);  // equipment: a keyboard, no floppy drive, no coprocessor flag
}

// Without firmware the local APIC is as PC firmware leaves it: enabled, the 8259 pair on LINT0 (virtual wire mode,
// MultiProcessor Specification 1.4, 3.6.2.2), NMI on LINT1.
void connect_virtual_wire(Vlapic::State& apic) {
  constexpr uint64_t kSvr = 0xf0, kLint0 = 0x350, kLint1 = 0x360;
  Vlapic::write(apic, {0}, kSvr, 4, 0x1ff);
  Vlapic::write(apic, {0}, kLint0, 4, 0x700);
  Vlapic::write(apic, {0}, kLint1, 4, 0x400);
}

}  // namespace

Board::Impl::Impl(const MachineConfig& c, std::span<RunControl> ctl, Console* con)
    : config(c), controls(ctl), console(con), cpu(find_cpu_model(c.cpu_model)) {
  CHECK(cpu != nullptr);
  CHECK(controls.size() == c.vcpus);
  m.vlapic.resize(c.vcpus);
  m.has_test_device = c.test_device;
  reset_models(true);
  settle({0});
}

void Board::Impl::reset_models(bool power_on) {
  if (power_on) {
    for (size_t i = 0; i < m.vlapic.size(); ++i) m.vlapic[i].initial_id = static_cast<uint32_t>(i);
    m.sysctl.debug_exit_enabled = config.debug_exit;
    Uart16550::set_timed(m.uart, {0}, config.serial_baud);
    Vpmtmr::set_extended(m.vpmtmr, {0}, config.pm_timer_32);
    Vrtc::set_start_time(m.vrtc, config.start_time_unix_s);
  }
  for_each_model(m, []<class M>(typename M::State& s) { M::reset(s); });
  for (Vlapic::State& s : m.vlapic) Vlapic::reset(s);
  if (config.rom_bytes == 0) connect_virtual_wire(m.vlapic[0]);
  describe_machine_in_cmos(m.vrtc, config);
  m.wires.request = Request::kNone;
  m.wires.debug_exit_value = 0;
  remember_wires();
}

void Board::Impl::advance_all(Nanos now) {
  for_each_model(m, [now]<class M>(typename M::State& s) { M::advance(s, now); });
  for (Vlapic::State& s : m.vlapic) Vlapic::advance(s, now);
}

// No machine check of this CPU model claims CMCI, so there is no LVT entry for it among x2APIC's registers since revision 2.
bool Board::Impl::has_msr(uint32_t index) const {
  constexpr uint32_t kLvtCmci = 0x82f;
  return index != kLvtCmci || config.revision < 2;
}

bool Board::Impl::pit_is_seen() const {
  constexpr uint8_t kIr0 = 1;
  constexpr unsigned kPitPin = 2;
  constexpr uint64_t kEntryMasked = 1 << 16;
  if (Vhpet::lines(m.vhpet) & Vhpet::kLegacyActive) return false;
  return !(m.vatpic.chip[0].imr & kIr0) || !(m.vioapic.entry[kPitPin] & kEntryMasked);
}

// A PIT that counts fast while its interrupt is masked everywhere has millions of events in a second, of which each undoes the one
// before. All but the last few before the next event of another model, or `now`, are skipped: what is left has whole periods of each
// channel, so that the interrupt controllers' inputs end as they would.
void Board::Impl::skip_unseen(Nanos now) {
  if (next_seen == next_event || pit_is_seen()) return;
  if (!Vatpit::only_repeats(m.vatpit)) return;
  constexpr uint64_t kTickNs = 839, kPeriods = 4;
  const uint64_t longest = std::max(m.vatpit.channel[0].reload, m.vatpit.channel[2].reload);
  const uint64_t kept_ns = kPeriods * (longest + 2) * kTickNs;
  const uint64_t end_ns = std::min(now, next_seen).value;
  if (end_ns < kept_ns || Nanos{end_ns - kept_ns} <= next_event) return;
  Vatpit::advance(m.vatpit, Nanos{end_ns - kept_ns});
  settle(Nanos{end_ns - kept_ns});
}

void Board::Impl::advance(Nanos now) {
  while (next_event <= now) {
    skip_unseen(now);
    if (next_event > now) break;
    const Nanos event = next_event;
    advance_all(event);
    settle(event);
    // A model that names an event and then does not change at it would stop time.
    if (next_event <= event) next_event = event + Nanos{1};
  }
}

Nanos Board::Impl::earliest_event() const {
  Nanos first = kNever;
  for_each_model(const_cast<BoardModels&>(m),
                 [&first]<class M>(typename M::State& s) { first = std::min(first, M::next_event(s)); });
  for (const Vlapic::State& s : m.vlapic) first = std::min(first, Vlapic::next_event(s));
  return first;
}

Nanos Board::Impl::earliest_seen_event() const {
  Nanos first = kNever;
  for_each_model(const_cast<BoardModels&>(m), [&first]<class M>(typename M::State& s) {
    if constexpr (!std::is_same_v<M, Vatpit>) first = std::min(first, M::next_event(s));
  });
  for (const Vlapic::State& s : m.vlapic) first = std::min(first, Vlapic::next_event(s));
  return first;
}

uint32_t Board::Impl::pic_inputs() const {
  const uint64_t hpet = Vhpet::lines(m.vhpet);
  const uint64_t keyboard = I8042::lines(m.i8042);
  const bool legacy = hpet & Vhpet::kLegacyActive;
  const bool irq0 = legacy ? (hpet & Vhpet::kLegacyIrq0) != 0 : (Vatpit::lines(m.vatpit) & Vatpit::kOut0) != 0;
  const bool irq8 = legacy ? (hpet & Vhpet::kLegacyIrq8) != 0 : (Vrtc::lines(m.vrtc) & Vrtc::kIrq) != 0;
  uint32_t in = 0;
  in |= uint32_t{irq0};
  in |= uint32_t{(keyboard & I8042::kIrq1) != 0} << 1;
  in |= uint32_t{(Uart16550::lines(m.uart) & Uart16550::kIrq) != 0} << 4;
  in |= uint32_t{irq8} << 8;
  in |= uint32_t{(Vpmtmr::lines(m.vpmtmr) & Vpmtmr::kSci) != 0} << 9;
  in |= uint32_t{(keyboard & I8042::kIrq12) != 0} << 12;
  in |= static_cast<uint32_t>(Pctestdev::lines(m.pctestdev)) & 0xffff & ~kCascade;
  return in;
}

uint32_t Board::Impl::ioapic_inputs() const {
  const uint32_t isa = pic_inputs();
  uint32_t in = (isa & ~uint32_t{1}) | (isa & 1) << 2;
  in |= static_cast<uint32_t>(Vhpet::lines(m.vhpet) & 0xffffff);
  in |= static_cast<uint32_t>(Pctestdev::lines(m.pctestdev)) & ~uint32_t{1};
  in |= uint32_t{(Vatpic::lines(m.vatpic) & Vatpic::kIntr) != 0};
  return in;
}

bool Board::Impl::route_pins(Nanos now) {
  bool changed = false;
  const uint32_t pic = pic_inputs();
  for (uint32_t diff = pic ^ pic_levels_; diff; diff &= diff - 1) {
    const auto n = static_cast<unsigned>(__builtin_ctz(diff));
    Vatpic::set_line(m.vatpic, now, n, pic >> n & 1);
    changed = true;
  }
  pic_levels_ = pic;
  const uint32_t pins = ioapic_inputs();
  for (uint32_t diff = pins ^ ioapic_levels_; diff; diff &= diff - 1) {
    const auto n = static_cast<unsigned>(__builtin_ctz(diff));
    Vioapic::set_line(m.vioapic, now, n, pins >> n & 1);
    changed = true;
  }
  ioapic_levels_ = pins;
  const bool lint0 = (Vatpic::lines(m.vatpic) & Vatpic::kIntr) != 0;
  if (lint0 != lint0_) {
    lint0_ = lint0;
    Vlapic::set_line(m.vlapic[0], now, Vlapic::kLint0, lint0);
    changed = true;
  }
  return changed;
}

void Board::Impl::deliver(Nanos now, const BusMessage& message, size_t sender) {
  if (message.kind == BusMessage::Kind::kEoi) {
    Vioapic::eoi(m.vioapic, now, message.vector);
    return;
  }
  Vlapic::State* taker = nullptr;
  for (size_t i = 0; i < m.vlapic.size(); ++i) {
    Vlapic::State& apic = m.vlapic[i];
    if (!Vlapic::matches(apic, message, i == sender)) continue;
    if (message.delivery != Delivery::kLowestPriority) Vlapic::accept(apic, now, message);
    else if (!taker || Vlapic::arbitration(apic) < Vlapic::arbitration(*taker)) taker = &apic;
  }
  if (taker) Vlapic::accept(*taker, now, message);
}

bool Board::Impl::route_messages(Nanos now) {
  bool any = false;
  BusMessage message;
  while (Vhpet::pop_message(m.vhpet, message)) {
    deliver(now, message, kNoSender);
    any = true;
  }
  while (Vioapic::pop_message(m.vioapic, message)) {
    deliver(now, message, kNoSender);
    any = true;
  }
  for (size_t i = 0; i < m.vlapic.size(); ++i) {
    while (Vlapic::pop_message(m.vlapic[i], message)) {
      deliver(now, message, i);
      any = true;
    }
  }
  return any;
}

void Board::Impl::drain_outputs(Nanos now) {
  uint8_t byte;
  while (Uart16550::pop_transmitted(m.uart, byte)) {
    if (console) console->serial({&byte, 1});
  }
  while (Sysctl::pop_debug(m.sysctl, byte)) {
    if (console) console->debug(byte);
  }
  // The far end sends while the guest asserts DTR, so nothing typed early is lost to the port's initialisation.
  BoardWires::State& w = m.wires;
  while (w.queue_len > 0 && (m.uart.mcr & kMcrDtr) && Uart16550::receive(m.uart, now, w.queue[w.queue_head])) {
    w.queue[w.queue_head] = 0;
    w.queue_head = (w.queue_head + 1) % BoardWires::kQueueBytes;
    --w.queue_len;
  }
}

void Board::Impl::take_requests() {
  BoardWires::State& w = m.wires;
  if (w.request != Request::kNone) return;
  const uint64_t sysctl = Sysctl::lines(m.sysctl);
  if (sysctl & Sysctl::kDebugExit) {
    w.request = Request::kDebugExit;
    w.debug_exit_value = m.sysctl.debug_exit_value;
  } else if (Vpmtmr::wants_power_off(m.vpmtmr)) {
    w.request = Request::kPowerOff;
  } else if ((sysctl & Sysctl::kReset) || (I8042::lines(m.i8042) & I8042::kReset)) {
    w.request = Request::kReset;
  }
}

void Board::Impl::drive_vcpus() {
  for (size_t i = 0; i < controls.size(); ++i) {
    RunControl& control = controls[i];
    const uint64_t lines = Vlapic::lines(m.vlapic[i]);
    control.intr = lines & Vlapic::kIntr;
    control.cr8 = static_cast<uint8_t>(Vlapic::cr8(m.vlapic[i]));
    if ((lines & Vlapic::kNmi) && Vlapic::take_nmi(m.vlapic[i])) control.nmi = true;
    if ((lines & Vlapic::kInit) && Vlapic::take_init(m.vlapic[i])) control.init = true;
    if (m.wires.request != Request::kNone) control.stop = true;
  }
}

void Board::Impl::settle(Nanos now) {
  for (bool moved = true; moved;) {
    drain_outputs(now);
    moved = route_pins(now);
    moved |= route_messages(now);
  }
  take_requests();
  drive_vcpus();
  next_event = earliest_event();
  next_seen = next_event;
  const bool leaves_out_the_unseen = config.revision >= 2;  // before, logs name each event that a halted vCPU skipped to
  if (leaves_out_the_unseen && Vatpit::next_event(m.vatpit) == next_event && !pit_is_seen()) next_seen = earliest_seen_event();
  limit_runs();
}

void Board::Impl::limit_runs() {
  if (next_seen == kNever) return;
  for (RunControl& control : controls) {
    const uint64_t base = control.time_base_ns;
    control.until = std::min(control.until, Retired{next_seen.value > base ? next_seen.value - base : 0});
  }
}

void Board::Impl::resume(Nanos now) {
  for (RunControl& control : controls) control.stop = control.nmi = control.init = false;
  remember_wires();
  settle(now);
}

void Board::Impl::remember_wires() {
  pic_levels_ = pic_inputs();
  ioapic_levels_ = ioapic_inputs();
  lint0_ = (Vatpic::lines(m.vatpic) & Vatpic::kIntr) != 0;
}

}  // namespace dejavm
