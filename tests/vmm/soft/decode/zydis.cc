// The Zydis oracle, set to our CPU models: no MPX, CET, CLDEMOTE; AMD's branches.
#include <Zydis/Zydis.h>

#include "tests/vmm/soft/decode/reading.h"

namespace dejavm::soft {
namespace {

struct Decoders {
  ZydisDecoder decoder[3];
  Decoders() {
    ZydisDecoderInit(&decoder[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoder[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoder[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (ZydisDecoder& d : decoder)
      for (ZydisDecoderMode m : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_CLDEMOTE})
        ZydisDecoderEnableMode(&d, m, ZYAN_FALSE);
    for (ZydisDecoder& d : decoder) ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
  }
};

bool in_model(ZydisISASet set) {
  switch (set) {
    case ZYDIS_ISA_SET_AMD:
    case ZYDIS_ISA_SET_CLFSH:
    case ZYDIS_ISA_SET_CMOV:
    case ZYDIS_ISA_SET_CMPXCHG16B:
    case ZYDIS_ISA_SET_FAT_NOP:
    case ZYDIS_ISA_SET_FCMOV:
    case ZYDIS_ISA_SET_FXSAVE:
    case ZYDIS_ISA_SET_FXSAVE64:
    case ZYDIS_ISA_SET_I186:
    case ZYDIS_ISA_SET_I286PROTECTED:
    case ZYDIS_ISA_SET_I286REAL:
    case ZYDIS_ISA_SET_I386:
    case ZYDIS_ISA_SET_I486:
    case ZYDIS_ISA_SET_I486REAL:
    case ZYDIS_ISA_SET_I86:
    case ZYDIS_ISA_SET_INVPCID:
    case ZYDIS_ISA_SET_LAHF:
    case ZYDIS_ISA_SET_LONGMODE:
    case ZYDIS_ISA_SET_MONITOR:
    case ZYDIS_ISA_SET_PAUSE:
    case ZYDIS_ISA_SET_PENTIUMMMX:
    case ZYDIS_ISA_SET_PENTIUMREAL:
    case ZYDIS_ISA_SET_POPCNT:
    case ZYDIS_ISA_SET_PPRO:
    case ZYDIS_ISA_SET_PREFETCH_NOP:
    case ZYDIS_ISA_SET_RDPMC:
    case ZYDIS_ISA_SET_RDRAND:
    case ZYDIS_ISA_SET_RDSEED:
    case ZYDIS_ISA_SET_RDTSCP:
    case ZYDIS_ISA_SET_RDWRFSGS:
    case ZYDIS_ISA_SET_SMAP:
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSE3X87:
    case ZYDIS_ISA_SET_SSE4:
    case ZYDIS_ISA_SET_SSE42:
    case ZYDIS_ISA_SET_SSEMXCSR:
    case ZYDIS_ISA_SET_SSE_PREFETCH:
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSSE3MMX:
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_XSAVE:
    case ZYDIS_ISA_SET_XSAVEOPT:
    case ZYDIS_ISA_SET_AVX:
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_AVX2GATHER:
    case ZYDIS_ISA_SET_AVXAES:
    case ZYDIS_ISA_SET_AES:
    case ZYDIS_ISA_SET_PCLMULQDQ:
    case ZYDIS_ISA_SET_SHA:
    case ZYDIS_ISA_SET_BMI1:
    case ZYDIS_ISA_SET_BMI2:
    case ZYDIS_ISA_SET_LZCNT:
    case ZYDIS_ISA_SET_ADOX_ADCX: return true;
    default: return false;
  }
}

Operand register_operand(ZydisRegister reg, unsigned bits) {
  const auto number = static_cast<uint8_t>(ZydisRegisterGetId(reg));
  const auto size = static_cast<uint8_t>(bits / 8);
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
      if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
        return {OperandKind::kGprHigh, static_cast<uint8_t>(reg - ZYDIS_REGISTER_AH), 1};
      if (reg >= ZYDIS_REGISTER_SPL) return {OperandKind::kGpr, static_cast<uint8_t>(reg - ZYDIS_REGISTER_SPL + 4), 1};
      return {OperandKind::kGpr, static_cast<uint8_t>(reg - ZYDIS_REGISTER_AL), 1};
    case ZYDIS_REGCLASS_GPR16: return {OperandKind::kGpr, number, 2};
    case ZYDIS_REGCLASS_GPR32: return {OperandKind::kGpr, number, 4};
    case ZYDIS_REGCLASS_GPR64: return {OperandKind::kGpr, number, 8};
    case ZYDIS_REGCLASS_X87: return {OperandKind::kSt, number, 10};
    case ZYDIS_REGCLASS_MMX: return {OperandKind::kMmx, number, size};
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM: return {OperandKind::kXmm, number, size};
    case ZYDIS_REGCLASS_SEGMENT: return {OperandKind::kSeg, number, 2};
    case ZYDIS_REGCLASS_CONTROL: return {OperandKind::kCr, number, size};
    case ZYDIS_REGCLASS_DEBUG: return {OperandKind::kDr, number, size};
    default: return {};
  }
}

uint64_t truncate(uint64_t v, unsigned size) {
  return size >= 8 || size == 0 ? v : v & ((uint64_t{1} << (8 * size)) - 1);
}

void memory_operand(const ZydisDecodedOperand& o, Reading& r) {
  const auto number = [](ZydisRegister reg) {
    return reg == ZYDIS_REGISTER_NONE ? kNoReg : static_cast<uint8_t>(ZydisRegisterGetId(reg));
  };
  r.rip_relative = o.mem.base == ZYDIS_REGISTER_RIP || o.mem.base == ZYDIS_REGISTER_EIP;
  r.base = r.rip_relative ? kNoReg : number(o.mem.base);
  r.index = number(o.mem.index);
  r.scale = o.mem.scale == 8 ? 3 : o.mem.scale == 4 ? 2 : o.mem.scale == 2 ? 1 : 0;
  r.seg = number(o.mem.segment);
  r.disp = truncate(static_cast<uint64_t>(o.mem.disp.value), r.address_size);
  r.operands.push_back(
      {OperandKind::kMem, 0, static_cast<uint8_t>(o.mem.type == ZYDIS_MEMOP_TYPE_AGEN ? 0 : o.size / 8)});
}

void immediate_operand(const ZydisDecodedOperand& o, Reading& r) {
  const auto size = static_cast<uint8_t>(o.size / 8);
  r.operands.push_back({o.imm.is_relative ? OperandKind::kRel : OperandKind::kImm, 0, size});
  r.immediates.push_back(o.imm.is_relative ? o.imm.value.u : truncate(o.imm.value.u, size));
}

Reading read(const ZydisDecodedInstruction& i, const ZydisDecodedOperand* operands) {
  Reading r;
  r.len = i.length;
  r.mnemonic = ZydisMnemonicGetString(i.mnemonic);
  r.address_size = i.address_width / 8u;
  r.lock = i.attributes & ZYDIS_ATTRIB_HAS_LOCK;
  r.rep = i.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE);
  r.repne = i.attributes & ZYDIS_ATTRIB_HAS_REPNE;
  for (unsigned k = 0; k < i.operand_count_visible; ++k) {
    const ZydisDecodedOperand& o = operands[k];
    switch (o.type) {
      case ZYDIS_OPERAND_TYPE_REGISTER: r.operands.push_back(register_operand(o.reg.value, o.size)); break;
      case ZYDIS_OPERAND_TYPE_MEMORY: memory_operand(o, r); break;
      case ZYDIS_OPERAND_TYPE_POINTER:
        r.operands.push_back({OperandKind::kFar, 0, static_cast<uint8_t>(i.operand_width / 8 + 2)});
        r.immediates.push_back(o.ptr.offset);
        r.immediates.push_back(o.ptr.segment);
        break;
      case ZYDIS_OPERAND_TYPE_IMMEDIATE: immediate_operand(o, r); break;
      default: break;
    }
  }
  return r;
}

}  // namespace

OracleAnswer ask_zydis(std::span<const uint8_t> bytes, CodeMode mode, bool want_text) {
  static const Decoders decoders;
  const ZydisDecoder& decoder = decoders.decoder[static_cast<unsigned>(mode)];
  ZydisDecodedInstruction i;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  OracleAnswer answer;
  const ZyanStatus status = ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &i, operands);
  answer.too_long = status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
  answer.truncated = status == ZYDIS_STATUS_NO_MORE_DATA;
  if (!ZYAN_SUCCESS(status)) return answer;
  if (want_text) {
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    char text[128] = "";
    ZydisFormatterFormatInstruction(&formatter, &i, operands, i.operand_count_visible, text, sizeof text, 0, nullptr);
    answer.text = text;
  }
  if (in_model(i.meta.isa_set)) answer.reading = read(i, operands);
  else answer.outside = ZydisISASetGetString(i.meta.isa_set);
  return answer;
}

}  // namespace dejavm::soft
