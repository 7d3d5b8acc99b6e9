// Comparisons: integer lanes, CMPxx with its eight predicates, COMIxx and UCOMIxx to the flags.
#include "vmm/soft/sse/fp_env.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

}  // namespace

DEJAVM_PACKED(pcmpeqb, _mm_cmpeq_epi8)
DEJAVM_PACKED(pcmpeqw, _mm_cmpeq_epi16)
DEJAVM_PACKED(pcmpeqd, _mm_cmpeq_epi32)
DEJAVM_XMM(pcmpeqq, _mm_cmpeq_epi64)
DEJAVM_PACKED(pcmpgtb, _mm_cmpgt_epi8)
DEJAVM_PACKED(pcmpgtw, _mm_cmpgt_epi16)
DEJAVM_PACKED(pcmpgtd, _mm_cmpgt_epi32)
DEJAVM_XMM(pcmpgtq, _mm_cmpgt_epi64)

// The predicate is imm bits 2:0; the legacy forms ignore bits 7:3.
#define DEJAVM_PREDICATE(n, insn) \
  case n: asm volatile(insn " $" #n ", %1, %0" : "+x"(r) : "x"(b)); break;
// clang-format off
#define DEJAVM_FP_COMPARE(op, insn, bytes)                                                                        \
  void exec_##op(Cpu& c, const Decoded& d) {                                                                      \
    xmm_op<bytes>(c, d, [&](Vec a, Vec b) {                                                                       \
      Vec r;                                                                                                      \
      fp_run(c, [&] {                                                                                             \
        r = a;                                                                                                    \
        switch (imm8(d) & 7) {                                                                                    \
          DEJAVM_PREDICATE(0, insn)                                                                               \
          DEJAVM_PREDICATE(1, insn)                                                                               \
          DEJAVM_PREDICATE(2, insn)                                                                               \
          DEJAVM_PREDICATE(3, insn)                                                                               \
          DEJAVM_PREDICATE(4, insn)                                                                               \
          DEJAVM_PREDICATE(5, insn)                                                                               \
          DEJAVM_PREDICATE(6, insn)                                                                               \
          DEJAVM_PREDICATE(7, insn)                                                                               \
        }                                                                                                         \
      });                                                                                                         \
      return r;                                                                                                   \
    });                                                                                                           \
  }
DEJAVM_FP_COMPARE(cmpps, "cmpps", 16)
DEJAVM_FP_COMPARE(cmppd, "cmppd", 16)
DEJAVM_FP_COMPARE(cmpss, "cmpss", 4)
DEJAVM_FP_COMPARE(cmpsd_x, "cmpsd", 8)
// clang-format on

// ZF, PF, CF; OF, SF and AF are cleared.
#define DEJAVM_FP_COMPARE_FLAGS(op, bytes)                                                                    \
  void exec_##op(Cpu& c, const Decoded& d) {                                                                  \
    check_sse(c);                                                                                             \
    const Vec a = get_xmm(c, d.operands[0].reg), b = source_low<bytes>(c, d, 1);                              \
    bool zf = false, pf = false, cf = false;                                                                  \
    fp_run(c, [&] { asm volatile(#op " %4, %3" : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf) : "x"(a), "x"(b)); }); \
    set_flags(c, cf, pf, zf, false, false);                                                                   \
  }
DEJAVM_FP_COMPARE_FLAGS(comiss, 4)
DEJAVM_FP_COMPARE_FLAGS(comisd, 8)
DEJAVM_FP_COMPARE_FLAGS(ucomiss, 4)
DEJAVM_FP_COMPARE_FLAGS(ucomisd, 8)

}  // namespace dejavm::soft
