#include "replay/gdb/thread_names.h"

#include <fmt/format.h>

namespace dejavm::gdb {

std::string ThreadNames::of(Machine& machine, uint32_t vcpu) {
  VcpuState s;
  machine.engine().get_state(vcpu, s);
  std::string out = fmt::format("vCPU {}", vcpu);
  switch (s.activity) {
    case Activity::kRunning: break;
    case Activity::kHalted: out += ", halted"; break;
    case Activity::kShutdown: out += ", in shutdown"; break;
    case Activity::kWaitForSipi: return out + ", waits for STARTUP";
  }
  if (!tasks_) {
    auto kernel = GuestKernel::find(machine.memory());
    if (!kernel) return out;
    auto tasks = GuestTasks::find(machine.memory(), *kernel);
    if (!tasks) return out;
    tasks_ = tasks.take();
  }
  if (const auto task = tasks_->current(machine.memory(), s)) out += fmt::format(", {} ({})", task->name, task->pid);
  return out;
}

}  // namespace dejavm::gdb
