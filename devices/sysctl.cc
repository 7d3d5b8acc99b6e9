#include "devices/sysctl.h"

#include "devices/core/register_bits.h"

namespace dejavm {
namespace {

using namespace register_bits;

enum SysctlPort : uint64_t {
  kPost = 0x80,
  kPort92 = 0x92,
  kConsole = 0xe9,
  kDebugExitPort = 0xf4,
  kConsole2 = 0x402,
  kResetControl = 0xcf9,
};
enum class Port92 : uint8_t { kFastReset = 0x01, kBits = 0x03 };
enum class ResetControl : uint8_t { kRstCpu = 0x04, kBits = 0x0e };
constexpr uint8_t kConsolePresent = 0xe9;

// Stores `value` and asks for a reset if `bit` rises.
void store(Sysctl::State& s, uint8_t& reg, uint8_t value, uint8_t bit) {
  if (value & ~reg & bit) s.reset_requested = true;
  reg = value;
}

}  // namespace

const char* Sysctl::invalid(const State& s) {
  if (s.reset_control & ~ResetControl::kBits) return "the reset control register has a bit that is always zero";
  return nullptr;
}

void Sysctl::reset(State& s) {
  const bool enabled = s.debug_exit_enabled, no_firmware_debug = s.no_firmware_debug;
  s = State{};
  s.debug_exit_enabled = enabled;
  s.no_firmware_debug = no_firmware_debug;
}

uint64_t Sysctl::read(State& s, Nanos, uint64_t offset, unsigned size) {
  uint8_t low = 0xff;
  switch (offset) {
    case kPost: low = s.post_code; break;
    case kPort92: low = s.port92; break;
    case kConsole: low = kConsolePresent; break;
    case kConsole2: low = s.no_firmware_debug ? low : kConsolePresent; break;
    case kResetControl: low = s.reset_control; break;
    default: break;
  }
  return (open_bus(size) & ~uint64_t{0xff}) | low;
}

void Sysctl::write(State& s, Nanos, uint64_t offset, unsigned, uint64_t value) {
  const auto low = static_cast<uint8_t>(value);
  switch (offset) {
    case kPost: s.post_code = low; break;
    case kPort92: store(s, s.port92, low & Port92::kBits, number(Port92::kFastReset)); break;
    case kConsole:
    case kConsole2:
      if (offset == kConsole2 && s.no_firmware_debug) break;
      s.pending = low;
      s.has_pending = true;
      break;
    case kResetControl: store(s, s.reset_control, low & ResetControl::kBits, number(ResetControl::kRstCpu)); break;
    case kDebugExitPort:
      if (!s.debug_exit_enabled || s.debug_exit) break;  // the first write is what ends the machine
      s.debug_exit = true;
      s.debug_exit_value = low;
      break;
    default: break;
  }
}

uint64_t Sysctl::lines(const State& s) {
  return (s.reset_requested ? uint64_t{kReset} : 0) | (s.debug_exit ? uint64_t{kDebugExit} : 0);
}

bool Sysctl::pop_debug(State& s, uint8_t& byte) {
  if (!s.has_pending) return false;
  byte = s.pending;
  s.pending = 0;
  s.has_pending = false;
  return true;
}

}  // namespace dejavm
