#include "vmm/soft/cpu.h"

#include <algorithm>

#include "vmm/soft/mmu.h"
#include "vmm/state/page_tables.h"

namespace dejavm::soft {
namespace {

// Data breakpoints (SDM vol. 3, 17.2): a match becomes a #DB trap after the instruction.
void note_data_breakpoints(Cpu& c, uint64_t linear, unsigned len, bool write) {
  for (unsigned n = 0; n < 4; ++n) {
    const unsigned kind = (c.s.dr7 >> (16 + 4 * n)) & 3;
    if (!((c.s.dr7 >> (2 * n)) & 3) || !(kind == 3 || (kind == 1 && write))) continue;
    static constexpr uint8_t kLength[] = {1, 2, 8, 4};
    const uint64_t bytes = kLength[(c.s.dr7 >> (18 + 4 * n)) & 3];
    const uint64_t start = c.s.dr[n] & ~(bytes - 1);
    if (linear < start + bytes && start < linear + len) c.s.pending_debug |= uint64_t{1} << n;
  }
}

struct Piece {
  uint64_t gpa;
  unsigned len;
};

// An access of up to 4096 bytes lies in at most two pages; both are translated before anything moves.
struct Pieces {
  Piece piece[2];
  unsigned count;
};

Pieces translate_all(Cpu& c, uint64_t linear, unsigned len, Access access, Rights rights) {
  CHECK(len > 0 && len <= 4096);
  const unsigned first = std::min(len, 4096 - static_cast<unsigned>(linear & 0xfff));
  Pieces p{{{translate(c, linear, access, rights), first}, {0, 0}}, 1};
  if (first < len) {
    uint64_t next = linear + first;
    if (!c.long_mode() || (rights == Rights::kCurrent && !c.long64())) next &= 0xffffffff;
    p.piece[1] = {translate(c, next, access, rights), len - first};
    p.count = 2;
  }
  if (c.s.dr7 & 0xff) note_data_breakpoints(c, linear, len, access == Access::kWrite);
  return p;
}

// An access that a debugger waits for, made by an instruction that is executed by itself.
void note_debug_points(Cpu& c, uint64_t linear, uint64_t gpa, unsigned len, bool write) {
  if (c.debug == nullptr) return;
  for (const DebugPoints::Data& d : c.debug->data) {
    if (!(write ? d.write : d.read) || linear >= d.start + d.len_bytes || d.start >= linear + len) continue;
    if (!c.debug->passing && !c.mmio_allowed) throw LeaveBlock{};
    if (c.debug->accesses != nullptr) c.debug->accesses->push_back({write, len, linear, gpa, Retired{c.retired}});
    std::optional<DebugPoints::Hit>& hit = c.debug->passing ? c.debug->last : c.debug->hit;
    // Of an instruction that makes several accesses, the first.
    if (!hit || hit->at != Retired{c.retired})
      hit = {write ? DebugPoints::Kind::kWrite : DebugPoints::Kind::kRead, std::max(d.start, linear),
             Retired{c.retired}};
    return;
  }
}

}  // namespace

// A device's store is none of an instruction's: the run stops at the boundary that comes next.
void note_dma(Cpu& c, uint64_t gpa, uint64_t len_bytes) {
  if (c.debug == nullptr) return;
  for (const DebugPoints::Data& d : c.debug->data) {
    if (!d.write) continue;
    for (uint64_t i = 0; i < d.len_bytes; ++i) {
      const auto at = dejavm::translate(*c.memory, c.s, d.start + i);
      if (!at || *at - gpa >= len_bytes) continue;
      (c.debug->passing ? c.debug->last : c.debug->hit) = {DebugPoints::Kind::kWrite, d.start + i, Retired{c.retired}};
      break;
    }
  }
}

namespace {

// MMIO happens last in an instruction that can be left and entered again; see LeaveBlock.
void leave_block_for_mmio(Cpu& c, const Pieces& p) {
  if (c.mmio_allowed) return;
  for (unsigned i = 0; i < p.count; ++i)
    if (c.memory->find(Gpa{p.piece[i].gpa}) == nullptr) throw LeaveBlock{};
}

void read_physical(Cpu& c, uint64_t gpa, uint8_t* to, unsigned len) {
  if (const uint8_t* page = c.memory->page(Gpa{gpa})) {
    std::memcpy(to, page + (gpa & 0xfff), len);
    return;
  }
  for (unsigned done = 0; done < len;) {
    const unsigned n = std::min(len - done, 8u);
    const uint64_t v = c.exits->mmio_read(c.position(), Gpa{gpa + done}, n);
    std::memcpy(to + done, &v, n);
    done += n;
  }
}

void write_physical(Cpu& c, uint64_t gpa, const uint8_t* from, unsigned len) {
  if (c.memory->find(Gpa{gpa}) != nullptr) {
    store_physical(c, gpa, from, len);
    return;
  }
  for (unsigned done = 0; done < len;) {
    const unsigned n = std::min(len - done, 8u);
    uint64_t v = 0;
    std::memcpy(&v, from + done, n);
    c.exits->mmio_write(c.position(), Gpa{gpa + done}, n, v);
    done += n;
  }
}

}  // namespace

bool Cpu::condition(unsigned cc) const {
  const uint64_t f = arith_flags();
  const bool less = ((f & kSF) != 0) != ((f & kOF_) != 0);
  bool holds = false;
  switch (cc >> 1) {
    case 0: holds = f & kOF_; break;
    case 1: holds = f & kCF; break;
    case 2: holds = f & kZF; break;
    case 3: holds = f & (kCF | kZF); break;
    case 4: holds = f & kSF; break;
    case 5: holds = f & kPF_; break;
    case 6: holds = less; break;
    default: holds = less || (f & kZF); break;
  }
  return holds != ((cc & 1) != 0);
}

uint64_t Cpu::effective_address(const Decoded& d) const {
  uint64_t a = static_cast<uint64_t>(d.disp);
  if (d.base != kNoReg) a += r[d.base];
  if (d.index != kNoReg) a += r[d.index] << d.scale;
  if (d.rip_relative) a += next_rip;
  return d.addr_size == 8 ? a : d.addr_size == 4 ? a & 0xffffffff : a & 0xffff;
}

// SDM vol. 3, 5.3-5.4; in 64-bit mode 3.3.7.1 (canonical form; #SS for stack references).
uint64_t Cpu::linear(unsigned seg, uint64_t offset, unsigned len, Access access) const {
  const uint8_t vector = seg == kSs ? kSS_ : kGP;
  if (long64()) {
    const uint64_t a = offset + (seg == kFs || seg == kGs ? s.segment[seg].base : 0);
    if (!canonical(a) || (len > 1 && !canonical(a + len - 1))) fault(vector, 0);
    return a;
  }
  const SegmentState& sr = s.segment[seg];
  const uint16_t a = sr.attributes;
  if (!real_or_v86()) {
    if (!(a & kSegP)) fault(vector, 0);
    const bool code = a & 8;
    if (access == Access::kWrite && (code || !(a & 2))) fault(vector, 0);
    if (access == Access::kRead && code && !(a & 2)) fault(vector, 0);
  }
  const bool expand_down = (a & 0xc) == 4 && !real_or_v86();
  const uint64_t last = offset + len - 1;
  if (expand_down) {
    const uint64_t top = (a & kSegDb) ? 0xffffffff : 0xffff;
    if (offset <= sr.limit || last > top) fault(vector, 0);
  } else if (last > sr.limit) {
    fault(vector, 0);
  }
  return (sr.base + offset) & 0xffffffff;
}

uint64_t Cpu::aligned_linear(unsigned seg, uint64_t offset, unsigned len, Access access) const {
  const bool has_base = !long64() || seg == kFs || seg == kGs;
  if ((offset + (has_base ? s.segment[seg].base : 0)) & (len - 1)) fault(kGP, 0);
  return linear(seg, offset, len, access);
}

void Cpu::read_linear(uint64_t linear_address, void* to, unsigned len, Rights rights) {
  if (rights == Rights::kCurrent && (linear_address & 0xfff) + len <= 4096) {
    if (const uint8_t* host = host_for_read(*this, linear_address)) {
      std::memcpy(to, host, len);
      return;
    }
  }
  const Pieces p = translate_all(*this, linear_address, len, Access::kRead, rights);
  leave_block_for_mmio(*this, p);
  note_debug_points(*this, linear_address, p.piece[0].gpa, len, false);
  uint8_t* bytes = static_cast<uint8_t*>(to);
  for (unsigned i = 0; i < p.count; bytes += p.piece[i++].len)
    read_physical(*this, p.piece[i].gpa, bytes, p.piece[i].len);
}

void Cpu::write_linear(uint64_t linear_address, const void* from, unsigned len, Rights rights) {
  if (rights == Rights::kCurrent && (linear_address & 0xfff) + len <= 4096) {
    if (uint8_t* host = host_for_write(*this, linear_address)) {
      std::memcpy(host, from, len);
      return;
    }
  }
  const Pieces p = translate_all(*this, linear_address, len, Access::kWrite, rights);
  leave_block_for_mmio(*this, p);
  note_debug_points(*this, linear_address, p.piece[0].gpa, len, true);
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  for (unsigned i = 0; i < p.count; bytes += p.piece[i++].len)
    write_physical(*this, p.piece[i].gpa, bytes, p.piece[i].len);
}

void Cpu::probe_write(uint64_t linear_address, unsigned len, Rights rights) {
  const Pieces p = translate_all(*this, linear_address, len, Access::kWrite, rights);
  leave_block_for_mmio(*this, p);
}

uint64_t Cpu::load_sized(unsigned seg, uint64_t offset, unsigned size) {
  uint64_t v = 0;
  read_linear(linear(seg, offset, size, Access::kRead), &v, size);
  return v;
}

void Cpu::store_sized(unsigned seg, uint64_t offset, unsigned size, uint64_t value) {
  write_linear(linear(seg, offset, size, Access::kWrite), &value, size);
}

uint64_t Cpu::read_operand(const Decoded& d, unsigned k) {
  const Operand& o = d.operands[k];
  switch (o.kind) {
    case OperandKind::kGpr: return reg(o.reg, o.size);
    case OperandKind::kGprHigh: return reg_high(o.reg);
    case OperandKind::kImm: return o.size >= 8 ? d.imm : d.imm & ((uint64_t{1} << (8 * o.size)) - 1);
    case OperandKind::kMem: return load_sized(d.seg, effective_address(d), o.size);
    default: check_failed("operand is general, immediate or memory", __FILE__, __LINE__);
  }
}

uint64_t Cpu::read_operand_for_update(const Decoded& d, unsigned k) {
  const Operand& o = d.operands[k];
  if (o.kind != OperandKind::kMem) return read_operand(d, k);
  const uint64_t a = linear(d.seg, effective_address(d), o.size, Access::kWrite);
  if (host_for_write(*this, a) == nullptr || (a & 0xfff) + o.size > 4096) probe_write(a, o.size);
  uint64_t v = 0;
  read_linear(a, &v, o.size);
  return v;
}

void Cpu::write_operand(const Decoded& d, unsigned k, uint64_t value) {
  const Operand& o = d.operands[k];
  switch (o.kind) {
    case OperandKind::kGpr: set_reg(o.reg, o.size, value); break;
    case OperandKind::kGprHigh: set_reg_high(o.reg, value); break;
    case OperandKind::kMem: store_sized(d.seg, effective_address(d), o.size, value); break;
    default: check_failed("operand is general or memory", __FILE__, __LINE__);
  }
}

void Cpu::push(unsigned size, uint64_t value) {
  const unsigned width = stack_size();
  const uint64_t sp = reg(kRsp, width) - size;
  store_sized(kSs, width == 8 ? sp : sp & ((uint64_t{1} << (8 * width)) - 1), size, value);
  set_reg(kRsp, width, sp);
}

uint64_t Cpu::pop(unsigned size) {
  const unsigned width = stack_size();
  const uint64_t sp = reg(kRsp, width);
  const uint64_t value = load_sized(kSs, sp, size);
  set_reg(kRsp, width, sp + size);
  return value;
}

void Cpu::branch(uint64_t target) {
  if (long64() ? !canonical(target) : target > s.segment[kCs].limit) fault(kGP, 0);
  next_rip = target;
}

}  // namespace dejavm::soft
