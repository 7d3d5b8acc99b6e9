// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/sysctl.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0x80, 0x92, 0xe9, 0xf4, 0x402, 0xcf9};

constexpr std::string_view kLineNames[] = {"RESET", "DEBUG_EXIT"};

constexpr DeviceOp kIdioms[] = {write_op(0x92, 1, 1), write_op(0xcf9, 1, 2),   write_op(0xcf9, 1, 6),
                                write_op(0xf4, 1, 1), write_op(0xe9, 1, 0x41), write_op(0x80, 1, 0xaa)};

constexpr DeviceCall kCalls[] = {{"pop_debug", 0, {}, [](void* s, Nanos, uint64_t, uint64_t) {
                                    uint8_t byte = 0;
                                    return Sysctl::pop_debug(state_at<Sysctl>(s), byte) ? uint64_t{byte} : ~uint64_t{0};
                                  }}};

}  // namespace

DeviceModel Sysctl::model() {
  return device_model<Sysctl>({.summary = "reset control, debug exit and console, POST code",
                               .sources = "Intel ICH9 datasheet 13.7.3, 13.7.5; PC convention",
                               .registers = kRegisters,
                               .line_names = kLineNames,
                               .calls = kCalls,
                               .idioms = kIdioms});
}

}  // namespace dejavm
