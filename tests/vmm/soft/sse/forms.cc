#include "tests/vmm/soft/sse/forms.h"

#include <charconv>

namespace dejavm::soft {
namespace {

constexpr FormText kForms[] = {
    {"movd", "0f 6e", "mm, r/m32"},
    {"movd", "w 0f 6e", "mm, r/m64"},
    {"movd", "0f 7e", "r/m32, mm"},
    {"movd", "w 0f 7e", "r/m64, mm"},
    {"movd", "66 0f 6e", "xmm, r/m32"},
    {"movd", "66 w 0f 6e", "xmm, r/m64"},
    {"movd", "66 0f 7e", "r/m32, xmm"},
    {"movd", "66 w 0f 7e", "r/m64, xmm"},
    {"movq", "0f 6f", "mm, mm/m64"},
    {"movq", "0f 7f", "mm/m64, mm"},
    {"movq", "f3 0f 7e", "xmm, xmm/m64"},
    {"movq", "66 0f d6", "xmm/m64, xmm"},
    {"movups", "0f 10", "xmm, xmm/m128u"},
    {"movups", "0f 11", "xmm/m128u, xmm"},
    {"movupd", "66 0f 10", "xmm, xmm/m128u"},
    {"movupd", "66 0f 11", "xmm/m128u, xmm"},
    {"movdqu", "f3 0f 6f", "xmm, xmm/m128u"},
    {"movdqu", "f3 0f 7f", "xmm/m128u, xmm"},
    {"movaps", "0f 28", "xmm, xmm/m128"},
    {"movaps", "0f 29", "xmm/m128, xmm"},
    {"movapd", "66 0f 28", "xmm, xmm/m128"},
    {"movapd", "66 0f 29", "xmm/m128, xmm"},
    {"movdqa", "66 0f 6f", "xmm, xmm/m128"},
    {"movdqa", "66 0f 7f", "xmm/m128, xmm"},
    {"movss", "f3 0f 10", "xmm, xmm/m32"},
    {"movss", "f3 0f 11", "xmm/m32, xmm"},
    {"movsd_x", "f2 0f 10", "xmm, xmm/m64"},
    {"movsd_x", "f2 0f 11", "xmm/m64, xmm"},
    {"movlps", "0f 12", "xmm, m64"},
    {"movlps", "0f 13", "m64, xmm"},
    {"movhps", "0f 16", "xmm, m64"},
    {"movhps", "0f 17", "m64, xmm"},
    {"movlpd", "66 0f 12", "xmm, m64"},
    {"movlpd", "66 0f 13", "m64, xmm"},
    {"movhpd", "66 0f 16", "xmm, m64"},
    {"movhpd", "66 0f 17", "m64, xmm"},
    {"movhlps", "0f 12", "xmm, xmm"},
    {"movlhps", "0f 16", "xmm, xmm"},
    {"movsldup", "f3 0f 12", "xmm, xmm/m128"},
    {"movshdup", "f3 0f 16", "xmm, xmm/m128"},
    {"movddup", "f2 0f 12", "xmm, xmm/m64"},
    {"movntps", "0f 2b", "m128, xmm"},
    {"movntpd", "66 0f 2b", "m128, xmm"},
    {"movntdq", "66 0f e7", "m128, xmm"},
    {"movntq", "0f e7", "m64, mm"},
    {"movntdqa", "66 0f 38 2a", "xmm, m128"},
    {"lddqu", "f2 0f f0", "xmm, m128u"},
    {"movq2dq", "f3 0f d6", "xmm, mm"},
    {"movdq2q", "f2 0f d6", "mm, xmm"},
    {"maskmovq", "0f f7", "mm, mm"},
    {"maskmovdqu", "66 0f f7", "xmm, xmm"},
    {"movmskps", "0f 50", "r32, xmm"},
    {"movmskpd", "66 0f 50", "r32, xmm"},
    {"pmovmskb", "0f d7", "r32, mm"},
    {"pmovmskb", "66 0f d7", "r32, xmm"},
    {"andps", "0f 54", "xmm, xmm/m128"},
    {"andpd", "66 0f 54", "xmm, xmm/m128"},
    {"andnps", "0f 55", "xmm, xmm/m128"},
    {"andnpd", "66 0f 55", "xmm, xmm/m128"},
    {"orps", "0f 56", "xmm, xmm/m128"},
    {"orpd", "66 0f 56", "xmm, xmm/m128"},
    {"xorps", "0f 57", "xmm, xmm/m128"},
    {"xorpd", "66 0f 57", "xmm, xmm/m128"},
    {"pand", "0f db", "mm, mm/m64"},
    {"pand", "66 0f db", "xmm, xmm/m128"},
    {"pandn", "0f df", "mm, mm/m64"},
    {"pandn", "66 0f df", "xmm, xmm/m128"},
    {"por", "0f eb", "mm, mm/m64"},
    {"por", "66 0f eb", "xmm, xmm/m128"},
    {"pxor", "0f ef", "mm, mm/m64"},
    {"pxor", "66 0f ef", "xmm, xmm/m128"},
    {"ptest", "66 0f 38 17", "xmm, xmm/m128"},
    {"paddb", "0f fc", "mm, mm/m64"},
    {"paddb", "66 0f fc", "xmm, xmm/m128"},
    {"paddw", "0f fd", "mm, mm/m64"},
    {"paddw", "66 0f fd", "xmm, xmm/m128"},
    {"paddd", "0f fe", "mm, mm/m64"},
    {"paddd", "66 0f fe", "xmm, xmm/m128"},
    {"paddq", "0f d4", "mm, mm/m64"},
    {"paddq", "66 0f d4", "xmm, xmm/m128"},
    {"paddsb", "0f ec", "mm, mm/m64"},
    {"paddsb", "66 0f ec", "xmm, xmm/m128"},
    {"paddsw", "0f ed", "mm, mm/m64"},
    {"paddsw", "66 0f ed", "xmm, xmm/m128"},
    {"paddusb", "0f dc", "mm, mm/m64"},
    {"paddusb", "66 0f dc", "xmm, xmm/m128"},
    {"paddusw", "0f dd", "mm, mm/m64"},
    {"paddusw", "66 0f dd", "xmm, xmm/m128"},
    {"psubb", "0f f8", "mm, mm/m64"},
    {"psubb", "66 0f f8", "xmm, xmm/m128"},
    {"psubw", "0f f9", "mm, mm/m64"},
    {"psubw", "66 0f f9", "xmm, xmm/m128"},
    {"psubd", "0f fa", "mm, mm/m64"},
    {"psubd", "66 0f fa", "xmm, xmm/m128"},
    {"psubq", "0f fb", "mm, mm/m64"},
    {"psubq", "66 0f fb", "xmm, xmm/m128"},
    {"psubsb", "0f e8", "mm, mm/m64"},
    {"psubsb", "66 0f e8", "xmm, xmm/m128"},
    {"psubsw", "0f e9", "mm, mm/m64"},
    {"psubsw", "66 0f e9", "xmm, xmm/m128"},
    {"psubusb", "0f d8", "mm, mm/m64"},
    {"psubusb", "66 0f d8", "xmm, xmm/m128"},
    {"psubusw", "0f d9", "mm, mm/m64"},
    {"psubusw", "66 0f d9", "xmm, xmm/m128"},
    {"pmullw", "0f d5", "mm, mm/m64"},
    {"pmullw", "66 0f d5", "xmm, xmm/m128"},
    {"pmulhw", "0f e5", "mm, mm/m64"},
    {"pmulhw", "66 0f e5", "xmm, xmm/m128"},
    {"pmulhuw", "0f e4", "mm, mm/m64"},
    {"pmulhuw", "66 0f e4", "xmm, xmm/m128"},
    {"pmuludq", "0f f4", "mm, mm/m64"},
    {"pmuludq", "66 0f f4", "xmm, xmm/m128"},
    {"pmaddwd", "0f f5", "mm, mm/m64"},
    {"pmaddwd", "66 0f f5", "xmm, xmm/m128"},
    {"psadbw", "0f f6", "mm, mm/m64"},
    {"psadbw", "66 0f f6", "xmm, xmm/m128"},
    {"pavgb", "0f e0", "mm, mm/m64"},
    {"pavgb", "66 0f e0", "xmm, xmm/m128"},
    {"pavgw", "0f e3", "mm, mm/m64"},
    {"pavgw", "66 0f e3", "xmm, xmm/m128"},
    {"pminub", "0f da", "mm, mm/m64"},
    {"pminub", "66 0f da", "xmm, xmm/m128"},
    {"pminsw", "0f ea", "mm, mm/m64"},
    {"pminsw", "66 0f ea", "xmm, xmm/m128"},
    {"pmaxub", "0f de", "mm, mm/m64"},
    {"pmaxub", "66 0f de", "xmm, xmm/m128"},
    {"pmaxsw", "0f ee", "mm, mm/m64"},
    {"pmaxsw", "66 0f ee", "xmm, xmm/m128"},
    {"pcmpgtb", "0f 64", "mm, mm/m64"},
    {"pcmpgtb", "66 0f 64", "xmm, xmm/m128"},
    {"pcmpgtw", "0f 65", "mm, mm/m64"},
    {"pcmpgtw", "66 0f 65", "xmm, xmm/m128"},
    {"pcmpgtd", "0f 66", "mm, mm/m64"},
    {"pcmpgtd", "66 0f 66", "xmm, xmm/m128"},
    {"pcmpeqb", "0f 74", "mm, mm/m64"},
    {"pcmpeqb", "66 0f 74", "xmm, xmm/m128"},
    {"pcmpeqw", "0f 75", "mm, mm/m64"},
    {"pcmpeqw", "66 0f 75", "xmm, xmm/m128"},
    {"pcmpeqd", "0f 76", "mm, mm/m64"},
    {"pcmpeqd", "66 0f 76", "xmm, xmm/m128"},
    {"packsswb", "0f 63", "mm, mm/m64"},
    {"packsswb", "66 0f 63", "xmm, xmm/m128"},
    {"packssdw", "0f 6b", "mm, mm/m64"},
    {"packssdw", "66 0f 6b", "xmm, xmm/m128"},
    {"packuswb", "0f 67", "mm, mm/m64"},
    {"packuswb", "66 0f 67", "xmm, xmm/m128"},
    {"punpckhbw", "0f 68", "mm, mm/m64"},
    {"punpckhbw", "66 0f 68", "xmm, xmm/m128"},
    {"punpckhwd", "0f 69", "mm, mm/m64"},
    {"punpckhwd", "66 0f 69", "xmm, xmm/m128"},
    {"punpckhdq", "0f 6a", "mm, mm/m64"},
    {"punpckhdq", "66 0f 6a", "xmm, xmm/m128"},
    {"punpcklbw", "0f 60", "mm, mm/m32"},
    {"punpcklbw", "66 0f 60", "xmm, xmm/m128"},
    {"punpcklwd", "0f 61", "mm, mm/m32"},
    {"punpcklwd", "66 0f 61", "xmm, xmm/m128"},
    {"punpckldq", "0f 62", "mm, mm/m32"},
    {"punpckldq", "66 0f 62", "xmm, xmm/m128"},
    {"pshufb", "0f 38 00", "mm, mm/m64"},
    {"pshufb", "66 0f 38 00", "xmm, xmm/m128"},
    {"phaddw", "0f 38 01", "mm, mm/m64"},
    {"phaddw", "66 0f 38 01", "xmm, xmm/m128"},
    {"phaddd", "0f 38 02", "mm, mm/m64"},
    {"phaddd", "66 0f 38 02", "xmm, xmm/m128"},
    {"phaddsw", "0f 38 03", "mm, mm/m64"},
    {"phaddsw", "66 0f 38 03", "xmm, xmm/m128"},
    {"pmaddubsw", "0f 38 04", "mm, mm/m64"},
    {"pmaddubsw", "66 0f 38 04", "xmm, xmm/m128"},
    {"phsubw", "0f 38 05", "mm, mm/m64"},
    {"phsubw", "66 0f 38 05", "xmm, xmm/m128"},
    {"phsubd", "0f 38 06", "mm, mm/m64"},
    {"phsubd", "66 0f 38 06", "xmm, xmm/m128"},
    {"phsubsw", "0f 38 07", "mm, mm/m64"},
    {"phsubsw", "66 0f 38 07", "xmm, xmm/m128"},
    {"psignb", "0f 38 08", "mm, mm/m64"},
    {"psignb", "66 0f 38 08", "xmm, xmm/m128"},
    {"psignw", "0f 38 09", "mm, mm/m64"},
    {"psignw", "66 0f 38 09", "xmm, xmm/m128"},
    {"psignd", "0f 38 0a", "mm, mm/m64"},
    {"psignd", "66 0f 38 0a", "xmm, xmm/m128"},
    {"pmulhrsw", "0f 38 0b", "mm, mm/m64"},
    {"pmulhrsw", "66 0f 38 0b", "xmm, xmm/m128"},
    {"pabsb", "0f 38 1c", "mm, mm/m64"},
    {"pabsb", "66 0f 38 1c", "xmm, xmm/m128"},
    {"pabsw", "0f 38 1d", "mm, mm/m64"},
    {"pabsw", "66 0f 38 1d", "xmm, xmm/m128"},
    {"pabsd", "0f 38 1e", "mm, mm/m64"},
    {"pabsd", "66 0f 38 1e", "xmm, xmm/m128"},
    {"pmuldq", "66 0f 38 28", "xmm, xmm/m128"},
    {"pcmpeqq", "66 0f 38 29", "xmm, xmm/m128"},
    {"packusdw", "66 0f 38 2b", "xmm, xmm/m128"},
    {"pcmpgtq", "66 0f 38 37", "xmm, xmm/m128"},
    {"pminsb", "66 0f 38 38", "xmm, xmm/m128"},
    {"pminsd", "66 0f 38 39", "xmm, xmm/m128"},
    {"pminuw", "66 0f 38 3a", "xmm, xmm/m128"},
    {"pminud", "66 0f 38 3b", "xmm, xmm/m128"},
    {"pmaxsb", "66 0f 38 3c", "xmm, xmm/m128"},
    {"pmaxsd", "66 0f 38 3d", "xmm, xmm/m128"},
    {"pmaxuw", "66 0f 38 3e", "xmm, xmm/m128"},
    {"pmaxud", "66 0f 38 3f", "xmm, xmm/m128"},
    {"pmulld", "66 0f 38 40", "xmm, xmm/m128"},
    {"phminposuw", "66 0f 38 41", "xmm, xmm/m128"},
    {"blendvps", "66 0f 38 14", "xmm, xmm/m128"},
    {"blendvpd", "66 0f 38 15", "xmm, xmm/m128"},
    {"pblendvb", "66 0f 38 10", "xmm, xmm/m128"},
    {"mpsadbw", "66 0f 3a 42", "xmm, xmm/m128, imm8"},
    {"psrlw", "0f d1", "mm, mm/m64", Data::kCount},
    {"psrlw", "66 0f d1", "xmm, xmm/m128", Data::kCount},
    {"psrld", "0f d2", "mm, mm/m64", Data::kCount},
    {"psrld", "66 0f d2", "xmm, xmm/m128", Data::kCount},
    {"psrlq", "0f d3", "mm, mm/m64", Data::kCount},
    {"psrlq", "66 0f d3", "xmm, xmm/m128", Data::kCount},
    {"psraw", "0f e1", "mm, mm/m64", Data::kCount},
    {"psraw", "66 0f e1", "xmm, xmm/m128", Data::kCount},
    {"psrad", "0f e2", "mm, mm/m64", Data::kCount},
    {"psrad", "66 0f e2", "xmm, xmm/m128", Data::kCount},
    {"psllw", "0f f1", "mm, mm/m64", Data::kCount},
    {"psllw", "66 0f f1", "xmm, xmm/m128", Data::kCount},
    {"pslld", "0f f2", "mm, mm/m64", Data::kCount},
    {"pslld", "66 0f f2", "xmm, xmm/m128", Data::kCount},
    {"psllq", "0f f3", "mm, mm/m64", Data::kCount},
    {"psllq", "66 0f f3", "xmm, xmm/m128", Data::kCount},
    {"psrlw", "0f 71 /2", "mm, imm8", Data::kCount},
    {"psrlw", "66 0f 71 /2", "xmm, imm8", Data::kCount},
    {"psraw", "0f 71 /4", "mm, imm8", Data::kCount},
    {"psraw", "66 0f 71 /4", "xmm, imm8", Data::kCount},
    {"psllw", "0f 71 /6", "mm, imm8", Data::kCount},
    {"psllw", "66 0f 71 /6", "xmm, imm8", Data::kCount},
    {"psrld", "0f 72 /2", "mm, imm8", Data::kCount},
    {"psrld", "66 0f 72 /2", "xmm, imm8", Data::kCount},
    {"psrad", "0f 72 /4", "mm, imm8", Data::kCount},
    {"psrad", "66 0f 72 /4", "xmm, imm8", Data::kCount},
    {"pslld", "0f 72 /6", "mm, imm8", Data::kCount},
    {"pslld", "66 0f 72 /6", "xmm, imm8", Data::kCount},
    {"psrlq", "0f 73 /2", "mm, imm8", Data::kCount},
    {"psrlq", "66 0f 73 /2", "xmm, imm8", Data::kCount},
    {"psllq", "0f 73 /6", "mm, imm8", Data::kCount},
    {"psllq", "66 0f 73 /6", "xmm, imm8", Data::kCount},
    {"psrldq", "66 0f 73 /3", "xmm, imm8", Data::kCount},
    {"pslldq", "66 0f 73 /7", "xmm, imm8", Data::kCount},
    {"palignr", "0f 3a 0f", "mm, mm/m64, imm8", Data::kCount},
    {"palignr", "66 0f 3a 0f", "xmm, xmm/m128, imm8", Data::kCount},
    {"unpcklps", "0f 14", "xmm, xmm/m128"},
    {"unpcklpd", "66 0f 14", "xmm, xmm/m128"},
    {"unpckhps", "0f 15", "xmm, xmm/m128"},
    {"unpckhpd", "66 0f 15", "xmm, xmm/m128"},
    {"punpcklqdq", "66 0f 6c", "xmm, xmm/m128"},
    {"punpckhqdq", "66 0f 6d", "xmm, xmm/m128"},
    {"pshufw", "0f 70", "mm, mm/m64, imm8"},
    {"pshufd", "66 0f 70", "xmm, xmm/m128, imm8"},
    {"pshufhw", "f3 0f 70", "xmm, xmm/m128, imm8"},
    {"pshuflw", "f2 0f 70", "xmm, xmm/m128, imm8"},
    {"shufps", "0f c6", "xmm, xmm/m128, imm8"},
    {"shufpd", "66 0f c6", "xmm, xmm/m128, imm8"},
    {"blendps", "66 0f 3a 0c", "xmm, xmm/m128, imm8"},
    {"blendpd", "66 0f 3a 0d", "xmm, xmm/m128, imm8"},
    {"pblendw", "66 0f 3a 0e", "xmm, xmm/m128, imm8"},
    {"pinsrb", "66 0f 3a 20", "xmm, r32/m8, imm8"},
    {"pinsrw", "0f c4", "mm, r32/m16, imm8"},
    {"pinsrw", "66 0f c4", "xmm, r32/m16, imm8"},
    {"pinsrd", "66 0f 3a 22", "xmm, r/m32, imm8"},
    {"pinsrd", "66 w 0f 3a 22", "xmm, r/m64, imm8"},
    {"pextrb", "66 0f 3a 14", "r32/m8, xmm, imm8"},
    {"pextrw", "0f c5", "r32, mm, imm8"},
    {"pextrw", "66 0f c5", "r32, xmm, imm8"},
    {"pextrw", "66 0f 3a 15", "r32/m16, xmm, imm8"},
    {"pextrd", "66 0f 3a 16", "r/m32, xmm, imm8"},
    {"pextrd", "66 w 0f 3a 16", "r/m64, xmm, imm8"},
    {"insertps", "66 0f 3a 21", "xmm, xmm/m32, imm8"},
    {"extractps", "66 0f 3a 17", "r/m32, xmm, imm8"},
    {"pmovsxbw", "66 0f 38 20", "xmm, xmm/m64"},
    {"pmovsxbd", "66 0f 38 21", "xmm, xmm/m32"},
    {"pmovsxbq", "66 0f 38 22", "xmm, xmm/m16"},
    {"pmovsxwd", "66 0f 38 23", "xmm, xmm/m64"},
    {"pmovsxwq", "66 0f 38 24", "xmm, xmm/m32"},
    {"pmovsxdq", "66 0f 38 25", "xmm, xmm/m64"},
    {"pmovzxbw", "66 0f 38 30", "xmm, xmm/m64"},
    {"pmovzxbd", "66 0f 38 31", "xmm, xmm/m32"},
    {"pmovzxbq", "66 0f 38 32", "xmm, xmm/m16"},
    {"pmovzxwd", "66 0f 38 33", "xmm, xmm/m64"},
    {"pmovzxwq", "66 0f 38 34", "xmm, xmm/m32"},
    {"pmovzxdq", "66 0f 38 35", "xmm, xmm/m64"},
    {"addps", "0f 58", "xmm, xmm/m128", Data::kSingle},
    {"addpd", "66 0f 58", "xmm, xmm/m128", Data::kDouble},
    {"addss", "f3 0f 58", "xmm, xmm/m32", Data::kSingle},
    {"addsd", "f2 0f 58", "xmm, xmm/m64", Data::kDouble},
    {"mulps", "0f 59", "xmm, xmm/m128", Data::kSingle},
    {"mulpd", "66 0f 59", "xmm, xmm/m128", Data::kDouble},
    {"mulss", "f3 0f 59", "xmm, xmm/m32", Data::kSingle},
    {"mulsd", "f2 0f 59", "xmm, xmm/m64", Data::kDouble},
    {"subps", "0f 5c", "xmm, xmm/m128", Data::kSingle},
    {"subpd", "66 0f 5c", "xmm, xmm/m128", Data::kDouble},
    {"subss", "f3 0f 5c", "xmm, xmm/m32", Data::kSingle},
    {"subsd", "f2 0f 5c", "xmm, xmm/m64", Data::kDouble},
    {"minps", "0f 5d", "xmm, xmm/m128", Data::kSingle},
    {"minpd", "66 0f 5d", "xmm, xmm/m128", Data::kDouble},
    {"minss", "f3 0f 5d", "xmm, xmm/m32", Data::kSingle},
    {"minsd", "f2 0f 5d", "xmm, xmm/m64", Data::kDouble},
    {"divps", "0f 5e", "xmm, xmm/m128", Data::kSingle},
    {"divpd", "66 0f 5e", "xmm, xmm/m128", Data::kDouble},
    {"divss", "f3 0f 5e", "xmm, xmm/m32", Data::kSingle},
    {"divsd", "f2 0f 5e", "xmm, xmm/m64", Data::kDouble},
    {"maxps", "0f 5f", "xmm, xmm/m128", Data::kSingle},
    {"maxpd", "66 0f 5f", "xmm, xmm/m128", Data::kDouble},
    {"maxss", "f3 0f 5f", "xmm, xmm/m32", Data::kSingle},
    {"maxsd", "f2 0f 5f", "xmm, xmm/m64", Data::kDouble},
    {"sqrtps", "0f 51", "xmm, xmm/m128", Data::kSingle},
    {"sqrtpd", "66 0f 51", "xmm, xmm/m128", Data::kDouble},
    {"sqrtss", "f3 0f 51", "xmm, xmm/m32", Data::kSingle},
    {"sqrtsd", "f2 0f 51", "xmm, xmm/m64", Data::kDouble},
    {"cmpps", "0f c2", "xmm, xmm/m128, imm8", Data::kSingle},
    {"cmppd", "66 0f c2", "xmm, xmm/m128, imm8", Data::kDouble},
    {"cmpss", "f3 0f c2", "xmm, xmm/m32, imm8", Data::kSingle},
    {"cmpsd_x", "f2 0f c2", "xmm, xmm/m64, imm8", Data::kDouble},
    {"addsubps", "f2 0f d0", "xmm, xmm/m128", Data::kSingle},
    {"addsubpd", "66 0f d0", "xmm, xmm/m128", Data::kDouble},
    {"haddps", "f2 0f 7c", "xmm, xmm/m128", Data::kSingle},
    {"haddpd", "66 0f 7c", "xmm, xmm/m128", Data::kDouble},
    {"hsubps", "f2 0f 7d", "xmm, xmm/m128", Data::kSingle},
    {"hsubpd", "66 0f 7d", "xmm, xmm/m128", Data::kDouble},
    {"ucomiss", "0f 2e", "xmm, xmm/m32", Data::kSingle},
    {"ucomisd", "66 0f 2e", "xmm, xmm/m64", Data::kDouble},
    {"comiss", "0f 2f", "xmm, xmm/m32", Data::kSingle},
    {"comisd", "66 0f 2f", "xmm, xmm/m64", Data::kDouble},
    {"roundps", "66 0f 3a 08", "xmm, xmm/m128, imm8", Data::kSingle},
    {"roundpd", "66 0f 3a 09", "xmm, xmm/m128, imm8", Data::kDouble},
    {"roundss", "66 0f 3a 0a", "xmm, xmm/m32, imm8", Data::kSingle},
    {"roundsd", "66 0f 3a 0b", "xmm, xmm/m64, imm8", Data::kDouble},
    {"dpps", "66 0f 3a 40", "xmm, xmm/m128, imm8", Data::kSingle},
    {"dppd", "66 0f 3a 41", "xmm, xmm/m128, imm8", Data::kDouble},
    {"cvtpi2ps", "0f 2a", "xmm, mm/m64", Data::kInteger},
    {"cvtpi2pd", "66 0f 2a", "xmm, mm/m64", Data::kInteger},
    {"cvtsi2ss", "f3 0f 2a", "xmm, r/m32", Data::kInteger},
    {"cvtsi2ss", "f3 w 0f 2a", "xmm, r/m64", Data::kInteger},
    {"cvtsi2sd", "f2 0f 2a", "xmm, r/m32", Data::kInteger},
    {"cvtsi2sd", "f2 w 0f 2a", "xmm, r/m64", Data::kInteger},
    {"cvttps2pi", "0f 2c", "mm, xmm/m64", Data::kSingle},
    {"cvttpd2pi", "66 0f 2c", "mm, xmm/m128", Data::kDouble},
    {"cvtps2pi", "0f 2d", "mm, xmm/m64", Data::kSingle},
    {"cvtpd2pi", "66 0f 2d", "mm, xmm/m128", Data::kDouble},
    {"cvttss2si", "f3 0f 2c", "r32, xmm/m32", Data::kSingle},
    {"cvttss2si", "f3 w 0f 2c", "r64, xmm/m32", Data::kSingle},
    {"cvttsd2si", "f2 0f 2c", "r32, xmm/m64", Data::kDouble},
    {"cvttsd2si", "f2 w 0f 2c", "r64, xmm/m64", Data::kDouble},
    {"cvtss2si", "f3 0f 2d", "r32, xmm/m32", Data::kSingle},
    {"cvtss2si", "f3 w 0f 2d", "r64, xmm/m32", Data::kSingle},
    {"cvtsd2si", "f2 0f 2d", "r32, xmm/m64", Data::kDouble},
    {"cvtsd2si", "f2 w 0f 2d", "r64, xmm/m64", Data::kDouble},
    {"cvtps2pd", "0f 5a", "xmm, xmm/m64", Data::kSingle},
    {"cvtpd2ps", "66 0f 5a", "xmm, xmm/m128", Data::kDouble},
    {"cvtss2sd", "f3 0f 5a", "xmm, xmm/m32", Data::kSingle},
    {"cvtsd2ss", "f2 0f 5a", "xmm, xmm/m64", Data::kDouble},
    {"cvtdq2ps", "0f 5b", "xmm, xmm/m128", Data::kInteger},
    {"cvtps2dq", "66 0f 5b", "xmm, xmm/m128", Data::kSingle},
    {"cvttps2dq", "f3 0f 5b", "xmm, xmm/m128", Data::kSingle},
    {"cvtdq2pd", "f3 0f e6", "xmm, xmm/m64", Data::kInteger},
    {"cvttpd2dq", "66 0f e6", "xmm, xmm/m128", Data::kDouble},
    {"cvtpd2dq", "f2 0f e6", "xmm, xmm/m128", Data::kDouble},
    {"rsqrtps", "0f 52", "xmm, xmm/m128", Data::kApproximate},
    {"rsqrtss", "f3 0f 52", "xmm, xmm/m32", Data::kApproximate},
    {"rcpps", "0f 53", "xmm, xmm/m128", Data::kApproximate},
    {"rcpss", "f3 0f 53", "xmm, xmm/m32", Data::kApproximate},
    {"pcmpestrm", "66 0f 3a 60", "xmm, xmm/m128u, imm8", Data::kText},
    {"pcmpestrm", "66 w 0f 3a 60", "xmm, xmm/m128u, imm8", Data::kText},
    {"pcmpestri", "66 0f 3a 61", "xmm, xmm/m128u, imm8", Data::kText},
    {"pcmpestri", "66 w 0f 3a 61", "xmm, xmm/m128u, imm8", Data::kText},
    {"pcmpistrm", "66 0f 3a 62", "xmm, xmm/m128u, imm8", Data::kText},
    {"pcmpistri", "66 0f 3a 63", "xmm, xmm/m128u, imm8", Data::kText},
};

struct NamedOp {
  std::string_view name;
  Op op;
  ExecFn exec;
};
constexpr NamedOp kOps[] = {
#define DEJAVM_OP_kInt(name)
#define DEJAVM_OP_kSys(name)
#define DEJAVM_OP_kX87(name)
#define DEJAVM_OP_kSse(name) {#name, Op::k_##name, exec_##name},
#define DEJAVM_OP(name, group) DEJAVM_OP_##group(name)
#include "vmm/soft/ops.def"
#undef DEJAVM_OP
};

std::vector<std::string_view> split(std::string_view s, std::string_view separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = s.find(separator);
    parts.push_back(s.substr(0, at));
    if (at == std::string_view::npos) return parts;
    s.remove_prefix(at + separator.size());
  }
}

unsigned number(std::string_view s, int base) {
  unsigned v = 0;
  std::from_chars(s.data(), s.data() + s.size(), v, base);
  return v;
}

// "64" of "xmm/m64" or "m64", else empty.
std::string_view memory_bits(std::string_view operand) {
  const std::string_view last = split(operand, "/").back();
  const bool memory = last.size() > 1 && last[0] == 'm' && last[1] != 'm';
  return memory ? last.substr(1) : std::string_view();
}

// Register operands are number 1 in ModRM.reg and number 2 in ModRM.rm; memory is [rsi].
Form make(const FormText& text, bool memory) {
  Form f;
  f.text = &text;
  f.memory = memory;
  for (const NamedOp& o : kOps)
    if (o.name == text.name) {
      f.op = o.op;
      f.exec = o.exec;
    }
  unsigned reg = 1;
  for (std::string_view part : split(text.encoding, " ")) {
    if (part == "w") f.bytes.push_back(0x48);
    else if (part[0] == '/') reg = number(part.substr(1), 10);
    else f.bytes.push_back(static_cast<uint8_t>(number(part, 16)));
  }
  f.bytes.push_back(static_cast<uint8_t>((memory ? 0x06 : 0xc2) | reg << 3));
  for (std::string_view operand : split(text.operands, ", ")) {
    const std::string_view bits = memory_bits(operand);
    if (operand == "imm8") f.imm8 = true;
    if (operand == "mm" || (operand.starts_with("mm/") && !memory)) f.mmx = true;
    if (!memory || bits.empty()) continue;
    f.memory_bytes = number(bits, 10) / 8;
    f.aligned = bits == "128";
  }
  f.implicit_rdi = text.name.starts_with("maskmov");
  return f;
}

}  // namespace

std::span<const FormText> form_texts() { return kForms; }

const std::vector<Form>& forms() {
  static const std::vector<Form> all = [] {
    std::vector<Form> v;
    for (const FormText& text : kForms) {
      bool reg = true, mem = false;
      for (std::string_view operand : split(text.operands, ", ")) {
        if (memory_bits(operand).empty()) continue;
        mem = true;
        reg = operand.find('/') != std::string_view::npos;
      }
      if (reg) v.push_back(make(text, false));
      if (mem) v.push_back(make(text, true));
    }
    return v;
  }();
  return all;
}

}  // namespace dejavm::soft
