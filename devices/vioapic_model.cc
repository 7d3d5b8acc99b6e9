// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/vioapic.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x00, 0x10, 0x40};

constexpr DeviceOp kIdioms[] = {write_op(0, 1, 0x10),
                                write_op(0, 1, 0x11),
                                write_op(0, 1, 0x12),
                                write_op(0, 1, 0x14),
                                write_op(0, 1, 0x3e),
                                write_op(0x10, 4, 0x30),
                                write_op(0x10, 4, 0x8031),
                                write_op(0x10, 4, 0x10000),
                                write_op(0x10, 4, 0xa931),
                                write_op(0x40, 4, 0x31),
                                write_op(0, 1, 0),
                                write_op(0x10, 4, 0x0f000000),
                                line_op(0, 1),
                                line_op(2, 1)};

constexpr DeviceCall kCalls[] = {{"eoi", 1, {0xff}, [](void* s, Nanos t, uint64_t v, uint64_t) {
                                    Vioapic::eoi(state_at<Vioapic>(s), t, static_cast<uint8_t>(v));
                                    return uint64_t{0};
                                  }}};

}  // namespace

DeviceModel Vioapic::model() {
  return device_model<Vioapic>({.summary = "I/O APIC with 24 pins",
                                .sources = "Intel 82093AA datasheet (290566); ICH9 datasheet 13.5",
                                .registers = kRegisters,
                                .inputs = Vioapic::kPins,
                                .calls = kCalls,
                                .idioms = kIdioms});
}

}  // namespace dejavm
