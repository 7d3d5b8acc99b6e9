#include "tests/vmm/soft/decode/reading.h"

#include <cstdio>

namespace dejavm::soft {
namespace {

constexpr const char* kConditions[] = {"o", "no", "b", "nb", "z", "nz", "be", "nbe",
                                       "s", "ns", "p", "np", "l", "nl", "le", "nle"};

// Operations whose common spelling is not their name in ops.def.
struct Spelling {
  Op op;
  const char* mnemonic;
};
constexpr Spelling kSpellings[] = {
    {Op::k_mov_from_seg, "mov"},      {Op::k_mov_to_seg, "mov"},     {Op::k_mov_from_cr, "mov"},
    {Op::k_mov_to_cr, "mov"},         {Op::k_mov_from_dr, "mov"},    {Op::k_mov_to_dr, "mov"},
    {Op::k_push_seg, "push"},         {Op::k_pop_seg, "pop"},        {Op::k_call_far, "call"},
    {Op::k_jmp_far, "jmp"},           {Op::k_ret_far, "ret"},        {Op::k_movsd_x, "movsd"},
    {Op::k_cmpsd_x, "cmpsd"},         {Op::k_fneni, "feni8087_nop"}, {Op::k_fndisi, "fdisi8087_nop"},
    {Op::k_fnsetpm, "fsetpm287_nop"},
};

std::string by_size(const char* stem, unsigned size) {
  return std::string(stem) + (size == 1 ? 'b' : size == 2 ? 'w' : size == 4 ? 'd' : 'q');
}

const char* prefetch_mnemonic(const Decoded& d) {
  static constexpr const char* kHints[] = {"prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2"};
  const unsigned digit = d.modrm >> 3 & 7;
  if (d.opcode == 0x118) return kHints[digit & 3];
  return digit == 1 ? "prefetchw" : "prefetch";
}

std::string mnemonic_of(const Decoded& d) {
  if (d.op == Op::k_vex) {
    Decoded sse = d;
    sse.op = d.inner;
    return "v" + mnemonic_of(sse);
  }
  for (const Spelling& s : kSpellings)
    if (s.op == d.op) return s.mnemonic;
  const bool w = d.rex & 8;
  const std::string name(op_name(d.op));
  switch (d.op) {
    case Op::k_jcc: return std::string("j") + kConditions[d.cc];
    case Op::k_setcc: return std::string("set") + kConditions[d.cc];
    case Op::k_cmovcc: return std::string("cmov") + kConditions[d.cc];
    case Op::k_movs:
    case Op::k_cmps:
    case Op::k_stos:
    case Op::k_lods:
    case Op::k_scas:
    case Op::k_ins:
    case Op::k_outs: return by_size(name.c_str(), d.op_size);
    case Op::k_jrcxz: return d.addr_size == 8 ? "jrcxz" : d.addr_size == 4 ? "jecxz" : "jcxz";
    case Op::k_iret:
    case Op::k_pushf:
    case Op::k_popf: return name + (d.op_size == 8 ? "q" : d.op_size == 4 ? "d" : "");
    case Op::k_pusha:
    case Op::k_popa: return name + (d.op_size == 4 ? "d" : "");
    case Op::k_movd: return w ? "movq" : "movd";
    case Op::k_pinsrd: return w ? "pinsrq" : "pinsrd";
    case Op::k_pextrd: return w ? "pextrq" : "pextrd";
    case Op::k_fxsave:
    case Op::k_fxrstor:
    case Op::k_xsave:
    case Op::k_xsaveopt:
    case Op::k_xrstor: return name + (w ? "64" : "");
    case Op::k_prefetch: return prefetch_mnemonic(d);
    default: return name;
  }
}

uint64_t truncate(uint64_t v, unsigned size) {
  return size >= 8 || size == 0 ? v : v & ((uint64_t{1} << (8 * size)) - 1);
}

bool is_string(Op op) {
  return op == Op::k_movs || op == Op::k_cmps || op == Op::k_stos || op == Op::k_lods || op == Op::k_scas ||
         op == Op::k_ins || op == Op::k_outs;
}

std::string field(const char* name, const std::string& ours, const std::string& theirs) {
  return std::string(name) + ": " + ours + " / " + theirs;
}
std::string number(uint64_t v) {
  char s[24];
  std::snprintf(s, sizeof s, "%#llx", static_cast<unsigned long long>(v));
  return s;
}

// Selectors, MOVSXD of 16 bits, and results that are zero-extended: the size that is shown does not matter.
bool sizes_are_views(const std::string& mnemonic) {
  for (const char* m : {"lar", "lsl", "crc32", "movsxd", "pmovmskb", "movmskps", "movmskpd", "pextrw", "pextrb",
                        "extractps", "pinsrw", "pinsrb", "smsw", "str", "sldt"})
    if (mnemonic == m || mnemonic == std::string("v") + m) return true;
  return false;
}

bool has_immediate(OperandKind k) { return k == OperandKind::kImm || k == OperandKind::kRel || k == OperandKind::kFar; }

std::string operand_text(const Operand& o) {
  static constexpr const char* kKinds[] = {"none", "gpr", "high", "mem", "imm", "rel", "far",
                                           "seg",  "cr",  "dr",   "st",  "mmx", "xmm"};
  return std::string(kKinds[static_cast<unsigned>(o.kind)]) + std::to_string(o.reg) + ":" + std::to_string(o.size);
}

}  // namespace

Reading reading_of(const Decoded& d) {
  Reading r;
  r.len = d.len;
  r.mnemonic = mnemonic_of(d);
  r.address_size = d.addr_size;
  r.lock = d.lock;
  r.rep = is_string(d.op) && d.rep == Rep::kRep;
  r.repne = is_string(d.op) && d.rep == Rep::kRepne;
  unsigned immediates = 0;
  for (unsigned i = 0; i < d.operand_count; ++i) {
    const Operand& o = d.operands[i];
    r.operands.push_back(o);
    switch (o.kind) {
      case OperandKind::kMem:
        r.base = d.base;
        r.index = d.index;
        r.scale = d.scale;
        r.seg = d.seg;
        r.rip_relative = d.rip_relative;
        r.disp = truncate(static_cast<uint64_t>(d.disp), d.addr_size);
        break;
      case OperandKind::kImm: r.immediates.push_back(truncate(immediates++ ? d.imm2 : d.imm, o.size)); break;
      case OperandKind::kRel: r.immediates.push_back(d.imm); break;
      case OperandKind::kFar:
        r.immediates.push_back(d.imm);
        r.immediates.push_back(d.imm2);
        break;
      default: break;
    }
  }
  return r;
}

std::string difference(const Reading& a, const Reading& b) {
  if (a.len != b.len) return field("length", std::to_string(a.len), std::to_string(b.len));
  if (a.mnemonic != b.mnemonic) return field("mnemonic", a.mnemonic, b.mnemonic);
  if (a.operands.size() != b.operands.size())
    return field("operand count", std::to_string(a.operands.size()), std::to_string(b.operands.size()));
  bool memory = false;
  for (size_t i = 0; i < a.operands.size(); ++i) {
    const Operand &o = a.operands[i], &p = b.operands[i];
    const bool general = o.kind == OperandKind::kGpr;
    if (o.kind != p.kind || o.reg != p.reg || (general && o.size != p.size && !sizes_are_views(a.mnemonic)))
      return field("operand", operand_text(o), operand_text(p));
    memory |= o.kind == OperandKind::kMem;
  }
  if (memory) {
    if (a.base != b.base) return field("base", std::to_string(a.base), std::to_string(b.base));
    if (a.index != b.index) return field("index", std::to_string(a.index), std::to_string(b.index));
    if (a.scale != b.scale) return field("scale", std::to_string(a.scale), std::to_string(b.scale));
    if (a.seg != b.seg && a.mnemonic != "lea") return field("segment", std::to_string(a.seg), std::to_string(b.seg));
    if (a.rip_relative != b.rip_relative)
      return field("rip-relative", std::to_string(a.rip_relative), std::to_string(b.rip_relative));
    if (a.disp != b.disp) return field("displacement", number(a.disp), number(b.disp));
  }
  if (a.address_size != b.address_size)
    return field("address size", std::to_string(a.address_size), std::to_string(b.address_size));
  if (a.immediates.size() != b.immediates.size())
    return field("immediates", std::to_string(a.immediates.size()), std::to_string(b.immediates.size()));
  // Ours are extended to the operand's size; an oracle may show the bytes as they stand.
  for (size_t i = 0, k = 0; i < a.immediates.size(); ++i) {
    while (k < b.operands.size() && !has_immediate(b.operands[k].kind)) ++k;
    const unsigned size = k < b.operands.size() && b.operands[k].kind != OperandKind::kFar ? b.operands[k++].size : 8u;
    if (truncate(a.immediates[i], size) != truncate(b.immediates[i], size))
      return field("immediate", number(a.immediates[i]), number(b.immediates[i]));
  }
  if (a.lock != b.lock) return field("lock", std::to_string(a.lock), std::to_string(b.lock));
  if (a.rep != b.rep) return field("rep", std::to_string(a.rep), std::to_string(b.rep));
  if (a.repne != b.repne) return field("repne", std::to_string(a.repne), std::to_string(b.repne));
  return "";
}

std::string to_text(const Reading& r) {
  std::string s = std::to_string(r.len) + " " + r.mnemonic;
  for (const Operand& o : r.operands) {
    s += " " + operand_text(o);
    if (o.kind == OperandKind::kMem)
      s += "[seg" + std::to_string(r.seg) + (r.rip_relative ? " rip" : "") + " b" + std::to_string(r.base) + " i" +
           std::to_string(r.index) + "<<" + std::to_string(r.scale) + " +" + number(r.disp) + "]";
  }
  for (uint64_t v : r.immediates) s += " " + number(v);
  return s;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  std::string s;
  for (uint8_t b : bytes) {
    char h[4];
    std::snprintf(h, sizeof h, "%02x", b);
    s += (s.empty() ? "" : " ") + std::string(h);
  }
  return s;
}

}  // namespace dejavm::soft
