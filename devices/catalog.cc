#include "devices/catalog.h"

#include "devices/i8042.h"
#include "devices/sysctl.h"
#include "devices/uart16550.h"
#include "devices/vatpic.h"
#include "devices/vatpit.h"
#include "devices/vhpet.h"
#include "devices/vioapic.h"
#include "devices/vlapic.h"
#include "devices/vpmtmr.h"
#include "devices/vrtc.h"

namespace dejavm {
namespace {

template <class M>
typename M::State& at(void* s) {
  return *static_cast<typename M::State*>(s);
}
template <class M>
const typename M::State& at(const void* s) {
  return *static_cast<const typename M::State*>(s);
}

template <class M>
DeviceModel model(std::string_view summary, std::string_view sources, std::span<const uint16_t> registers, unsigned inputs,
                  std::span<const std::string_view> line_names, std::span<const DeviceCall> calls, unsigned idle_events) {
  DeviceModel d{&schema_of<M>(), summary, sources, registers, inputs, line_names, calls, idle_events,
                [](void* s) { M::reset(at<M>(s)); },
                [](void* s, Nanos t, uint64_t o, unsigned n) { return M::read(at<M>(s), t, o, n); },
                [](void* s, Nanos t, uint64_t o, unsigned n, uint64_t v) { M::write(at<M>(s), t, o, n, v); },
                [](void* s, Nanos t) { M::advance(at<M>(s), t); },
                [](const void* s) { return M::next_event(at<M>(s)); },
                [](const void* s) { return M::lines(at<M>(s)); },
                [](void* s, Nanos t, unsigned i, bool l) { M::set_line(at<M>(s), t, i, l); },
                nullptr};
  if constexpr (requires(typename M::State& s, BusMessage& m) { M::pop_message(s, m); })
    d.pop_message = [](void* s, BusMessage& m) { return M::pop_message(at<M>(s), m); };
  return d;
}

constexpr uint16_t kPicPorts[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
constexpr std::string_view kPicLines[] = {"INTR"};
constexpr DeviceCall kPicCalls[] = {
    {"acknowledge", 0, {}, [](void* s, Nanos t, uint64_t, uint64_t) { return uint64_t{Vatpic::acknowledge(at<Vatpic>(s), t)}; }}};

constexpr uint16_t kPitPorts[] = {0x40, 0x41, 0x42, 0x43, 0x61};
constexpr std::string_view kPitLines[] = {"OUT0", "", "OUT2"};

constexpr uint16_t kHpetRegisters[] = {0x000, 0x004, 0x010, 0x020, 0x0f0, 0x0f4, 0x100, 0x104, 0x108, 0x10c,
                                       0x120, 0x124, 0x128, 0x12c, 0x140, 0x144, 0x148, 0x14c};

constexpr uint16_t kIoApicRegisters[] = {0x00, 0x10, 0x40};
constexpr DeviceCall kIoApicCalls[] = {{"eoi", 1, {0xff}, [](void* s, Nanos t, uint64_t v, uint64_t) {
                                          Vioapic::eoi(at<Vioapic>(s), t, static_cast<uint8_t>(v));
                                          return uint64_t{0};
                                        }}};

constexpr uint16_t kApicRegisters[] = {0x020, 0x030, 0x080, 0x0a0, 0x0b0, 0x0d0, 0x0e0, 0x0f0, 0x100, 0x170, 0x180, 0x200, 0x270, 0x280, 0x2f0,
                                       0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3e0};
constexpr std::string_view kApicLines[] = {"INTR", "NMI", "INIT", "STARTUP"};
// A message in 64 bits: vector 7:0, delivery 10:8, logical 11, level 12, destination 63:32; shorthand none.
BusMessage unpack_message(uint64_t v) {
  BusMessage m;
  m.vector = static_cast<uint8_t>(v);
  m.delivery = static_cast<Delivery>(v >> 8 & 7);
  m.logical = v >> 11 & 1, m.level = v >> 12 & 1;
  m.destination = static_cast<uint32_t>(v >> 32);
  return m;
}
constexpr DeviceCall kApicCalls[] = {
    {"msr_read", 1, {0x8ff}, [](void* s, Nanos t, uint64_t i, uint64_t) {
       uint64_t v = 0;
       return Vlapic::msr_read(at<Vlapic>(s), t, static_cast<uint32_t>(i), v) ? v : ~uint64_t{0};
     }},
    {"msr_write", 2, {0x8ff, ~uint64_t{0}}, [](void* s, Nanos t, uint64_t i, uint64_t v) {
       return uint64_t{Vlapic::msr_write(at<Vlapic>(s), t, static_cast<uint32_t>(i), v)};
     }},
    {"acknowledge", 0, {}, [](void* s, Nanos t, uint64_t, uint64_t) { return static_cast<uint64_t>(int64_t{Vlapic::acknowledge(at<Vlapic>(s), t)}); }},
    {"cr8", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return Vlapic::cr8(at<Vlapic>(s)); }},
    {"set_cr8", 1, {15}, [](void* s, Nanos t, uint64_t v, uint64_t) { return Vlapic::set_cr8(at<Vlapic>(s), t, v & 15), uint64_t{0}; }},
    {"matches", 1, {0xffffffff00000fff}, [](void* s, Nanos, uint64_t v, uint64_t) { return uint64_t{Vlapic::matches(at<Vlapic>(s), unpack_message(v), false)}; }},
    {"accept", 1, {0x1fff}, [](void* s, Nanos t, uint64_t v, uint64_t) { return uint64_t{Vlapic::accept(at<Vlapic>(s), t, unpack_message(v))}; }},
    {"take_nmi", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vlapic::take_nmi(at<Vlapic>(s))}; }},
    {"take_init", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vlapic::take_init(at<Vlapic>(s))}; }},
    {"take_startup", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) {
       uint8_t vector = 0;
       const bool taken = Vlapic::take_startup(at<Vlapic>(s), vector);
       return taken ? uint64_t{vector} : ~uint64_t{0};
     }},
    {"init_reset", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return Vlapic::init_reset(at<Vlapic>(s)), uint64_t{0}; }},
    {"set_tsc_offset", 1, {1 << 20}, [](void* s, Nanos t, uint64_t v, uint64_t) { return Vlapic::set_tsc_offset(at<Vlapic>(s), t, static_cast<int64_t>(v)), uint64_t{0}; }}};

constexpr uint16_t kPmRegisters[] = {0, 2, 4, 8};
constexpr std::string_view kPmLines[] = {"SCI"};
constexpr DeviceCall kPmCalls[] = {{"wants_power_off", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vpmtmr::wants_power_off(at<Vpmtmr>(s))}; }}};

constexpr uint16_t kRtcPorts[] = {0x70, 0x71};
constexpr std::string_view kRtcLines[] = {"IRQ"};
constexpr DeviceCall kRtcCalls[] = {
    {"set_start_time", 1, {4'102'444'799}, [](void* s, Nanos, uint64_t v, uint64_t) { return Vrtc::set_start_time(at<Vrtc>(s), static_cast<int64_t>(v % 4'102'444'800)), uint64_t{0}; }},
    {"set_cmos", 2, {0x7f, 0xff}, [](void* s, Nanos, uint64_t i, uint64_t v) { return Vrtc::set_cmos(at<Vrtc>(s), static_cast<unsigned>(i), static_cast<uint8_t>(v)), uint64_t{0}; }}};

constexpr uint16_t kUartRegisters[] = {0, 1, 2, 3, 4, 5, 6, 7};
constexpr DeviceCall kUartCalls[] = {
    {"receive", 1, {0xff}, [](void* s, Nanos t, uint64_t v, uint64_t) { return uint64_t{Uart16550::receive(at<Uart16550>(s), t, static_cast<uint8_t>(v))}; }},
    {"pop_transmitted", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) {
       uint8_t byte = 0;
       return Uart16550::pop_transmitted(at<Uart16550>(s), byte) ? uint64_t{byte} : ~uint64_t{0};
     }}};

constexpr uint16_t kKeyboardPorts[] = {0x60, 0x64};
constexpr std::string_view kKeyboardLines[] = {"IRQ1", "IRQ12", "RESET"};

constexpr uint16_t kSysctlPorts[] = {0x80, 0x92, 0xe9, 0xf4, 0x402, 0xcf9};
constexpr std::string_view kSysctlLines[] = {"RESET", "DEBUG_EXIT"};
constexpr DeviceCall kSysctlCalls[] = {{"pop_debug", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) {
                                          uint8_t byte = 0;
                                          return Sysctl::pop_debug(at<Sysctl>(s), byte) ? uint64_t{byte} : ~uint64_t{0};
                                        }}};

}  // namespace

std::span<const DeviceModel> device_catalog() {
  static const DeviceModel kCatalog[] = {
      model<Vatpic>("the PC's two 8259A interrupt controllers with ELCR", "Intel 8259A datasheet (231468); ICH9 datasheet 13.4", kPicPorts, 16, kPicLines, kPicCalls, 0),
      model<Vatpit>("the PC's 8254 timer and system control port 0x61", "Intel 8254 datasheet (231164); ICH9 datasheet 13.7.1", kPitPorts, 0, kPitLines, {}, 2),
      model<Vhpet>("high precision event timer with three comparators", "IA-PC HPET specification 1.0a", kHpetRegisters, 0, {}, {}, 2),
      model<Vioapic>("I/O APIC with 24 pins", "Intel 82093AA datasheet (290566); ICH9 datasheet 13.5", kIoApicRegisters, Vioapic::kPins, {}, kIoApicCalls, 0),
      model<Vlapic>("local APIC: xAPIC, x2APIC, TSC deadline", "Intel SDM vol. 3A, chapter Advanced Programmable Interrupt Controller", kApicRegisters, 2, kApicLines, kApicCalls, 2),
      model<Vpmtmr>("ACPI fixed hardware: PM1 registers and PM timer", "ACPI specification 6.4, 4.8.2 and 4.8.3", kPmRegisters, 3, kPmLines, kPmCalls, 2),
      model<Vrtc>("MC146818 real-time clock with 128 bytes of CMOS memory", "Motorola MC146818 data sheet", kRtcPorts, 0, kRtcLines, kRtcCalls, 2),
      model<Uart16550>("16550A serial port", "National Semiconductor PC16550D data sheet", kUartRegisters, 0, kRtcLines, kUartCalls, 0),
      model<I8042>("keyboard controller with a keyboard", "IBM PS/2 Hardware Interface Technical Reference; 8242 data sheet", kKeyboardPorts, 0, kKeyboardLines, {}, 2),
      model<Sysctl>("reset control, debug exit and console, POST code", "Intel ICH9 datasheet 13.7.3, 13.7.5; PC convention", kSysctlPorts, 0, kSysctlLines, kSysctlCalls, 0),
  };
  return kCatalog;
}

const DeviceModel* find_device(std::string_view name) {
  for (const DeviceModel& d : device_catalog())
    if (d.name() == name) return &d;
  return nullptr;
}

}  // namespace dejavm
