#include "tests/vmm/soft/native/host_compat.h"

#include <asm/ldt.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "devices/core/result.h"
#include "tests/vmm/soft/native/host_cpu_parts.h"

namespace dejavm::soft {
namespace {

// Where the assembly below finds what it needs, in the page of the state.
constexpr uint64_t kFarTarget = kPages + 0x1c30;  // offset and selector of the instruction
constexpr uint64_t kSelectors = kPages + 0x1c40;  // DS, ES, SS: two bytes each
constexpr uint64_t kTrampoline =
    kPages + 0x800;                 // 64-bit code below 4 GiB, to which the far jump after the instruction leads
constexpr uint16_t kCode64 = 0x33;  // Linux's for user space

enum Entry : unsigned {
  kEntryCode16 = 1,
  kEntryCode32,
  kEntrySmall,
  kEntrySmallReadOnly,
  kEntryFlat,
  kEntryFlatReadOnly,
  kEntryNarrowStack
};
constexpr uint16_t selector(Entry e) { return static_cast<uint16_t>(e << 3 | 7); }

bool set_entry(Entry entry, uint64_t base, uint32_t limit, bool wide, bool code, bool read_only) {
  user_desc d{};
  d.entry_number = entry;
  d.base_addr = static_cast<unsigned>(base);
  d.limit = limit;
  d.limit_in_pages = limit == 0xfffff;
  d.seg_32bit = wide;
  d.contents = code ? MODIFY_LDT_CONTENTS_CODE : MODIFY_LDT_CONTENTS_DATA;
  d.read_exec_only = read_only;
  constexpr int kWriteEntry = 0x11;
  return syscall(SYS_modify_ldt, kWriteEntry, &d, sizeof d) == 0;
}

bool prepare() {
  const std::vector<uint8_t> nop{0x90};
  UserState warm{};
  warm.fx.fcw = 0x37f;
  warm.fx.mxcsr = 0x1f80;
  run_on_host(nop, warm);                                                            // maps the pages
  static constexpr uint8_t kToLeave[] = {0xff, 0x24, 0x25, 0x38, 0x1c, 0x54, 0x36};  // jmp *(kFarTarget + 8)
  std::memcpy(reinterpret_cast<void*>(kTrampoline), kToLeave, sizeof kToLeave);
  constexpr uint32_t kAll = 0xfffff;
  bool ok = set_entry(kEntryCode16, kCode16Base, 0xffff, false, true, false);
  ok = ok && set_entry(kEntryCode32, 0, kAll, true, true, false);
  ok = ok && set_entry(kEntrySmall, kWindow, kWindowSize - 1, true, false, false);
  ok = ok && set_entry(kEntrySmallReadOnly, kWindow, kWindowSize - 1, true, false, true);
  ok = ok && set_entry(kEntryFlat, 0, kAll, true, false, false);
  ok = ok && set_entry(kEntryFlatReadOnly, 0, kAll, true, false, true);
  return ok && set_entry(kEntryNarrowStack, kWindow, kWindowSize - 1, false, false, false);
}

asm(R"(
  .pushsection .text
  .globl dejavm_compat_enter, dejavm_compat_leave
dejavm_compat_enter:
  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
  mov %rsp, 0x36541c00
  fxrstor64 0x36541000
  push 0x36541280
  popfq
  mov 0x36541c40, %ax
  mov %ax, %ds
  mov 0x36541c42, %ax
  mov %ax, %es
  mov 0x36541200, %rax; mov 0x36541208, %rcx; mov 0x36541210, %rdx; mov 0x36541218, %rbx
  mov 0x36541228, %rbp; mov 0x36541230, %rsi; mov 0x36541238, %rdi
  mov 0x36541c44, %ss
  mov 0x36541220, %rsp
  ljmp *0x36541c30
dejavm_compat_leave:
  mov %rax, 0x36541200; mov %rcx, 0x36541208; mov %rdx, 0x36541210; mov %rbx, 0x36541218
  mov %rsp, 0x36541220; mov %rbp, 0x36541228; mov %rsi, 0x36541230; mov %rdi, 0x36541238
  mov $0x2b, %eax
  mov %eax, %ss
  mov 0x36541c00, %rsp
  pushfq
  pop 0x36541280
  mov $0, %eax
  mov %eax, %ds
  mov %eax, %es
  fxsave64 0x36541000
  fninit
  ldmxcsr 0x36541c18
  cld
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
  ret
  .popsection
)");
extern "C" void dejavm_compat_enter();
extern "C" void dejavm_compat_leave();

}  // namespace

bool host_has_compat() {
  static const bool prepared = prepare();
  return prepared;
}

int run_on_host(std::span<const uint8_t> insn, UserState& state, const Segments& segments) {
  CHECK(host_has_compat());
  const bool wide = segments.code == CodeMode::k32;
  const uint64_t start = wide ? kInsnAddress : kInsnAddress - kCode16Base;
  auto* far_target = reinterpret_cast<uint8_t*>(kFarTarget);
  const uint32_t offset = static_cast<uint32_t>(start);
  const uint16_t code = selector(wide ? kEntryCode32 : kEntryCode16);
  std::memcpy(far_target, &offset, sizeof offset);
  std::memcpy(far_target + 4, &code, sizeof code);
  const auto leave = reinterpret_cast<uint64_t>(dejavm_compat_leave);
  std::memcpy(far_target + 8, &leave, sizeof leave);
  const Entry flat = segments.read_only ? kEntryFlatReadOnly : kEntryFlat;
  const Entry small = segments.read_only ? kEntrySmallReadOnly : kEntrySmall;
  const uint16_t selectors[] = {selector(segments.small_data ? small : flat),
                                selector(segments.small_data ? kEntrySmall : kEntryFlat),
                                selector(segments.narrow_stack ? kEntryNarrowStack : kEntryFlat)};
  std::memcpy(reinterpret_cast<void*>(kSelectors), selectors, sizeof selectors);

  // jmp kCode64:kTrampoline, with 32 bits of offset in 16-bit code too.
  std::vector<uint8_t> go_on;
  if (!wide) go_on.push_back(0x66);
  go_on.push_back(0xea);
  const uint32_t back = static_cast<uint32_t>(kTrampoline);
  const auto* back_bytes = reinterpret_cast<const uint8_t*>(&back);
  go_on.insert(go_on.end(), back_bytes, back_bytes + 4);
  go_on.push_back(static_cast<uint8_t>(kCode64));
  go_on.push_back(0);
  const int signal = run_prepared(insn, go_on, state, dejavm_compat_enter);
  if (signal == 0) state.rip = start + insn.size();
  return signal;
}

}  // namespace dejavm::soft
