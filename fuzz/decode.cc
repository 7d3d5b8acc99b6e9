// Instruction bytes: the decoder never reads beyond them, needs no more than it says, and where Capstone knows the
// instruction too, sees the same length. The first byte chooses the mode.
#include "fuzz/fuzz.h"

#include <capstone/capstone.h>

#include "vmm/soft/decode.h"

namespace {

// Where Capstone 4 reads otherwise than the manuals, or the manuals differ (docs/decoder.md).
bool capstone_differs(const dejavm::soft::Decoded& d, const uint8_t* bytes);

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm::soft;
  if (size < 2) return 0;
  const unsigned pick = data[0] % 3;
  const CodeMode mode = pick == 0 ? CodeMode::k64 : pick == 1 ? CodeMode::k32 : CodeMode::k16;
  const std::span<const uint8_t> bytes(data + 1, std::min<size_t>(size - 1, 15));
  Decoded whole, part;
  const DecodeStatus status = decode(bytes, mode, whole);
  if (status != DecodeStatus::kOk) return 0;
  CHECK(whole.len >= 1 && whole.len <= bytes.size());
  if (whole.op == Op::kInvalid) return 0;
  CHECK(decode(bytes.first(whole.len), mode, part) == DecodeStatus::kOk && part.op == whole.op &&
        part.len == whole.len);
  for (size_t n = 0; n < whole.len; ++n) CHECK(decode(bytes.first(n), mode, part) == DecodeStatus::kTruncated);
  static csh capstones[3];
  static cs_insn* insn;
  if (!insn) {
    constexpr cs_mode kModes[] = {CS_MODE_64, CS_MODE_32, CS_MODE_16};
    for (unsigned i = 0; i < 3; ++i) CHECK(cs_open(CS_ARCH_X86, kModes[i], &capstones[i]) == CS_ERR_OK);
    insn = cs_malloc(capstones[0]);
  }
  const uint8_t* code = bytes.data();
  size_t left = bytes.size();
  uint64_t address = 0;
  if (cs_disasm_iter(capstones[pick], &code, &left, &address, insn) && insn->size != whole.len)
    CHECK(capstone_differs(whole, bytes.data()));
  return 0;
}

namespace {

bool capstone_differs(const dejavm::soft::Decoded& d, const uint8_t* bytes) {
  using namespace dejavm::soft;
  switch (d.op) {
    case Op::k_ud0:
    case Op::k_ud1:
      return true;  // with or without ModRM
    // With 0x66 Capstone takes Intel's reading of a near branch, not AMD's; and of several prefixes not always the
    // last.
    case Op::k_call:
    case Op::k_jmp:
    case Op::k_jcc:
    case Op::k_ret:
    case Op::k_push:
    case Op::k_loop:
    case Op::k_loope:
    case Op::k_loopne: {
      const uint8_t b = bytes[0];
      return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || b == 0xf0 || b == 0x26 || b == 0x2e || b == 0x36 ||
             b == 0x3e || b == 0x64 || b == 0x65 || (b & 0xf0) == 0x40;
    }
    default: return false;
  }
}

}  // namespace
