#include "vmm/board/wiring.h"

#include <algorithm>
#include <array>

#include "vmm/state/cpu_model.h"

namespace dejavm {
namespace {

constexpr size_t kNoSender = ~size_t{0};
constexpr uint8_t kMcrDtr = 1;
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

Board::Impl::Impl(const MachineConfig& c, std::span<RunControl> ctl, Console* con, GuestDma* memory)
    : config(c), controls(ctl), console(con), dma(memory), cpu(find_cpu_model(c.cpu_model)), m(c) {
  CHECK(cpu != nullptr);
  CHECK(controls.size() == c.vcpus);
  for_each_row([&]<size_t kRow>() {
    const auto has_it = std::get<kRow>(kBoardDevices).present;
    if (has_it == nullptr || has_it(config)) present |= uint32_t{1} << kRow;
  });
  reset_models(true);
  settle({0});
}

void Board::Impl::reset_models(bool power_on) {
  for_each_row([&]<size_t kRow>() {
    constexpr auto configure = std::get<kRow>(kBoardDevices).configure;
    uint32_t instance = 0;
    for (auto& state : m.states<kRow>()) {
      if (power_on && configure != nullptr) configure(state, config, instance++);
      ModelOfRow<kRow>::reset(state);
    }
  });
  if (config.rom_bytes == 0) connect_virtual_wire(m.get_all<Vlapic>()[0]);
  describe_machine_in_cmos(m.get<Vrtc>(), config);
  remember_wires();
}

void Board::Impl::advance_all(Nanos now) {
  for_each_device(m, [now]<class M>(typename M::State& s) { M::advance(s, now); });
}

// No machine check of this CPU model claims CMCI, so there is no LVT entry for it among x2APIC's registers since
// revision 2.
bool Board::Impl::has_msr(uint32_t index) const {
  constexpr uint32_t kLvtCmci = 0x82f;
  return index != kLvtCmci || config.revision < 2;
}

bool Board::Impl::pit_is_seen() const {
  constexpr uint8_t kIr0 = 1;
  constexpr unsigned kPitPin = 2;
  constexpr uint64_t kEntryMasked = 1 << 16;
  if (Vhpet::lines(m.get<Vhpet>()) & Vhpet::kLegacyActive) return false;
  return !(m.get<Vatpic>().chip[0].imr & kIr0) || !(m.get<Vioapic>().entry[kPitPin] & kEntryMasked);
}

// A PIT that counts fast while its interrupt is masked everywhere has millions of events in a second, of which each
// undoes the one before. All but the last few before the next event of another model, or `now`, are skipped: what is
// left has whole periods of each channel, so that the interrupt controllers' inputs end as they would.
void Board::Impl::skip_unseen(Nanos now) {
  if (next_seen == next_event || pit_is_seen()) return;
  if (!Vatpit::only_repeats(m.get<Vatpit>())) return;
  constexpr uint64_t kTickNs = 839, kPeriods = 4;
  const uint64_t longest = std::max(m.get<Vatpit>().channel[0].reload, m.get<Vatpit>().channel[2].reload);
  const uint64_t kept_ns = kPeriods * (longest + 2) * kTickNs;
  const uint64_t end_ns = std::min(now, next_seen).value;
  if (end_ns < kept_ns || Nanos{end_ns - kept_ns} <= next_event) return;
  Vatpit::advance(m.get<Vatpit>(), Nanos{end_ns - kept_ns});
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
  for_each_device(m, [&first]<class M>(const typename M::State& s) { first = std::min(first, M::next_event(s)); });
  return first;
}

Nanos Board::Impl::earliest_seen_event() const {
  Nanos first = kNever;
  for_each_device(m, [&first]<class M>(const typename M::State& s) {
    if constexpr (!std::is_same_v<M, Vatpit>) first = std::min(first, M::next_event(s));
  });
  return first;
}

Board::Impl::Levels Board::Impl::levels() const {
  const bool replaced = Vhpet::lines(m.get<Vhpet>()) & Vhpet::kLegacyActive;
  Levels on;
  for_each_row([&]<size_t kRow>() {
    constexpr const auto& kDevice = std::get<kRow>(kBoardDevices);
    if constexpr (kDevice.wires.size() != 0) {
      const uint64_t lines = ModelOfRow<kRow>::lines(m.states<kRow>()[0]);
      if (lines == 0) return;
      for (const Wire& wire : kDevice.wires) {
        if (!(lines & wire.line) || (wire.replaced && replaced)) continue;
        if (wire.irq != kNoIrq) on.irqs |= uint32_t{1} << wire.irq;
        if (wire.pin != kNoPin) on.pins |= uint32_t{1} << wire.pin;
      }
    }
  });
  constexpr uint32_t kTimer = 1 << address_map::kTimerIrq;
  on.pins |= (on.irqs & ~kTimer) | (on.irqs & kTimer) << address_map::kTimerPin;
  add_pci_levels(on);
  return on;
}

void Board::Impl::add_pci_levels(Levels& on) const {
  using namespace address_map;
  for_each_row([&]<size_t kRow>() {
    constexpr uint8_t kSlot = std::get<kRow>(kBoardDevices).pci_slot;
    if constexpr (kSlot != kNoSlot) {
      uint8_t device = kSlot;
      for (const auto& state : m.states<kRow>()) {
        if (ModelOfRow<kRow>::lines(state) & 1) {
          on.pins |= uint32_t{1} << (kPciFirstPin + device % 4);
          on.irqs |= uint32_t{1} << (device % 2 == 0 ? kPciEvenIrq : kPciOddIrq);
        }
        ++device;
      }
    }
  });
}

bool Board::Impl::route_pins(Nanos now) {
  bool changed = false;
  const uint32_t irqs = levels().irqs;
  for (uint32_t diff = irqs ^ levels_.irqs; diff; diff &= diff - 1) {
    const auto n = static_cast<unsigned>(__builtin_ctz(diff));
    Vatpic::set_line(m.get<Vatpic>(), now, n, irqs >> n & 1);
    changed = true;
  }
  levels_.irqs = irqs;
  const uint32_t pins = levels().pins;  // of the 8259 pair as it is now
  for (uint32_t diff = pins ^ levels_.pins; diff; diff &= diff - 1) {
    const auto n = static_cast<unsigned>(__builtin_ctz(diff));
    Vioapic::set_line(m.get<Vioapic>(), now, n, pins >> n & 1);
    changed = true;
  }
  levels_.pins = pins;
  const bool lint0 = (Vatpic::lines(m.get<Vatpic>()) & Vatpic::kIntr) != 0;
  if (lint0 != lint0_) {
    lint0_ = lint0;
    Vlapic::set_line(m.get_all<Vlapic>()[0], now, Vlapic::kLint0, lint0);
    changed = true;
  }
  return changed;
}

void Board::Impl::deliver(Nanos now, const BusMessage& message, size_t sender) {
  if (message.kind == BusMessage::Kind::kEoi) {
    Vioapic::eoi(m.get<Vioapic>(), now, message.vector);
    return;
  }
  Vlapic::State* taker = nullptr;
  for (size_t i = 0; i < m.get_all<Vlapic>().size(); ++i) {
    Vlapic::State& apic = m.get_all<Vlapic>()[i];
    if (!Vlapic::matches(apic, message, i == sender)) continue;
    if (message.delivery != Delivery::kLowestPriority) Vlapic::accept(apic, now, message);
    else if (!taker || Vlapic::arbitration(apic) < Vlapic::arbitration(*taker)) taker = &apic;
  }
  if (taker) Vlapic::accept(*taker, now, message);
}

bool Board::Impl::route_messages(Nanos now) {
  bool any = false;
  for_each_row([&]<size_t kRow>() {
    using M = ModelOfRow<kRow>;
    if constexpr (requires(typename M::State & s, BusMessage & message) { M::pop_message(s, message); }) {
      size_t instance = 0;
      for (auto& state : m.states<kRow>()) {
        for (BusMessage message; M::pop_message(state, message); any = true)
          deliver(now, message, std::is_same_v<M, Vlapic> ? instance : kNoSender);
        ++instance;
      }
    }
  });
  return any;
}

bool Board::Impl::transfer(Nanos now) {
  const uint64_t base = controls[0].time_base_ns;
  const Position at{0, {now.value > base ? now.value - base : 0}};
  bool any = false;
  for_each_row([&]<size_t kRow>() {
    using M = ModelOfRow<kRow>;
    if constexpr (requires(typename M::State & s, Transfer & t) { M::next_transfer(s, t); }) {
      constexpr uint8_t kSlot = std::get<kRow>(kBoardDevices).pci_slot;
      uint8_t device = kSlot == kNoSlot ? 0 : kSlot;
      for (auto& s : m.states<kRow>()) {
        std::array<uint8_t, kMaxTransferBytes> bytes;
        const auto requester = static_cast<uint16_t>(device << 3);
        for (Transfer t; M::next_transfer(s, t); any = true) {
          constexpr const auto& kDevice = std::get<kRow>(kBoardDevices);
          if constexpr (kDevice.kInstances == Instances::kOnePerDisk) {
            if (t.kind >= Transfer::Kind::kFromDisk) {
              bool equal = false;
              const bool ok =
                  dma != nullptr &&
                  dma->disk_step(at, requester, disk_number(config, kDevice.controller, device - kSlot), t, equal);
              const uint8_t answer = equal;
              M::transferred(s, now, ok, std::span(&answer, ok && t.kind == Transfer::Kind::kCompareDisk ? 1 : 0));
              continue;
            }
          }
          const bool is_read = t.kind == Transfer::Kind::kRead;
          const std::span<uint8_t> to(bytes.data(), t.len_bytes);
          const bool ok = dma != nullptr && (is_read ? dma->read(at, requester, {t.address}, to)
                                                     : dma->write(at, requester, {t.address}, t.bytes));
          M::transferred(s, now, ok, ok && is_read ? std::span<const uint8_t>(to) : std::span<const uint8_t>());
        }
        ++device;
      }
    }
  });
  return any;
}

void Board::Impl::drain_outputs(Nanos now) {
  uint8_t byte;
  while (Uart16550::pop_transmitted(m.get<Uart16550>(), byte)) {
    if (console) console->serial({&byte, 1});
  }
  while (Sysctl::pop_debug(m.get<Sysctl>(), byte)) {
    if (console) console->debug(byte);
  }
  // The far end sends while the guest asserts DTR, so nothing typed early is lost to the port's initialisation.
  BoardWires::State& w = m.get<BoardWires>();
  while (w.queue_len > 0 && (m.get<Uart16550>().mcr & kMcrDtr) &&
         Uart16550::receive(m.get<Uart16550>(), now, w.queue[w.queue_head])) {
    w.queue[w.queue_head] = 0;
    w.queue_head = (w.queue_head + 1) % BoardWires::kQueueBytes;
    --w.queue_len;
  }
}

void Board::Impl::take_requests(Nanos now) {
  BoardWires::State& w = m.get<BoardWires>();
  if (w.request != Request::kNone) return;
  requested_at = now;
  const uint64_t sysctl = Sysctl::lines(m.get<Sysctl>());
  if (sysctl & Sysctl::kDebugExit) {
    w.request = Request::kDebugExit;
    w.debug_exit_value = m.get<Sysctl>().debug_exit_value;
  } else if (Vpmtmr::wants_power_off(m.get<Vpmtmr>())) {
    w.request = Request::kPowerOff;
  } else if ((sysctl & Sysctl::kReset) || (I8042::lines(m.get<I8042>()) & I8042::kReset)) {
    w.request = Request::kReset;
  }
}

void Board::Impl::drive_vcpus() {
  for (size_t i = 0; i < controls.size(); ++i) {
    RunControl& control = controls[i];
    const uint64_t lines = Vlapic::lines(m.get_all<Vlapic>()[i]);
    control.intr = lines & Vlapic::kIntr;
    control.cr8 = static_cast<uint8_t>(Vlapic::cr8(m.get_all<Vlapic>()[i]));
    if (m.get<BoardWires>().request != Request::kNone) control.stop = true;
    if (controls.size() > 1) continue;
    if ((lines & Vlapic::kNmi) && Vlapic::take_nmi(m.get_all<Vlapic>()[i])) control.nmi = true;
    if ((lines & Vlapic::kInit) && Vlapic::take_init(m.get_all<Vlapic>()[i])) control.init = true;
  }
  if (controls.size() > 1) signal_vcpus();
}

// Of several vCPUs most are not running: what is sent to them stays in their local APICs, and so in each snapshot,
// until the machine takes it for them, at the next instruction boundary.
void Board::Impl::signal_vcpus() {
  bool stop = false;
  for (size_t i = 0; i < controls.size(); ++i) {
    const uint64_t lines = Vlapic::lines(m.get_all<Vlapic>()[i]);
    controls[i].signalled = lines & (Vlapic::kNmi | Vlapic::kInit | Vlapic::kStartup);
    stop |= controls[i].signalled;
  }
  if (!stop) return;
  for (RunControl& control : controls) control.stop = true;
}

void Board::Impl::settle(Nanos now) {
  for (bool moved = true; moved;) {
    drain_outputs(now);
    moved = route_pins(now);
    moved |= route_messages(now);
    moved |= transfer(now);
  }
  take_requests(now);
  drive_vcpus();
  next_event = earliest_event();
  next_seen = next_event;
  const bool leaves_out_the_unseen =
      config.revision >= 2;  // before, logs name each event that a halted vCPU skipped to
  if (leaves_out_the_unseen && Vatpit::next_event(m.get<Vatpit>()) == next_event && !pit_is_seen())
    next_seen = earliest_seen_event();
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
  for (RunControl& control : controls) control.stop = control.nmi = control.init = control.signalled = false;
  requested_at = now;
  remember_wires();
  settle(now);
}

void Board::Impl::remember_wires() {
  levels_ = levels();
  lint0_ = (Vatpic::lines(m.get<Vatpic>()) & Vatpic::kIntr) != 0;
}

}  // namespace dejavm
