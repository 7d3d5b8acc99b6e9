#include "vmm/soft/mmu.h"

#include "devices/core/model.h"
#include "vmm/soft/blocks/blocks.h"
#include "vmm/state/page_tables.h"

namespace dejavm::soft {
namespace {

constexpr uint64_t kPageMask = ~uint64_t{0xfff};
enum PageError : uint32_t { kErrPresent = 1, kErrWrite = 2, kErrUser = 4, kErrReserved = 8, kErrFetch = 16 };

struct Walk {
  uint64_t gpa = 0;    // of the 4 KiB page
  uint64_t flags = 0;  // TlbFlag
  unsigned levels = 0;
  struct {
    uint64_t gpa, value;
  } entry[5];  // for A and D bits, root first
  unsigned entry_bytes = 8;
};

uint64_t read_entry(Cpu& c, uint64_t gpa, unsigned bytes) {
  const uint8_t* page = c.memory->page(Gpa{gpa});
  if (page == nullptr) return open_bus(bytes);
  uint64_t v = 0;
  // Lengths that the compiler knows.
  if (bytes == 8) std::memcpy(&v, page + (gpa & 0xfff), 8);
  else std::memcpy(&v, page + (gpa & 0xfff), 4);
  return v;
}

// SDM vol. 3, 4.6 (access rights) and 4.7 (error codes).
struct Need {
  bool write, fetch, user;
  bool system;  // implicit supervisor access
};

uint32_t error_code(const Cpu& c, const Need& n, uint32_t extra) {
  const bool tells_fetch = (c.s.cr4 & kCr4SMEP) || ((c.s.cr4 & kCr4PAE) && (c.s.efer & kEferNXE));
  return extra | (n.write ? kErrWrite : 0u) | (n.user ? kErrUser : 0u) | (n.fetch && tells_fetch ? kErrFetch : 0u);
}

bool allowed(const Cpu& c, uint64_t flags, const Need& n) {
  const bool user_page = flags & kTlbUser;
  if (n.user) {
    if (!user_page || (n.write && !(flags & kTlbWrite))) return false;
  } else {
    if (n.write && !(flags & kTlbWrite) && (c.s.cr0 & kCr0WP)) return false;
    if (user_page && n.fetch && (c.s.cr4 & kCr4SMEP)) return false;
    if (user_page && !n.fetch && (c.s.cr4 & kCr4SMAP) && (n.system || !(c.other_flags & kAC_))) return false;
  }
  return !(n.fetch && (flags & kTlbNoExecute));
}

// Reserved bits of every present entry, besides those of its level (4.4.2, 4.5.4).
uint64_t reserved_bits(const Cpu& c, const PageTables& tables) {
  if (tables.entry_bytes() == 4) return 0;
  uint64_t reserved = ~c.physical_mask() & 0x000fffffffffffff;
  if (!(c.s.efer & kEferNXE)) reserved |= kEntryNoExecute;
  if (!c.long_mode()) reserved |= 0x7ff0000000000000;
  return reserved;
}

void walk_tables(Cpu& c, uint64_t linear, const Need& n, Walk& w) {
  const PageTables tables(c.s, c.physical_mask());
  w.entry_bytes = tables.entry_bytes();
  const uint64_t reserved = reserved_bits(c, tables);
  uint64_t flags = kTlbWrite | kTlbUser;
  uint64_t table = tables.root();
  for (unsigned l = 0; l < tables.levels().size(); ++l) {
    const PagingLevel& level = tables.levels()[l];
    const uint64_t at = tables.entry_at(l, table, linear);
    const uint64_t e = read_entry(c, at, w.entry_bytes);
    if (!(e & kEntryPresent)) c.page_fault(linear, error_code(c, n, 0));
    const bool leaf = tables.is_leaf(l, e);
    const bool large = leaf && l + 1 != tables.levels().size();
    if (e & (reserved | level.reserved | (large ? level.leaf_reserved : 0)))
      c.page_fault(linear, error_code(c, n, kErrPresent | kErrReserved));
    if (level.has_rights) {
      if (!(e & kEntryWritable)) flags &= ~uint64_t{kTlbWrite};
      if (!(e & kEntryUser)) flags &= ~uint64_t{kTlbUser};
      if (w.entry_bytes == 8 && (e & kEntryNoExecute)) flags |= kTlbNoExecute;
      w.entry[w.levels++] = {at, e};
    }
    if (leaf) {
      w.gpa = tables.physical(l, e, linear) & kPageMask;
      if (large) flags |= kTlbLarge;
      if ((e & kEntryGlobal) && (c.s.cr4 & kCr4PGE)) flags |= kTlbGlobal;
      break;
    }
    table = tables.next_table(e);
  }
  w.flags = flags;
}

// Walks, checks, then sets A on every level and D on the leaf: none of them when the access faults.
Walk walk(Cpu& c, uint64_t linear, const Need& n) {
  Walk w;
  if (!(c.s.cr0 & kCr0PG)) {
    w.gpa = linear & kPageMask;
    w.flags = kTlbWrite | kTlbUser | kTlbDirty;
    return w;
  }
  walk_tables(c, linear, n, w);
  if (!allowed(c, w.flags, n)) c.page_fault(linear, error_code(c, n, kErrPresent));
  for (unsigned l = 0; l < w.levels; ++l) {
    const bool leaf = l + 1 == w.levels;
    uint64_t v = w.entry[l].value | kEntryAccessed;
    if (leaf && n.write) v |= kEntryDirty;
    if (v != w.entry[l].value) store_physical(c, w.entry[l].gpa, &v, w.entry_bytes);
    if (leaf && (v & kEntryDirty)) w.flags |= kTlbDirty;
  }
  return w;
}

bool watched(const Cpu& c, uint64_t page) {  // a data breakpoint lies there: every access must be looked at
  if (c.debug != nullptr)
    for (const DebugPoints::Data& d : c.debug->data)
      if (d.start < page + kPageSize && page < d.start + d.len_bytes) return true;
  if (!(c.s.dr7 & 0xff)) return false;
  for (unsigned n = 0; n < 4; ++n)
    if (((c.s.dr7 >> (2 * n)) & 3) && ((c.s.dr7 >> (16 + 4 * n)) & 3) && (c.s.dr[n] & kPageMask) == page) return true;
  return false;
}

// Derives the fast entry of the current class from a TLB entry.
void fill_fast(Cpu& c, uint64_t linear, uint64_t entry) {
  const uint64_t page = linear & kPageMask;
  FastEntry& f = c.fast[(linear >> 12) & (kDataTlbEntries - 1)];
  c.mmu->fast_used[static_cast<size_t>(c.fast - c.mmu->fast[0].data()) / kDataTlbEntries] = true;
  f = FastEntry{};
  const MemoryRegion* region = c.memory->find(Gpa{entry & kPageMask});
  if (region == nullptr || watched(c, page)) return;
  const uint64_t offset = (entry & kPageMask) - region->start.value;
  Need need{false, false, c.cpl == 3, false};
  if (!allowed(c, entry, need)) return;
  f.addend = reinterpret_cast<uint64_t>(region->host + offset) - page;
  f.read_tag = page;
  need.write = true;
  const uint8_t flags = region->flags[offset / kPageSize];
  if (!region->rom && (entry & kTlbDirty) && allowed(c, entry, need) && (flags & kPageDirty) == kPageDirty &&
      !(flags & kPageCode))
    f.write_tag = page;
}

void drop_fast(Mmu& m, unsigned index) {
  for (auto& array : m.fast) array[index] = FastEntry{};
}

void drop_data(Mmu& m, unsigned index) {
  m.tlb.data_tag[index] = m.tlb.data_entry[index] = 0;
  drop_fast(m, index);
}

void drop_fetch(Mmu& m, unsigned index) {
  m.tlb.fetch_tag[index] = m.tlb.fetch_entry[index] = 0;
  for (auto& array : m.fast_fetch) array[index].drop();
}

// keep(tag, entry): whether an entry stays. Global ones are only asked about if `globals`.
template <class Keep>
void flush(Cpu& c, bool globals, Keep keep) {
  Mmu& m = *c.mmu;
  auto data = [&](unsigned i) { return !keep(m.tlb.data_tag[i], m.tlb.data_entry[i]) && (drop_data(m, i), true); };
  auto fetch = [&](unsigned i) { return !keep(m.tlb.fetch_tag[i], m.tlb.fetch_entry[i]) && (drop_fetch(m, i), true); };
  m.filled_data.remove_if(m.filled_data.local, data);
  m.filled_fetch.remove_if(m.filled_fetch.local, fetch);
  if (globals) {
    m.filled_data.remove_if(m.filled_data.global, data);
    m.filled_fetch.remove_if(m.filled_fetch.global, fetch);
  }
  c.fetch_page = 1;
  c.fetch_gpa = 0;
}

}  // namespace

const char* SoftTlb::invalid(const State& s) {
  auto bad = [](const auto& tags, const auto& entries) {
    for (size_t i = 0; i < tags.size(); ++i) {
      if (tags[i] == 0 ? entries[i] != 0 : (tags[i] & 0xfff) != kTlbValid) return true;
      if (tags[i] != 0 && ((tags[i] >> 12) & (tags.size() - 1)) != i) return true;
      if ((entries[i] & 0xfff) > 63 || entries[i] >> 52) return true;
    }
    return false;
  };
  if (bad(s.data_tag, s.data_entry)) return "a data TLB entry is malformed";
  if (bad(s.fetch_tag, s.fetch_entry)) return "a fetch TLB entry is malformed";
  return nullptr;
}

uint64_t translate(Cpu& c, uint64_t linear, Access access, Rights rights) {
  Mmu& m = *c.mmu;
  const Need need{access == Access::kWrite, false, c.cpl == 3 && rights == Rights::kCurrent, rights == Rights::kSystem};
  const unsigned index = (linear >> 12) & (kDataTlbEntries - 1);
  const uint64_t tag = (linear & kPageMask) | kTlbValid;
  uint64_t entry = m.tlb.data_entry[index];
  if (m.tlb.data_tag[index] != tag || !allowed(c, entry, need) || (need.write && !(entry & kTlbDirty))) {
    const Walk w = walk(c, linear, need);
    entry = w.gpa | w.flags;
    m.filled_data.add(index, entry & kTlbGlobal);
    m.tlb.data_tag[index] = tag;
    m.tlb.data_entry[index] = entry;
    drop_fast(m, index);
  }
  if (rights == Rights::kCurrent) {
    // A first store makes the page dirty before the fast entry is derived, so that the next one is fast.
    if (need.write)
      if (uint8_t* flags = c.memory->page_flags(Gpa{entry & kPageMask})) *flags |= kPageDirty;
    fill_fast(c, linear, entry);
  }
  return (entry & kPageMask) | (linear & 0xfff);
}

uint64_t translate_fetch(Cpu& c, uint64_t linear) {
  Mmu& m = *c.mmu;
  const Need need{false, true, c.cpl == 3, false};
  const unsigned index = (linear >> 12) & (kFetchTlbEntries - 1);
  const uint64_t tag = (linear & kPageMask) | kTlbValid;
  uint64_t entry = m.tlb.fetch_entry[index];
  if (m.tlb.fetch_tag[index] != tag || !allowed(c, entry, need)) {
    const Walk w = walk(c, linear, need);
    entry = w.gpa | w.flags;
    m.filled_fetch.add(index, entry & kTlbGlobal);
    m.tlb.fetch_tag[index] = tag;
    m.tlb.fetch_entry[index] = entry;
    for (auto& array : m.fast_fetch) array[index].drop();
  }
  if (!near_canonical_edge(linear)) {
    FastFetch& f = m.fast_fetch[c.cpl == 3 ? 0 : 1][index];
    const uint64_t page = linear & kPageMask, gpa = entry & kPageMask;
    if (f.last_tag != page || f.gpa != gpa) f.last_serial = c.blocks->serials->of(page, gpa, c.cpl == 3);
    f.tag = f.last_tag = page;
    f.gpa = gpa;
    f.serial = f.last_serial;
  }
  return (entry & kPageMask) | (linear & 0xfff);
}

void set_fetch_page(Cpu& c, uint64_t linear) {
  const uint64_t page = linear & kPageMask;
  if (page == c.fetch_page) return;
  c.fetch_gpa = translate_fetch(c, page);
  c.fetch_page = page;
}

const uint8_t* fetch_host_page(Cpu& c, uint64_t gpa) {
  const uint8_t* page = c.memory->page(Gpa{gpa});
  return page != nullptr ? page : c.mmu->open_bus_page.data();
}

void store_physical(Cpu& c, uint64_t gpa, const void* from, unsigned len) {
  const MemoryRegion* region = c.memory->find(Gpa{gpa});
  if (region == nullptr || region->rom) return;
  const uint64_t offset = gpa - region->start.value;
  uint8_t& flags = region->flags[offset / kPageSize];
  flags |= kPageDirty;
  std::memcpy(region->host + offset, from, len);
  if ((flags & kPageCode) && c.blocks != nullptr) blocks_stored(c, gpa, len);
}

namespace {

// Calls f for each fast data entry that may hold something.
template <class F>
void for_each_fast(Mmu& m, F f) {
  for (unsigned n = 0; n < kClassCount; ++n)
    if (m.fast_used[n])
      for (FastEntry& e : m.fast[n]) f(e);
}

}  // namespace

void forget_fast(Cpu& c) {
  for_each_fast(*c.mmu, [](FastEntry& e) { e = FastEntry{}; });
  c.mmu->fast_used = {};
  for (auto& array : c.mmu->fast_fetch) array.fill(FastFetch{});
}

void forget_fast_writes(Cpu& c) {
  for_each_fast(*c.mmu, [](FastEntry& e) { e.write_tag = kNoTag; });
}

void forget_fast_writes_to(Cpu& c, uint8_t* host_page) {
  const uint64_t host = reinterpret_cast<uint64_t>(host_page);
  for_each_fast(*c.mmu, [host](FastEntry& e) {
    if (e.write_tag != kNoTag && e.write_tag + e.addend == host) e.write_tag = kNoTag;
  });
}

void rebuild_filled(Cpu& c) {
  Mmu& m = *c.mmu;
  m.filled_data = {};
  m.filled_fetch = {};
  for (unsigned i = 0; i < kDataTlbEntries; ++i)
    if (m.tlb.data_tag[i]) m.filled_data.add(i, m.tlb.data_entry[i] & kTlbGlobal);
  for (unsigned i = 0; i < kFetchTlbEntries; ++i)
    if (m.tlb.fetch_tag[i]) m.filled_fetch.add(i, m.tlb.fetch_entry[i] & kTlbGlobal);
  forget_fast(c);
}

void Cpu::tlb_flush_all() {
  flush(*this, true, [](uint64_t, uint64_t) { return false; });
}

void Cpu::tlb_flush_nonglobal() {
  flush(*this, false, [](uint64_t, uint64_t) { return false; });
}

// INVLPG drops the page's entries, global ones too; a large page may sit in several, so then everything goes.
void Cpu::tlb_invlpg(uint64_t linear_address) {
  const uint64_t tag = (linear_address & kPageMask) | kTlbValid;
  const uint64_t large = linear_address >> 30;
  flush(*this, true,
        [&](uint64_t t, uint64_t entry) { return t != tag && !((entry & kTlbLarge) && (t >> 30) == large); });
}

void Cpu::update_mode() {
  const SegmentState& cs = s.segment[kCs];
  if (long_mode() && (cs.attributes & kSegL)) code_mode = CodeMode::k64;
  else code_mode = (cs.attributes & kSegDb) && protected_mode() && !v86() ? CodeMode::k32 : CodeMode::k16;
  // Bits that change what fast entries may promise without an architectural flush.
  const uint64_t key =
      (s.cr0 & kCr0PG) | ((s.cr4 & (kCr4SMEP | kCr4SMAP | kCr4PAE)) << 8) | ((s.efer & (kEferNXE | kEferLMA)) << 32);
  if (key != mmu->rights_key) {
    mmu->rights_key = key;
    forget_fast(*this);
  }
  choose_fast(*this);
  supervisor_fast = mmu->fast[(s.cr0 & kCr0WP) ? kClassSupervisor : kClassNoWp].data();
  fetches = mmu->fast_fetch[cpl == 3 ? 0 : 1].data();
  jumps = mmu->jumps[(cpl == 3 ? 0 : 1) + (code_mode == CodeMode::k32 ? 2 : 0)].data();
  fetch_page = 1;
  fetch_gpa = 0;
}

}  // namespace dejavm::soft
