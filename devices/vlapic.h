// A processor's local APIC: xAPIC and x2APIC, with TSC-deadline timer. Source: Intel SDM volume 3A, chapter "Advanced
// Programmable Interrupt Controller", numbered 11 (10 in older printings); the sections named in comments are its own.
//
// Memory window: 4 KiB at the base address in IA32_APIC_BASE (reset: 0xfee00000), open only in xAPIC mode. A register
// is the first 4 of each 16 bytes. Reads of any bytes inside a register return those; other reads are all ones. Writes
// are taken only as 4 bytes at a register's start. Reserved registers read as 0 and log an ESR error.
// MSRs: IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0), and in x2APIC mode 0x800-0x8ff; false is #GP.
//
// Time: the timer's input clock is 1 GHz, so one count takes the divider's value in ns; the TSC is virtual time in ns
// plus `tsc_offset_ns`. A write to the initial count or to the divider starts the divider anew; the count itself
// survives a change of divider or between one-shot and periodic. Choosing or leaving TSC-deadline mode (or the reserved
// mode 3, in which nothing counts) disarms the timer and clears the initial count. An expiry while masked is lost.
//
// Messages: the board offers each to every APIC: matches(), then accept(). An access sends at most one, and the board
// takes messages after each access, so the queue never fills; if it does, further messages are lost. IPIs are
// edge-triggered whatever the ICR's trigger bit says (11.6.1), except INIT level de-assert, which no APIC acts upon.
// A physical destination of 0xff is broadcast, so a processor of id 255 is reached by x2APIC logical ones only.
//
// Choices: SVR bit 9 (focus checking) is stored and does nothing. While software-disabled, requests in IRR are held and
// ICR still sends. Clearing IA32_APIC_BASE's enable bit gives every register its reset value (11.4.3). The LVT entry
// for CMCI exists although the version register counts six entries without it; CMCI, thermal and performance entries
// have no source in this machine. The board gives a lowest-priority message to the APIC of the lowest arbitration(),
// the first of equals. Not modelled: SMI, the bus arbitration of the Pentium (registers 0x90 and 0xc0 read 0).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "devices/core/model.h"

namespace dejavm {

struct Vlapic {
  static constexpr std::string_view kName = "vlapic";
  static constexpr uint16_t kVersion = 1;
  static constexpr uint64_t kWindowBytes = 0x1000;
  static constexpr unsigned kPhysicalAddressBits = 40;  // what IA32_APIC_BASE can hold
  static constexpr unsigned kQueued = 4;

  enum Base : uint64_t { kBsp = 1 << 8, kExtended = 1 << 10, kEnabled = 1 << 11, kDefaultAddress = 0xfee00000 };

  // Local vector table entries, in the order of State::lvt.
  enum Entry : unsigned { kCmci, kTimer, kThermal, kPerformance, kLvtLint0, kLvtLint1, kError, kEntries };

  // A message on its way to the bus; see BusMessage.
  struct Outgoing {
    uint32_t destination = 0;
    BusMessage::Kind kind = BusMessage::Kind::kInterrupt;
    Delivery delivery = Delivery::kFixed;
    BusMessage::Shorthand shorthand = BusMessage::Shorthand::kNone;
    uint8_t vector = 0;
    bool logical = false;
    bool level = false;
    bool deassert = false;
    uint8_t reserved = 0;
    static constexpr auto fields() {
      return std::tuple{field("destination", &Outgoing::destination),
                        field("kind", &Outgoing::kind).range(0, 1),
                        field("delivery", &Outgoing::delivery).range(0, 7),
                        field("shorthand", &Outgoing::shorthand).range(0, 3),
                        field("vector", &Outgoing::vector),
                        field("logical", &Outgoing::logical),
                        field("level", &Outgoing::level),
                        field("deassert", &Outgoing::deassert),
                        field("reserved", &Outgoing::reserved).range(0, 0)};
    }
    bool operator==(const Outgoing&) const = default;
  };

  struct State {
    uint64_t now_ns = 0;           // the latest time seen
    uint64_t base = 0;             // IA32_APIC_BASE
    uint64_t icr = 0;              // high half: register 0x310, in x2APIC mode the destination
    uint64_t timer_expiry_ns = 0;  // when the count reaches zero; 0: not counting
    uint64_t deadline = 0;         // TSC value at which the timer fires; 0: disarmed
    int64_t tsc_offset_ns = 0;
    std::array<uint32_t, 8> irr{};
    std::array<uint32_t, 8> isr{};
    std::array<uint32_t, 8> tmr{};
    std::array<uint32_t, kEntries> lvt{};
    uint32_t initial_id = 0;  // the id the hardware gives; the board sets it, and reset keeps it
    uint32_t apic_id = 0;     // the present one: 8 writable bits in xAPIC mode
    uint32_t ldr = 0;         // xAPIC's; x2APIC derives its own from the id
    uint32_t dfr = 0;
    uint32_t svr = 0;
    uint32_t initial_count = 0;
    std::array<Outgoing, kQueued> queue{};  // the oldest first; zero beyond `queued`
    uint8_t queued = 0;
    uint8_t tpr = 0;
    uint8_t divide = 0;       // the divide configuration register
    uint8_t esr = 0;          // as software reads it
    uint8_t esr_new = 0;      // errors since software last wrote ESR
    uint8_t lint_levels = 0;  // bit n: LINTn is asserted
    uint8_t startup_vector = 0;
    bool startup_pending = false;
    bool nmi_pending = false;
    bool init_pending = false;
    bool ext_int_pending = false;  // an ExtINT message came, and no acknowledge since
    uint8_t reserved = 0;
    static constexpr auto fields() {
      return std::tuple{field("now_ns", &State::now_ns).unit("ns"),
                        field("base", &State::base).range(0, (uint64_t{1} << kPhysicalAddressBits) - 1),
                        field("icr", &State::icr),
                        field("timer_expiry_ns", &State::timer_expiry_ns).unit("ns"),
                        field("deadline", &State::deadline).unit("ns"),
                        field("tsc_offset_ns", &State::tsc_offset_ns).unit("ns"),
                        field("irr", &State::irr),
                        field("isr", &State::isr),
                        field("tmr", &State::tmr),
                        field("lvt", &State::lvt).range(0, 0x7ffff),
                        field("initial_id", &State::initial_id),
                        field("apic_id", &State::apic_id),
                        field("ldr", &State::ldr),
                        field("dfr", &State::dfr).range(0x0fffffff, 0xffffffff),
                        field("svr", &State::svr).range(0, 0x13ff),
                        field("initial_count", &State::initial_count),
                        field("queue", &State::queue),
                        field("queued", &State::queued).range(0, kQueued),
                        field("tpr", &State::tpr),
                        field("divide", &State::divide).range(0, 0xb),
                        field("esr", &State::esr).range(0, 0xe0),
                        field("esr_new", &State::esr_new).range(0, 0xe0),
                        field("lint_levels", &State::lint_levels).range(0, 3),
                        field("startup_vector", &State::startup_vector),
                        field("startup_pending", &State::startup_pending),
                        field("nmi_pending", &State::nmi_pending),
                        field("init_pending", &State::init_pending),
                        field("ext_int_pending", &State::ext_int_pending),
                        field("reserved", &State::reserved).range(0, 0)};
    }
  };

  enum Input : unsigned { kLint0, kLint1 };  // the 8259 pair's INTR, and NMI
  // kIntr: acknowledge() would return a vector or kAckFromPic.
  enum Line : uint64_t { kIntr = 1 << 0, kNmi = 1 << 1, kInit = 1 << 2, kStartup = 1 << 3 };
  static constexpr int kAckNothing = -1, kAckFromPic = -2;

  static const char* invalid(const State&);
  static DeviceModel model();      // vlapic_model.cc
  static void reset(State&);       // power-on; keeps initial_id
  static void init_reset(State&);  // what INIT does: keeps ids, base, time, inputs, a later STARTUP and messages
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos now, unsigned input, bool level);
  static bool pop_message(State&, BusMessage&);

  static bool msr_read(State&, Nanos now, uint32_t index, uint64_t& value);
  static bool msr_write(State&, Nanos now, uint32_t index, uint64_t value);
  static uint64_t cr8(const State&);
  static void set_cr8(State&, Nanos now, uint64_t value);
  static void set_tsc_offset(State&, Nanos now, int64_t offset_ns);
  static bool window_open(const State&);  // whether memory accesses at the base address reach this APIC
  static uint64_t window(const State& s) { return s.base & ~uint64_t{0xfff}; }

  // Whether a message is for this APIC; `is_sender`: this APIC sent it.
  static bool matches(const State&, const BusMessage&, bool is_sender);
  // Ranks the takers of a lowest-priority message, the lowest first: the processor's priority (11.6.2.4), those that
  // are software-disabled last.
  static unsigned arbitration(const State&);
  // Takes a message that matches; false if this APIC does not take such a one now.
  static bool accept(State&, Nanos now, const BusMessage&);
  // The processor's INTA: the vector now in service; kAckFromPic if the 8259 pair is to be asked; the spurious vector
  // if the task priority holds all requests back; kAckNothing if there are none.
  static int acknowledge(State&, Nanos now);
  static bool take_nmi(State&);
  static bool take_init(State&);
  static bool take_startup(State&, uint8_t& vector);
};

}  // namespace dejavm
