#include "devices/uart16550.h"

#include <algorithm>

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

using State = Uart16550::State;

// Twelve bits at a divisor of 65535.
constexpr uint64_t kLongestCharacterNs = mul_div_ceil(uint64_t{12} * 16 * 65535, 1'000'000'000, 1843200);

enum Register : uint8_t { kData, kIer, kIirFcr, kLcr, kMcr, kLsr, kMsr, kScr, kRegisters };
enum class Ier : uint8_t { kRx = 1, kThre = 2, kLineStatus = 4, kModemStatus = 8 };
enum class Iir : uint8_t {
  kModem = 0x0,
  kNone = 0x1,
  kThre = 0x2,
  kRx = 0x4,
  kLine = 0x6,
  kTimeout = 0xc,
  kFifos = 0xc0
};
enum class Fcr : uint8_t { kEnable = 1, kResetRx = 2, kResetTx = 4 };
enum class Lcr : uint8_t { kStop = 4, kParity = 8, kDlab = 0x80 };
enum class Mcr : uint8_t { kDtr = 1, kRts = 2, kOut1 = 4, kOut2 = 8, kLoop = 0x10 };
enum class Lsr : uint8_t { kDataReady = 1, kThre = 0x20, kTemt = 0x40 };
enum class Msr : uint8_t { kTeri = 4, kCts = 0x10, kDsr = 0x20, kRi = 0x40, kDcd = 0x80 };

uint8_t capacity(const State& s) { return s.fcr & Fcr::kEnable ? Uart16550::kFifoBytes : 1; }

uint8_t trigger_level(const State& s) {
  constexpr uint8_t kLevels[] = {1, 4, 8, 14};  // 8.4
  return s.fcr & Fcr::kEnable ? kLevels[s.fcr >> 6] : 1;
}

// The time that a character takes: two half bits for the start bit, 5 to 8 data bits, parity, and 1, 1.5 or 2 stop
// bits.
uint64_t character_ns(const State& s) {
  constexpr uint64_t kClockHz = 1843200, kClocksPerHalfBit = 8;
  const unsigned data = 5 + (s.lcr & 3u);
  const unsigned half_stop_bits = !(s.lcr & Lcr::kStop) ? 2 : data == 5 ? 3 : 4;
  const unsigned half_bits = 2 + 2 * data + (s.lcr & Lcr::kParity ? 2u : 0u) + half_stop_bits;
  const uint64_t divisor = std::max<uint64_t>(1, s.dll | uint64_t{s.dlm} << 8);
  return mul_div_ceil(half_bits * kClocksPerHalfBit * divisor, 1'000'000'000, kClockHz);
}

// 8.10: four character times since the FIFO was last touched.
void restart_timeout(State& s, uint64_t now_ns) {
  const bool runs = s.timed && (s.fcr & Fcr::kEnable) && s.rx_len > 0;
  s.timeout_at_ns = runs ? now_ns + 4 * character_ns(s) : kNever.value;
}

// A timeout that is indicated stays so until a byte is read.
void receive_byte(State& s, uint64_t now_ns, uint8_t byte) {
  const bool indicated = s.rx_len > 0 && s.timeout_at_ns == kNever.value;
  s.rx[s.rx_len++] = byte;
  if (!indicated) restart_timeout(s, now_ns);
}

// The inputs that MSR shows in bits 4-7: the far end's, or our own outputs in loopback (8.7).
uint8_t modem_inputs(uint8_t mcr) {
  if (!(mcr & Mcr::kLoop)) return number(Msr::kCts | Msr::kDsr | Msr::kDcd);
  uint8_t in = 0;
  if (mcr & Mcr::kRts) in |= Msr::kCts;
  if (mcr & Mcr::kDtr) in |= Msr::kDsr;
  if (mcr & Mcr::kOut1) in |= Msr::kRi;
  if (mcr & Mcr::kOut2) in |= Msr::kDcd;
  return in;
}

void write_mcr(State& s, uint8_t value) {
  const uint8_t before = modem_inputs(s.mcr);
  s.mcr = value & Uart16550::kMcrMask;
  const uint8_t after = modem_inputs(s.mcr);
  uint8_t deltas = static_cast<uint8_t>((before ^ after) >> 4);
  if (after & Msr::kRi) deltas &= static_cast<uint8_t>(~Msr::kTeri);  // RI counts at its trailing edge only
  s.msr_deltas |= deltas;
}

using Fifo = std::array<uint8_t, Uart16550::kFifoBytes>;

void clear(Fifo& bytes, uint8_t& len) {
  bytes.fill(0);
  len = 0;
}

void transmitter_emptied(State& s) {
  if (s.ier & Ier::kThre) s.thre_pending = true;
}

void write_fcr(State& s, uint8_t value) {
  const bool enable = value & Fcr::kEnable;
  const bool toggled = enable != ((s.fcr & Fcr::kEnable) != 0);
  if (toggled || (enable && (value & Fcr::kResetRx))) {
    clear(s.rx, s.rx_len);
    s.timeout_at_ns = kNever.value;
  }
  if ((toggled || (enable && (value & Fcr::kResetTx))) && s.thr_len) {  // the shift register goes on (8.4)
    clear(s.thr, s.thr_len);
    transmitter_emptied(s);
  }
  s.fcr = enable ? value & Uart16550::kFcrMask : 0;  // the other bits need bit 0
}

void write_ier(State& s, uint8_t value) {
  const uint8_t risen = static_cast<uint8_t>(value & ~s.ier);
  s.ier = value & Uart16550::kIerMask;
  if ((risen & Ier::kThre) && !s.thr_len) s.thre_pending = true;
  if (!(s.ier & Ier::kThre)) s.thre_pending = false;
}

// A character has left the transmitter.
void sent(State& s, uint64_t now_ns, uint8_t byte) {
  if (s.mcr & Mcr::kLoop) {
    if (s.rx_len < capacity(s)) {
      receive_byte(s, now_ns, byte);
    } else {
      s.lsr_errors |= Uart16550::kOverrun;
      if (!(s.fcr & Fcr::kEnable)) s.rx[0] = byte;  // RBR is overwritten; a full FIFO keeps what it has (8.3)
    }
  } else if (s.tx_len < s.tx.size()) {
    s.tx[s.tx_len++] = byte;
  }
}

void start_shifting(State& s, uint64_t now_ns, uint8_t byte) {
  s.shift = byte;
  s.shift_end_ns = now_ns + character_ns(s);
}

void write_thr(State& s, uint8_t byte) {
  if (!s.timed) {
    sent(s, s.now_ns, byte);
    return transmitter_emptied(s);
  }
  s.thre_pending = false;
  if (s.shift_end_ns == 0) {
    start_shifting(s, s.now_ns, byte);
    transmitter_emptied(s);
  } else if (s.thr_len < capacity(s)) {
    s.thr[s.thr_len++] = byte;
  } else if (!(s.fcr & Fcr::kEnable)) {
    s.thr[0] = byte;
  }
}

uint8_t pop_front(Fifo& bytes, uint8_t& len) {
  const uint8_t byte = bytes[0];
  std::copy(bytes.begin() + 1, bytes.end(), bytes.begin());
  bytes.back() = 0;
  --len;
  return byte;
}

// Table II of the data sheet: the pending interrupt of the highest priority.
Iir interrupt_id(const State& s) {
  if ((s.ier & Ier::kLineStatus) && s.lsr_errors) return Iir::kLine;
  if ((s.ier & Ier::kRx) && s.rx_len >= trigger_level(s)) return Iir::kRx;
  if ((s.ier & Ier::kRx) && s.rx_len > 0 && (!s.timed || s.timeout_at_ns == kNever.value)) return Iir::kTimeout;
  if (s.thre_pending) return Iir::kThre;
  if ((s.ier & Ier::kModemStatus) && s.msr_deltas) return Iir::kModem;
  return Iir::kNone;
}

// At the end of a character the next one starts.
void end_shifting(State& s) {
  const uint64_t end = s.shift_end_ns;
  const uint8_t byte = s.shift;
  s.shift = 0;
  s.shift_end_ns = 0;
  sent(s, end, byte);
  if (!s.thr_len) return;
  start_shifting(s, end, pop_front(s.thr, s.thr_len));
  if (!s.thr_len) transmitter_emptied(s);
}

uint8_t read_rbr(State& s) {
  if (!s.rx_len) return 0;
  const uint8_t byte = pop_front(s.rx, s.rx_len);
  restart_timeout(s, s.now_ns);
  return byte;
}

uint8_t line_status(State& s) {
  uint8_t lsr = s.lsr_errors;
  if (s.rx_len) lsr |= Lsr::kDataReady;
  if (!s.thr_len) lsr |= Lsr::kThre;
  if (!s.thr_len && s.shift_end_ns == 0) lsr |= Lsr::kTemt;
  s.lsr_errors = 0;
  return lsr;
}

uint8_t read_register(State& s, unsigned reg) {
  const bool dlab = s.lcr & Lcr::kDlab;
  switch (static_cast<Register>(reg)) {
    case kData: return dlab ? s.dll : read_rbr(s);
    case kIer: return dlab ? s.dlm : s.ier;
    case kIirFcr: {
      const Iir id = interrupt_id(s);
      if (id == Iir::kThre) s.thre_pending = false;
      return id | bits_if(s.fcr & Fcr::kEnable, Iir::kFifos);
    }
    case kLcr: return s.lcr;
    case kMcr: return s.mcr;
    case kLsr: return line_status(s);
    case kMsr: {
      const uint8_t msr = modem_inputs(s.mcr) | s.msr_deltas;
      s.msr_deltas = 0;
      return msr;
    }
    case kScr: return s.scr;
    case kRegisters: break;
  }
  return 0xff;
}

void write_register(State& s, unsigned reg, uint8_t value) {
  const bool dlab = s.lcr & Lcr::kDlab;
  switch (static_cast<Register>(reg)) {
    case kData: return dlab ? void(s.dll = value) : write_thr(s, value);
    case kIer: return dlab ? void(s.dlm = value) : write_ier(s, value);
    case kIirFcr: return write_fcr(s, value);
    case kLcr: s.lcr = value; return;
    case kMcr: return write_mcr(s, value);
    case kLsr:
    case kMsr: return;
    case kScr: s.scr = value; return;
    case kRegisters: return;
  }
}

bool zero_past(const Fifo& bytes, uint8_t len) {
  return std::all_of(bytes.begin() + len, bytes.end(), [](uint8_t b) { return b == 0; });
}

}  // namespace

const char* Uart16550::invalid(const State& s) {
  if (s.rx_len > capacity(s)) return "more received bytes than the receiver holds";
  if (!zero_past(s.rx, s.rx_len) || !zero_past(s.tx, s.tx_len) || !zero_past(s.thr, s.thr_len))
    return "bytes past the end of a FIFO are not zero";
  if (s.thre_pending && !(s.ier & Ier::kThre)) return "a THRE interrupt is pending but not enabled";
  if (s.fcr & ~kFcrMask) return "FCR holds bits that are not stored";
  if (!(s.fcr & Fcr::kEnable) && s.fcr) return "FCR is not zero although the FIFOs are off";
  if (s.lsr_errors & ~kOverrun) return "LSR holds an error that cannot happen";
  const bool shifting = s.shift_end_ns != 0;
  if (!s.timed && (shifting || s.timeout_at_ns != kNever.value || s.rx_free_at_ns != 0))
    return "something is on its way although the line is instant";
  if (!shifting && (s.shift || s.thr_len)) return "a byte waits for a transmitter that is idle";
  if (s.thr_len > capacity(s)) return "more bytes to send than the transmitter holds";
  if (s.thre_pending && s.thr_len) return "a THRE interrupt is pending although THR is full";
  if ((shifting && s.shift_end_ns <= s.now_ns) || s.timeout_at_ns <= s.now_ns ||
      (s.rx_free_at_ns != 0 && s.rx_free_at_ns <= s.now_ns))
    return "an event lies in the past";
  if (shifting && s.shift_end_ns - s.now_ns > kLongestCharacterNs)
    return "a character takes longer than the slowest line's";
  if (s.rx_free_at_ns > s.now_ns + kLongestCharacterNs)
    return "the line is taken for longer than the slowest line's character";
  const bool clocked = s.timed && (s.fcr & Fcr::kEnable) && s.rx_len > 0;
  if (s.timeout_at_ns != kNever.value && !clocked) return "a character timeout without a character in the FIFO";
  return nullptr;
}

void Uart16550::reset(State& s) {
  const bool timed = s.timed;
  s = State{};
  s.timed = timed;
}

void Uart16550::advance(State& s, Nanos now) {
  for (uint64_t event = next_event(s).value; event <= now.value && event != kNever.value; event = next_event(s).value) {
    s.now_ns = event;
    if (s.shift_end_ns == event) end_shifting(s);
    if (s.timeout_at_ns == event) s.timeout_at_ns = kNever.value;
    if (s.rx_free_at_ns == event) s.rx_free_at_ns = 0;
  }
  s.now_ns = std::max(s.now_ns, now.value);
}

Nanos Uart16550::next_event(const State& s) {
  uint64_t first = s.timeout_at_ns;
  if (s.shift_end_ns) first = std::min(first, s.shift_end_ns);
  if (s.rx_free_at_ns) first = std::min(first, s.rx_free_at_ns);
  return {first};
}

uint64_t Uart16550::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const uint64_t reg = offset + i;
    value |= uint64_t{reg < kRegisters ? read_register(s, static_cast<unsigned>(reg)) : uint8_t{0xff}} << (8 * i);
  }
  return value;
}

void Uart16550::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  for (unsigned i = 0; i < size; ++i) {
    const uint64_t reg = offset + i;
    if (reg < kRegisters) write_register(s, static_cast<unsigned>(reg), static_cast<uint8_t>(value >> (8 * i)));
  }
}

uint64_t Uart16550::lines(const State& s) {
  return (s.mcr & Mcr::kOut2) && interrupt_id(s) != Iir::kNone ? uint64_t{kIrq} : 0;
}

bool Uart16550::receive(State& s, Nanos now, uint8_t byte) {
  advance(s, now);
  if ((s.mcr & Mcr::kLoop) || s.rx_len >= capacity(s) || s.rx_free_at_ns != 0) return false;
  receive_byte(s, s.now_ns, byte);
  if (s.timed) s.rx_free_at_ns = s.now_ns + character_ns(s);
  return true;
}

void Uart16550::set_timed(State& s, Nanos now, bool timed) {
  advance(s, now);
  if (timed == s.timed) return;
  while (s.shift_end_ns != 0) end_shifting(s);
  s.timed = timed;
  s.rx_free_at_ns = 0;
  restart_timeout(s, s.now_ns);
}

bool Uart16550::pop_transmitted(State& s, uint8_t& byte) {
  if (!s.tx_len) return false;
  byte = pop_front(s.tx, s.tx_len);
  return true;
}

}  // namespace dejavm
