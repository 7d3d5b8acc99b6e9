// ROUNDxx: imm bits 1:0 are the rounding, unless bit 2 asks for MXCSR's; bit 3 suppresses the precision
// exception. Bits 7:4 are ignored. Only invalid and precision can be reported.
#include "vmm/soft/sse/fp_env.h"

namespace dejavm::soft {
namespace {

using namespace sse;
using Vec = __m128i;

#define DEJAVM_MODE(n, insn)                                  \
  case n:                                                     \
    asm volatile(insn " $" #n ", %1, %0" : "+x"(r) : "x"(b)); \
    break;
#define DEJAVM_MODES4(insn, a, b, c, d) \
  DEJAVM_MODE(a, insn) DEJAVM_MODE(b, insn) DEJAVM_MODE(c, insn) DEJAVM_MODE(d, insn)
#define DEJAVM_ROUND(op, bytes)                                                                              \
  void exec_##op(Cpu& c, const Decoded& d) {                                                                 \
    xmm_op<bytes>(c, d, [&](Vec a, Vec b) {                                                                  \
      Vec r;                                                                                                 \
      fp_run(c, [&] {                                                                                        \
        r = a;                                                                                               \
        switch (imm8(d) & 15) {                                                                              \
          DEJAVM_MODES4(#op, 0, 1, 2, 3)                                                                     \
          DEJAVM_MODES4(#op, 4, 5, 6, 7) DEJAVM_MODES4(#op, 8, 9, 10, 11) DEJAVM_MODES4(#op, 12, 13, 14, 15) \
        }                                                                                                    \
      });                                                                                                    \
      return r;                                                                                              \
    });                                                                                                      \
  }

}  // namespace

DEJAVM_ROUND(roundps, 16)
DEJAVM_ROUND(roundpd, 16)
DEJAVM_ROUND(roundss, 4)
DEJAVM_ROUND(roundsd, 8)

}  // namespace dejavm::soft
