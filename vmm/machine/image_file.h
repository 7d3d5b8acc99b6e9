// Images of disks that the host has: raw files by ourselves; qcow2, VMDK, VDI, VHD and VHDX by qemu-nbd, and whatever
// an NBD server offers by its URI, through libnbd.
#pragma once

#include <memory>
#include <string>

#include "devices/core/result.h"
#include "vmm/machine/disk.h"

namespace dejavm {

enum class ImageFormat : uint8_t { kAuto, kRaw };

// `where`: a path, or an NBD server's URI (nbd:, nbds:, nbd+unix:, nbds+unix:, nbd+vsock:). kAuto: what a file is
// its content tells. kHost: it is not there, not to be read, no file, empty; the server cannot be reached; qemu-nbd is
// not there, or refuses.
Result<std::unique_ptr<ImageFile>> open_image_file(const std::string& where, ImageFormat = ImageFormat::kAuto);

// What a file is by its first bytes, in qemu-nbd's words; nullptr: raw.
const char* image_format_of(const std::string& path);

// Whether it is the URI of an NBD server rather than a path.
bool is_nbd_uri(std::string_view where);

}  // namespace dejavm
