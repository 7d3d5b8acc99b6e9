// Guest-physical memory: RAM and ROM regions backed by anonymous host memory, with one flag byte per 4 KiB page.
// The layout is that of the PC: RAM from 0 up to 3 GiB, the rest from 4 GiB on; the firmware image, if any, read-only
// below 4 GiB. Everything that is not in a region is the board's (MMIO).
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "devices/core/result.h"
#include "devices/core/types.h"
#include "vmm/board/address_map.h"
#include "vmm/state/config.h"

namespace dejavm {

inline constexpr uint64_t kPageSize = 4096;

// Flags of a RAM page. kPageCode: the engine has decoded instructions from it, so stores must go through the engine's
// slow path. A store sets all of kPageDirty: kPageWritten is never cleared (without it the page is all zero), the
// others by one user each: the memory sum, and delta snapshots.
inline constexpr uint8_t kPageDirtySum = 1, kPageCode = 2, kPageDirtySave = 4, kPageWritten = 8;
inline constexpr uint8_t kPageDirty = kPageDirtySum | kPageDirtySave | kPageWritten;

struct MemoryRegion {
  Gpa start;
  uint64_t len_bytes = 0;    // multiple of kPageSize
  uint8_t* host = nullptr;   // zero-filled when new
  uint8_t* flags = nullptr;  // one per page
  bool rom = false;          // guest stores are ignored
  bool hidden = false;       // no guest can address it: what is written to a disk
  // Of a hidden one, which may be huge and is mostly empty: for each kTouchedPages pages, whether one may have flags.
  uint8_t* touched = nullptr;
};
inline constexpr uint64_t kTouchedPages = 4096;

// Calls f(number of the page in the region) for each page that has one of these flags, in order; f may change its
// flags.
template <class F>
void for_each_page_with(const MemoryRegion& region, uint8_t flags, F f) {
  const uint64_t pages = region.len_bytes / kPageSize;
  const uint64_t eight_times = 0x0101010101010101 * flags;
  for (uint64_t first = 0; first < pages; first += kTouchedPages) {
    if (region.touched != nullptr && !region.touched[first / kTouchedPages]) continue;
    const uint64_t end = pages - first < kTouchedPages ? pages : first + kTouchedPages;
    for (uint64_t page = first; page < end;) {
      uint64_t eight = 0;
      if (end - page >= sizeof eight) {
        std::memcpy(&eight, region.flags + page, sizeof eight);
        if ((eight & eight_times) == 0) {
          page += sizeof eight;
          continue;
        }
      }
      const uint64_t stop = end - page < sizeof eight ? end : page + sizeof eight;
      for (; page < stop; ++page)
        if (region.flags[page] & flags) f(page);
    }
  }
}

inline constexpr uint64_t kLowRamLimit = uint64_t{3} << 30, kFourGiB = uint64_t{4} << 30;
inline constexpr uint64_t kMaxRamBytes = (uint64_t{1} << 40) - (kFourGiB - kLowRamLimit);  // 40 physical address bits
// What tests have for memory that no system uses, as QEMU's pc-testdev has.
using address_map::kTestWindow, address_map::kTestWindowBytes;

// Where what is written to disk `n` is kept (vmm/machine/disk.h), above all physical addresses: bits, then content.
// Images of disks are logged in pieces of so many bytes; the last one may be shorter.
inline constexpr uint64_t kDiskPieceBytes = 64 << 10;
inline constexpr uint64_t kMaxDiskBytes = uint64_t{1} << 43;
constexpr Gpa disk_region(unsigned n) { return {(uint64_t{1} << 52) + (uint64_t{n} << 44)}; }
// Where snapshot files have the image that it started from, which no machine has in memory.
constexpr Gpa image_region(unsigned n) { return {(uint64_t{1} << 53) + (uint64_t{n} << 44)}; }
constexpr uint64_t kDiskRegions = uint64_t{1} << 52, kImageRegions = uint64_t{1} << 53;
constexpr uint64_t whole_pages(uint64_t len_bytes) { return (len_bytes + kPageSize - 1) / kPageSize * kPageSize; }
constexpr uint64_t disk_bitmap_bytes(uint64_t disk_bytes) {
  const uint64_t pages = (disk_bytes + kPageSize - 1) / kPageSize;
  return (pages / 8 + kPageSize) / kPageSize * kPageSize;
}
constexpr uint64_t disk_region_bytes(uint64_t disk_bytes) {
  return disk_bitmap_bytes(disk_bytes) + whole_pages(disk_bytes);
}

// The regions of a machine with so much RAM and so large a firmware window, ascending, without host memory.
inline std::vector<MemoryRegion> memory_layout(uint64_t ram_bytes, uint64_t rom_bytes, bool test_window,
                                               std::span<const DiskConfig> disks = {}) {
  const uint64_t low = ram_bytes < kLowRamLimit ? ram_bytes : kLowRamLimit;
  std::vector<MemoryRegion> out = {{{0}, low}};
  if (test_window) out.push_back({{kTestWindow}, kTestWindowBytes});
  if (rom_bytes) out.push_back({{kFourGiB - rom_bytes}, rom_bytes, nullptr, nullptr, true});
  if (ram_bytes > low) out.push_back({{kFourGiB}, ram_bytes - low});
  for (unsigned n = 0; n < disks.size(); ++n) {
    out.push_back({disk_region(n), disk_region_bytes(disks[n].bytes)});
    out.back().hidden = true;
  }
  return out;
}

class GuestMemory {
 public:
  // ram_bytes: multiple of 4 KiB, at least 1 MiB. rom_bytes: size of the firmware window ending at 4 GiB; 0: none.
  static Result<std::unique_ptr<GuestMemory>> create(uint64_t ram_bytes, uint64_t rom_bytes, bool test_window = false,
                                                     std::span<const DiskConfig> disks = {});
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  uint64_t ram_bytes() const { return ram_bytes_; }
  std::span<const MemoryRegion> regions() const { return regions_; }
  // The region that holds gpa, or nullptr.
  const MemoryRegion* find(Gpa gpa) const;
  // Host address of the page holding gpa, or nullptr.
  uint8_t* page(Gpa gpa) const;
  uint8_t* page_flags(Gpa gpa) const;

  // Loader and DMA access: whole range in RAM or ROM, else false and nothing is done. write() marks pages dirty;
  // the caller tells the engine (Machine::write_memory does both).
  bool read(Gpa gpa, void* to, uint64_t len) const;
  bool write(Gpa gpa, const void* from, uint64_t len);
  // For restoring, which is not a store: of the flags only kPageWritten is set. The range lies within one region.
  // map_file: it becomes a private copy of the file's content, or zeros for fd -1; false: not worth it, or this host
  // cannot; nothing has changed. written_range: its host memory, to be filled.
  bool map_file(Gpa, uint64_t len_bytes, int fd, uint64_t offset);
  uint8_t* written_range(Gpa, uint64_t len_bytes);
  void clear_dirty(uint8_t flag);  // kPageDirtySum or kPageDirtySave; the caller tells the engine

 private:
  GuestMemory() = default;
  uint64_t ram_bytes_ = 0;
  std::vector<MemoryRegion> regions_;  // ascending by start
};

}  // namespace dejavm
