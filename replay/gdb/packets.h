// The framing of gdb's remote serial protocol (GDB manual, appendix E.1): $data#checksum, acknowledgements, and the
// interrupt byte. Whatever arrives, at most kMaxPacketBytes are held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dejavm::gdb {

inline constexpr size_t kMaxPacketBytes = 0x4000;

class PacketReader {
 public:
  struct Item {
    enum class Kind : uint8_t { kPacket, kInterrupt, kAck, kNack, kDamaged };  // kDamaged: checksum, length or escape
    Kind kind = Kind::kPacket;
    std::string data{};  // of a packet, unescaped
  };
  void feed(std::span<const uint8_t> bytes, std::vector<Item>& out);

 private:
  enum class State : uint8_t { kIdle, kData, kSum1, kSum2 };
  void finish(std::vector<Item>& out);
  State state_ = State::kIdle;
  std::string data_;
  bool escaped_ = false, too_long_ = false;
  uint8_t sum_ = 0;
  std::string told_;  // the checksum's digits
};

// As it is sent, escaped where it must be.
std::string frame_packet(std::string_view data);

// Hexadecimal texts of packets. from_hex: nothing for an odd number of digits, or others.
std::string to_hex_bytes(std::span<const uint8_t> bytes);
std::string to_hex_bytes(std::string_view bytes);
std::optional<std::vector<uint8_t>> from_hex_bytes(std::string_view digits);
// Takes a number's digits from the front; nothing, with `text` as it was, if there are none or more than 16.
std::optional<uint64_t> take_hex(std::string_view& text);
// Takes `what` from the front if it is there.
bool take(std::string_view& text, std::string_view what);

}  // namespace dejavm::gdb
