// What the controller tells of itself: Identify (5.15) and log pages (5.14).
#include <algorithm>
#include <cstring>
#include <string_view>

#include "devices/nvme/parts.h"

namespace dejavm::nvme {
namespace {

// Into `data` at a place, little-endian.
void put(State& s, size_t at, uint64_t value, size_t bytes) {
  for (size_t n = 0; n < bytes; ++n) s.data[at + n] = static_cast<uint8_t>(value >> (8 * n));
}
// Text is filled up with spaces.
void put_text(State& s, size_t at, std::string_view text, size_t bytes) {
  for (size_t n = 0; n < bytes; ++n) s.data[at + n] = static_cast<uint8_t>(n < text.size() ? text[n] : ' ');
}

void identify_controller(State& s) {  // figure 247
  put(s, 0, Nvme::kPci.vendor, 2);
  put(s, 2, Nvme::kPci.subsystem_vendor, 2);
  std::copy(s.serial.begin(), s.serial.end(), s.data.begin() + 4);
  put_text(s, 24, "dejavm NVMe", 40);
  put_text(s, 64, "1", 8);
  put(s, 77, 7, 1);           // MDTS: 128 pages
  put(s, 80, 0x00010400, 4);  // version
  put(s, 111, 1, 1);          // an I/O controller
  put(s, 258, 3, 1);          // aborts at once
  put(s, 259, Nvme::kAsyncEvents - 1, 1);
  put(s, 260, 3, 1);  // one firmware slot, read only
  put(s, 261, 0, 1);  // no effects log, SMART of the whole controller
  put(s, 262, Nvme::kFailures - 1, 1);
  put(s, 266, 0x157, 2);  // warning and critical temperature, K
  put(s, 268, 0x175, 2);
  put(s, 512, 0x66, 1);  // sizes of queue entries: 64 and 16 bytes
  put(s, 513, 0x44, 1);
  put(s, 516, 1, 4);     // namespaces
  put(s, 520, 0x8d, 2);  // compare, dataset management, write zeroes, verify
  put(s, 525, 1, 1);     // a volatile write cache
  std::string_view serial(reinterpret_cast<const char*>(s.serial.data()), s.serial.size());
  serial = serial.substr(0, serial.find_last_not_of(std::string_view(" \0", 2)) + 1);
  std::string_view name = "nqn.2026-11.org.dejavm:nvme:";
  std::copy(name.begin(), name.end(), s.data.begin() + 768);
  std::copy(serial.begin(), serial.end(), s.data.begin() + 768 + static_cast<ptrdiff_t>(name.size()));
  put(s, 2048, 2500, 2);  // power state 0: 25 W
}

void identify_namespace(State& s) {  // figure 245
  put(s, 0, s.blocks, 8);
  put(s, 8, s.blocks, 8);
  put(s, 16, s.blocks, 8);
  put(s, 24, 1, 1);  // thin: blocks can be given back
  put(s, 25, 1, 1);  // two formats
  put(s, 26, s.block_shift == 12 ? 1 : 0, 1);
  put(s, 33, 9, 1);  // blocks given back read as zeros; Write Zeroes may give back
  put(s, 99, s.read_only ? 1 : 0, 1);
  put(s, 128, 9 << 16, 4);
  put(s, 132, 12 << 16, 4);
}

void put_uuid(State& s) {  // of the serial number, as version 8 of RFC 9562 has it
  put(s, 0, 0x03, 1);
  put(s, 1, 16, 1);
  std::copy_n(s.serial.begin(), 16, s.data.begin() + 4);
  s.data[10] = static_cast<uint8_t>((s.data[10] & 0x0f) | 0x80);
  s.data[12] = static_cast<uint8_t>((s.data[12] & 0x3f) | 0x80);
}

void smart_log(State& s) {  // figure 196; data units are thousands of 512 bytes
  const auto units = [&](uint64_t blocks) { return ((blocks << (s.block_shift - 9)) + 999) / 1000; };
  put(s, 1, 0x136, 2);  // 310 K
  put(s, 3, 100, 1);    // spare, and the least of it
  put(s, 4, 10, 1);
  put(s, 32, units(s.read_blocks), 8);
  put(s, 48, units(s.written_blocks), 8);
  put(s, 64, s.read_commands, 8);
  put(s, 80, s.write_commands, 8);
  put(s, 128, s.now_ns / 3'600'000'000'000, 8);  // hours
  put(s, 176, s.failures, 8);
}

void error_log(State& s) {  // figure 195
  for (size_t n = 0; n < s.failure.size(); ++n) {
    const Nvme::Failure& f = s.failure[n];
    put(s, 64 * n, f.number, 8);
    put(s, 64 * n + 8, f.queue, 2);
    put(s, 64 * n + 10, f.command, 2);
    put(s, 64 * n + 12, f.status, 2);
    put(s, 64 * n + 16, f.lba, 8);
    put(s, 64 * n + 24, f.number != 0 && f.queue != 0 ? 1 : 0, 4);
  }
}

}  // namespace

uint16_t identify(State& s) {
  const uint32_t ns = s.command[1];
  const bool is_all = ns == 0xffffffff;
  s.data = {};
  switch (s.command[10] & 0xff) {
    case 0x00:
      if (ns != 1 && !is_all) return kInvalidNamespace;
      identify_namespace(s);
      return kSuccess;
    case 0x01: identify_controller(s); return kSuccess;
    case 0x02:
      if (ns >= 0xfffffffe) return kInvalidNamespace;
      put(s, 0, ns == 0 ? 1 : 0, 4);
      return kSuccess;
    case 0x03:
      if (ns != 1) return kInvalidNamespace;
      put_uuid(s);
      return kSuccess;
    default: return kInvalidField;
  }
}

uint16_t log_page(State& s, uint64_t& bytes) {
  const uint64_t dwords = (s.command[10] >> 16 | uint64_t{s.command[11] & 0xffff} << 16) + 1;
  const uint64_t offset = s.command[12] | uint64_t{s.command[13]} << 32;
  s.data = {};
  switch (s.command[10] & 0xff) {
    case 0x01: error_log(s); break;
    case 0x02: smart_log(s); break;
    case 0x03:  // figure 197: slot 1 is active
      put(s, 0, 1, 1);
      put_text(s, 8, "1", 8);
      break;
    default: return kInvalidLogPage;
  }
  constexpr uint64_t kLogBytes = 512;
  if (offset % 4 != 0 || offset > kLogBytes) return kInvalidField;
  std::copy(s.data.begin() + static_cast<ptrdiff_t>(offset), s.data.end(), s.data.begin());
  std::fill(s.data.end() - static_cast<ptrdiff_t>(offset), s.data.end(), uint8_t{0});
  bytes = std::min<uint64_t>(dwords * 4, Nvme::kPage);
  return kSuccess;
}

}  // namespace dejavm::nvme
