// Where the guest's registers live in generated code.
#pragma once

namespace dejavm::soft {

inline constexpr int kBias = 128;  // RBP = &Cpu + kBias, so that its hottest members have short displacements
inline constexpr unsigned kNotPinned = 0xff;
// The host's register of each of the guest's, by their numbers.
inline constexpr unsigned kPinned[16] = {
    /*rax*/ 3, /*rcx*/ 9,  /*rdx*/ 10, /*rbx*/ 11, /*rsp*/ 14, /*rbp*/ 15, /*rsi*/ 6,  /*rdi*/ 7,
    /*r8*/ 8,  kNotPinned, kNotPinned, kNotPinned, /*r12*/ 12, /*r13*/ 13, kNotPinned, kNotPinned};

}  // namespace dejavm::soft
