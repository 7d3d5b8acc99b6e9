#include "vmm/soft/cpu.h"

namespace dejavm::soft {
namespace {

[[noreturn]] void exec_invalid(Cpu&, const Decoded&) { Cpu::fault(kUD); }

constexpr ExecFn kFunctions[] = {
    exec_invalid,
#define DEJAVM_OP(name, group) exec_##name,
#include "vmm/soft/ops.def"
#undef DEJAVM_OP
};

}  // namespace

ExecFn exec_function(Op op) { return kFunctions[static_cast<size_t>(op)]; }

}  // namespace dejavm::soft
