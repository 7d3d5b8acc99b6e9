// What bus masters and disks do with the guest's memory.
#include <algorithm>
#include <array>

#include "vmm/machine/disk.h"
#include "vmm/machine/machine_impl.h"

namespace dejavm {

// RAM in one piece; nullptr: not all of it is.
uint8_t* Machine::Impl::dma_target(Gpa gpa, uint64_t len_bytes) const {
  const MemoryRegion* region = memory->find(gpa);
  if (region == nullptr || region->rom || region->hidden) return nullptr;
  const uint64_t offset = gpa.value - region->start.value;
  return region->len_bytes - offset >= len_bytes ? region->host + offset : nullptr;
}

// An event that was due while nobody could tell is carried out late, but never before what is logged already.
Position Machine::Impl::not_before_now(Position p) const { return {p.vcpu, std::max(p.retired, at)}; }
bool Machine::Impl::read(Position where, uint16_t requester, Gpa gpa, std::span<uint8_t> to) {
  const uint8_t* from = dma_target(gpa, to.size());
  if (from != nullptr) std::copy_n(from, to.size(), to.begin());
  const std::span<const uint8_t> bytes = from != nullptr ? std::span<const uint8_t>(to) : std::span<const uint8_t>();
  if (dma_log != nullptr)
    dma_log->dma_read(not_before_now(where), requester, gpa, static_cast<uint32_t>(to.size()), from != nullptr, bytes);
  return from != nullptr;
}

bool Machine::Impl::write(Position, uint16_t, Gpa gpa, std::span<const uint8_t> from) {
  if (dma_target(gpa, from.size()) == nullptr) return false;
  CHECK(memory->write(gpa, from.data(), from.size()));
  engine->dma_written(gpa, from.size());
  return true;
}

bool Machine::Impl::disk_step(Position where, uint16_t requester, unsigned number, const Transfer& t, bool& equal) {
  Disk& disk = *disks[number];
  const bool done = carry_out(where, requester, disk, t, equal);
  if (!disk.loss().empty()) controls[schedule.current].stop = true;
  return done;
}

bool Machine::Impl::carry_out(Position where, uint16_t requester, Disk& disk, const Transfer& t, bool& equal) {
  using Kind = Transfer::Kind;
  if (t.kind == Kind::kZeroDisk || t.kind == Kind::kDiscardDisk) return disk.zero(t.disk_offset, t.disk_bytes);
  if (t.kind == Kind::kVerifyDisk || t.kind == Kind::kFlushDisk) return true;
  const Gpa gpa{t.address};
  uint8_t* const bytes = dma_target(gpa, t.len_bytes);
  if (bytes == nullptr && t.kind == Kind::kCompareDisk && dma_log != nullptr)
    dma_log->dma_read(not_before_now(where), requester, gpa, 1, false, {});
  if (bytes == nullptr) return false;
  if (t.kind == Kind::kToDisk) return disk.write(t.disk_offset, {bytes, t.len_bytes});
  std::array<uint8_t, kMaxTransferBytes> content;
  const std::span<uint8_t> piece = std::span(content).first(t.len_bytes);
  if (!disk.read(t.disk_offset, piece)) return false;
  if (t.kind == Kind::kCompareDisk) {
    equal = std::equal(piece.begin(), piece.end(), bytes);
    const uint8_t answer = equal;
    if (dma_log != nullptr) dma_log->dma_read(not_before_now(where), requester, gpa, 1, true, {&answer, 1});
    return true;
  }
  CHECK(memory->write(gpa, piece.data(), piece.size()));
  engine->dma_written(gpa, piece.size());
  return true;
}

}  // namespace dejavm
