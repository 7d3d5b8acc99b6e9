// What both sides of the events' codec share: the tag byte. FORMAT.md, "Events".
#pragma once

#include <cstdint>

namespace dejavm {

// Bits 3:0 of the tag are the kind, or one of these.
inline constexpr uint8_t kLongKindTag =
    0x0e;  // the kind follows as a number, this one or above. Version 1: is the kind itself
inline constexpr uint8_t kVcpuTag = 0x0f;  // the whole byte: a vCPU follows, and then an event of it
inline constexpr uint8_t kKindMask = 0x0f;
inline constexpr unsigned kSizeShift = 4, kSizeMask = 7 << kSizeShift;  // OperandForm::kSize
inline constexpr uint8_t kFlagBit = 0x80;                               // kFlag, kLast

}  // namespace dejavm
