#include "vmm/boot/boot.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/default_guest.h"
#include "vmm/boot/elf_file.h"
#include "vmm/boot/firmware.h"
#include "vmm/boot/layout.h"
#include "vmm/boot/multiboot.h"
#include "vmm/boot/pvh.h"

namespace dejavm::boot {
namespace {

Result<void> load_kernel(const Target& t, std::span<const uint8_t> image) {
  if (is_bzimage(image)) return load_bzimage(t, image);
  if (is_multiboot(image) && !is_pvh(image)) return load_multiboot(t, image);
  if (is_elf(image)) return load_pvh(t, image);
  return t.bad(
      "not a kernel that can be loaded: it is neither a Linux bzImage nor an ELF file with a PVH entry point, "
      "and has no Multiboot header");
}

}  // namespace

Result<std::vector<uint8_t>> read_file(const std::string& path, uint64_t max_bytes) {
  const auto failed = [&](const char* what) {
    return Error{ErrorKind::kHost, path + ": cannot " + what + ": " + std::strerror(errno)};
  };
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) return failed("open");
  struct stat info {};
  if (fstat(fileno(file.get()), &info)) return failed("read");
  const Error too_large{ErrorKind::kBadInput,
                        path + ": more than " + std::to_string(max_bytes >> 20) + " MiB, the most that can be loaded"};
  // What is not a regular file has no size and is read piece by piece.
  uint64_t expected = S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0;
  if (expected > max_bytes) return too_large;
  std::vector<uint8_t> bytes;
  for (;;) {
    constexpr uint64_t kPiece = 1 << 20;
    const size_t done = bytes.size(), want = expected > done ? expected - done : kPiece;
    bytes.resize(done + want);
    const size_t n = std::fread(bytes.data() + done, 1, want, file.get());
    bytes.resize(done + n);
    if (bytes.size() > max_bytes) return too_large;
    if (n < want) break;
  }
  if (std::ferror(file.get())) return failed("read");
  if (bytes.empty()) return Error{ErrorKind::kBadInput, path + ": the file is empty"};
  return bytes;
}

Result<void> load(const BootSource& source, const MachineConfig& config, GuestMemory& memory, VcpuState& vcpu) {
  if (!source.firmware.empty()) {
    const Target t{source, config, memory, vcpu, source.firmware};
    if (!source.kernel.empty() || !source.initrd.empty() || !source.append.empty())
      return t.host("a firmware image starts by itself; give no kernel, initrd or command line with it");
    return load_firmware(t);
  }
  if (source.kernel.empty()) {
    const Target t{source, config, memory, vcpu, "the default guest"};
    if (!source.initrd.empty()) return t.host("it takes no initrd; give a kernel with " + source.initrd);
    return load_pvh(t, default_guest());
  }
  Result<std::vector<uint8_t>> image = read_file(source.kernel, kMaxKernelBytes);
  if (!image) return image.error();
  return load_kernel({source, config, memory, vcpu, source.kernel}, *image);
}

}  // namespace dejavm::boot
