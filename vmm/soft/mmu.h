// Address translation: page walks and the software TLB. Source: Intel SDM vol. 3 ch. 4.
//
// The TLB decides when accessed and dirty bits are set and when a stale mapping is used, so guests can see it: it is
// architectural state of this engine (TlbState, chunk "soft-tlb") with one behaviour in every mode of execution: two
// direct-mapped arrays of 4 KiB entries, one for data, one for instruction fetch; larger pages are entered as the 4 KiB
// piece that was touched. An entry is replaced only by a walk for an address with the same index. The current fetch
// page (Cpu::fetch_page) is always in the fetch TLB, so forgetting it is invisible. PCIDs are not tags: every MOV to
// CR3 flushes what is not global.
//
// The fast arrays are derived from it and invisible: they hold host addresses for accesses that would hit, are allowed,
// are not MMIO and (for stores) hit a page already dirty, without decoded code.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "vmm/soft/cpu.h"

namespace dejavm::soft {

inline constexpr unsigned kDataTlbEntries = 2048, kFetchTlbEntries = 1024;

struct TlbState {
  // tag: linear page address | kTlbValid; 0 when invalid. entry: physical page address | flags.
  std::array<uint64_t, kDataTlbEntries> data_tag{}, data_entry{};
  std::array<uint64_t, kFetchTlbEntries> fetch_tag{}, fetch_entry{};
  static constexpr auto fields() {
    using S = TlbState;
    return std::tuple{field("data_tag", &S::data_tag), field("data_entry", &S::data_entry),
                      field("fetch_tag", &S::fetch_tag), field("fetch_entry", &S::fetch_entry)};
  }
};
inline constexpr uint64_t kTlbValid = 1;
enum TlbFlag : uint64_t {
  kTlbWrite = 1,
  kTlbUser = 2,
  kTlbNoExecute = 4,
  kTlbDirty = 8,
  kTlbGlobal = 16,
  kTlbLarge = 32
};

struct SoftTlb {
  static constexpr std::string_view kName = "soft-tlb";
  static constexpr uint16_t kVersion = 1;
  using State = TlbState;
  static const char* invalid(const State& s);
};

// One page as the interpreter sees it. Tags are linear page addresses; kNoTag never matches.
inline constexpr uint64_t kNoTag = 1;
struct FastEntry {
  uint64_t read_tag = kNoTag, write_tag = kNoTag;
  uint64_t addend = 0;  // host address = linear + addend
  uint64_t unused = 0;
};
struct FastFetch {
  uint64_t tag = kNoTag;
  uint64_t gpa = 0;
  // What is here, as a number of PageSerials; 0: nothing. The same again after a flush keeps its number.
  uint64_t serial = 0;
  uint64_t last_tag = kNoTag, last_serial = 0;
  void drop() {
    tag = kNoTag;
    serial = 0;
  }
};
// Where an indirect jump of translated code goes: valid while the fetch page's serial is this.
inline constexpr uint64_t kNoPageSerial = 0;
struct JumpEntry {
  uint64_t rip = 0;  // any value is one that a guest can jump to: of an empty entry the serial is wrong
  const void* code = nullptr;
  const uint64_t* page_serial = &kNoPageSerial;
  uint64_t serial = 1;
};
inline constexpr unsigned kJumpEntries = 4096;
// Rights classes with a fast array each, so that nothing is forgotten where a system goes from one to the other and
// back.
// ...Ac: with EFLAGS.AC, which lifts SMAP. kClassNoWp: with CR0.WP clear, where supervisors write read-only pages too.
enum RightsClass : unsigned { kClassUser, kClassSupervisor, kClassSupervisorAc, kClassNoWp, kClassNoWpAc, kClassCount };

// Which entries of a TLB array are valid: derived from it, so that a flush looks only at what it may drop.
template <unsigned kEntries>
struct Filled {
  using Bits = std::array<uint64_t, kEntries / 64>;
  Bits local{}, global{};  // by the entry's kTlbGlobal
  void add(unsigned index, bool is_global) {
    const uint64_t bit = uint64_t{1} << (index & 63);
    (is_global ? global : local)[index / 64] |= bit;
    (is_global ? local : global)[index / 64] &= ~bit;
  }
  // Removes those of `bits` that drop(index) says it dropped.
  template <class Drop>
  static void remove_if(Bits& bits, Drop drop) {
    for (unsigned word = 0; word < bits.size(); ++word)
      for (uint64_t left = bits[word]; left != 0; left &= left - 1) {
        const auto bit = static_cast<unsigned>(std::countr_zero(left));
        if (drop(word * 64 + bit)) bits[word] &= ~(uint64_t{1} << bit);
      }
  }
};

// Numbers for mappings of code pages, the same for the same mapping on every vCPU, since translated code is shared by
// all: a jump to another page is good while that page has this number. None is ever given to something else.
class PageSerials {
 public:
  uint64_t of(uint64_t page, uint64_t gpa, bool user) {
    if (known_.size() >= kMostKnown) known_.clear();  // what is asked for again gets a new number
    uint64_t& serial = known_[{page, gpa | (user ? 1 : 0)}];
    if (serial == 0) serial = ++last_;
    return serial;
  }

 private:
  static constexpr size_t kMostKnown = 1 << 16;
  struct Hash {
    size_t operator()(const std::pair<uint64_t, uint64_t>& p) const {
      return (p.first ^ std::rotl(p.second, 27)) * 0x9e3779b97f4a7c15 >> 12;
    }
  };
  std::unordered_map<std::pair<uint64_t, uint64_t>, uint64_t, Hash> known_;
  uint64_t last_ = 0;
};

struct Mmu {
  TlbState tlb;
  std::array<std::array<FastEntry, kDataTlbEntries>, kClassCount> fast;
  std::array<bool, kClassCount> fast_used{};                          // the others hold nothing
  std::array<std::array<FastFetch, kFetchTlbEntries>, 2> fast_fetch;  // user, supervisor
  std::array<std::array<JumpEntry, kJumpEntries>, 4> jumps;           // user, supervisor; the same of 32-bit code
  Filled<kDataTlbEntries> filled_data;
  Filled<kFetchTlbEntries> filled_fetch;
  uint64_t rights_key = 0;                       // see Cpu::update_mode
  std::array<uint8_t, kPageSize> open_bus_page;  // what a fetch from nowhere reads

  Mmu() { open_bus_page.fill(0xff); }
};

// Within reach of a direct branch of the ends of the canonical halves. Code there is not run in blocks, so that
// handlers of direct branches need not check their targets.
inline bool near_canonical_edge(uint64_t linear) {
  constexpr uint64_t kEdge = uint64_t{1} << 47, kReach = 0x90000000;
  return (linear & (2 * kEdge - 1)) - kEdge + kReach < 2 * kReach;
}

inline RightsClass rights_class(const Cpu& c) {
  if (c.cpl == 3) return kClassUser;
  const unsigned first = (c.s.cr0 & kCr0WP) ? kClassSupervisor : kClassNoWp;
  return static_cast<RightsClass>(first + ((c.other_flags & kAC_) ? 1 : 0));
}

// The fast data-TLB of the rights that c has now.
inline void choose_fast(Cpu& c) { c.fast = c.mmu->fast[rights_class(c)].data(); }

// Makes `page`, a linear page address, the current fetch page, if the fast fetch TLB has it.
inline bool fetch_page_at_hand(Cpu& c, uint64_t page) {
  if (page == c.fetch_page) return true;
  const FastFetch& f = c.fetches[(page >> 12) & (kFetchTlbEntries - 1)];
  if (f.tag != page) return false;
  c.fetch_page = page;
  c.fetch_gpa = f.gpa;
  return true;
}

inline FastEntry* fast_slot(FastEntry* base, uint64_t linear) {
  return base + ((linear >> 12) & (kDataTlbEntries - 1));
}

// Host address of linear if its page is RAM, accessible with the current rights on the fast path, valid to the end of
// the page; else nullptr. Never faults and changes nothing.
inline uint8_t* host_for_read(Cpu& c, uint64_t linear) {
  const FastEntry* e = fast_slot(c.fast, linear);
  return e->read_tag == (linear & ~uint64_t{0xfff}) ? reinterpret_cast<uint8_t*>(linear + e->addend) : nullptr;
}
inline uint8_t* host_for_write(Cpu& c, uint64_t linear) {
  const FastEntry* e = fast_slot(c.fast, linear);
  return e->write_tag == (linear & ~uint64_t{0xfff}) ? reinterpret_cast<uint8_t*>(linear + e->addend) : nullptr;
}

// Translates one data access within a page: physical address. Sets A and D; throws #PF having set nothing.
uint64_t translate(Cpu& c, uint64_t linear, Access access, Rights rights);
// The same for a fetch at CPL's rights; fills the fetch TLB.
uint64_t translate_fetch(Cpu& c, uint64_t linear);
// Makes `linear`'s page the current fetch page, through the fetch TLB when it is another than now.
void set_fetch_page(Cpu& c, uint64_t linear);
// Host bytes of the physical page (open bus: all ones).
const uint8_t* fetch_host_page(Cpu& c, uint64_t gpa);

// A store to RAM at a physical address, with dirty flag and self-modifying code; len within the page.
void store_physical(Cpu& c, uint64_t gpa, const void* from, unsigned len);

// A device wrote memory: hits of the debugger's points on it.
void note_dma(Cpu& c, uint64_t gpa, uint64_t len_bytes);
void forget_fast(Cpu& c);                                // all fast arrays; after changes of rights, restore
void forget_fast_writes(Cpu& c);                         // dirty flags were cleared
void forget_fast_writes_to(Cpu& c, uint8_t* host_page);  // that page now holds decoded code
void rebuild_filled(Cpu& c);                             // after restore of TlbState

}  // namespace dejavm::soft
