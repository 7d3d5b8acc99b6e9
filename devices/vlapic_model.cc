// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/vlapic.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x020, 0x030, 0x080, 0x0a0, 0x0b0, 0x0d0, 0x0e0, 0x0f0, 0x100, 0x110, 0x120, 0x130,
                                   0x140, 0x150, 0x160, 0x170, 0x180, 0x190, 0x1a0, 0x1b0, 0x1c0, 0x1d0, 0x1e0, 0x1f0,
                                   0x200, 0x210, 0x220, 0x230, 0x240, 0x250, 0x260, 0x270, 0x280, 0x2f0, 0x300, 0x310,
                                   0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3e0};

constexpr std::string_view kLineNames[] = {"INTR", "NMI", "INIT", "STARTUP"};

// A message in 64 bits: vector 7:0, delivery 10:8, logical 11, level 12, destination 63:32; shorthand none.
BusMessage unpack_message(uint64_t v) {
  BusMessage m;
  m.vector = static_cast<uint8_t>(v);
  m.delivery = static_cast<Delivery>(v >> 8 & 7);
  m.logical = v >> 11 & 1;
  m.level = v >> 12 & 1;
  m.destination = static_cast<uint32_t>(v >> 32);
  return m;
}
constexpr DeviceCall kCalls[] = {
    {"msr_read",
     1,
     {0x8ff},
     [](void* s, Nanos t, uint64_t i, uint64_t) {
       uint64_t v = 0;
       return Vlapic::msr_read(state_at<Vlapic>(s), t, static_cast<uint32_t>(i), v) ? v : ~uint64_t{0};
     }},
    {"msr_write",
     2,
     {0x8ff, ~uint64_t{0}},
     [](void* s, Nanos t, uint64_t i, uint64_t v) {
       return uint64_t{Vlapic::msr_write(state_at<Vlapic>(s), t, static_cast<uint32_t>(i), v)};
     }},
    {"acknowledge",
     0,
     {},
     [](void* s, Nanos t, uint64_t, uint64_t) {
       return static_cast<uint64_t>(int64_t{Vlapic::acknowledge(state_at<Vlapic>(s), t)});
     }},
    {"cr8", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) { return Vlapic::cr8(state_at<Vlapic>(s)); }},
    {"set_cr8",
     1,
     {15},
     [](void* s, Nanos t, uint64_t v, uint64_t) {
       Vlapic::set_cr8(state_at<Vlapic>(s), t, v & 15);
       return uint64_t{0};
     }},
    {"matches",
     1,
     {0xffffffff00000fff},
     [](void* s, Nanos, uint64_t v, uint64_t) {
       return uint64_t{Vlapic::matches(state_at<Vlapic>(s), unpack_message(v), false)};
     }},
    {"accept",
     1,
     {0x1fff},
     [](void* s, Nanos t, uint64_t v, uint64_t) {
       return uint64_t{Vlapic::accept(state_at<Vlapic>(s), t, unpack_message(v))};
     }},
    {"take_nmi",
     0,
     {},
     [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vlapic::take_nmi(state_at<Vlapic>(s))}; }},
    {"take_init",
     0,
     {},
     [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vlapic::take_init(state_at<Vlapic>(s))}; }},
    {"take_startup",
     0,
     {},
     [](void* s, Nanos, uint64_t, uint64_t) {
       uint8_t vector = 0;
       const bool taken = Vlapic::take_startup(state_at<Vlapic>(s), vector);
       return taken ? uint64_t{vector} : ~uint64_t{0};
     }},
    {"init_reset",
     0,
     {},
     [](void* s, Nanos, uint64_t, uint64_t) {
       Vlapic::init_reset(state_at<Vlapic>(s));
       return uint64_t{0};
     }},
    {"set_tsc_offset", 1, {1 << 20}, [](void* s, Nanos t, uint64_t v, uint64_t) {
       Vlapic::set_tsc_offset(state_at<Vlapic>(s), t, static_cast<int64_t>(v));
       return uint64_t{0};
     }}};

constexpr DeviceOp kIdioms[] = {write_op(0xf0, 4, 0x1ff),
                                write_op(0x320, 4, 0x20030),
                                write_op(0x320, 4, 0x30),
                                write_op(0x320, 4, 0x40030),
                                write_op(0x3e0, 4, 0xb),
                                write_op(0x380, 4, 1000),
                                call_op(1, 0x6e0, 5'000'000),
                                call_op(1, 0x6e0, 1),
                                write_op(0xb0, 4, 0),
                                write_op(0x300, 4, 0x4031),
                                write_op(0x310, 4, 0xff000000),
                                write_op(0x300, 4, 0x84600),
                                write_op(0x300, 4, 0xc0531),
                                write_op(0x350, 4, 0x700),
                                write_op(0x350, 4, 0x8032),
                                write_op(0x360, 4, 0x400),
                                write_op(0x80, 4, 0x20),
                                write_op(0x280, 4, 0),
                                call_op(1, 0x1b, 0xfee00d00),
                                call_op(1, 0x1b, 0xfee00900),
                                call_op(1, 0x1b, 0xfee00000),
                                call_op(1, 0x83f, 0x44),
                                call_op(6, 0x1031),
                                call_op(6, 0x1071),
                                call_op(6, 0x10f1),
                                call_op(6, 0x51),
                                write_op(0xd0, 4, 0x02000000),
                                write_op(0xe0, 4, 0x0fffffff),
                                call_op(5, 0x12'0000'0800),
                                call_op(5, 0x02'0000'0800),
                                call_op(5, 0x0f'0000'0800),
                                write_op(0x300, 4, 0xc00),
                                write_op(0x300, 4, 0x40)};

}  // namespace

DeviceModel Vlapic::model() {
  return device_model<Vlapic>({.summary = "local APIC: xAPIC, x2APIC, TSC deadline",
                               .sources = "Intel SDM vol. 3A, chapter Advanced Programmable Interrupt Controller",
                               .registers = kRegisters,
                               .inputs = 2,
                               .line_names = kLineNames,
                               .calls = kCalls,
                               .idioms = kIdioms,
                               .idle_events = 2});
}

}  // namespace dejavm
