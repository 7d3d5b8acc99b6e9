// What a controller's state may be, and what it is after a reset.
#include <algorithm>

#include "devices/nvme/parts.h"

namespace dejavm {

using namespace nvme;

const char* Nvme::invalid(const State& s) {
  if (s.block_shift != 9 && s.block_shift != 12) return "block_shift is neither 9 nor 12";
  if (s.cc & ~kCcWritable) return "cc has reserved bits set";
  if ((s.asq | s.acq) & 0xfff) return "asq or acq is within a page";
  for (const Submission& q : s.submission)
    if (q.entries == 1 || (q.entries == 0 ? (q.head | q.tail) != 0 : q.head >= q.entries || q.tail >= q.entries))
      return "a submission queue's head or tail is outside it";
  for (const Completion& q : s.completion)
    if (q.entries == 1 ||
        (q.entries == 0 ? (q.head | q.tail) != 0 || q.interrupts : q.head >= q.entries || q.tail >= q.entries))
      return "a completion queue's head or tail is outside it";
  for (const Submission& q : s.submission)
    if (q.entries != 0 && s.completion[q.completion].entries == 0) return "a submission queue has no completion queue";
  if (s.ready != (s.submission[0].entries != 0)) return "ready without queues of administration, or these without it";
  if (s.due_ns != 0 && (s.due_ns < s.now_ns || s.due_ns - s.now_ns > kCommandNs))
    return "due_ns is not within its time";
  if (s.phase != Phase::kIdle && (!s.ready || s.submission[s.queue].entries == 0)) return "a command of no queue";
  if (s.phase == Phase::kData || s.phase == Phase::kList) {
    const uint64_t longest = uint64_t{0x10000} << s.block_shift;
    if (s.length > longest) return "length is beyond any command's";
    if (s.length != 0 && s.position >= s.length) return "position is outside the command's data";
    if (s.queue == 0 && (s.length == 0 || s.length > kPage)) return "length is not that of what is told";
    if (s.queue != 0)
      if (const char* why = io_invalid(s)) return why;
    if (s.phase == Phase::kList && s.position == 0) return "a list is read before the first page";
  }
  return pci::invalid(kPci, s.pci);
}

void Nvme::set_disk(State& s, uint64_t bytes, unsigned block_bytes, std::string_view serial, bool read_only) {
  s.block_shift = block_bytes == 4096 ? 12 : 9;
  s.blocks = bytes >> s.block_shift;
  s.serial.fill(' ');
  std::copy_n(serial.begin(), std::min(serial.size(), s.serial.size()), s.serial.begin());
  s.read_only = read_only;
}

void Nvme::reset(State& s) {
  State fresh{};
  fresh.blocks = s.blocks;
  fresh.serial = s.serial;
  fresh.block_shift = s.block_shift == 12 ? 12 : 9;
  fresh.read_only = s.read_only;
  s = fresh;
}

}  // namespace dejavm
