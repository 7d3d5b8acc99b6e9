#include "replay/guest/tasks.h"

#include <array>

#include <fmt/format.h>

#include "replay/guest/btf.h"
#include "replay/guest/linear.h"

namespace dejavm {
namespace {

constexpr uint32_t kNameBytes = 16;

Error bad(std::string why) { return {ErrorKind::kBadInput, "the guest kernel's types: " + why}; }

}  // namespace

Result<GuestTasks> GuestTasks::find(const GuestMemory& memory, const GuestKernel& kernel) {
  auto btf = Btf::read(memory, kernel);
  if (!btf) return btf.error();
  GuestTasks out;
  if (const KernelSymbol* pointer = kernel.symbol("current_task")) {
    out.current_ = pointer->address;
  } else if (const KernelSymbol* hot = kernel.symbol("pcpu_hot")) {  // from Linux 6.2 on, its first member
    out.current_ = hot->address;
  } else {
    return bad("neither current_task nor pcpu_hot is one of its symbols");
  }
  const auto members = btf->members("task_struct");
  for (const auto& [name, to] : {std::pair("pid", &out.pid_), {"tgid", &out.process_}, {"comm", &out.name_}}) {
    const auto found = members.find(name);
    if (found == members.end()) return bad(fmt::format("its task_struct has no member '{}'", name));
    *to = found->second;
  }
  return out;
}

std::optional<GuestTask> GuestTasks::current(const GuestMemory& memory, const VcpuState& s) const {
  // In the kernel GS is that of the vCPU's own data; in a process SWAPGS would bring it.
  constexpr uint64_t kKernelHalf = uint64_t{1} << 63;
  const uint64_t own = s.segment[kGs].base & kKernelHalf ? s.segment[kGs].base : s.kernel_gs_base;
  uint64_t task = 0;
  if (!(own & kKernelHalf) || !get_linear(memory, s, own + current_, task) || !(task & kKernelHalf)) return {};
  GuestTask out;
  std::array<uint8_t, kNameBytes> name{};
  if (!get_linear(memory, s, task + pid_, out.pid) || !get_linear(memory, s, task + process_, out.process) ||
      !read_linear(memory, s, task + name_, name))
    return {};
  for (size_t n = 0; n + 1 < name.size() && name[n] != 0; ++n) {
    const bool printable = name[n] >= 0x20 && name[n] < 0x7f;
    out.name += printable ? static_cast<char>(name[n]) : '?';
  }
  return out;
}

}  // namespace dejavm
