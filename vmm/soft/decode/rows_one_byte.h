// The one-byte map (SDM vol. 2, table A-2) without x87.
#pragma once

#include "vmm/soft/decode/table.h"

namespace dejavm::soft::table {

using enum Op;

// The eight forms of an arithmetic operation and its place in group 1.
#define DEJAVM_ALU(n, op, locked)                                                                         \
  {8 * n + 0, op, {Eb, Gb}, b | locked}, {8 * n + 1, op, {Ev, Gv}, locked}, {8 * n + 2, op, {Gb, Eb}, b}, \
      {8 * n + 3, op, {Gv, Ev}}, {8 * n + 4, op, {AL, Ibs}, b}, {8 * n + 5, op, {rAX, Iz}},               \
      {0x80, op, {Eb, Ibs}, b | locked | digit(n)}, {0x81, op, {Ev, Iz}, locked | digit(n)},              \
      {0x82, op, {Eb, Ibs}, b | i64 | locked | digit(n)}, {                                               \
    0x83, op, {Ev, Ibs}, locked | digit(n)                                                                \
  }

// Group 2. The SDM's reserved /6 is the same as /4 on every processor.
#define DEJAVM_SHIFT(n, op)                                                                                \
  {0xc0, op, {Eb, Ib}, b | digit(n)}, {0xc1, op, {Ev, Ib}, digit(n)}, {0xd0, op, {Eb, One}, b | digit(n)}, \
      {0xd1, op, {Ev, One}, digit(n)}, {0xd2, op, {Eb, CL}, b | digit(n)}, {                               \
    0xd3, op, {Ev, CL}, digit(n)                                                                           \
  }

inline constexpr Row kOneByteRows[] = {
    DEJAVM_ALU(0, k_add, lockable),
    DEJAVM_ALU(1, k_or, lockable),
    DEJAVM_ALU(2, k_adc, lockable),
    DEJAVM_ALU(3, k_sbb, lockable),
    DEJAVM_ALU(4, k_and, lockable),
    DEJAVM_ALU(5, k_sub, lockable),
    DEJAVM_ALU(6, k_xor, lockable),
    DEJAVM_ALU(7, k_cmp, 0),
    {0x06, k_push_seg, {ES}, i64},
    {0x07, k_pop_seg, {ES}, i64},
    {0x0e, k_push_seg, {CS}, i64},
    {0x16, k_push_seg, {SS}, i64},
    {0x17, k_pop_seg, {SS}, i64},
    {0x1e, k_push_seg, {DS}, i64},
    {0x1f, k_pop_seg, {DS}, i64},
    {0x27, k_daa, {}, b | i64},
    {0x2f, k_das, {}, b | i64},
    {0x37, k_aaa, {}, b | i64},
    {0x3f, k_aas, {}, b | i64},
    {0x40, k_inc, {Zv}, i64 | x8},
    {0x48, k_dec, {Zv}, i64 | x8},
    {0x50, k_push, {Zv}, d64 | x8},
    {0x58, k_pop, {Zv}, d64 | x8},
    {0x60, k_pusha, {}, i64},
    {0x61, k_popa, {}, i64},
    {0x62, k_bound, {Gv, M2v}, i64 | mem},  // else EVEX
    {0x63, k_arpl, {Ew, Gw}, i64},
    {0x63, k_movsxd, {Gv, Ed}, o64},
    {0x68, k_push, {Iz}, d64},
    {0x69, k_imul, {Gv, Ev, Iz}},
    {0x6a, k_push, {Ibs}, d64},
    {0x6b, k_imul, {Gv, Ev, Ibs}},
    {0x6c, k_ins, {}, b},
    {0x6d, k_ins, {}, z},
    {0x6e, k_outs, {}, b | string},
    {0x6f, k_outs, {}, z | string},
    {0x70, k_jcc, {Jb}, d64 | x16},
    {0x84, k_test, {Eb, Gb}, b},
    {0x85, k_test, {Ev, Gv}},
    {0x86, k_xchg, {Eb, Gb}, b | lockable},
    {0x87, k_xchg, {Ev, Gv}, lockable},
    {0x88, k_mov, {Eb, Gb}, b},
    {0x89, k_mov, {Ev, Gv}},
    {0x8a, k_mov, {Gb, Eb}, b},
    {0x8b, k_mov, {Gv, Ev}},
    {0x8c, k_mov_from_seg, {Ewv, Sw}},
    {0x8d, k_lea, {Gv, M}, mem},
    {0x8e, k_mov_to_seg, {Sw, Ew}},
    {0x8f, k_pop, {Ev}, d64 | digit(0)},  // else XOP
    {0x90, k_xchg, {Zv, rAX}, nop90},
    {0x91, k_xchg, {Zv, rAX}},
    {0x92, k_xchg, {Zv, rAX}},
    {0x93, k_xchg, {Zv, rAX}},
    {0x94, k_xchg, {Zv, rAX}},
    {0x95, k_xchg, {Zv, rAX}},
    {0x96, k_xchg, {Zv, rAX}},
    {0x97, k_xchg, {Zv, rAX}},
    {0x98, k_cbw, {}, by_size},
    {0x99, k_cwd, {}, by_size},
    {0x9a, k_call_far, {Ap}, i64},
    {0x9b, k_fwait, {}, z},
    {0x9c, k_pushf, {}, d64},
    {0x9d, k_popf, {}, d64},
    {0x9e, k_sahf, {}, b},
    {0x9f, k_lahf, {}, b},
    {0xa0, k_mov, {AL, Ob}, b},
    {0xa1, k_mov, {rAX, Ov}},
    {0xa2, k_mov, {Ob, AL}, b},
    {0xa3, k_mov, {Ov, rAX}},
    {0xa4, k_movs, {}, b | string},
    {0xa5, k_movs, {}, string},
    {0xa6, k_cmps, {}, b | string},
    {0xa7, k_cmps, {}, string},
    {0xa8, k_test, {AL, Ibs}, b},
    {0xa9, k_test, {rAX, Iz}},
    {0xaa, k_stos, {}, b},
    {0xab, k_stos, {}},
    {0xac, k_lods, {}, b | string},
    {0xad, k_lods, {}, string},
    {0xae, k_scas, {}, b},
    {0xaf, k_scas, {}},
    {0xb0, k_mov, {Zb, Ibs}, b | x8},
    {0xb8, k_mov, {Zv, Iv}, x8},
    DEJAVM_SHIFT(0, k_rol),
    DEJAVM_SHIFT(1, k_ror),
    DEJAVM_SHIFT(2, k_rcl),
    DEJAVM_SHIFT(3, k_rcr),
    DEJAVM_SHIFT(4, k_shl),
    DEJAVM_SHIFT(5, k_shr),
    DEJAVM_SHIFT(6, k_shl),
    DEJAVM_SHIFT(7, k_sar),
    {0xc2, k_ret, {Iw}, d64},
    {0xc3, k_ret, {}, d64},
    {0xc4, k_les, {Gv, Mp}, i64 | mem},  // else VEX
    {0xc5, k_lds, {Gv, Mp}, i64 | mem},  // else VEX
    {0xc6, k_mov, {Eb, Ibs}, b | digit(0)},
    {0xc7, k_mov, {Ev, Iz}, digit(0)},
    {0xc8, k_enter, {Iw, Level}, d64},
    {0xc9, k_leave, {}, d64},
    {0xca, k_ret_far, {Iw}},
    {0xcb, k_ret_far, {}},
    {0xcc, k_int3, {}, z},
    {0xcd, k_int, {Ib}, z},
    {0xce, k_into, {}, z | i64},
    {0xcf, k_iret, {}},
    {0xd4, k_aam, {Ib}, b | i64},
    {0xd5, k_aad, {Ib}, b | i64},
    {0xd6, k_salc, {}, b | i64},
    {0xd7, k_xlat, {}, b | string},
    {0xe0, k_loopne, {Jb}, d64},
    {0xe1, k_loope, {Jb}, d64},
    {0xe2, k_loop, {Jb}, d64},
    {0xe3, k_jrcxz, {Jb}, d64},
    {0xe4, k_in, {AL, Ib}, b},
    {0xe5, k_in, {eAX, Ib}, z},
    {0xe6, k_out, {Ib, AL}, b},
    {0xe7, k_out, {Ib, eAX}, z},
    {0xe8, k_call, {Jz}, d64},
    {0xe9, k_jmp, {Jz}, d64},
    {0xea, k_jmp_far, {Ap}, i64},
    {0xeb, k_jmp, {Jb}, d64},
    {0xec, k_in, {AL, DX}, b},
    {0xed, k_in, {eAX, DX}, z},
    {0xee, k_out, {DX, AL}, b},
    {0xef, k_out, {DX, eAX}, z},
    {0xf1, k_int1, {}, z},
    {0xf4, k_hlt, {}, z},
    {0xf5, k_cmc, {}, z},
    {0xf6, k_test, {Eb, Ibs}, b | digit(0) | digit(1)},  // /1: reserved, the same on every processor
    {0xf6, k_not, {Eb}, b | lockable | digit(2)},
    {0xf6, k_neg, {Eb}, b | lockable | digit(3)},
    {0xf6, k_mul, {Eb}, b | digit(4)},
    {0xf6, k_imul, {Eb}, b | digit(5)},
    {0xf6, k_div, {Eb}, b | digit(6)},
    {0xf6, k_idiv, {Eb}, b | digit(7)},
    {0xf7, k_test, {Ev, Iz}, digit(0) | digit(1)},
    {0xf7, k_not, {Ev}, lockable | digit(2)},
    {0xf7, k_neg, {Ev}, lockable | digit(3)},
    {0xf7, k_mul, {Ev}, digit(4)},
    {0xf7, k_imul, {Ev}, digit(5)},
    {0xf7, k_div, {Ev}, digit(6)},
    {0xf7, k_idiv, {Ev}, digit(7)},
    {0xf8, k_clc, {}, z},
    {0xf9, k_stc, {}, z},
    {0xfa, k_cli, {}, z},
    {0xfb, k_sti, {}, z},
    {0xfc, k_cld, {}, z},
    {0xfd, k_std, {}, z},
    {0xfe, k_inc, {Eb}, b | lockable | digit(0)},
    {0xfe, k_dec, {Eb}, b | lockable | digit(1)},
    {0xff, k_inc, {Ev}, lockable | digit(0)},
    {0xff, k_dec, {Ev}, lockable | digit(1)},
    {0xff, k_call, {Ev}, d64 | digit(2)},
    {0xff, k_call_far, {Mp}, mem | digit(3)},
    {0xff, k_jmp, {Ev}, d64 | digit(4)},
    {0xff, k_jmp_far, {Mp}, mem | digit(5)},
    {0xff, k_push, {Ev}, d64 | digit(6)},
};

#undef DEJAVM_ALU
#undef DEJAVM_SHIFT

}  // namespace dejavm::soft::table
