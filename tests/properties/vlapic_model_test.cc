// The local APIC, from the SDM's chapter (volume 3A, numbered 11): requests as sets of vectors, the timer as the list
// of its expiries, MSRs as a table of what may be read and written.
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "tests/properties/reference.h"

namespace dejavm {
namespace {

class Reference {
 public:
  static bool skips(const DeviceOp& op) {
    const uint16_t call = op.index;
    return op.kind == DeviceOp::Kind::kCall && (call == 11 || (call <= 1 && op.a == 0x3b));  // the TSC's offset
  }
  void reset() { *this = Reference(); }

  void wait(uint64_t to) {
    while (true) {
      const uint64_t due = counting() ? start_ + uint64_t{count_} * divisor() : deadline_ ? deadline_ : ~uint64_t{0};
      if (due > to) break;
      now_ = due;
      if (!(lvt(0x320) & kMasked)) raise(static_cast<int>(lvt(0x320) & 0xff), false);
      if (deadline_) deadline_ = 0;
      else if ((lvt(0x320) >> 17 & 3) == 1) {
        start_ = due;  // 11.5.4: reloaded
        count_ = initial_;
      } else count_ = 0;
    }
    now_ = to;
  }

  uint64_t lines() const {
    return (external() || deliverable() >= 0 ? 1 : 0) | (nmi_ ? 2 : 0) | (init_ ? 4 : 0) | (startup_ ? 8 : 0);
  }

  uint64_t perform(const DeviceOp& op) {
    switch (op.kind) {
      case DeviceOp::Kind::kRead: {
        const uint64_t all = op.size == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * op.size)) - 1;
        const uint64_t at = op.a & 15;
        if (mode_ != kX || op.a >= 0x1000 || at + op.size > 4) return all;
        return read(op.a & ~uint64_t{15}) >> (8 * at) & all;
      }
      case DeviceOp::Kind::kWrite:
        if (mode_ == kX && op.size == 4 && (op.a & 15) == 0 && op.a < 0x1000) write(op.a, static_cast<uint32_t>(op.b));
        return 0;
      case DeviceOp::Kind::kLine: pin(op.index, op.a & 1); return 0;
      case DeviceOp::Kind::kMessage: {
        if (out_.empty()) return 1;
        const uint64_t m = out_.front();
        out_.pop_front();
        return m;
      }
      case DeviceOp::Kind::kCall: return call(op);
      default: return 0;
    }
  }

 private:
  static constexpr uint32_t kMasked = 1 << 16, kRemote = 1 << 14, kLevel = 1 << 15;
  enum Mode { kOff, kX, kX2 };
  bool on() const { return mode_ != kOff && (svr_ & 0x100); }
  uint32_t lvt(uint64_t reg) const { return lvt_.at(reg); }
  static int top(const std::set<int>& s) { return s.empty() ? -1 : *s.rbegin(); }
  int ppr() const {
    const int v = std::max(top(isr_), 0);
    return tpr_ / 16 >= v / 16 ? tpr_ : v / 16 * 16;
  }
  int deliverable() const { return on() && top(irr_) / 16 > ppr() / 16 && top(irr_) >= 0 ? top(irr_) : -1; }
  bool external() const {
    if (mode_ == kOff) return line_[0];
    if (ext_) return true;
    for (int n = 0; n < 2; ++n)
      if (const uint32_t e = lvt(0x350 + 0x10u * static_cast<unsigned>(n));
          !(e & kMasked) && (e >> 8 & 7) == 7 && line_[n])
        return true;
    return false;
  }
  void error(uint8_t bit) {
    if (errors_ & bit) return;
    errors_ |= bit;
    if (!(lvt(0x370) & kMasked)) raise(static_cast<int>(lvt(0x370) & 0xff), false);
  }
  void raise(int vector, bool level) {
    if (vector < 16) return error(0x40);
    irr_.insert(vector);
    if (level) tmr_.insert(vector);
    else tmr_.erase(vector);
  }
  static bool level_pin(uint32_t e) { return (e & kLevel) && (e >> 8 & 7) == 0; }
  // 11.5.1: a level-triggered local interrupt is taken once; remote IRR holds it until its EOI.
  void look(int n) {
    uint32_t& e = lvt_[0x350 + 0x10u * static_cast<unsigned>(n)];
    if (!level_pin(e) || !line_[n] || (e & (kMasked | kRemote))) return;
    e |= kRemote;
    raise(static_cast<int>(e & 0xff), true);
  }
  void pin(int n, bool high) {
    const bool rise = high && !line_[n];
    line_[n] = high;
    if (mode_ == kOff) {  // 11.4.3: the pins are INTR and NMI
      nmi_ |= n == 1 && rise;
      return;
    }
    const uint32_t e = lvt(0x350 + 0x10u * static_cast<unsigned>(n));
    if (e & kMasked) return;
    if (level_pin(e)) return look(n);
    if (!rise) return;
    switch (e >> 8 & 7) {
      case 0: raise(static_cast<int>(e & 0xff), false); break;
      case 4: nmi_ = true; break;
      case 5: init_ = true; break;
      default: break;
    }
  }
  unsigned divisor() const {
    static constexpr unsigned kBy[8] = {2, 4, 8, 16, 32, 64, 128, 1};
    return kBy[(divide_ & 3) | (divide_ >> 1 & 4)];
  }
  bool counting() const { return count_ != 0; }
  uint32_t current() const { return counting() ? count_ - static_cast<uint32_t>((now_ - start_) / divisor()) : 0; }

  uint64_t read(uint64_t reg) {
    auto word = [&](const std::set<int>& s, uint64_t base) {
      uint32_t v = 0;
      for (const int vector : s)
        if (static_cast<uint64_t>(vector / 32) == (reg - base) / 16) v |= 1u << vector % 32;
      return v;
    };
    if (reg >= 0x100 && reg < 0x180) return word(isr_, 0x100);
    if (reg >= 0x180 && reg < 0x200) return word(tmr_, 0x180);
    if (reg >= 0x200 && reg < 0x280) return word(irr_, 0x200);
    if (lvt_.contains(reg)) return lvt(reg);
    switch (reg) {
      case 0x20: return mode_ == kX2 ? 0 : uint64_t{id_} << 24;
      case 0x30: return 0x01050014;  // version 14h, six LVT entries, EOI broadcasts can be suppressed
      case 0x80: return static_cast<uint64_t>(tpr_);
      case 0xa0: return static_cast<uint64_t>(ppr());
      case 0xd0: return mode_ == kX2 ? 1 : ldr_;  // 11.12.10.2, of id 0
      case 0xe0: return dfr_;
      case 0xf0: return svr_;
      case 0x280: return esr_;
      case 0x300: return icr_;
      case 0x310: return uint64_t{destination_} << 24;
      case 0x380: return initial_;
      case 0x390: return current();
      case 0x3e0: return divide_;
      default: return 0;
    }
  }
  void write(uint64_t reg, uint32_t v) {
    static const std::map<uint64_t, uint32_t> kWritable = {{0x2f0, 0x107ff}, {0x320, 0x700ff}, {0x330, 0x107ff},
                                                           {0x340, 0x107ff}, {0x350, 0x1a7ff}, {0x360, 0x1a7ff},
                                                           {0x370, 0x100ff}};
    if (const auto w = kWritable.find(reg); w != kWritable.end()) {
      uint32_t& e = lvt_[reg];
      const uint32_t before = e;
      e = (v & w->second) | (before & kRemote) | (on() ? 0 : kMasked);
      if (!level_pin(e)) e &= ~kRemote;
      if (reg == 0x320) {
        const unsigned was = before >> 17 & 3, is = e >> 17 & 3;
        if (was != is && (was >= 2 || is >= 2)) {
          count_ = initial_ = 0;
          deadline_ = 0;
        }
      }
      if (reg == 0x350) look(0);
      if (reg == 0x360) look(1);
      return;
    }
    switch (reg) {
      case 0x20: id_ = static_cast<uint8_t>(v >> 24); break;
      case 0x80: tpr_ = static_cast<int>(v & 0xff); break;
      case 0xb0: eoi(); break;
      case 0xd0: ldr_ = v & 0xff000000; break;
      case 0xe0: dfr_ = v | 0x0fffffff; break;
      case 0xf0:
        svr_ = v & 0x13ff;
        if (!on())
          for (auto& [r, e] : lvt_) e |= kMasked;
        break;
      case 0x280:
        esr_ = errors_;
        errors_ = 0;
        break;
      case 0x300:
        icr_ = v & 0xccfff;
        send();
        break;
      case 0x310: destination_ = v >> 24; break;
      case 0x380:
        if ((lvt(0x320) >> 17 & 3) >= 2) break;
        initial_ = count_ = v;
        start_ = now_;
        break;
      case 0x3e0: {
        const uint32_t left = current();
        divide_ = v & 0xb;
        count_ = left;
        start_ = now_;
        break;
      }
      default: break;
    }
  }
  void eoi() {
    const int v = top(isr_);
    if (v < 0) return;
    isr_.erase(v);
    if (!tmr_.contains(v)) return;
    for (int n = 0; n < 2; ++n) {
      uint32_t& e = lvt_[0x350 + 0x10u * static_cast<unsigned>(n)];
      if ((e & kRemote) && static_cast<int>(e & 0xff) == v) {
        e &= ~kRemote;
        look(n);
      }
    }
    if (!(svr_ & 0x1000)) queue(static_cast<uint64_t>(v) | 1 << 13 | 1 << 16);
  }
  void queue(uint64_t m) {
    if (out_.size() < 4) out_.push_back(m);
  }
  void send() {
    const unsigned mode = icr_ >> 8 & 7, vector = icr_ & 0xff;
    if (mode == 2 || mode == 3 || mode == 7) return;  // SMI is not modelled; the others are reserved
    if ((mode == 0 || mode == 1) && vector < 16) return error(0x20);
    const bool deassert = mode == 5 && (icr_ & 0x8000) && !(icr_ & 0x4000);
    queue(vector | mode << 8 | (icr_ >> 11 & 1) << 11 | uint64_t{deassert} << 12 | uint64_t{!deassert} << 13 |
          uint64_t{icr_ >> 18 & 3} << 14 | uint64_t{destination_} << 32);
  }
  // 11.4.7: what INIT and power-on reset alike; the pins are the board's.
  void clear_registers() {
    Reference r;
    r.now_ = now_;
    r.mode_ = mode_;
    r.base_ = base_;
    r.line_[0] = line_[0];
    r.line_[1] = line_[1];
    *this = r;
  }
  void init() {
    Reference old = *this;
    clear_registers();
    id_ = old.id_;
    out_ = old.out_;
    startup_ = old.startup_;
    startup_vector_ = old.startup_vector_;
  }
  // 11.12.5, figure 11-27: the states and the ways between them.
  bool write_base(uint64_t v) {
    if (v & ~uint64_t{0xffffffff00 | 0xff} || v & 0x2ff) return false;
    const Mode to = v & 0x800 ? v & 0x400 ? kX2 : kX : kOff;
    if (to == kOff && (v & 0x400)) return false;
    if ((mode_ == kOff && to == kX2) || (mode_ == kX2 && to == kX)) return false;
    const Mode from = std::exchange(mode_, to);
    base_ = v & 0xfffffff000;
    if (from != kOff && to == kOff) clear_registers();
    if (from == kX && to == kX2) {
      id_ = 0;
      ldr_ = 0;
      destination_ = 0;
    }
    return true;
  }
  // Table 11-6: by MSR, what may be written (none: read-only) and whether it may be read.
  struct MsrRule {
    bool readable;
    std::optional<uint64_t> writable;
  };
  static std::optional<MsrRule> rule(uint64_t reg) {
    if (reg >= 0x10 && reg < 0x28) return MsrRule{true, {}};
    switch (reg) {
      case 0x02:
      case 0x03:
      case 0x0a:
      case 0x0d:
      case 0x39: return MsrRule{true, {}};
      case 0x08: return MsrRule{true, 0xff};
      case 0x0b: return MsrRule{false, 0};
      case 0x0f: return MsrRule{true, 0x13ff};
      case 0x28: return MsrRule{true, 0};
      case 0x2f:
      case 0x33:
      case 0x34: return MsrRule{true, 0x157ff};
      case 0x30: return MsrRule{true, 0xffffffff000ccfff & ~uint64_t{0x1000}};
      case 0x32: return MsrRule{true, 0x750ff};
      case 0x35:
      case 0x36: return MsrRule{true, 0x1f7ff};
      case 0x37: return MsrRule{true, 0x150ff};
      case 0x38: return MsrRule{true, 0xffffffff};
      case 0x3e: return MsrRule{true, 0xb};
      case 0x3f: return MsrRule{false, 0xff};
      default: return {};
    }
  }
  uint64_t read_msr(uint64_t index) {
    if (index == 0x1b) return base_ | 0x100 | (mode_ != kOff ? 0x800u : 0) | (mode_ == kX2 ? 0x400u : 0);
    if (index == 0x6e0) return deadline_;
    const auto r = index >= 0x800 && index < 0x900 && mode_ == kX2 ? rule(index - 0x800) : std::nullopt;
    if (!r || !r->readable) return ~uint64_t{0};
    return index == 0x830 ? uint64_t{destination_} << 32 | icr_ : read((index - 0x800) * 16);
  }
  bool write_msr(uint64_t index, uint64_t v) {
    if (index == 0x1b) return write_base(v);
    if (index == 0x6e0) {  // the TSC is the time
      if ((lvt(0x320) >> 17 & 3) == 2) {
        deadline_ = v;
        wait(now_);
      }
      return true;
    }
    const auto r = index >= 0x800 && index < 0x900 && mode_ == kX2 ? rule(index - 0x800) : std::nullopt;
    if (!r || !r->writable || (v & ~*r->writable)) return false;
    if (index == 0x830) destination_ = static_cast<uint32_t>(v >> 32);
    if (index == 0x83f) {
      if (v < 16) error(0x20);
      else queue(v | 1 << 13 | 1 << 14);
    } else {
      write((index - 0x800) * 16, static_cast<uint32_t>(v));
    }
    return true;
  }
  uint64_t call(const DeviceOp& op) {
    switch (op.index) {
      case 0: return read_msr(op.a & 0xffffffff);
      case 1: return write_msr(op.a & 0xffffffff, op.b);
      case 2: {
        if (external()) {
          ext_ = false;
          return static_cast<uint64_t>(int64_t{-2});
        }
        const int v = deliverable();
        if (v >= 0) {
          irr_.erase(v);
          isr_.insert(v);
          return static_cast<uint64_t>(v);
        }
        return on() && !irr_.empty() ? svr_ & 0xff : ~uint64_t{0};
      }
      case 3: return static_cast<uint64_t>(tpr_ / 16);
      case 4: tpr_ = static_cast<int>(op.a & 15) * 16; return 0;
      case 5: return matches(static_cast<uint32_t>(op.a >> 32), op.a >> 11 & 1);
      case 6: return accept(static_cast<int>(op.a & 0xff), op.a >> 8 & 7, op.a >> 12 & 1);
      case 7: return std::exchange(nmi_, false);
      case 8: return std::exchange(init_, false);
      case 9: return std::exchange(startup_, false) ? startup_vector_ : ~uint64_t{0};
      case 10: init(); return 0;
      default: return 0;
    }
  }
  bool matches(uint32_t to, bool logical) const {
    if (mode_ == kOff) return false;
    if (mode_ == kX2 && logical) return to == 0xffffffff || (to >> 16 == 0 && (to & 1));
    if (to == 0xff || to == 0xffffffff) return true;
    if (to > 0xff) return false;
    if (!logical) return to == id_;
    const uint32_t mine = ldr_ >> 24;
    if (dfr_ >> 28 == 15) return to & mine;
    return to / 16 == mine / 16 && (to & mine & 15);
  }
  bool accept(int vector, unsigned mode, bool level) {
    switch (mode) {
      case 0:
      case 1:
        if (on()) raise(vector, level);
        return on();
      case 4: return nmi_ = true;
      case 5: return init_ = true;
      case 6: startup_vector_ = static_cast<uint64_t>(vector); return startup_ = true;
      case 7:
        if (on()) ext_ = true;
        return on();
      default: return false;
    }
  }

  std::set<int> irr_, isr_, tmr_;
  std::map<uint64_t, uint32_t> lvt_ = {{0x2f0, kMasked}, {0x320, kMasked}, {0x330, kMasked}, {0x340, kMasked},
                                       {0x350, kMasked}, {0x360, kMasked}, {0x370, kMasked}};
  std::deque<uint64_t> out_;
  int tpr_ = 0;
  Mode mode_ = kX;
  uint64_t base_ = 0xfee00000;
  uint32_t destination_ = 0;
  uint8_t id_ = 0, esr_ = 0, errors_ = 0;
  uint32_t ldr_ = 0, dfr_ = 0xffffffff, svr_ = 0xff, icr_ = 0, initial_ = 0, count_ = 0, divide_ = 0;
  uint64_t now_ = 0, start_ = 0, deadline_ = 0, startup_vector_ = 0;
  bool line_[2] = {}, nmi_ = false, init_ = false, startup_ = false, ext_ = false;
};

RC_GTEST_PROP(VlapicReference, AgreesWithSdm3aChapter11, ()) {
  expect_agreement<Reference>("vlapic", {.max_wait_ns = 3'000'000});
}

}  // namespace
}  // namespace dejavm
