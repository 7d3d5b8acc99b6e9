#include "devices/uart16550.h"

#include <algorithm>

namespace dejavm {
namespace {

using State = Uart16550::State;

enum Register : uint8_t { kData, kIer, kIirFcr, kLcr, kMcr, kLsr, kMsr, kScr, kRegisters };
enum Ier : uint8_t { kIerRx = 1, kIerThre = 2, kIerLineStatus = 4, kIerModemStatus = 8 };
enum Iir : uint8_t { kIirModem = 0x0, kIirNone = 0x1, kIirThre = 0x2, kIirRx = 0x4, kIirLine = 0x6, kIirTimeout = 0xc,
                     kIirFifos = 0xc0 };
enum Fcr : uint8_t { kFcrEnable = 1, kFcrResetRx = 2, kFcrResetTx = 4 };
enum Lcr : uint8_t { kLcrDlab = 0x80 };
enum Mcr : uint8_t { kMcrDtr = 1, kMcrRts = 2, kMcrOut1 = 4, kMcrOut2 = 8, kMcrLoop = 0x10 };
enum Lsr : uint8_t { kLsrDataReady = 1, kLsrThre = 0x20, kLsrTemt = 0x40 };
enum Msr : uint8_t { kMsrTeri = 4, kMsrCts = 0x10, kMsrDsr = 0x20, kMsrRi = 0x40, kMsrDcd = 0x80 };

uint8_t capacity(const State& s) { return s.fcr & kFcrEnable ? Uart16550::kFifoBytes : 1; }

uint8_t trigger_level(const State& s) {
  constexpr uint8_t kLevels[] = {1, 4, 8, 14};  // 8.5
  return s.fcr & kFcrEnable ? kLevels[s.fcr >> 6] : 1;
}

// The inputs that MSR shows in bits 4-7: the far end's, or our own outputs in loopback (8.6.4).
uint8_t modem_inputs(uint8_t mcr) {
  if (!(mcr & kMcrLoop)) return kMsrCts | kMsrDsr | kMsrDcd;
  uint8_t in = 0;
  if (mcr & kMcrRts) in |= kMsrCts;
  if (mcr & kMcrDtr) in |= kMsrDsr;
  if (mcr & kMcrOut1) in |= kMsrRi;
  if (mcr & kMcrOut2) in |= kMsrDcd;
  return in;
}

void write_mcr(State& s, uint8_t value) {
  const uint8_t before = modem_inputs(s.mcr);
  s.mcr = value & Uart16550::kMcrMask;
  const uint8_t after = modem_inputs(s.mcr);
  uint8_t deltas = static_cast<uint8_t>((before ^ after) >> 4);
  if (after & kMsrRi) deltas &= static_cast<uint8_t>(~kMsrTeri);  // RI counts at its trailing edge only
  s.msr_deltas |= deltas;
}

void clear_rx(State& s) {
  s.rx.fill(0);
  s.rx_len = 0;
}

void write_fcr(State& s, uint8_t value) {
  const bool enable = value & kFcrEnable;
  const bool toggled = enable != ((s.fcr & kFcrEnable) != 0);
  if (toggled || (enable && (value & kFcrResetRx))) clear_rx(s);
  // The transmitter is always empty, so resetting it changes nothing. The other bits need bit 0 (8.5).
  s.fcr = enable ? value & Uart16550::kFcrMask : 0;
}

void write_ier(State& s, uint8_t value) {
  const uint8_t risen = static_cast<uint8_t>(value & ~s.ier);
  s.ier = value & Uart16550::kIerMask;
  if (risen & kIerThre) s.thre_pending = true;  // THR is empty at that moment
  if (!(s.ier & kIerThre)) s.thre_pending = false;
}

void transmit(State& s, uint8_t byte) {
  if (s.mcr & kMcrLoop) {
    if (s.rx_len < capacity(s)) {
      s.rx[s.rx_len++] = byte;
    } else {
      s.lsr_errors |= Uart16550::kOverrun;
      if (!(s.fcr & kFcrEnable)) s.rx[0] = byte;  // RBR is overwritten; a full FIFO keeps what it has (8.4)
    }
  } else if (s.tx_len < s.tx.size()) {
    s.tx[s.tx_len++] = byte;
  }
  if (s.ier & kIerThre) s.thre_pending = true;
}

uint8_t pop_front(std::array<uint8_t, Uart16550::kFifoBytes>& bytes, uint8_t& len) {
  const uint8_t byte = bytes[0];
  std::copy(bytes.begin() + 1, bytes.end(), bytes.begin());
  bytes.back() = 0;
  --len;
  return byte;
}

// Table II of the data sheet: the pending interrupt of the highest priority.
uint8_t interrupt_id(const State& s) {
  if ((s.ier & kIerLineStatus) && s.lsr_errors) return kIirLine;
  if ((s.ier & kIerRx) && s.rx_len >= trigger_level(s)) return kIirRx;
  if ((s.ier & kIerRx) && s.rx_len > 0) return kIirTimeout;
  if (s.thre_pending) return kIirThre;
  if ((s.ier & kIerModemStatus) && s.msr_deltas) return kIirModem;
  return kIirNone;
}

uint8_t read_register(State& s, unsigned reg) {
  const bool dlab = s.lcr & kLcrDlab;
  switch (static_cast<Register>(reg)) {
    case kData:
      if (dlab) return s.dll;
      return s.rx_len ? pop_front(s.rx, s.rx_len) : 0;
    case kIer: return dlab ? s.dlm : s.ier;
    case kIirFcr: {
      const uint8_t id = interrupt_id(s);
      if (id == kIirThre) s.thre_pending = false;
      return id | (s.fcr & kFcrEnable ? kIirFifos : 0);
    }
    case kLcr: return s.lcr;
    case kMcr: return s.mcr;
    case kLsr: {
      const uint8_t lsr = static_cast<uint8_t>(kLsrThre | kLsrTemt | s.lsr_errors | (s.rx_len ? kLsrDataReady : 0));
      s.lsr_errors = 0;
      return lsr;
    }
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
  const bool dlab = s.lcr & kLcrDlab;
  switch (static_cast<Register>(reg)) {
    case kData: return dlab ? void(s.dll = value) : transmit(s, value);
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

bool zero_past(const std::array<uint8_t, Uart16550::kFifoBytes>& bytes, uint8_t len) {
  return std::all_of(bytes.begin() + len, bytes.end(), [](uint8_t b) { return b == 0; });
}

}  // namespace

const char* Uart16550::invalid(const State& s) {
  if (s.rx_len > capacity(s)) return "more received bytes than the receiver holds";
  if (!zero_past(s.rx, s.rx_len) || !zero_past(s.tx, s.tx_len)) return "bytes past the end of a FIFO are not zero";
  if (s.thre_pending && !(s.ier & kIerThre)) return "a THRE interrupt is pending but not enabled";
  if (s.fcr & ~kFcrMask) return "FCR holds bits that are not stored";
  if (!(s.fcr & kFcrEnable) && s.fcr) return "FCR is not zero although the FIFOs are off";
  if (s.lsr_errors & ~kOverrun) return "LSR holds an error that cannot happen";
  return nullptr;
}

void Uart16550::reset(State& s) { s = State{}; }

uint64_t Uart16550::read(State& s, Nanos, uint64_t offset, unsigned size) {
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const uint64_t reg = offset + i;
    value |= uint64_t{reg < kRegisters ? read_register(s, static_cast<unsigned>(reg)) : uint8_t{0xff}} << (8 * i);
  }
  return value;
}

void Uart16550::write(State& s, Nanos, uint64_t offset, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < size; ++i) {
    const uint64_t reg = offset + i;
    if (reg < kRegisters) write_register(s, static_cast<unsigned>(reg), static_cast<uint8_t>(value >> (8 * i)));
  }
}

uint64_t Uart16550::lines(const State& s) {
  return (s.mcr & kMcrOut2) && interrupt_id(s) != kIirNone ? uint64_t{kIrq} : 0;
}

bool Uart16550::receive(State& s, Nanos, uint8_t byte) {
  if ((s.mcr & kMcrLoop) || s.rx_len >= capacity(s)) return false;
  s.rx[s.rx_len++] = byte;
  return true;
}

bool Uart16550::pop_transmitted(State& s, uint8_t& byte) {
  if (!s.tx_len) return false;
  byte = pop_front(s.tx, s.tx_len);
  return true;
}

}  // namespace dejavm
