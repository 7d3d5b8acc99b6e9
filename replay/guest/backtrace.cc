#include "replay/guest/backtrace.h"

#include <optional>

#include "replay/guest/where.h"
#include "vmm/state/page_tables.h"

namespace dejavm {
namespace {

class Stack {
 public:
  Stack(const GuestMemory& memory, const VcpuState& s) : memory_(memory), state_(s) {
    constexpr uint64_t kEferLma = 1 << 10;
    const bool is_64_bit = (s.efer & kEferLma) != 0 && (s.segment[kCs].attributes & kSegL) != 0;
    word_bytes_ = is_64_bit ? 8 : 4;
  }
  uint64_t linear(uint64_t offset) const {
    return word_bytes_ == 8 ? offset : (state_.segment[kSs].base + offset) & 0xffffffff;
  }
  uint64_t pointer(unsigned reg) const { return linear(state_.gpr[reg]); }
  uint64_t word_bytes() const { return word_bytes_; }
  std::optional<uint64_t> word(uint64_t linear) const { return read(linear, word_bytes_); }
  // Whether what comes before this address is a call: to a constant, or by a register or memory.
  bool follows_call(uint64_t address) const {
    if (byte(address - 5) == 0xe8) return true;
    for (const uint64_t len : {2, 3, 4, 6, 7})
      if (byte(address - len) == 0xff && ((byte(address - len + 1) >> 3) & 7) == 2) return true;
    return false;
  }

 private:
  std::optional<uint64_t> read(uint64_t linear, uint64_t len_bytes) const {
    uint64_t value = 0;
    for (uint64_t n = 0; n < len_bytes; ++n) {
      const auto gpa = translate(memory_, state_, linear + n);
      uint8_t one = 0;
      if (!gpa || !memory_.read(Gpa{*gpa}, &one, 1)) return std::nullopt;
      value |= uint64_t{one} << (8 * n);
    }
    return value;
  }
  unsigned byte(uint64_t linear) const { return static_cast<unsigned>(read(linear, 1).value_or(0)); }

  const GuestMemory& memory_;
  const VcpuState& state_;
  uint64_t word_bytes_ = 4;
};

constexpr unsigned kRsp = 4, kRbp = 5;

// Of code that keeps frame pointers.
std::vector<uint64_t> by_frames(const Stack& stack, size_t at_most) {
  constexpr uint64_t kLargestFrame = 64 << 10;
  std::vector<uint64_t> out;
  uint64_t below = stack.pointer(kRsp);
  uint64_t frame = stack.pointer(kRbp);
  while (out.size() < at_most && frame >= below && frame - below < kLargestFrame) {
    const auto back = stack.word(frame + stack.word_bytes());
    const auto next = stack.word(frame);
    if (!back || !next || !stack.follows_call(*back)) break;
    out.push_back(*back);
    below = frame + 2 * stack.word_bytes();
    frame = stack.linear(*next);
  }
  return out;
}

std::vector<uint64_t> by_scan(const Stack& stack, size_t at_most) {
  constexpr uint64_t kScanned = 4096;
  std::vector<uint64_t> out;
  for (uint64_t n = 0; n < kScanned && out.size() < at_most; n += stack.word_bytes()) {
    const auto word = stack.word(stack.pointer(kRsp) + n);
    if (!word) break;
    if (stack.follows_call(*word)) out.push_back(*word);
  }
  return out;
}

}  // namespace

Backtrace backtrace(const GuestMemory& memory, const VcpuState& s, size_t at_most) {
  const Stack stack(memory, s);
  Backtrace out;
  out.addresses.push_back(linear_rip(s));
  std::vector<uint64_t> callers = by_frames(stack, at_most);
  if (callers.empty()) {
    callers = by_scan(stack, at_most);
    out.guessed = !callers.empty();
  }
  out.addresses.insert(out.addresses.end(), callers.begin(), callers.end());
  return out;
}

}  // namespace dejavm
