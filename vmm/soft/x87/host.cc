// Every register form (8 opcodes of 64) and every memory form (8 of 8) of the escapes D8-DF gets a small function that
// loads the state, executes that very encoding and takes the state back. FNSAVE does not wait, so a pending unmasked
// exception never traps on the host; and it leaves the unit as FNINIT does, which is what the ABI wants.
#include <array>
#include <utility>

#include "vmm/soft/x87/state.h"

namespace dejavm::soft::x87 {
namespace {

using Runner = void (*)(Image* image, void* memory, uint8_t* flags);

#define DEJAVM_X87_CLOBBERS "rax", "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

// kModrm 00 digit 111 is the memory operand at RDI in memory forms.
template <unsigned kOpcode, unsigned kModrm>
void run(Image* image, void* memory, uint8_t* flags) {
  asm volatile(
      "frstor (%[image])\n\t"
      "movb (%[flags]), %%ah\n\t"
      "sahf\n\t"
      ".byte %c[opcode], %c[modrm]\n\t"
      "lahf\n\t"
      "movb %%ah, (%[flags])\n\t"
      "fnsave (%[image])"
      :
      : [image] "r"(image), "D"(memory), [flags] "r"(flags), [opcode] "i"(kOpcode), [modrm] "i"(kModrm)
      : DEJAVM_X87_CLOBBERS);
}

template <size_t... kN>
constexpr auto register_forms(std::index_sequence<kN...>) {
  return std::array<Runner, sizeof...(kN)>{run<0xd8 + kN / 64, 0xc0 + kN % 64>...};
}
template <size_t... kN>
constexpr auto memory_forms(std::index_sequence<kN...>) {
  return std::array<Runner, sizeof...(kN)>{run<0xd8 + kN / 8, (kN % 8) << 3 | 7>...};
}
constexpr auto kRegisterForms = register_forms(std::make_index_sequence<512>());
constexpr auto kMemoryForms = memory_forms(std::make_index_sequence<64>());

constexpr uint16_t kFlags = kExceptions | kStackFault;

}  // namespace

bool run_on_host(FpuState& f, uint8_t opcode, uint8_t modrm, void* memory, uint8_t& flags) {
  Image image{};
  image.fcw = f.fcw;
  // Only this instruction's own exceptions count for what it does; older flags stay.
  image.fsw = f.fsw & (kConditions | kTop);
  for (unsigned n = 0; n < 8; ++n) {
    if (!(f.ftw >> n & 1)) image.ftw |= static_cast<uint16_t>(3 << (2 * n));
    const unsigned p = physical(f, n);
    image.st[n] = {f.st_mantissa[p], f.st_exponent[p]};
  }
  const unsigned row = opcode & 7u;
  (modrm >= 0xc0 ? kRegisterForms[row * 64 + (modrm & 63)] : kMemoryForms[row * 8 + (modrm >> 3 & 7)])(&image, memory,
                                                                                                       &flags);
  const uint16_t raised = image.fsw & kFlags, older = f.fsw & kFlags;
  f.fsw = static_cast<uint16_t>((image.fsw & (kConditions | kTop)) | raised | older);
  update_summary(f);
  f.ftw = abridged_tag_word(image.ftw);
  for (unsigned n = 0; n < 8; ++n) {
    const unsigned p = physical(f, n);
    f.st_mantissa[p] = image.st[n].mantissa;
    f.st_exponent[p] = image.st[n].exponent;
  }
  return !(raised & ~f.fcw & (kExceptions & ~kPE));
}

}  // namespace dejavm::soft::x87
