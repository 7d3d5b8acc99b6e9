// A firmware image ends at 4 GiB, so that the reset vector (0xfffffff0) is in it, and its last 256 KiB are also what a
// PC shows below 1 MiB. There it is RAM, as after a chipset has shadowed it. The vCPU stays as reset left it.
#include <algorithm>

#include "vmm/boot/firmware.h"

namespace dejavm::boot {
namespace {

constexpr uint64_t kWindowStep = 64 << 10, kShadowBytes = 256 << 10;

Result<std::vector<uint8_t>> read_firmware(const std::string& path) {
  Result<std::vector<uint8_t>> image = read_file(path, kMaxFirmwareBytes);
  if (image && image->size() % kPageSize)
    return Error{ErrorKind::kBadInput, path + ": a firmware image is a multiple of 4 KiB long, this has " +
                                           std::to_string(image->size()) + " bytes; is it cut off?"};
  return image;
}

}  // namespace

Result<uint64_t> firmware_rom_bytes(const std::string& path) {
  Result<std::vector<uint8_t>> image = read_firmware(path);
  if (!image) return image.error();
  return (image->size() + kWindowStep - 1) & ~(kWindowStep - 1);
}

Result<void> load_firmware(const Target& t) {
  Result<std::vector<uint8_t>> image = read_firmware(t.source.firmware);
  if (!image) return image.error();
  const uint64_t start = kFourGiB - image->size();
  const MemoryRegion* window = t.memory.find({start});
  if (!window || !window->rom)
    return t.host("the image of " + std::to_string(image->size()) + " bytes is larger than the machine's firmware " +
                  "window of " + std::to_string(t.config.rom_bytes) + " bytes; has it changed since the start?");
  t.put(start, *image);
  const uint64_t shadow = std::min<uint64_t>(image->size(), kShadowBytes);
  t.put(kMiB - shadow, std::span(*image).last(shadow));
  return {};
}

}  // namespace dejavm::boot
