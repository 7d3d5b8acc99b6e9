// Regions are separate anonymous mappings, reserved and not committed: a page costs the host nothing until the guest
// or the loader touches it.
#include "vmm/state/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace dejavm {
namespace {

constexpr uint64_t kMinRamBytes = 1 << 20;
// A larger window would cover the I/O APIC, the HPET or the local APIC (0xfec00000-0xfeefffff).
constexpr uint64_t kMaxRomBytes = 16 << 20;

constexpr uint64_t kHugePage = 2 << 20;

uint8_t* reserve(uint64_t len_bytes) {
  void* p = mmap(nullptr, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<uint8_t*>(p);
}

// Aligned to huge pages, which the host is asked to use: the engine touches guest memory at random.
uint8_t* reserve_guest_memory(uint64_t len_bytes) {
  uint8_t* p = reserve(len_bytes + kHugePage);
  if (!p) return nullptr;
  const uint64_t before = -reinterpret_cast<uint64_t>(p) & (kHugePage - 1);
  if (before) munmap(p, before);
  munmap(p + before + len_bytes, kHugePage - before);
  madvise(p + before, len_bytes, MADV_HUGEPAGE);
  return p + before;
}

uint64_t touched_bytes(const MemoryRegion& r) { return r.len_bytes / kPageSize / kTouchedPages + 1; }

void release(const MemoryRegion& r) {
  if (r.host) munmap(r.host, r.len_bytes);
  if (r.flags) munmap(r.flags, r.len_bytes / kPageSize);
  if (r.touched) munmap(r.touched, touched_bytes(r));
}

Error bad_size(const char* what, uint64_t bytes, const char* rule) {
  return {ErrorKind::kHost, std::string(what) + " of " + std::to_string(bytes) + " bytes: it must be " + rule};
}

}  // namespace

Result<std::unique_ptr<GuestMemory>> GuestMemory::create(uint64_t ram_bytes, uint64_t rom_bytes, bool test_window,
                                                         std::span<const DiskConfig> disks) {
  if (ram_bytes % kPageSize || ram_bytes < kMinRamBytes || ram_bytes > kMaxRamBytes)
    return bad_size("guest memory", ram_bytes, "a multiple of 4 KiB from 1 MiB to 1023 GiB");
  if (rom_bytes % kPageSize || rom_bytes > kMaxRomBytes)
    return bad_size("a firmware window", rom_bytes, "a multiple of 4 KiB up to 16 MiB");
  if (test_window && rom_bytes > kFourGiB - kTestWindow - kTestWindowBytes)
    return bad_size("a firmware window", rom_bytes, "smaller: the test device's window ends at 0xff010000");
  std::unique_ptr<GuestMemory> m(new GuestMemory);
  m->ram_bytes_ = ram_bytes;
  m->regions_ = memory_layout(ram_bytes, rom_bytes, test_window, disks);
  for (MemoryRegion& r : m->regions_) {
    r.host = reserve_guest_memory(r.len_bytes);
    r.flags = r.host ? reserve(r.len_bytes / kPageSize) : nullptr;
    if (r.flags && r.hidden) r.touched = reserve(touched_bytes(r));
    if (!r.flags || (r.hidden && !r.touched))
      return Error{ErrorKind::kHost, "the host refuses " + std::to_string(r.len_bytes >> 20) +
                                         " MiB of address space for guest memory: " + std::strerror(errno) +
                                         "; give the machine less memory, or raise the limit (ulimit -v, "
                                         "vm.overcommit_memory)"};
  }
  return m;
}

GuestMemory::~GuestMemory() {
  for (const MemoryRegion& r : regions_) release(r);
}

const MemoryRegion* GuestMemory::find(Gpa gpa) const {
  for (const MemoryRegion& r : regions_)
    if (gpa.value >= r.start.value && gpa.value - r.start.value < r.len_bytes) return &r;
  return nullptr;
}

uint8_t* GuestMemory::page(Gpa gpa) const {
  const MemoryRegion* r = find(gpa);
  return r ? r->host + ((gpa.value - r->start.value) & ~(kPageSize - 1)) : nullptr;
}

uint8_t* GuestMemory::page_flags(Gpa gpa) const {
  const MemoryRegion* r = find(gpa);
  return r ? r->flags + (gpa.value - r->start.value) / kPageSize : nullptr;
}

namespace {

// A range may run through regions that touch (firmware and RAM at 4 GiB). `f` gets region, offset in it, length and
// offset in the whole; it is called only when every byte of the range has a region.
template <class F>
bool for_each_piece(const GuestMemory& m, Gpa gpa, uint64_t len, F f) {
  if (len && gpa.value + (len - 1) < gpa.value) return false;
  for (bool look : {true, false})
    for (uint64_t done = 0; done < len;) {
      const MemoryRegion* r = m.find(gpa + done);
      if (!r) return false;
      const uint64_t offset = gpa.value + done - r->start.value, n = std::min(len - done, r->len_bytes - offset);
      if (!look) f(*r, offset, n, done);
      done += n;
    }
  return true;
}

}  // namespace

bool GuestMemory::read(Gpa gpa, void* to, uint64_t len) const {
  return for_each_piece(*this, gpa, len, [&](const MemoryRegion& r, uint64_t offset, uint64_t n, uint64_t done) {
    std::memcpy(static_cast<uint8_t*>(to) + done, r.host + offset, n);
  });
}

bool GuestMemory::write(Gpa gpa, const void* from, uint64_t len) {
  return for_each_piece(*this, gpa, len, [&](const MemoryRegion& r, uint64_t offset, uint64_t n, uint64_t done) {
    std::memcpy(r.host + offset, static_cast<const uint8_t*>(from) + done, n);
    for (uint64_t p = offset / kPageSize; p <= (offset + n - 1) / kPageSize; ++p) {
      r.flags[p] |= kPageDirty;
      if (r.touched) r.touched[p / kTouchedPages] = 1;
    }
  });
}

uint8_t* GuestMemory::written_range(Gpa gpa, uint64_t len_bytes) {
  const MemoryRegion* r = find(gpa);
  CHECK(r && len_bytes <= r->len_bytes - (gpa.value - r->start.value));
  const uint64_t at = gpa.value - r->start.value;
  const uint64_t first = at / kPageSize, pages = len_bytes / kPageSize;
  std::memset(r->flags + first, kPageWritten, pages);
  if (r->touched && pages > 0)
    std::memset(r->touched + first / kTouchedPages, 1, (first + pages - 1) / kTouchedPages - first / kTouchedPages + 1);
  return r->host + at;
}

bool GuestMemory::map_file(Gpa gpa, uint64_t len_bytes, int fd, uint64_t offset) {
  constexpr uint64_t kWorthMapping = 1 << 20;  // a mapping costs more than a copy of less
  if (len_bytes < kWorthMapping) return false;
  uint8_t* to = page(gpa);
  CHECK(to != nullptr);
  if (mmap(to, len_bytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0), fd,
           static_cast<off_t>(offset)) == MAP_FAILED)
    return false;
  written_range(gpa, len_bytes);
  return true;
}

void GuestMemory::clear_dirty(uint8_t flag) {
  for (const MemoryRegion& r : regions_)
    // Reading first leaves flags that were never set without host memory.
    for_each_page_with(r, flag, [&](uint64_t p) { r.flags[p] = static_cast<uint8_t>(r.flags[p] & ~flag); });
}

}  // namespace dejavm
