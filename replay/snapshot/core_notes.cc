#include "replay/snapshot/core_notes.h"
#include "vmm/state/page_tables.h"

#include <elf.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <algorithm>
#include <cstring>

namespace dejavm {
namespace {

template <class T>
Bytes bytes_of(const T& value) {
  const auto* p = reinterpret_cast<const uint8_t*>(&value);
  return Bytes(p, p + sizeof(T));
}

ElfNote prstatus(uint32_t n, const VcpuState& s) {
  elf_prstatus p;
  std::memset(&p, 0, sizeof p);
  p.pr_pid = static_cast<int>(n) + 1;
  user_regs_struct r;
  std::memset(&r, 0, sizeof r);
  r.r15 = s.gpr[kR15];
  r.r14 = s.gpr[kR14];
  r.r13 = s.gpr[kR13];
  r.r12 = s.gpr[kR12];
  r.r11 = s.gpr[kR11];
  r.r10 = s.gpr[kR10];
  r.r9 = s.gpr[kR9];
  r.r8 = s.gpr[kR8];
  r.rbp = s.gpr[kRbp];
  r.rbx = s.gpr[kRbx];
  r.rax = s.gpr[kRax];
  r.rcx = s.gpr[kRcx];
  r.rdx = s.gpr[kRdx];
  r.rsi = s.gpr[kRsi];
  r.rdi = s.gpr[kRdi];
  r.rsp = s.gpr[kRsp];
  r.orig_rax = ~0ull;
  r.rip = s.rip;
  r.eflags = s.rflags;
  r.cs = s.segment[kCs].selector;
  r.ss = s.segment[kSs].selector;
  r.ds = s.segment[kDs].selector;
  r.es = s.segment[kEs].selector;
  r.fs = s.segment[kFs].selector;
  r.gs = s.segment[kGs].selector;
  r.fs_base = s.segment[kFs].base;
  r.gs_base = s.segment[kGs].base;
  static_assert(sizeof r == sizeof p.pr_reg);
  std::memcpy(&p.pr_reg, &r, sizeof r);
  p.pr_fpvalid = 1;
  return {"CORE", NT_PRSTATUS, bytes_of(p)};
}

ElfNote fpregset(const VcpuState& s) {
  user_fpregs_struct f;
  std::memset(&f, 0, sizeof f);
  f.cwd = s.fpu.fcw;
  f.swd = s.fpu.fsw;
  f.ftw = s.fpu.ftw;
  f.fop = s.fpu.fop;
  f.rip = s.fpu.fip;
  f.rdp = s.fpu.fdp;
  f.mxcsr = s.fpu.mxcsr;
  f.mxcr_mask = 0xffff;
  const unsigned top = s.fpu.fsw >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) {  // by distance from the top of the stack
    const unsigned physical = (top + i) & 7;
    std::memcpy(&f.st_space[i * 4], &s.fpu.st_mantissa[physical], 8);
    std::memcpy(&f.st_space[i * 4 + 2], &s.fpu.st_exponent[physical], 2);
  }
  static_assert(sizeof s.fpu.xmm == sizeof f.xmm_space);
  std::memcpy(f.xmm_space, &s.fpu.xmm, sizeof f.xmm_space);
  return {"CORE", NT_FPREGSET, bytes_of(f)};
}

struct QemuSegment {
  uint32_t selector, limit, flags, pad;
  uint64_t base;
};
struct QemuCpuState {
  uint32_t version, size;
  uint64_t gpr[16];  // in the order of our Gpr, but RBX before RCX
  uint64_t rip, rflags;
  QemuSegment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  uint64_t cr[5];
  uint64_t kernel_gs_base;
};
static_assert(sizeof(QemuCpuState) == 440);

QemuSegment qemu_segment(const SegmentState& s) {
  // QEMU keeps the attributes where the descriptor's upper half has them.
  return {s.selector, s.limit, (s.attributes & 0xffu) << 8 | (s.attributes & 0xf00u) << 12, 0, s.base};
}
QemuSegment qemu_table(const TableState& t) { return {0, static_cast<uint32_t>(t.limit), 0, 0, t.base}; }

ElfNote qemu_note(const VcpuState& s) {
  QemuCpuState q{};
  q.version = 1;
  q.size = sizeof q;
  constexpr Gpr kOrder[16] = {kRax, kRbx, kRcx, kRdx, kRsi, kRdi, kRsp, kRbp,
                              kR8,  kR9,  kR10, kR11, kR12, kR13, kR14, kR15};
  for (unsigned i = 0; i < 16; ++i) q.gpr[i] = s.gpr[kOrder[i]];
  q.rip = s.rip;
  q.rflags = s.rflags;
  q.cs = qemu_segment(s.segment[kCs]);
  q.ds = qemu_segment(s.segment[kDs]);
  q.es = qemu_segment(s.segment[kEs]);
  q.fs = qemu_segment(s.segment[kFs]);
  q.gs = qemu_segment(s.segment[kGs]);
  q.ss = qemu_segment(s.segment[kSs]);
  q.ldt = qemu_segment(s.segment[kLdtr]);
  q.tr = qemu_segment(s.segment[kTr]);
  q.gdt = qemu_table(s.gdtr);
  q.idt = qemu_table(s.idtr);
  q.cr[0] = s.cr0;
  q.cr[2] = s.cr2;
  q.cr[3] = s.cr3;
  q.cr[4] = s.cr4;
  q.kernel_gs_base = s.kernel_gs_base;
  return {"QEMU", 0, bytes_of(q)};
}

constexpr char kVmcoreinfo[] = "VMCOREINFO";

// A walk of page tables that collects runs.
class Walk {
 public:
  Walk(const VcpuState& s, std::span<const MemoryRegion> regions) : tables_(s), regions_(regions) {
    if (!tables_.levels().empty()) table(0, tables_.root(), 0);
  }
  std::vector<ElfLoad> take() { return std::move(out_); }

 private:
  const uint8_t* read(uint64_t gpa) const {
    for (const MemoryRegion& r : regions_)
      if (gpa >= r.start.value && gpa - r.start.value < r.len_bytes) return r.host + (gpa - r.start.value);
    return nullptr;
  }

  // One table, and all below it; `linear`: the first address that it maps.
  void table(unsigned level, uint64_t base, uint64_t linear) {
    const uint8_t* entries = read(base);
    const unsigned shift = tables_.levels()[level].shift;
    const bool is_root = level == 0;
    for (uint64_t i = 0; entries && i < tables_.entries(level); ++i) {
      if (++steps_ > kMaxTableEntries || out_.size() >= kMaxMappings) return;
      uint64_t entry = 0;
      std::memcpy(&entry, entries + i * tables_.entry_bytes(), tables_.entry_bytes());
      if (!(entry & kEntryPresent)) continue;
      uint64_t at = linear | i << shift;
      const bool upper_half = is_root && tables_.levels().size() > 3 && i >= tables_.entries(level) / 2;
      if (upper_half) at |= ~uint64_t{0} << shift << 9;
      if (tables_.is_leaf(level, entry)) leaf(at, tables_.mapped(level, entry), uint64_t{1} << shift, entry);
      else table(level + 1, tables_.next_table(entry), at);
    }
  }

  void leaf(uint64_t linear, uint64_t physical, uint64_t len, uint64_t entry) {
    const uint32_t flags = PF_R | (entry & kEntryWritable ? PF_W : 0) | (entry & kEntryNoExecute ? 0 : PF_X);
    for (const MemoryRegion& r : regions_) {
      const uint64_t from = std::max(physical, r.start.value),
                     to = std::min(physical + len, r.start.value + r.len_bytes);
      if (from < to) add({linear + (from - physical), from, to - from, 0, 0, flags});
    }
  }

  void add(const ElfLoad& run) {
    if (!out_.empty()) {
      ElfLoad& last = out_.back();
      const bool one_region = run.physical != kFourGiB;  // an extent lies in one region
      if (one_region && last.linear + last.len_bytes == run.linear && last.physical + last.len_bytes == run.physical &&
          last.flags == run.flags) {
        last.len_bytes += run.len_bytes;
        return;
      }
    }
    if (out_.size() < kMaxMappings) out_.push_back(run);
  }

  PageTables tables_;
  std::span<const MemoryRegion> regions_;
  size_t steps_ = 0;
  std::vector<ElfLoad> out_;
};

}  // namespace

std::vector<ElfNote> core_notes(std::span<const VcpuState> vcpus) {
  std::vector<ElfNote> out;
  for (uint32_t n = 0; n < vcpus.size(); ++n) {
    out.push_back(prstatus(n, vcpus[n]));
    out.push_back(fpregset(vcpus[n]));
  }
  for (const VcpuState& s : vcpus) out.push_back(qemu_note(s));
  return out;
}

bool is_vmcoreinfo(const uint8_t* page) {
  Elf64_Nhdr n;
  std::memcpy(&n, page, sizeof n);
  return n.n_namesz == sizeof kVmcoreinfo && n.n_type == 0 && n.n_descsz > 0 && n.n_descsz <= kElfDataAlignment - 24 &&
         std::memcmp(page + sizeof n, kVmcoreinfo, sizeof kVmcoreinfo) == 0 &&
         std::memcmp(page + 24, "OSRELEASE=", 10) == 0;
}

ElfNote vmcoreinfo(const uint8_t* page) {
  Elf64_Nhdr n;
  std::memcpy(&n, page, sizeof n);
  return {kVmcoreinfo, 0, Bytes(page + 24, page + 24 + n.n_descsz)};
}

std::vector<ElfLoad> linear_mappings(const VcpuState& s, std::span<const MemoryRegion> regions) {
  return Walk(s, regions).take();
}

}  // namespace dejavm
