// Registers, queues, and the steps that every command goes through.
#include "devices/nvme.h"

#include <algorithm>
#include <cstring>

#include "devices/nvme/parts.h"

namespace dejavm {
namespace {

using namespace nvme;

// Registers (3.1).
enum Register : uint64_t {
  kCap = 0x00,
  kVs = 0x08,
  kIntms = 0x0c,
  kIntmc = 0x10,
  kCc = 0x14,
  kCsts = 0x1c,
  kAqa = 0x24,
  kAsq = 0x28,
  kAcq = 0x30,
  kDoorbells = 0x1000,
};
constexpr uint32_t kEnable = 1, kShutdownShift = 14;
constexpr uint32_t kVersion14 = 0x00010400;
// Queues of kMaxEntries, contiguous; ready within half a second; the NVM command set; pages of 4 KiB.
constexpr uint64_t kCapabilities = (Nvme::kMaxEntries - 1) | uint64_t{1} << 16 | uint64_t{1} << 24 | uint64_t{1} << 37;

uint32_t csts(const State& s) { return uint32_t{s.ready} | uint32_t{s.fatal} << 1 | uint32_t{s.shutdown} << 2; }

// The next queue with a command, from `turn` on; kQueues: none.
unsigned waiting_queue(const State& s) {
  for (unsigned n = 0; n < Nvme::kQueues; ++n) {
    const unsigned queue = (s.turn + n) % Nvme::kQueues;
    const Nvme::Submission& sq = s.submission[queue];
    if (sq.entries != 0 && sq.head != sq.tail) return queue;
  }
  return Nvme::kQueues;
}

// A command is due if the controller is free and one is waiting.
void look_for_work(State& s) {
  if (s.due_ns != 0 || s.phase != Phase::kIdle || !s.ready || s.fatal) return;
  if (waiting_queue(s) != Nvme::kQueues) s.due_ns = s.now_ns + std::min(Nvme::kCommandNs, ~uint64_t{0} - s.now_ns);
}

void forget_command(State& s) {
  s.phase = Phase::kIdle;
  s.command = {};
  s.position = s.length = s.page = s.list = 0;
  s.result = 0;
  s.status = 0;
  s.in_turn = 0;
  s.queue = 0;
  s.data = {};
}

// A controller that is disabled keeps its features; its queues are gone (7.3.2).
void disable(State& s) {
  forget_command(s);
  s.due_ns = 0;
  s.ready = s.fatal = false;
  s.shutdown = 0;
  s.submission = {};
  s.completion = {};
  s.turn = 0;
  s.masked = 0;
  s.async_count = 0;
}

void enable(State& s) {
  const uint32_t mps = s.cc >> 7 & 15, css = s.cc >> 4 & 7, ams = s.cc >> 11 & 7;
  const uint32_t sq_entries = (s.aqa & 0xfff) + 1, cq_entries = (s.aqa >> 16) + 1;
  const bool sizes =
      sq_entries >= 2 && cq_entries >= 2 && sq_entries <= Nvme::kMaxEntries && cq_entries <= Nvme::kMaxEntries;
  if (mps != 0 || css != 0 || ams != 0 || !sizes) {
    s.fatal = true;
    return;
  }
  s.submission[0] = {.base = s.asq, .entries = sq_entries};
  s.completion[0] = {.base = s.acq, .entries = cq_entries, .phase = true, .interrupts = true};
  s.ready = true;
}

void write_cc(State& s, uint32_t value) {
  const bool was = s.cc & kEnable;
  s.cc = value & kCcWritable;
  if (was && !(s.cc & kEnable)) disable(s);
  if (!was && (s.cc & kEnable)) enable(s);
  if (s.cc >> kShutdownShift & 3) {
    s.shutdown = 2;
    s.unflushed = false;
  }
}

uint32_t read_register(const State& s, uint64_t at) {
  switch (at) {
    case kCap: return static_cast<uint32_t>(kCapabilities);
    case kCap + 4: return static_cast<uint32_t>(kCapabilities >> 32);
    case kVs: return kVersion14;
    case kIntms:
    case kIntmc: return s.masked;
    case kCc: return s.cc;
    case kCsts: return csts(s);
    case kAqa: return s.aqa;
    case kAsq: return static_cast<uint32_t>(s.asq);
    case kAsq + 4: return static_cast<uint32_t>(s.asq >> 32);
    case kAcq: return static_cast<uint32_t>(s.acq);
    case kAcq + 4: return static_cast<uint32_t>(s.acq >> 32);
    default: return 0;
  }
}

// INTMS has a bit for each vector; those of MSI-X have masks of their own, and do not look at it (3.1.3).
bool is_masked(const State& s, const Nvme::Completion& cq) {
  return s.masked >> std::min<unsigned>(cq.vector, 31) & 1 && !pci::uses_msix(s.pci);
}

bool interrupts(const Nvme::Completion& cq) { return cq.interrupts && cq.head != cq.tail; }

bool interrupts(const State& s) {
  for (const Nvme::Completion& cq : s.completion)
    if (interrupts(cq) && !is_masked(s, cq)) return true;
  return false;
}

// A message that was held back comes when its mask is taken away, if there is still something to tell.
void unmask(State& s, uint32_t vectors) {
  const uint32_t freed = s.masked & vectors;
  s.masked &= ~vectors;
  for (const Nvme::Completion& cq : s.completion)
    if (interrupts(cq) && freed >> std::min<unsigned>(cq.vector, 31) & 1 && !pci::uses_msix(s.pci))
      pci::signal(Nvme::kPci, s.pci, cq.vector);
}

void write_register(State& s, uint64_t at, uint32_t value) {
  switch (at) {
    case kIntms: s.masked |= value; break;
    case kIntmc: unmask(s, value); break;
    case kCc: write_cc(s, value); break;
    case kAqa:
      if (!(s.cc & kEnable)) s.aqa = value & 0x0fff0fff;
      break;
    case kAsq:
    case kAsq + 4:
      if (!(s.cc & kEnable)) s.asq = with_half(s.asq, at != kAsq, value) & ~uint64_t{0xfff};
      break;
    case kAcq:
    case kAcq + 4:
      if (!(s.cc & kEnable)) s.acq = with_half(s.acq, at != kAcq, value) & ~uint64_t{0xfff};
      break;
    default: break;
  }
}

// An entry number that is none of the queue's is lost (an asynchronous event tells of it: 5.2.1 — there is none here).
void ring(State& s, uint64_t doorbell, uint32_t value) {
  const uint64_t queue = doorbell / 2;
  if (queue >= Nvme::kQueues || value > 0xffff) return;
  if (doorbell % 2 == 0) {
    Nvme::Submission& sq = s.submission[queue];
    if (value < sq.entries) sq.tail = static_cast<uint16_t>(value);
  } else {
    Nvme::Completion& cq = s.completion[queue];
    if (value < cq.entries) cq.head = static_cast<uint16_t>(value);
  }
}

bool has_room(const Nvme::Completion& cq) { return cq.entries != 0 && (cq.tail + 1u) % cq.entries != cq.head; }

// Where the next piece of data is in memory, and how long it is: up to the end of its page. 0: to be read first.
uint64_t data_address(const State& s) { return s.position == 0 ? prp1(s) : s.page; }

uint32_t piece_bytes(const State& s, uint64_t address) {
  const uint64_t in_page = Nvme::kPage - address % Nvme::kPage;
  return static_cast<uint32_t>(std::min(in_page, s.length - s.position));
}

// After a piece: PRP2 is the second page if that is the last, else it is where the list is (4.3).
void next_page(State& s) {
  const uint64_t left = s.length - s.position;
  s.page = 0;
  if (s.list != 0) {
    s.phase = Phase::kList;
  } else if (left <= Nvme::kPage) {
    s.page = prp2(s);
    if (s.page % Nvme::kPage != 0) complete(s, kInvalidPrpOffset | kDoNotRetry);
  } else {
    s.list = prp2(s) & ~uint64_t{7};
    s.phase = Phase::kList;
  }
}

void piece_moved(State& s) {
  s.position += piece_bytes(s, data_address(s));
  if (s.position < s.length) return next_page(s);
  if (s.queue == 0) return complete(s, kSuccess, s.result);
  io_data_arrived(s);
}

// The last entry of a page of the list leads to the next page of it, if more than one page of data is left.
void list_entry_arrived(State& s, uint64_t entry) {
  const bool last = s.list % Nvme::kPage == Nvme::kPage - 8;
  if (last && s.length - s.position > Nvme::kPage) {
    // Only the first page of a list may begin within a page, so each page has entries and no list leads round for ever.
    if (entry % Nvme::kPage != 0) return complete(s, kInvalidPrpOffset | kDoNotRetry);
    s.list = entry;
    return;
  }
  s.list += 8;
  if (entry % Nvme::kPage != 0) return complete(s, kInvalidPrpOffset | kDoNotRetry);
  s.page = entry;
  s.phase = Phase::kData;
}

void command_arrived(State& s, std::span<const uint8_t> bytes) {
  std::memcpy(s.command.data(), bytes.data(), sizeof s.command);
  Nvme::Submission& sq = s.submission[s.queue];
  sq.head = static_cast<uint16_t>((sq.head + 1u) % sq.entries);
  constexpr uint32_t kFusedOrSgl = 0xc300;
  if (s.command[0] & kFusedOrSgl) return complete(s, kInvalidField | kDoNotRetry);
  if (s.queue == 0) begin_admin(s);
  else begin_io(s);
}

void completed(State& s) {
  const Nvme::Submission& sq = s.submission[s.queue];
  Nvme::Completion& cq = s.completion[sq.completion];
  cq.tail = static_cast<uint16_t>((cq.tail + 1u) % cq.entries);
  if (cq.tail == 0) cq.phase = !cq.phase;
  if (cq.interrupts && !is_masked(s, cq)) pci::signal(Nvme::kPci, s.pci, cq.vector);
  drop(s);
}

// The completion queue entry of the command at hand (4.6).
void write_completion(State& s) {
  const Nvme::Submission& sq = s.submission[s.queue];
  const uint32_t words[] = {
      s.result, 0, sq.head | uint32_t{s.queue} << 16,
      command_id(s) | uint32_t{s.completion[sq.completion].phase} << 16 | uint32_t{s.status} << 17};
  std::memcpy(s.data.data(), words, sizeof words);
}

void leave(State& s, bool fatal) {
  forget_command(s);
  s.fatal = fatal;
  s.due_ns = 0;
}

}  // namespace

namespace nvme {

void complete(State& s, uint16_t status, uint32_t result) {
  s.status = status;
  s.result = result;
  if (status != kSuccess) {
    std::rotate(s.failure.begin(), s.failure.end() - 1, s.failure.end());
    s.failure[0] = {.number = ++s.failures,
                    .lba = s.queue != 0 ? first_block(s) : 0,
                    .queue = s.queue,
                    .command = command_id(s),
                    .status = static_cast<uint16_t>(status << 1)};
  }
  s.phase = Phase::kCompleting;
  write_completion(s);
}

void drop(State& s) {
  s.turn = static_cast<uint16_t>((s.queue + 1u) % Nvme::kQueues);
  forget_command(s);
  look_for_work(s);
}

void move(State& s, uint64_t bytes) {
  s.position = 0;
  s.length = bytes;
  s.page = s.list = 0;
  s.phase = Phase::kData;
  if (prp1(s) % 4 != 0) complete(s, kInvalidPrpOffset | kDoNotRetry);
}

}  // namespace nvme

uint64_t Nvme::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  if (offset < pci::kConfigBytes) return pci::config_read(kPci, s.pci, offset, size, interrupts(s));
  if (const uint64_t at = offset - pci::region(kRegisterBar); at < kPci.bars[kRegisterBar].len_bytes) {
    if ((size != 4 && size != 8) || at % size != 0) return open_bus(size);
    return read_register(s, at) | (size == 8 ? uint64_t{read_register(s, at + 4)} << 32 : 0);
  }
  uint64_t value = open_bus(size);
  pci::msix_read(kPci, s.pci, s.vector, offset - pci::region(kMsixBar), size, value);
  return value;
}

void Nvme::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  if (offset < pci::kConfigBytes) {
    if (!pci::config_write(kPci, s.pci, offset, size, value)) return;
    const uint64_t time = s.now_ns;
    reset(s);
    s.now_ns = time;
  } else if (const uint64_t at = offset - pci::region(kRegisterBar); at < kPci.bars[kRegisterBar].len_bytes) {
    if ((size != 4 && size != 8) || at % size != 0) return;
    for (unsigned n = 0; n < size; n += 4) {
      const auto word = static_cast<uint32_t>(value >> 8 * n);
      if (at + n >= kDoorbells) ring(s, (at + n - kDoorbells) / 4, word);
      else write_register(s, at + n, word);
    }
    look_for_work(s);
  } else {
    pci::msix_write(kPci, s.vector, offset - pci::region(kMsixBar), size, value);
  }
}

void Nvme::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  s.now_ns = now.value;
  if (s.due_ns == 0 || s.due_ns > s.now_ns) return;
  s.due_ns = 0;
  const unsigned queue = waiting_queue(s);
  if (queue == kQueues) return;
  s.queue = static_cast<uint16_t>(queue);
  s.phase = Phase::kFetching;
}

Nanos Nvme::next_event(const State& s) { return s.due_ns != 0 ? Nanos{s.due_ns} : kNever; }

uint64_t Nvme::lines(const State& s) { return interrupts(s) && pci::drives_intx(s.pci) ? uint64_t{kInta} : 0; }

bool Nvme::pop_message(State& s, BusMessage& message) { return pci::pop_message(kPci, s.pci, s.vector, message); }

bool Nvme::next_transfer(const State& s, Transfer& t) {
  if (s.phase == Phase::kIdle || !pci::may_master(s.pci)) return false;
  const Submission& sq = s.submission[s.queue];
  t = {};
  switch (s.phase) {
    case Phase::kFetching:
      t.address = sq.base + 64u * sq.head;
      t.len_bytes = 64;
      return true;
    case Phase::kList:
      t.address = s.list;
      t.len_bytes = 8;
      return true;
    case Phase::kData: {
      const uint64_t address = data_address(s);
      const uint32_t bytes = s.length == 0 ? 0 : piece_bytes(s, address);
      if (s.queue != 0) {
        io_transfer(s, address, bytes, t);
        return true;
      }
      t = {.kind = Transfer::Kind::kWrite,
           .address = address,
           .len_bytes = bytes,
           .bytes =
               std::span(s.data).subspan(s.position % kPage, std::min<uint64_t>(bytes, kPage - s.position % kPage))};
      return true;
    }
    default: {
      const Completion& cq = s.completion[sq.completion];
      if (!has_room(cq)) return false;
      t = {.kind = Transfer::Kind::kWrite,
           .address = cq.base + 16u * cq.tail,
           .len_bytes = 16,
           .bytes = std::span(s.data).first(16)};
      return true;
    }
  }
}

void Nvme::transferred(State& s, Nanos now, bool ok, std::span<const uint8_t> bytes) {
  advance(s, now);
  if (!ok) pci::received_master_abort(s.pci);
  switch (s.phase) {
    case Phase::kIdle: return;
    case Phase::kFetching: return ok ? command_arrived(s, bytes) : leave(s, true);
    case Phase::kCompleting: return ok ? completed(s) : leave(s, true);
    case Phase::kList: {
      uint64_t entry = 0;
      if (!ok) return complete(s, kDataTransferError);
      std::memcpy(&entry, bytes.data(), sizeof entry);
      return list_entry_arrived(s, entry);
    }
    case Phase::kData:
      if (!ok) return complete(s, kDataTransferError);
      if (s.queue == 0 || io_moved(s, bytes)) piece_moved(s);
      return;
  }
}

}  // namespace dejavm
