#include "replay/gdb/packets.h"

namespace dejavm::gdb {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string hex(const uint8_t* bytes, size_t count) {
  std::string out;
  out.reserve(2 * count);
  for (size_t i = 0; i < count; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

}  // namespace

void PacketReader::finish(std::vector<Item>& out) {
  const bool right = !too_long_ && !escaped_ && digit(told_[0]) >= 0 && digit(told_[1]) >= 0 &&
                     digit(told_[0]) * 16 + digit(told_[1]) == sum_;
  out.push_back({right ? Item::Kind::kPacket : Item::Kind::kDamaged, right ? std::move(data_) : std::string()});
  data_.clear();
  state_ = State::kIdle;
}

void PacketReader::feed(std::span<const uint8_t> bytes, std::vector<Item>& out) {
  for (const uint8_t b : bytes) {
    const char c = static_cast<char>(b);
    switch (state_) {
      case State::kIdle:
        if (c == '$') {
          state_ = State::kData;
          data_.clear();
          told_.clear();
          escaped_ = too_long_ = false;
          sum_ = 0;
        } else if (b == 3) {
          out.push_back({Item::Kind::kInterrupt});
        } else if (c == '+' || c == '-') {
          out.push_back({c == '+' ? Item::Kind::kAck : Item::Kind::kNack});
        }
        break;
      case State::kData:
        if (c == '#') {
          state_ = State::kSum1;
          break;
        }
        if (c == '$') {  // the one before was cut off
          data_.clear();
          escaped_ = too_long_ = false;
          sum_ = 0;
          break;
        }
        sum_ = static_cast<uint8_t>(sum_ + b);
        if (c == '}' && !escaped_) {
          escaped_ = true;
          break;
        }
        if (data_.size() < kMaxPacketBytes) data_ += escaped_ ? static_cast<char>(b ^ 0x20) : c;
        else too_long_ = true;
        escaped_ = false;
        break;
      case State::kSum1:
        told_ = c;
        state_ = State::kSum2;
        break;
      case State::kSum2:
        told_ += c;
        finish(out);
        break;
    }
  }
}

std::string frame_packet(std::string_view data) {
  std::string out = "$";
  uint8_t sum = 0;
  auto put = [&](char c) {
    out += c;
    sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
  };
  for (const char c : data) {
    if (c == '$' || c == '#' || c == '}' || c == '*') {
      put('}');
      put(static_cast<char>(c ^ 0x20));
    } else {
      put(c);
    }
  }
  out += '#';
  out += kDigits[sum >> 4];
  out += kDigits[sum & 15];
  return out;
}

std::string to_hex_bytes(std::span<const uint8_t> bytes) { return hex(bytes.data(), bytes.size()); }
std::string to_hex_bytes(std::string_view bytes) {
  return hex(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

std::optional<std::vector<uint8_t>> from_hex_bytes(std::string_view digits) {
  if (digits.size() % 2) return std::nullopt;
  std::vector<uint8_t> out(digits.size() / 2);
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = digit(digits[2 * i]), low = digit(digits[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return out;
}

std::optional<uint64_t> take_hex(std::string_view& text) {
  uint64_t v = 0;
  size_t n = 0;
  while (n < text.size() && digit(text[n]) >= 0) {
    if (n == 16) return std::nullopt;
    v = v << 4 | static_cast<uint64_t>(digit(text[n++]));
  }
  if (n == 0) return std::nullopt;
  text.remove_prefix(n);
  return v;
}

bool take(std::string_view& text, std::string_view what) {
  if (!text.starts_with(what)) return false;
  text.remove_prefix(what.size());
  return true;
}

}  // namespace dejavm::gdb
