#include "vmm/machine/image_file.h"

#include <libnbd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

namespace dejavm {
namespace {

using Handle = std::unique_ptr<nbd_handle, void (*)(nbd_handle*)>;

Error failed(const std::string& where) {
  const char* why = nbd_get_error();
  return {ErrorKind::kHost, fmt::format("{}: {}", where, why != nullptr ? why : "an unknown error of libnbd")};
}

// A copy of this process, which writes a snapshot, has a connection of its own, for two cannot talk over one. There is
// one such copy at a time.
class NbdImage final : public ImageFile {
 public:
  NbdImage(Handle handle, Handle for_copies, uint64_t len_bytes, bool tells_extents)
      : handle_(std::move(handle)),
        for_copies_(std::move(for_copies)),
        len_bytes_(len_bytes),
        tells_extents_(tells_extents) {}
  uint64_t len_bytes() const override { return len_bytes_; }
  bool read(uint64_t offset, std::span<uint8_t> to) override {
    constexpr size_t kMost = 1 << 20;
    for (size_t done = 0; done < to.size();) {
      const size_t count = std::min(kMost, to.size() - done);
      if (nbd_pread(connection(), to.data() + done, count, offset + done, 0) != 0) {
        problem_ = failed("its server").message;
        return false;
      }
      done += count;
    }
    return true;
  }
  std::string problem() const override { return problem_; }
  bool is_for_one_copy() const override { return true; }
  Range range_at(uint64_t offset) const override {
    constexpr uint64_t kMost = uint64_t{1} << 30;
    const uint64_t rest = offset < len_bytes_ ? len_bytes_ - offset : 0;
    if (rest == 0) return {Range::Kind::kZeros, kPageSize};
    Range found{Range::Kind::kData, rest};
    if (!tells_extents_) return found;
    first_extent(offset, std::min(rest, kMost), found);
    // Not on a page's border: the page that it ends in has data, or is looked at as if it had.
    const bool to_the_end = found.len_bytes >= rest;
    if (!to_the_end && found.len_bytes < kPageSize) return {Range::Kind::kData, kPageSize};
    if (!to_the_end) found.len_bytes = found.len_bytes / kPageSize * kPageSize;
    return found;
  }

 private:
  void first_extent(uint64_t offset, uint64_t len_bytes, Range& found) const {
    const auto each = [](void* to, const char* context, uint64_t, uint32_t* entries, size_t count, int*) {
      if (std::string_view(context) != LIBNBD_CONTEXT_BASE_ALLOCATION || count < 2 || entries[0] == 0) return 0;
      auto& range = *static_cast<Range*>(to);
      range = {entries[1] & LIBNBD_STATE_ZERO ? Range::Kind::kZeros : Range::Kind::kData, entries[0]};
      return 0;
    };
    Range range{Range::Kind::kData, 0};
    const nbd_extent_callback callback{.callback = each, .user_data = &range, .free = nullptr};
    if (nbd_block_status(connection(), len_bytes, offset, callback, 0) == 0 && range.len_bytes != 0) found = range;
  }

  nbd_handle* connection() const { return getpid() == owner_ ? handle_.get() : for_copies_.get(); }

  pid_t owner_ = getpid();
  Handle handle_, for_copies_;
  uint64_t len_bytes_;
  bool tells_extents_;
  std::string problem_;
};

// `connect` gives 0 once the handle is connected.
template <class Connect>
Result<std::unique_ptr<ImageFile>> open_nbd(const std::string& where, Connect connect) {
  Handle handle(nbd_create(), nbd_close), for_copies(nbd_create(), nbd_close);
  for (nbd_handle* each : {handle.get(), for_copies.get()}) {
    if (each == nullptr) return failed(where);
    if (nbd_add_meta_context(each, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0) return failed(where);
    if (connect(each) != 0) return failed(where);
  }
  const int64_t len_bytes = nbd_get_size(handle.get());
  if (len_bytes < 0) return failed(where);
  if (len_bytes == 0) return Error{ErrorKind::kHost, fmt::format("{}: an empty disk image", where)};
  const bool extents = nbd_can_meta_context(handle.get(), LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  return std::unique_ptr<ImageFile>(
      std::make_unique<NbdImage>(std::move(handle), std::move(for_copies), static_cast<uint64_t>(len_bytes), extents));
}

bool is_installed(const char* program) {
  return std::system(fmt::format("command -v {} >/dev/null 2>&1", program).c_str()) == 0;
}

Result<std::unique_ptr<ImageFile>> open_by_qemu_nbd(const std::string& path, const char* format) {
  if (!is_installed("qemu-nbd"))
    return Error{ErrorKind::kHost, fmt::format("{}: an image of format {}, which qemu-nbd reads, and that is not "
                                               "installed here (Debian: package qemu-utils); or convert it to raw",
                                               path, format)};
  const std::string format_option = fmt::format("--format={}", format);
  std::array<char*, 6> arguments{
      const_cast<char*>("qemu-nbd"), const_cast<char*>("--read-only"), const_cast<char*>(format_option.c_str()),
      const_cast<char*>("--"),       const_cast<char*>(path.c_str()),  nullptr};
  return open_nbd(path, [&](nbd_handle* h) { return nbd_connect_systemd_socket_activation(h, arguments.data()); });
}

}  // namespace

const char* image_format_of(const std::string& path) {
  constexpr struct {
    size_t at;
    std::string_view bytes;
    const char* format;
  } kFormats[] = {{0, {"QFI\xfb\0\0\0\1", 8}, "qcow"},  {0, "QFI\xfb", "qcow2"}, {0, "KDMV", "vmdk"},
                  {0, "# Disk DescriptorFile", "vmdk"}, {0, "conectix", "vpc"},  {0, "vhdxfile", "vhdx"},
                  {64, "\x7f\x10\xda\xbe", "vdi"}};
  std::array<char, 80> head{};
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) return nullptr;
  const std::string_view text(head.data(), std::fread(head.data(), 1, head.size(), file.get()));
  for (const auto& [at, bytes, format] : kFormats)
    if (text.size() >= at + bytes.size() && text.substr(at, bytes.size()) == bytes) return format;
  return nullptr;
}

bool is_nbd_uri(std::string_view where) {
  for (const std::string_view scheme : {"nbd:", "nbds:", "nbd+unix:", "nbds+unix:", "nbd+vsock:"})
    if (where.starts_with(scheme)) return true;
  return false;
}

Result<std::unique_ptr<ImageFile>> open_image_file(const std::string& where, ImageFormat format) {
  if (format == ImageFormat::kAuto) {
    if (is_nbd_uri(where)) return open_nbd(where, [&](nbd_handle* h) { return nbd_connect_uri(h, where.c_str()); });
    if (const char* by_qemu = image_format_of(where)) return open_by_qemu_nbd(where, by_qemu);
  }
  auto raw = RawImage::open(where);
  if (!raw) return raw.error();
  return std::unique_ptr<ImageFile>(raw.take());
}

}  // namespace dejavm
