// What gdb shows of a vCPU beside its number: whether it is halted, and which task of a Linux guest it runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "replay/guest/tasks.h"
#include "vmm/machine/machine.h"

namespace dejavm::gdb {

class ThreadNames {
 public:
  // "vCPU 1, halted, swapper/1 (0)"
  std::string of(Machine&, uint32_t vcpu);

 private:
  std::optional<GuestTasks> tasks_;  // once the guest's memory has told
};

}  // namespace dejavm::gdb
