#include "replay/replay/disk_requests.h"

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "devices/nvme.h"
#include "devices/virtioblk.h"
#include "replay/replay/lone_board.h"
#include "vmm/board/address_map.h"

namespace dejavm {
namespace {

struct Asked {
  uint64_t event = 0;
  Position at;
  Nanos now;
};

// When the guest asked for what a device does: looks after each write at each device's own mark of what waits.
class Doorbells {
 public:
  explicit Doorbells(const std::vector<ChunkRef>& chunks) {
    for (const ChunkRef& chunk : chunks) {
      if (chunk.schema == &schema_of<Nvme>())
        nvme_.push_back(
            {requester(address_map::kFirstDiskSlot, chunk.instance), static_cast<Nvme::State*>(chunk.data), {}});
      if (chunk.schema == &schema_of<Virtioblk>())
        virtio_.push_back(
            {requester(address_map::kFirstVirtioDiskSlot, chunk.instance), static_cast<Virtioblk::State*>(chunk.data)});
    }
    look({});
    asked_.clear();
  }
  // After an event.
  void look(const Asked& now) {
    for (NvmeMark& device : nvme_) {
      for (size_t n = 0; n < device.tails.size(); ++n) {
        const Nvme::Submission& queue = device.state->submission[n];
        const uint32_t before = device.tails[n];
        device.tails[n] = queue.tail;
        if (queue.entries == 0 || before >= queue.entries) continue;
        const uint32_t commands = (queue.tail + queue.entries - before) % queue.entries;
        for (uint32_t k = 0; k < commands; ++k) asked_[device.requester].waiting.push_back(now);
      }
    }
    for (VirtioMark& device : virtio_) {
      const uint64_t due_ns = device.state->core.due_ns;
      if (device.due_ns == 0 && due_ns != 0) asked_[device.requester].current = now;
      device.due_ns = due_ns;
    }
  }
  // A command of NVMe is fetched.
  void fetched(uint16_t requester) {
    ByDevice& device = asked_[requester];
    if (device.waiting.empty()) return;
    device.current = device.waiting.front();
    device.waiting.pop_front();
  }
  // For what the device is at; none: it was before the trace began.
  std::optional<Asked> of(uint16_t requester) { return asked_[requester].current; }

 private:
  struct NvmeMark {
    uint16_t requester;
    const Nvme::State* state;
    std::array<uint32_t, Nvme::kQueues> tails;
  };
  struct VirtioMark {
    uint16_t requester;
    const Virtioblk::State* state;
    uint64_t due_ns = 0;
  };
  struct ByDevice {
    std::deque<Asked> waiting;
    std::optional<Asked> current;
  };
  static uint16_t requester(unsigned slot, unsigned instance) { return static_cast<uint16_t>((slot + instance) << 3); }
  std::vector<NvmeMark> nvme_;
  std::vector<VirtioMark> virtio_;
  std::map<uint16_t, ByDevice> asked_;
};

// The steps of the disks, joined to requests. What ends one: the device fetches a command of NVMe (64 bytes), or says
// by one byte how a request of virtio has ended; or the next step does not go on where the last one was.
class RequestMaker final : public LoggedDma {
 public:
  using LoggedDma::LoggedDma;
  void watch(Doorbells* doorbells) { doorbells_ = doorbells; }
  bool read(Position at, uint16_t requester, Gpa gpa, std::span<uint8_t> to) override {
    constexpr size_t kCommandBytes = 64;
    if (to.size() == kCommandBytes) {
      finish();
      doorbells_->fetched(requester);
    }
    return LoggedDma::read(at, requester, gpa, to);
  }
  bool write(Position at, uint16_t requester, Gpa gpa, std::span<const uint8_t> from) override {
    if (from.size() == 1) finish();
    return LoggedDma::write(at, requester, gpa, from);
  }
  bool disk_step(Position at, uint16_t requester, unsigned disk, const Transfer& t, bool& equal) override {
    using Kind = Transfer::Kind;
    const bool ok = LoggedDma::disk_step(at, requester, disk, t, equal);
    const bool has_data = t.kind == Kind::kFromDisk || t.kind == Kind::kToDisk || t.kind == Kind::kCompareDisk;
    const bool goes_on = open_ && open_->disk == disk && open_->kind == t.kind && t.kind != Kind::kFlushDisk &&
                         open_->offset + open_->len_bytes == t.disk_offset;
    if (!goes_on) {
      finish();
      const Asked asked = doorbells_->of(requester).value_or(now);
      open_ = {asked.event, asked.at, asked.now, disk, t.kind, t.disk_offset, 0, true};
    }
    open_->len_bytes += has_data ? t.len_bytes : t.disk_bytes;
    open_->ok = open_->ok && ok;
    return ok;
  }
  void finish() {
    if (open_) done.push_back(*open_);
    open_.reset();
  }

  Asked now;  // the event in progress
  std::vector<DiskRequest> done;

 private:
  Doorbells* doorbells_ = nullptr;
  std::optional<DiskRequest> open_;
};

}  // namespace

std::string_view name_of_request(Transfer::Kind kind) {
  using Kind = Transfer::Kind;
  switch (kind) {
    case Kind::kFromDisk: return "read";
    case Kind::kToDisk: return "write";
    case Kind::kCompareDisk: return "compare";
    case Kind::kZeroDisk: return "zero";
    case Kind::kDiscardDisk: return "discard";
    case Kind::kVerifyDisk: return "verify";
    case Kind::kFlushDisk: return "flush";
    case Kind::kRead:
    case Kind::kWrite: break;
  }
  return "none";
}

Result<void> disk_requests(const TraceReader& trace, const std::function<bool(const DiskRequest&)>& take) {
  const Keyframe& start = trace.keyframes().front();
  auto snapshot = trace.snapshot(start);
  if (!snapshot) return snapshot.error();
  RequestMaker maker(trace, start);
  LoneBoard board(trace.header().config, nullptr, maker);
  if (auto done = board.load(*snapshot); !done) return trace.damaged(start.frame, done.error().message);
  Doorbells doorbells(board.chunks());
  maker.watch(&doorbells);
  const auto give = [&] {
    for (const DiskRequest& request : maker.done)
      if (!take(request)) return false;
    maker.done.clear();
    return true;
  };
  EventCursor cursor(trace, start);
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    if (e->at.vcpu >= trace.header().config.vcpus) break;
    maker.now = {cursor.index(), e->at, board.now(*e)};
    board.feed(*e);
    if (e->kind == EventKind::kMmioWrite) doorbells.look(maker.now);
    if (!give()) return {};
  }
  if (cursor.error()) return *cursor.error();
  maker.finish();
  give();
  return {};
}

}  // namespace dejavm
