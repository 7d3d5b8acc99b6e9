// What the devices of a trace need to be run again alone: guest memory as the log knows it, and a board without a
// machine.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "replay/replay/devices_only.h"
#include "replay/trace/cursor.h"

namespace dejavm {

// Guest memory as the log knows it: what devices read, in the order in which they read it. That they write is not
// looked at.
class LoggedDma : public GuestDma {
 public:
  LoggedDma(const TraceReader& trace, const Keyframe& from)
      : cursor_(trace, from),
        regions_(memory_layout(trace.header().config.memory_bytes, trace.header().config.rom_bytes,
                               trace.header().config.test_device, trace.header().config.disks)) {}
  bool read(Position at, uint16_t requester, Gpa gpa, std::span<uint8_t> to) override {
    while (cursor_.peek() && cursor_.peek()->kind != EventKind::kDmaRead) cursor_.pop();
    const Event* e = cursor_.peek();
    const Event asked{.kind = EventKind::kDmaRead,
                      .ok = e != nullptr && e->ok,
                      .at = at,
                      .address = gpa.value,
                      .value = to.size(),
                      .subleaf = requester,
                      .data = e ? e->data : std::vector<uint8_t>()};
    if (e == nullptr || e->address != gpa.value || e->value != to.size() || e->subleaf != requester) {
      if (difference_.empty())
        difference_ =
            fmt::format("expected {}\nhappened a device's read: {}",
                        e ? describe(*e) : std::string("no more reads of memory by devices"), describe(asked));
      return false;
    }
    const bool ok = e->ok;
    std::copy_n(e->data.begin(), ok ? to.size() : 0, to.begin());
    cursor_.pop();
    return ok;
  }
  bool write(Position, uint16_t, Gpa gpa, std::span<const uint8_t> from) override { return is_ram(gpa, from.size()); }
  // What became of a step is known from where it was in memory; of a comparison the answer is in the log.
  bool disk_step(Position at, uint16_t requester, unsigned, const Transfer& t, bool& equal) override {
    using Kind = Transfer::Kind;
    if (t.kind == Kind::kFromDisk || t.kind == Kind::kToDisk) return is_ram({t.address}, t.len_bytes);
    if (t.kind != Kind::kCompareDisk) return true;
    uint8_t answer = 0;
    const bool ok = read(at, requester, {t.address}, {&answer, 1});
    equal = answer != 0;
    return ok;
  }
  // The first read that is not the log's; empty: none.
  const std::string& difference() const { return difference_; }

 private:
  bool is_ram(Gpa gpa, uint64_t len_bytes) const {
    for (const MemoryRegion& region : regions_) {
      const uint64_t offset = gpa.value - region.start.value;
      if (!region.rom && !region.hidden && offset < region.len_bytes && region.len_bytes - offset >= len_bytes)
        return true;
    }
    return false;
  }
  EventCursor cursor_;
  std::vector<MemoryRegion> regions_;
  std::string difference_;
};

// A board and the controls that a machine would keep for it, without a machine.
class LoneBoard {
 public:
  LoneBoard(const MachineConfig& config, Console* console, GuestDma& dma)
      : controls_(config.vcpus), board_(config, controls_, console, &dma) {
    for (RunControl& c : controls_) c.until = kForever;
  }

  // The chunks of the board from a machine's snapshot; the rest (vCPUs, the engine's) is not needed.
  Result<void> load(const Snapshot& s) {
    auto refs = board_.chunks();
    MachineClock::State clock;
    refs.push_back({&schema_of<MachineClock>(), 0, true, &clock});
    std::vector<StoredChunk> wanted;
    for (const StoredChunk& c : s.chunks)
      for (const ChunkRef& r : refs)
        if (r.schema->name == c.name && r.instance == c.instance) wanted.push_back(c);
    if (auto done = load_chunks(wanted, refs); !done) return done;
    for (RunControl& c : controls_) c.time_base_ns = clock.time_base_ns;
    board_.restored();
    return {};
  }

  // Every device's fields against a keyframe's; at most a few lines.
  std::vector<std::string> compare(const Snapshot& s, Retired at) {
    board_.advance(board_.now({0, at}));
    take_signals(at);
    std::vector<StoredChunk> wanted;
    const auto refs = board_.chunks();
    for (const StoredChunk& c : s.chunks)
      for (const ChunkRef& r : refs)
        if (r.schema->name == c.name && r.instance == c.instance) wanted.push_back(c);
    return diff_chunks(wanted, refs, 6);
  }

  // Lets time pass, from one event of the devices to the next, up to an event of the log; calls `look` after each.
  void pass(const Event& e, const std::function<void(Nanos)>& look) {
    const Nanos to = board_.now(e.at);
    for (Nanos next = board_.next_event(); next != kNever && next < to; next = board_.next_event()) {
      const Nanos before = next;
      board_.advance(next);
      look(next);
      if (board_.next_event() <= before) break;  // nothing that passes by itself
    }
    board_.advance(to);
    look(to);
  }
  Nanos now(const Event& e) const { return board_.now(e.at); }
  bool intr(uint32_t vcpu) const { return controls_[vcpu].intr; }

  // What the board answers to an event of the log, as an event.
  Event feed(const Event& e) {
    Event a = e;
    switch (e.kind) {
      case EventKind::kIoRead: a.value = board_.io_read(e.at, {static_cast<uint16_t>(e.address)}, e.size); break;
      case EventKind::kIoWrite: board_.io_write(e.at, {static_cast<uint16_t>(e.address)}, e.size, e.value); break;
      case EventKind::kMmioRead: a.value = board_.mmio_read(e.at, {e.address}, e.size); break;
      case EventKind::kMmioWrite: board_.mmio_write(e.at, {e.address}, e.size, e.value); break;
      case EventKind::kMsrRead:
        a.value = 0;
        a.ok = board_.msr_read(e.at, static_cast<uint32_t>(e.address), a.value);
        if (!a.ok) a.value = 0;
        break;
      case EventKind::kMsrWrite: a.ok = board_.msr_write(e.at, static_cast<uint32_t>(e.address), e.value); break;
      case EventKind::kCr8Read: a.value = board_.cr8_read(e.at); break;
      case EventKind::kCr8Write: board_.cr8_write(e.at, e.value); break;
      case EventKind::kCpuid:
        a.cpuid = board_.cpuid(e.at, static_cast<uint32_t>(e.address), e.subleaf, e.cr4, e.xcr0);
        break;
      case EventKind::kInterrupt: {
        const int vector = board_.acknowledge_interrupt(e.at);
        a.value = vector < 0 ? kNoVector : static_cast<uint64_t>(vector);
        break;
      }
      case EventKind::kConsole: board_.console_input(board_.now(e.at), e.data); break;
      case EventKind::kStop:
      case EventKind::kControl:
      case EventKind::kPlace:
      case EventKind::kDmaRead: break;
      case EventKind::kIdle:
        a.now = board_.now(e.at);
        for (RunControl& c : controls_) c.time_base_ns += e.value - e.now.value;
        board_.advance(board_.now(e.at));
        break;
    }
    take_signals(is_exit(e.kind) ? e.at.retired + 1 : e.at.retired);
    // A reset that the guest asked for takes place when the instruction that asked is complete.
    if (board_.request() == Board::Request::kReset) board_.reset(board_.requested_at() + Nanos{1});
    return a;
  }

  std::vector<ChunkRef> chunks() { return board_.chunks(); }

 private:
  // As the machine takes them for its vCPUs.
  void take_signals(Retired at) {
    for (uint32_t n = 0; n < controls_.size(); ++n) {
      if (!controls_[n].signalled) continue;
      uint8_t vector;
      if (board_.take_init(n)) board_.init(n, board_.now({n, at}));
      board_.take_startup(n, vector);
      board_.take_nmi(n);
    }
  }

  std::vector<RunControl> controls_;
  Board board_;
};

}  // namespace dejavm
