// What generic code must know of this model, and what drivers do with it.
#include "devices/core/device_model.h"
#include "devices/vpmtmr.h"

namespace dejavm {
namespace {

constexpr uint32_t kRegisters[] = {0, 2, 4, 8};

constexpr std::string_view kLineNames[] = {"SCI"};

constexpr DeviceCall kCalls[] = {
    {"wants_power_off",
     0,
     {},
     [](void* s, Nanos, uint64_t, uint64_t) { return uint64_t{Vpmtmr::wants_power_off(state_at<Vpmtmr>(s))}; }},
    {"set_extended", 1, {1}, [](void* s, Nanos t, uint64_t v, uint64_t) {
       Vpmtmr::set_extended(state_at<Vpmtmr>(s), t, v & 1);
       return uint64_t{0};
     }}};

constexpr DeviceOp kIdioms[] = {write_op(2, 2, 0x521), write_op(0, 2, 0x8521), write_op(4, 2, 0x2001),
                                write_op(4, 2, 0x3401), write_op(4, 2, 1)};

}  // namespace

DeviceModel Vpmtmr::model() {
  return device_model<Vpmtmr>({.summary = "ACPI fixed hardware: PM1 registers and PM timer",
                               .sources = "ACPI specification 6.4, 4.8.2 and 4.8.3",
                               .registers = kRegisters,
                               .inputs = 3,
                               .line_names = kLineNames,
                               .calls = kCalls,
                               .idioms = kIdioms,
                               .idle_events = 2});
}

}  // namespace dejavm
