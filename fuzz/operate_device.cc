// Operations on a device with a save and a restore in their middle: the saved and the restored one must go on alike.
// DEVICE names the model; an input is a list of 19-byte operations: kind, size, index (2 bytes), a (7 bytes), b (8
// bytes).
#include "fuzz/fuzz.h"

#include "devices/catalog.h"
#include "devices/core/script.h"
#include "replay/state/state_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm;
  static const DeviceModel& m = *find_device(DEVICE);
  static StateBuffer a(*m.schema), b(*m.schema);
  m.reset(a.data());
  Nanos now_a{0}, now_b{0};
  constexpr size_t kOp = 19;
  const size_t count = std::min<size_t>(size / kOp, 400), middle = size ? data[0] % (count + 1) : 0;
  bool both = false;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* p = data + i * kOp;
    DeviceOp op;
    op.kind = static_cast<DeviceOp::Kind>(p[0] % (m.next_transfer ? 8 : 7));
    op.size = p[1];
    op.index = static_cast<uint16_t>(p[2] | p[3] << 8);
    for (int k = 0; k < 7; ++k) op.a |= uint64_t{p[4 + k]} << (8 * k);
    for (int k = 0; k < 8; ++k) op.b |= uint64_t{p[11 + k]} << (8 * k);
    // Mostly at registers, and not for centuries.
    if ((op.kind == DeviceOp::Kind::kRead || op.kind == DeviceOp::Kind::kWrite) && p[10] < 0xf0)
      op.a = m.registers[op.a % m.registers.size()];
    if (op.kind == DeviceOp::Kind::kWait) op.a >>= p[1] % 56;
    if (i == middle) {
      const Bytes saved = encode_state(*m.schema, a.data());
      CHECK(decode_state(*m.schema, 0, m.schema->version, saved, b.data()).ok());
      now_b = now_a;
      both = true;
    }
    const DeviceAnswer x = perform(m, a.data(), now_a, op);
    if (both) CHECK(x == perform(m, b.data(), now_b, op));
  }
  if (both) CHECK(encode_state(*m.schema, a.data()) == encode_state(*m.schema, b.data()));
  return 0;
}
