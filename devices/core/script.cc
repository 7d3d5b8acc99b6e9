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

uint8_t made_up_byte(uint64_t address) {
  return static_cast<uint8_t>(SplitMix64::output(address / 8, 0) >> (8 * (address % 8)));
}

uint64_t hash_of(const Transfer& t, bool ok) {
  uint64_t hash =
      SplitMix64::output(t.address ^ uint64_t{t.len_bytes} << 32, static_cast<uint64_t>(t.kind) * 2 + (ok ? 1 : 0));
  for (const uint8_t byte : t.bytes) hash = SplitMix64::output(hash ^ byte, 0);
  return hash;
}

uint64_t carry_out(const DeviceModel& m, void* s, Nanos now, bool willing) {
  Transfer t;
  if (!m.next_transfer || !m.next_transfer(s, t)) return 1;
  CHECK(t.len_bytes >= 1 && t.len_bytes <= kMaxTransferBytes);
  CHECK(t.kind == Transfer::Kind::kRead || t.bytes.size() == t.len_bytes);
  const bool ok = willing && t.address < kMadeUpBytes && kMadeUpBytes - t.address >= t.len_bytes;
  const uint64_t hash = hash_of(t, ok);
  std::array<uint8_t, kMaxTransferBytes> bytes;
  const bool is_read = t.kind == Transfer::Kind::kRead;
  for (uint32_t i = 0; ok && is_read && i < t.len_bytes; ++i) bytes[i] = made_up_byte(t.address + i);
  m.transferred(s, now, ok, std::span(bytes).first(ok && is_read ? t.len_bytes : 0));
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

Result<std::vector<DeviceOp>> parse_script(const DeviceModel& m, std::string_view text) {
  std::vector<DeviceOp> out;
  for (unsigned line = 1; !text.empty(); ++line) {
    std::string_view rest = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(rest.size() + 1, text.size()));
    rest = rest.substr(0, rest.find('#'));
    std::vector<std::string_view> words;
    for (size_t at = 0; (at = rest.find_first_not_of(" \t\r", at)) != std::string_view::npos;) {
      const size_t end = std::min(rest.find_first_of(" \t\r", at), rest.size());
      words.push_back(rest.substr(at, end - at));
      at = end;
    }
    if (words.empty()) continue;
    auto bad = [&](const std::string& why) {
      return Error{ErrorKind::kBadInput, "line " + std::to_string(line) + ": " + why};
    };
    std::vector<uint64_t> n;
    for (size_t i = 1; i < words.size(); ++i) {
      const auto v = number(words[i]);
      if (!v) return bad("'" + std::string(words[i]) + "' is no number");
      n.push_back(*v);
    }
    const std::string_view what = words[0];
    auto takes = [&](size_t count) { return n.size() == count; };
    DeviceOp op;
    size_t wanted = 0;
    if (what == "read" || what == "write") {
      wanted = what == "read" ? 2 : 3;
      op.kind = what == "read" ? DeviceOp::Kind::kRead : DeviceOp::Kind::kWrite;
      if (takes(wanted)) {
        if (n[1] < 1 || n[1] > 8) return bad("a size of " + std::to_string(n[1]) + "; there are 1 to 8");
        op.a = n[0];
        op.size = static_cast<uint8_t>(n[1]);
        if (wanted == 3) op.b = n[2];
      }
    } else if (what == "line") {
      wanted = 2;
      op.kind = DeviceOp::Kind::kLine;
      if (takes(2)) {
        if (n[0] >= m.inputs)
          return bad("input " + std::to_string(n[0]) + "; " + std::string(m.name()) + " has " +
                     std::to_string(m.inputs));
        op.index = static_cast<uint16_t>(n[0]);
        op.a = n[1] & 1;
      }
    } else if (what == "wait") {
      wanted = 1;
      op.kind = DeviceOp::Kind::kWait;
      if (takes(1)) op.a = n[0];
    } else if (what == "transfer") {
      wanted = 1;
      op.kind = DeviceOp::Kind::kTransfer;
      if (takes(1)) op.a = n[0] & 1;
    } else if (what == "reset" || what == "message") {
      op.kind = what == "reset" ? DeviceOp::Kind::kReset : DeviceOp::Kind::kMessage;
    } else {
      const auto c = std::find_if(m.calls.begin(), m.calls.end(), [&](const DeviceCall& x) { return x.name == what; });
      if (c == m.calls.end())
        return bad("'" + std::string(what) + "' is nothing that " + std::string(m.name()) + " can be asked");
      wanted = c->arguments;
      op.kind = DeviceOp::Kind::kCall;
      op.index = static_cast<uint16_t>(c - m.calls.begin());
      if (takes(wanted)) {
        op.a = n.empty() ? 0 : n[0];
        op.b = n.size() > 1 ? n[1] : 0;
      }
    }
    if (!takes(wanted))
      return bad(std::string(what) + " takes " + std::to_string(wanted) + " numbers, not " + std::to_string(n.size()));
    out.push_back(op);
  }
  return out;
}

}  // namespace dejavm
