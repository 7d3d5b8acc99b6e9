#include "devices/core/script.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "devices/core/split_mix.h"

namespace dejavm {
namespace {

constexpr uint64_t kMaxNow = uint64_t{1} << 62;  // 146 years

uint64_t pack(const BusMessage& m) {
  return uint64_t{m.vector} | static_cast<uint64_t>(m.delivery) << 8 | uint64_t{m.logical} << 11 |
         uint64_t{m.level} << 12 | uint64_t{m.assert_level} << 13 | static_cast<uint64_t>(m.shorthand) << 14 |
         static_cast<uint64_t>(m.kind) << 16 | uint64_t{m.destination} << 32;
}

std::string hex(uint64_t v) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

std::optional<uint64_t> number(std::string_view word) {
  const bool is_hex = word.size() > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
  const uint64_t base = is_hex ? 16 : 10;
  if (is_hex) word.remove_prefix(2);
  if (word.empty()) return std::nullopt;
  uint64_t v = 0;
  for (const char c : word) {
    const int lower = c | 0x20;
    const uint64_t digit = c >= '0' && c <= '9'           ? static_cast<uint64_t>(c - '0')
                           : lower >= 'a' && lower <= 'f' ? static_cast<uint64_t>(lower - 'a' + 10)
                                                          : 99;
    if (digit >= base || v > (~uint64_t{0} - digit) / base) return std::nullopt;
    v = v * base + digit;
  }
  return v;
}

// The memory that scripts and tests have for bus masters: its first GiB can be read, and holds numbers that look
// random; what is written to it is seen in the answer and forgotten.
constexpr uint64_t kMadeUpBytes = 1 << 30;

uint8_t made_up_byte(const DeviceModel& m, uint64_t address) {
  const uint64_t at = address - DeviceModel::kDriverMemory;
  if (at < m.driver_memory.size()) return m.driver_memory[at];
  return static_cast<uint8_t>(SplitMix64::output(address / 8, 0) >> (8 * (address % 8)));
}

uint64_t hash_of(const Transfer& t, bool ok) {
  uint64_t hash =
      SplitMix64::output(t.address ^ uint64_t{t.len_bytes} << 32, static_cast<uint64_t>(t.kind) * 2 + (ok ? 1 : 0));
  hash = t.kind < Transfer::Kind::kFromDisk ? hash : SplitMix64::output(hash ^ t.disk_offset, t.disk_bytes);
  for (const uint8_t byte : t.bytes) hash = SplitMix64::output(hash ^ byte, 0);
  return hash;
}

uint64_t carry_out(const DeviceModel& m, void* s, Nanos now, bool willing) {
  Transfer t;
  if (!m.next_transfer || !m.next_transfer(s, t)) return 1;
  const bool is_in_memory = t.kind < Transfer::Kind::kZeroDisk;
  CHECK(t.len_bytes <= kMaxTransferBytes && (t.len_bytes >= 1) == is_in_memory);
  CHECK(t.bytes.size() == (t.kind == Transfer::Kind::kWrite ? t.len_bytes : 0));
  const bool ok = willing && t.address < kMadeUpBytes && kMadeUpBytes - t.address >= t.len_bytes;
  const uint64_t hash = hash_of(t, ok);
  std::array<uint8_t, kMaxTransferBytes> bytes{};
  const bool is_read = t.kind == Transfer::Kind::kRead;
  for (uint32_t i = 0; ok && is_read && i < t.len_bytes; ++i) bytes[i] = made_up_byte(m, t.address + i);
  // A disk is as willing as memory, and what is compared with it is equal or not, by chance.
  const bool is_compared = t.kind == Transfer::Kind::kCompareDisk;
  bytes[0] = is_compared ? made_up_byte(m, t.disk_offset) & 1 : bytes[0];
  m.transferred(s, now, ok, std::span(bytes).first(!ok ? 0 : is_read ? t.len_bytes : is_compared ? 1 : 0));
  return hash;
}

}  // namespace

DeviceAnswer perform(const DeviceModel& m, void* s, Nanos& now, const DeviceOp& op) {
  DeviceAnswer a;
  const unsigned size = (op.size - 1u) % 8 + 1;
  switch (op.kind) {
    case DeviceOp::Kind::kRead: a.value = m.read(s, now, op.a, size); break;
    case DeviceOp::Kind::kWrite:
      m.write(s, now, op.a, size, size == 8 ? op.b : op.b & ((uint64_t{1} << (8 * size)) - 1));
      break;
    case DeviceOp::Kind::kLine:
      if (m.inputs) m.set_line(s, now, op.index % m.inputs, op.a & 1);
      break;
    case DeviceOp::Kind::kWait:
      now = {std::min(now.value + std::min(op.a, kMaxNow), kMaxNow)};
      m.advance(s, now);
      break;
    case DeviceOp::Kind::kReset:
      m.reset(s);
      m.advance(s, now);
      break;
    case DeviceOp::Kind::kMessage: {
      BusMessage message;
      a.value = m.pop_message && m.pop_message(s, message) ? pack(message) : 1;
      break;
    }
    case DeviceOp::Kind::kTransfer: a.value = carry_out(m, s, now, op.a & 1); break;
    case DeviceOp::Kind::kCall:
      if (!m.calls.empty()) a.value = m.calls[op.index % m.calls.size()].call(s, now, op.a, op.b);
      break;
  }
  a.lines = m.lines(s);
  a.next_event = m.next_event(s);
  return a;
}

std::string print(const DeviceModel& m, const DeviceOp& op) {
  const unsigned size = (op.size - 1u) % 8 + 1;
  switch (op.kind) {
    case DeviceOp::Kind::kRead: return "read " + hex(op.a) + " " + std::to_string(size);
    case DeviceOp::Kind::kWrite: return "write " + hex(op.a) + " " + std::to_string(size) + " " + hex(op.b);
    case DeviceOp::Kind::kLine:
      return "line " + std::to_string(m.inputs ? op.index % m.inputs : 0) + " " + std::to_string(op.a & 1);
    case DeviceOp::Kind::kWait: return "wait " + std::to_string(op.a);
    case DeviceOp::Kind::kReset: return "reset";
    case DeviceOp::Kind::kMessage: return "message";
    case DeviceOp::Kind::kTransfer: return "transfer " + std::to_string(op.a & 1);
    case DeviceOp::Kind::kCall: break;
  }
  if (m.calls.empty()) return "wait 0";
  const DeviceCall& c = m.calls[op.index % m.calls.size()];
  return std::string(c.name) + (c.arguments > 0 ? " " + hex(op.a) : "") + (c.arguments > 1 ? " " + hex(op.b) : "");
}

std::string print(const DeviceModel& m, const std::vector<DeviceOp>& ops) {
  std::string out;
  for (const DeviceOp& op : ops) out += print(m, op) + "\n";
  return out;
}

namespace {

// A line of a script: what is to be done, and the numbers after it.
struct Line {
  unsigned number = 0;  // in the script, from 1
  std::string_view what{};
  std::vector<uint64_t> n{};

  Error bad(const std::string& why) const {
    return Error{ErrorKind::kBadInput, "line " + std::to_string(number) + ": " + why};
  }
  Result<void> takes(size_t count) const {
    if (n.size() == count) return {};
    return bad(std::string(what) + " takes " + std::to_string(count) + " numbers, not " + std::to_string(n.size()));
  }
};

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t at = 0; (at = text.find_first_not_of(" \t\r", at)) != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(" \t\r", at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

Result<DeviceOp> parse_access(const Line& line) {
  const bool is_write = line.what == "write";
  if (auto done = line.takes(is_write ? 3 : 2); !done) return done.error();
  const uint64_t size = line.n[1];
  if (size < 1 || size > 8) return line.bad("a size of " + std::to_string(size) + "; there are 1 to 8");
  if (is_write) return write_op(line.n[0], static_cast<uint8_t>(size), line.n[2]);
  return read_op(line.n[0], static_cast<uint8_t>(size));
}

Result<DeviceOp> parse_line(const DeviceModel& m, const Line& line) {
  if (auto done = line.takes(2); !done) return done.error();
  const uint64_t input = line.n[0];
  if (input >= m.inputs)
    return line.bad("input " + std::to_string(input) + "; " + std::string(m.name()) + " has " +
                    std::to_string(m.inputs));
  return line_op(static_cast<uint16_t>(input), line.n[1] & 1);
}

Result<DeviceOp> parse_call(const DeviceModel& m, const Line& line) {
  const auto call =
      std::find_if(m.calls.begin(), m.calls.end(), [&](const DeviceCall& x) { return x.name == line.what; });
  if (call == m.calls.end())
    return line.bad("'" + std::string(line.what) + "' is nothing that " + std::string(m.name()) + " can be asked");
  if (auto done = line.takes(call->arguments); !done) return done.error();
  const auto argument = [&](size_t which) { return line.n.size() > which ? line.n[which] : 0; };
  return call_op(static_cast<uint16_t>(call - m.calls.begin()), argument(0), argument(1));
}

Result<DeviceOp> parse_operation(const DeviceModel& m, const Line& line) {
  if (line.what == "read" || line.what == "write") return parse_access(line);
  if (line.what == "line") return parse_line(m, line);
  if (line.what == "wait" || line.what == "transfer") {
    if (auto done = line.takes(1); !done) return done.error();
    return line.what == "wait" ? wait_op(line.n[0]) : transfer_op(line.n[0] & 1);
  }
  if (line.what == "reset" || line.what == "message") {
    if (auto done = line.takes(0); !done) return done.error();
    return DeviceOp{.kind = line.what == "reset" ? DeviceOp::Kind::kReset : DeviceOp::Kind::kMessage};
  }
  return parse_call(m, line);
}

}  // namespace

Result<std::vector<DeviceOp>> parse_script(const DeviceModel& m, std::string_view text) {
  std::vector<DeviceOp> out;
  for (unsigned number_of_line = 1; !text.empty(); ++number_of_line) {
    const std::string_view rest = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(rest.size() + 1, text.size()));
    const auto words = words_of(rest.substr(0, rest.find('#')));
    if (words.empty()) continue;
    Line line{number_of_line, words[0]};
    for (size_t i = 1; i < words.size(); ++i) {
      const auto v = number(words[i]);
      if (!v) return line.bad("'" + std::string(words[i]) + "' is no number");
      line.n.push_back(*v);
    }
    auto op = parse_operation(m, line);
    if (!op) return op.error();
    out.push_back(*op);
  }
  return out;
}

}  // namespace dejavm
