#include "devices/catalog.h"

#include "devices/i8042.h"
#include "devices/pctestdev.h"
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

constexpr DeviceOp w(uint64_t offset, uint8_t size, uint64_t value) { return {DeviceOp::Kind::kWrite, size, 0, offset, value}; }
constexpr DeviceOp c(uint16_t call, uint64_t a, uint64_t b = 0) { return {DeviceOp::Kind::kCall, 1, call, a, b}; }

constexpr uint16_t kPicPorts[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
constexpr std::string_view kPicLines[] = {"INTR"};
constexpr DeviceCall kPicCalls[] = {
    {"acknowledge", 0, {}, [](void* s, Nanos t, uint64_t, uint64_t) { return uint64_t{Vatpic::acknowledge(state_at<Vatpic>(s), t)}; }}};

constexpr DeviceOp kPicIdioms[] = {w(0x20, 1, 0x11), w(0xa0, 1, 0x11), w(0x21, 1, 0x20), w(0xa1, 1, 0x28), w(0x21, 1, 4), w(0xa1, 1, 2), w(0x21, 1, 1), w(0xa1, 1, 1),
                                   w(0x21, 1, 3), w(0x21, 1, 0), w(0xa1, 1, 0), w(0x20, 1, 0x20), w(0x20, 1, 0x60), w(0x20, 1, 0x0b), w(0x20, 1, 0x0c), w(0x20, 1, 0x68),
                                   w(0x20, 1, 0x80), w(0xa0, 1, 0x80), w(0x20, 1, 0xa0), w(0x4d0, 1, 0xf8), w(0x4d1, 1, 0xde), w(0x20, 1, 0x19), w(0xa1, 1, 3), c(0, 0),
                                   {DeviceOp::Kind::kLine, 1, 8, 1, 0}, {DeviceOp::Kind::kLine, 1, 12, 1, 0}, {DeviceOp::Kind::kLine, 1, 12, 0, 0}};

constexpr uint16_t kPitPorts[] = {0x40, 0x41, 0x42, 0x43, 0x61};
constexpr std::string_view kPitLines[] = {"OUT0", "", "OUT2"};

constexpr DeviceOp kPitIdioms[] = {w(0x43, 1, 0x34), w(0x40, 1, 0x9c), w(0x40, 1, 0x2e), w(0x43, 1, 0x30), w(0x43, 1, 0xb0), w(0x43, 1, 0xb6), w(0x42, 1, 3), w(0x42, 1, 0),
                                   w(0x61, 1, 1), w(0x61, 1, 0), w(0x43, 1, 0xe2), w(0x43, 1, 0xc2), w(0x43, 1, 0x00), w(0x43, 1, 0x80), w(0x43, 1, 0x72), w(0x43, 1, 0xba)};

constexpr uint16_t kHpetRegisters[] = {0x000, 0x004, 0x010, 0x020, 0x0f0, 0x0f4, 0x100, 0x104, 0x108, 0x10c,
                                       0x110, 0x114, 0x120, 0x124, 0x128, 0x12c, 0x130, 0x134, 0x140, 0x144, 0x148, 0x14c, 0x150, 0x154};

constexpr DeviceOp kHpetIdioms[] = {w(0x10, 8, 1), w(0x10, 8, 3), w(0x10, 8, 0), w(0x100, 8, 0x4c), w(0x108, 8, 10000), w(0x120, 8, 0x2a04), w(0x128, 8, 5000), w(0x140, 8, 0x2806),
                                    w(0x148, 8, 100), w(0x20, 8, 7), w(0xf0, 8, 0), w(0x100, 8, 0x14c), w(0x120, 4, 0x2904), w(0x140, 8, 0x4004), w(0x100, 8, 0x400c), w(0x150, 8, 0xfee0000000000031), w(0x110, 8, 0xfee0100400004732)};

constexpr uint16_t kIoApicRegisters[] = {0x00, 0x10, 0x40};
constexpr DeviceOp kIoApicIdioms[] = {w(0, 1, 0x10), w(0, 1, 0x11), w(0, 1, 0x12), w(0, 1, 0x14), w(0, 1, 0x3e), w(0x10, 4, 0x30), w(0x10, 4, 0x8031), w(0x10, 4, 0x10000),
                                      w(0x10, 4, 0xa931), w(0x40, 4, 0x31), w(0, 1, 0), w(0x10, 4, 0x0f000000), {DeviceOp::Kind::kLine, 1, 0, 1, 0}, {DeviceOp::Kind::kLine, 1, 2, 1, 0}};
constexpr DeviceCall kIoApicCalls[] = {{"eoi", 1, {0xff}, [](void* s, Nanos t, uint64_t v, uint64_t) {
                                          Vioapic::eoi(state_at<Vioapic>(s), t, static_cast<uint8_t>(v));
                                          return uint64_t{0};
                                        }}};

constexpr uint16_t kApicRegisters[] = {0x020, 0x030, 0x080, 0x0a0, 0x0b0, 0x0d0, 0x0e0, 0x0f0, 0x100, 0x110, 0x120, 0x130, 0x140, 0x150, 0x160, 0x170,
                                       0x180, 0x190, 0x1a0, 0x1b0, 0x1c0, 0x1d0, 0x1e0, 0x1f0, 0x200, 0x210, 0x220, 0x230, 0x240, 0x250, 0x260, 0x270, 0x280, 0x2f0,
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
       return Vlapic::msr_read(state_at<Vlapic>(s), t, static_cast<uint32_t>(i), v) ? v : ~uint64_t{0};
     }},
    {"msr_write", 2, {0x8ff, ~uint64_t{0}}, [](void* s, Nanos t, uint64_t i, uint64_t v) {
       return uint64_t{Vlapic::msr_write(state_at<Vlapic>(s), t, static_cast<uint32_t>(i), v)};
     }},
    {"acknowledge", 0, {}, [](void* s, Nanos t, uint64_t, uint64_t) { return static_cast<uint64_t>(int64_t{Vlapic::acknowledge(state_at<Vlapic>(s), t)}); }},
    {"cr8", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return Vlapic::cr8(state_at<Vlapic>(s)); }},
    {"set_cr8", 1, {15}, [](void* s, Nanos t, uint64_t v, uint64_t) { return Vlapic::set_cr8(state_at<Vlapic>(s), t, v & 15), uint64_t{0}; }},
    {"matches", 1, {0xffffffff00000fff}, [](void* s, Nanos, uint64_t v, uint64_t) { return uint64_t{Vlapic::matches(state_at<Vlapic>(s), unpack_message(v), false)}; }},
    {"accept", 1, {0x1fff}, [](void* s, Nanos t, uint64_t v, uint64_t) { return uint64_t{Vlapic::accept(state_at<Vlapic>(s), t, unpack_message(v))}; }},
    {"take_nmi", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vlapic::take_nmi(state_at<Vlapic>(s))}; }},
    {"take_init", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vlapic::take_init(state_at<Vlapic>(s))}; }},
    {"take_startup", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) {
       uint8_t vector = 0;
       const bool taken = Vlapic::take_startup(state_at<Vlapic>(s), vector);
       return taken ? uint64_t{vector} : ~uint64_t{0};
     }},
    {"init_reset", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return Vlapic::init_reset(state_at<Vlapic>(s)), uint64_t{0}; }},
    {"set_tsc_offset", 1, {1 << 20}, [](void* s, Nanos t, uint64_t v, uint64_t) { return Vlapic::set_tsc_offset(state_at<Vlapic>(s), t, static_cast<int64_t>(v)), uint64_t{0}; }}};

constexpr DeviceOp kApicIdioms[] = {w(0xf0, 4, 0x1ff), w(0x320, 4, 0x20030), w(0x320, 4, 0x30), w(0x320, 4, 0x40030), w(0x3e0, 4, 0xb), w(0x380, 4, 1000), c(1, 0x6e0, 5'000'000), c(1, 0x6e0, 1),
                                    w(0xb0, 4, 0), w(0x300, 4, 0x4031), w(0x310, 4, 0xff000000), w(0x300, 4, 0x84600), w(0x300, 4, 0xc0531), w(0x350, 4, 0x700), w(0x350, 4, 0x8032), w(0x360, 4, 0x400),
                                    w(0x80, 4, 0x20), w(0x280, 4, 0), c(1, 0x1b, 0xfee00d00), c(1, 0x1b, 0xfee00900), c(1, 0x1b, 0xfee00000), c(1, 0x83f, 0x44), c(6, 0x1031), c(6, 0x1071), c(6, 0x10f1), c(6, 0x51),
                                    w(0xd0, 4, 0x02000000), w(0xe0, 4, 0x0fffffff), c(5, 0x12'0000'0800), c(5, 0x02'0000'0800), c(5, 0x0f'0000'0800), w(0x300, 4, 0xc00), w(0x300, 4, 0x40)};

constexpr uint16_t kPmRegisters[] = {0, 2, 4, 8};
constexpr std::string_view kPmLines[] = {"SCI"};
constexpr DeviceCall kPmCalls[] = {{"wants_power_off", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vpmtmr::wants_power_off(state_at<Vpmtmr>(s))}; }},
                                   {"set_extended", 1, {1}, [](void* s, Nanos t, uint64_t v, uint64_t) { return Vpmtmr::set_extended(state_at<Vpmtmr>(s), t, v & 1), uint64_t{0}; }}};

constexpr DeviceOp kPmIdioms[] = {w(2, 2, 0x521), w(0, 2, 0x8521), w(4, 2, 0x2001), w(4, 2, 0x3401), w(4, 2, 1)};

constexpr uint16_t kRtcPorts[] = {0x70, 0x71};
constexpr std::string_view kRtcLines[] = {"IRQ"};
constexpr DeviceCall kRtcCalls[] = {
    {"set_start_time", 1, {4'102'444'799}, [](void* s, Nanos, uint64_t v, uint64_t) { return Vrtc::set_start_time(state_at<Vrtc>(s), static_cast<int64_t>(v % 4'102'444'800)), uint64_t{0}; }},
    {"set_cmos", 2, {0x7f, 0xff}, [](void* s, Nanos, uint64_t i, uint64_t v) { return Vrtc::set_cmos(state_at<Vrtc>(s), static_cast<unsigned>(i), static_cast<uint8_t>(v)), uint64_t{0}; }}};

constexpr DeviceOp kRtcIdioms[] = {w(0x70, 1, 0xa), w(0x70, 1, 0xb), w(0x70, 1, 0xc), w(0x70, 1, 0), w(0x70, 1, 1), w(0x70, 1, 4), w(0x70, 1, 9), w(0x70, 1, 0x32), w(0x71, 1, 0x26), w(0x71, 1, 0x2f),
                                   w(0x71, 1, 0x72), w(0x71, 1, 0x12), w(0x71, 1, 0x82), w(0x71, 1, 0xff), w(0x71, 1, 0x59), {DeviceOp::Kind::kRead, 1, 0, 0x71, 0}};

constexpr uint16_t kUartRegisters[] = {0, 1, 2, 3, 4, 5, 6, 7};
constexpr DeviceCall kUartCalls[] = {
    {"receive", 1, {0xff}, [](void* s, Nanos t, uint64_t v, uint64_t) { return uint64_t{Uart16550::receive(state_at<Uart16550>(s), t, static_cast<uint8_t>(v))}; }},
    {"pop_transmitted", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) {
       uint8_t byte = 0;
       return Uart16550::pop_transmitted(state_at<Uart16550>(s), byte) ? uint64_t{byte} : ~uint64_t{0};
     }},
    {"set_timed", 1, {1}, [](void* s, Nanos t, uint64_t v, uint64_t) { return Uart16550::set_timed(state_at<Uart16550>(s), t, v & 1), uint64_t{0}; }}};

constexpr DeviceOp kUartIdioms[] = {w(2, 1, 1), w(2, 1, 7), w(2, 1, 0xc1), w(1, 1, 0xf), w(4, 1, 0xb), w(4, 1, 0x1f), w(3, 1, 3), w(3, 1, 0x80), w(0, 1, 0x41), w(0, 1, 1), c(0, 0x61), c(2, 1),
                                    {DeviceOp::Kind::kRead, 1, 0, 0, 0}, {DeviceOp::Kind::kRead, 1, 0, 2, 0}, {DeviceOp::Kind::kRead, 1, 0, 5, 0}};

constexpr uint16_t kKeyboardPorts[] = {0x60, 0x64};
constexpr std::string_view kKeyboardLines[] = {"IRQ1", "IRQ12", "RESET"};

constexpr DeviceOp kKeyboardIdioms[] = {w(0x64, 1, 0x60), w(0x60, 1, 0x47), w(0x64, 1, 0x20), w(0x64, 1, 0xaa), w(0x64, 1, 0xd2), w(0x64, 1, 0xd3), w(0x64, 1, 0xd4), w(0x64, 1, 0xae), w(0x64, 1, 0xad),
                                        w(0x60, 1, 0xf2), w(0x60, 1, 0xff), w(0x60, 1, 0xed), w(0x60, 1, 0xf0), w(0x60, 1, 0xee), w(0x64, 1, 0xfe), w(0x64, 1, 0xd1), {DeviceOp::Kind::kRead, 1, 0, 0x60, 0}};

constexpr uint16_t kSysctlPorts[] = {0x80, 0x92, 0xe9, 0xf4, 0x402, 0xcf9};
constexpr std::string_view kSysctlLines[] = {"RESET", "DEBUG_EXIT"};
constexpr DeviceOp kSysctlIdioms[] = {w(0x92, 1, 1), w(0xcf9, 1, 2), w(0xcf9, 1, 6), w(0xf4, 1, 1), w(0xe9, 1, 0x41), w(0x80, 1, 0xaa)};
constexpr DeviceCall kSysctlCalls[] = {{"pop_debug", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) {
                                          uint8_t byte = 0;
                                          return Sysctl::pop_debug(state_at<Sysctl>(s), byte) ? uint64_t{byte} : ~uint64_t{0};
                                        }}};

constexpr uint16_t kTestPorts[] = {0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe8, 0xeb, 0x2000, 0x2004, 0x2009, 0x2017};
constexpr DeviceOp kTestIdioms[] = {w(0xe0, 4, 0x12345678), w(0xe1, 1, 0xaa), w(0xe4, 4, 0x1000), w(0x2005, 1, 1), w(0x2005, 1, 0)};

}  // namespace

std::span<const DeviceModel> device_catalog() {
  static const DeviceModel kCatalog[] = {
      device_model<Vatpic>("the PC's two 8259A interrupt controllers with ELCR", "Intel 8259A datasheet (231468); ICH9 datasheet 13.4", kPicPorts, 16, kPicLines, kPicCalls, kPicIdioms, 0),
      device_model<Vatpit>("the PC's 8254 timer and system control port 0x61", "Intel 8254 datasheet (231164); ICH9 datasheet 13.7.1", kPitPorts, 0, kPitLines, {}, kPitIdioms, 2),
      device_model<Vhpet>("high precision event timer with three comparators", "IA-PC HPET specification 1.0a", kHpetRegisters, 0, {}, {}, kHpetIdioms, 2),
      device_model<Vioapic>("I/O APIC with 24 pins", "Intel 82093AA datasheet (290566); ICH9 datasheet 13.5", kIoApicRegisters, Vioapic::kPins, {}, kIoApicCalls, kIoApicIdioms, 0),
      device_model<Vlapic>("local APIC: xAPIC, x2APIC, TSC deadline", "Intel SDM vol. 3A, chapter Advanced Programmable Interrupt Controller", kApicRegisters, 2, kApicLines, kApicCalls, kApicIdioms, 2),
      device_model<Vpmtmr>("ACPI fixed hardware: PM1 registers and PM timer", "ACPI specification 6.4, 4.8.2 and 4.8.3", kPmRegisters, 3, kPmLines, kPmCalls, kPmIdioms, 2),
      device_model<Vrtc>("MC146818 real-time clock with 128 bytes of CMOS memory", "Motorola MC146818 data sheet", kRtcPorts, 0, kRtcLines, kRtcCalls, kRtcIdioms, 2),
      device_model<Uart16550>("16550A serial port", "National Semiconductor PC16550D data sheet", kUartRegisters, 0, kRtcLines, kUartCalls, kUartIdioms, 24),
      device_model<I8042>("keyboard controller with a keyboard", "IBM PS/2 Hardware Interface Technical Reference; 8242 data sheet", kKeyboardPorts, 0, kKeyboardLines, {}, kKeyboardIdioms, 2),
      device_model<Sysctl>("reset control, debug exit and console, POST code", "Intel ICH9 datasheet 13.7.3, 13.7.5; PC convention", kSysctlPorts, 0, kSysctlLines, kSysctlCalls, kSysctlIdioms, 0),
      device_model<Pctestdev>("for tests: echo, interrupt lines", "QEMU, hw/misc/pc-testdev.c", kTestPorts, 0, {}, {}, kTestIdioms, 0),
  };
  return kCatalog;
}

const DeviceModel* find_device(std::string_view name) {
  for (const DeviceModel& d : device_catalog())
    if (d.name() == name) return &d;
  return nullptr;
}

}  // namespace dejavm
