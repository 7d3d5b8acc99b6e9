#include "devices/core/result.h"
#include "vmm/soft/decode.h"

namespace dejavm::soft {
namespace {

constexpr std::string_view kNames[] = {
    "(invalid)",
#define DEJAVM_OP(name, group) #name,
#include "vmm/soft/ops.def"
#undef DEJAVM_OP
};

constexpr OpGroup kGroups[] = {
    OpGroup::kInt,
#define DEJAVM_OP(name, group) OpGroup::group,
#include "vmm/soft/ops.def"
#undef DEJAVM_OP
};

}  // namespace

std::string_view op_name(Op op) {
  CHECK(op < Op::kCount);
  return kNames[static_cast<size_t>(op)];
}

OpGroup op_group(Op op) {
  CHECK(op < Op::kCount);
  return kGroups[static_cast<size_t>(op)];
}

}  // namespace dejavm::soft
