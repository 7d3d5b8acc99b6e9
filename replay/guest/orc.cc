#include "replay/guest/orc.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <vector>

namespace dejavm {
namespace {

constexpr uint64_t kMaxEntries = 4'000'000;

enum class OrcRegister : uint8_t { kUndefined, kPreviousSp, kDx, kDi, kBp, kSp, kR10, kR13, kBpIndirect, kSpIndirect };
enum class OrcType : uint8_t { kUndefined, kEnd, kCall, kRegisters, kRegistersPartial };

// struct orc_entry: 6 bytes.
struct Entry {
  int16_t sp_offset = 0, bp_offset = 0;
  OrcRegister sp = OrcRegister::kUndefined, bp = OrcRegister::kUndefined;
  OrcType type = OrcType::kUndefined;
  bool operator==(const Entry&) const = default;
};

Entry decode(const uint8_t* p, bool since_6_4) {
  Entry e;
  uint16_t bits = 0;
  std::memcpy(&e.sp_offset, p, 2);
  std::memcpy(&e.bp_offset, p + 2, 2);
  std::memcpy(&bits, p + 4, 2);
  e.sp = static_cast<OrcRegister>(bits & 15);
  e.bp = static_cast<OrcRegister>(bits >> 4 & 15);
  if (since_6_4) {
    e.type = static_cast<OrcType>(bits >> 8 & 7);
  } else {
    static constexpr OrcType kOld[] = {OrcType::kCall, OrcType::kRegisters, OrcType::kRegistersPartial,
                                       OrcType::kUndefined};
    e.type = kOld[bits >> 8 & 3];
    if (e.sp == OrcRegister::kUndefined) e.type = bits >> 10 & 1 ? OrcType::kEnd : OrcType::kUndefined;
  }
  return e;
}

// DWARF's numbers of registers (System V ABI for x86-64, figure 3.36).
enum Dwarf : uint8_t {
  kDwarfRax,
  kDwarfRdx,
  kDwarfRcx,
  kDwarfRbx,
  kDwarfRsi,
  kDwarfRdi,
  kDwarfRbp,
  kDwarfRsp,
  kDwarfR8,
  kDwarfR10 = 10,
  kDwarfR13 = 13,
  kDwarfRip = 16
};
enum Cfa : uint8_t {
  kRestore = 0xc0,
  kAdvance4 = 0x04,
  kUndefined = 0x07,
  kSameValue = 0x08,
  kDefCfa = 0x0c,
  kDefCfaExpression = 0x0f,
  kExpression = 0x10,
  kOffsetExtendedSf = 0x11,
  kDefCfaSf = 0x12,
  kOpBreg = 0x70,
  kOpDeref = 0x06,
  kOpConsts = 0x11,
  kOpPlus = 0x22
};

void uleb(Bytes& out, uint64_t v) {
  do out.push_back(static_cast<uint8_t>((v & 0x7f) | (v > 0x7f ? 0x80 : 0)));
  while ((v >>= 7) != 0);
}
void sleb(Bytes& out, int64_t v) {
  for (;;) {
    const uint8_t low = v & 0x7f;
    v >>= 7;
    const bool last = (v == 0 && !(low & 0x40)) || (v == -1 && (low & 0x40));
    out.push_back(static_cast<uint8_t>(low | (last ? 0 : 0x80)));
    if (last) return;
  }
}
template <class T>
void put(Bytes& out, T v) {
  const auto* p = reinterpret_cast<const uint8_t*>(&v);
  out.insert(out.end(), p, p + sizeof v);
}

int dwarf_of(OrcRegister r) {
  switch (r) {
    case OrcRegister::kDx: return kDwarfRdx;
    case OrcRegister::kDi: return kDwarfRdi;
    case OrcRegister::kBp:
    case OrcRegister::kBpIndirect: return kDwarfRbp;
    case OrcRegister::kSp:
    case OrcRegister::kSpIndirect: return kDwarfRsp;
    case OrcRegister::kR10: return kDwarfR10;
    case OrcRegister::kR13: return kDwarfR13;
    default: return -1;
  }
}

void saved_at(Bytes& out, uint8_t reg, int64_t offset_from_cfa) {
  out.push_back(kOffsetExtendedSf);
  uleb(out, reg);
  sleb(out, offset_from_cfa / -8);  // the data alignment factor
}

// The rules at a place. For struct pt_regs the CFA is where it begins; RSP, RIP and all registers come out of it.
void rules(Bytes& out, const Entry& e) {
  const int base = dwarf_of(e.sp);
  if (base < 0 || e.type == OrcType::kUndefined || e.type == OrcType::kEnd) {
    out.push_back(kDefCfa);
    uleb(out, kDwarfRsp);
    uleb(out, 8);
    out.push_back(kUndefined);  // no frame below this one is known
    uleb(out, kDwarfRip);
    return;
  }
  if (e.sp == OrcRegister::kBpIndirect || e.sp == OrcRegister::kSpIndirect) {
    // ORC: the value at BP + offset, or the value at SP, plus the offset.
    Bytes expression;
    expression.push_back(static_cast<uint8_t>(kOpBreg + base));
    sleb(expression, e.sp == OrcRegister::kBpIndirect ? e.sp_offset : 0);
    expression.push_back(kOpDeref);
    if (e.sp == OrcRegister::kSpIndirect) {
      expression.push_back(kOpConsts);
      sleb(expression, e.sp_offset);
      expression.push_back(kOpPlus);
    }
    out.push_back(kDefCfaExpression);
    uleb(out, expression.size());
    out.insert(out.end(), expression.begin(), expression.end());
  } else {
    out.push_back(kDefCfaSf);
    uleb(out, static_cast<uint64_t>(base));
    sleb(out, e.sp_offset / -8);
  }
  if (e.type == OrcType::kCall) {
    saved_at(out, kDwarfRip, -8);
    if (e.bp == OrcRegister::kPreviousSp) saved_at(out, kDwarfRbp, e.bp_offset);
    else {
      out.push_back(kSameValue);
      uleb(out, kDwarfRbp);
    }
    return;
  }
  // struct pt_regs: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax, then RIP CS RFLAGS RSP SS. The
  // partial one has only the latter five, its address counted as if the others were there.
  static constexpr std::pair<uint8_t, int> kSaved[] = {
      {15, 0}, {14, 8}, {13, 16},        {12, 24},        {kDwarfRbp, 32}, {kDwarfRbx, 40},  {11, 48},        {10, 56},
      {9, 64}, {8, 72}, {kDwarfRax, 80}, {kDwarfRcx, 88}, {kDwarfRdx, 96}, {kDwarfRsi, 104}, {kDwarfRdi, 112}};
  const int64_t frame = e.type == OrcType::kRegisters ? 128 : 0;
  if (e.type == OrcType::kRegisters)
    for (const auto& [reg, at] : kSaved) saved_at(out, reg, at);
  saved_at(out, kDwarfRip, frame);
  saved_at(out, kDwarfRsp, frame + 24);
}

void finish(Bytes& out, size_t length_at) {
  while ((out.size() - length_at - 4) % 8 != 4) out.push_back(0);  // DW_CFA_nop
  const auto length = static_cast<uint32_t>(out.size() - length_at - 4);
  std::memcpy(out.data() + length_at, &length, 4);
}

// An entry of the kernel's table, and the address from which on it holds.
struct Row {
  uint64_t address;
  Entry entry;
};

// In the order of addresses; empty: the guest's kernel has none, or none that can be read.
std::vector<Row> orc_rows(const GuestKernel& kernel, const GuestMemory& memory) {
  const KernelSymbol* places = kernel.symbol("__start_orc_unwind_ip");
  const KernelSymbol* places_end = kernel.symbol("__stop_orc_unwind_ip");
  const KernelSymbol* table = kernel.symbol("__start_orc_unwind");
  if (!places || !places_end || !table || places_end->address <= places->address) return {};
  const uint64_t count = (places_end->address - places->address) / 4;
  if (count > kMaxEntries) return {};
  std::vector<int32_t> where(count);
  Bytes raw(count * 6);
  if (!read_kernel_image(memory, kernel, places->address, where.data(), count * 4) ||
      !read_kernel_image(memory, kernel, table->address, raw.data(), count * 6))
    return {};
  unsigned major = 0, minor = 0;
  const bool known = std::sscanf(kernel.release.c_str(), "%u.%u", &major, &minor) == 2;
  const bool since_6_4 = known && (major > 6 || (major == 6 && minor >= 4));
  std::vector<Row> rows;
  for (uint64_t n = 0; n < count; ++n) {
    const uint64_t at = places->address + 4 * n + static_cast<uint64_t>(int64_t{where[n]});
    rows.push_back({at, decode(raw.data() + 6 * n, since_6_4)});
  }
  return std::ranges::is_sorted(rows, {}, &Row::address) ? rows : std::vector<Row>();
}

// What all descriptions have in common.
void common_entry(Bytes& out) {
  put(out, uint32_t{0});
  put(out, uint32_t{0xffffffff});  // a CIE
  out.push_back(4);                // version
  out.push_back(0);                // no augmentation
  out.push_back(8);                // bytes of an address
  out.push_back(0);                // and of a segment selector
  uleb(out, 1);
  sleb(out, -8);
  uleb(out, kDwarfRip);
  out.push_back(kDefCfa);
  uleb(out, kDwarfRsp);
  uleb(out, 8);
  finish(out, 0);
}

// A description of the rows, which end at `end`.
void describe_rows(Bytes& out, std::span<const Row> rows, uint64_t end) {
  const size_t head = out.size();
  put(out, uint32_t{0});
  put(out, uint32_t{0});  // of that CIE
  put(out, rows.front().address);
  put(out, end - rows.front().address);
  uint64_t at = rows.front().address;
  for (size_t n = 0; n < rows.size(); ++n) {
    if (rows[n].address != at) {
      out.push_back(kAdvance4);
      put(out, static_cast<uint32_t>(rows[n].address - at));
      at = rows[n].address;
    }
    // Back to what the CIE says, of what only the row before said.
    if (n > 0 && rows[n - 1].entry.type != OrcType::kCall)
      for (uint8_t reg = 0; reg <= kDwarfRip; ++reg) out.push_back(static_cast<uint8_t>(kRestore | reg));
    rules(out, rows[n].entry);
  }
  finish(out, head);
}

}  // namespace

Bytes debug_frame(const GuestKernel& kernel, const GuestMemory& memory) {
  // A debugger need not read all of them.
  constexpr size_t kRowsOfADescription = 64;
  const KernelSymbol* text_end = kernel.symbol("_etext");
  const std::vector<Row> rows = orc_rows(kernel, memory);
  if (rows.empty() || !kernel.symbol("_stext") || !text_end) return {};
  Bytes out;
  common_entry(out);
  for (size_t first = 0; first < rows.size(); first += kRowsOfADescription) {
    const size_t last = std::min(first + kRowsOfADescription, rows.size());
    const uint64_t end = last < rows.size() ? rows[last].address : std::max(text_end->address, rows.back().address + 1);
    if (end > rows[first].address) describe_rows(out, std::span(rows).subspan(first, last - first), end);
  }
  return out;
}

}  // namespace dejavm
