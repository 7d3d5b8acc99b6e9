// Operations on a device model as values and as text: what tests generate and print, fuzzers mutate, and
// `dejavm device run` reads.
//
//   # a comment
//   write 0x43 1 0x34      offset, size, value
//   read 0x40 1            offset, size
//   line 3 1               input, level
//   wait 1000              ns, before the next operation
//   reset
//   message                takes a message that the model has sent
//   transfer 1             carries out the step that a bus master wants, in a memory that is made up; 0: memory refuses
//   it acknowledge            a call of the model's own, with its arguments
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/core/device_model.h"
#include "devices/core/result.h"

namespace dejavm {

// What an operation shows of a model: everything that anybody could notice.
struct DeviceAnswer {
  uint64_t value = 0;  // of a read or call; of a message, packed; of a transfer, a hash of it; 1 if there was none
  uint64_t lines = 0;
  Nanos next_event = kNever;
  bool operator==(const DeviceAnswer&) const = default;
};

// Performs `op` at `now`, which a wait moves on. Operands outside the model's (inputs, calls, sizes) are folded into
// it, so that every DeviceOp is one.
DeviceAnswer perform(const DeviceModel&, void* state, Nanos& now, const DeviceOp& op);

std::string print(const DeviceModel&, const DeviceOp&);
std::string print(const DeviceModel&, const std::vector<DeviceOp>&);  // a line each
// Errors name the line. Numbers are decimal or 0x hexadecimal.
Result<std::vector<DeviceOp>> parse_script(const DeviceModel&, std::string_view text);

}  // namespace dejavm
