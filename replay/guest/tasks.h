// Which task a Linux guest is running, from its memory: where its task_struct has what the kernel's own BTF tells
// (Documentation/bpf/btf.rst), which kernels with CONFIG_DEBUG_INFO_BTF have within them, as Debian's do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "replay/guest/kallsyms.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

struct GuestTask {
  uint32_t pid = 0;      // as the kernel counts: a thread's own
  uint32_t process = 0;  // tgid: what users call its process's number
  std::string name;      // comm, at most 15 characters; those that cannot be printed are '?'
};

class GuestTasks {
 public:
  // kBadInput, saying why: no BTF, a damaged one, or no task_struct of the known kind. Up to 64 MiB are read.
  static Result<GuestTasks> find(const GuestMemory&, const GuestKernel&);
  // None: the vCPU is not in this kernel or its processes yet.
  std::optional<GuestTask> current(const GuestMemory&, const VcpuState&) const;

 private:
  uint64_t current_ = 0;                       // of the pointer to the task, from the vCPU's own data on
  uint32_t pid_ = 0, process_ = 0, name_ = 0;  // bytes from the begin of task_struct
};

}  // namespace dejavm
