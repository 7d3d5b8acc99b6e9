// A device's state as a snapshot holds it: whatever the bytes, decoding refuses them or gives a state that encodes to
// the same bytes, obeys its model's rules, and lives on. DEVICE names the model.
#include "fuzz/fuzz.h"

#include <cstring>

#include "devices/catalog.h"
#include "devices/core/script.h"
#include "replay/state/state_codec.h"
#include "replay/store/hash.h"

namespace dejavm {
namespace {

const DeviceModel& model() {
  static const DeviceModel* const m = find_device(DEVICE);
  return *m;
}

// The n-th number of a state, counted through arrays and structs; n is reduced by those that were passed.
bool visit(std::span<const FieldInfo> fields, std::byte* base, uint32_t& n, const FieldInfo*& field, uint32_t& index,
           std::byte*& holder) {
  for (const FieldInfo& f : fields)
    for (uint32_t i = 0; i < f.count; ++i) {
      if (f.kind == FieldKind::kStruct) {
        if (visit(f.members, base + f.offset + size_t{i} * f.element_size, n, field, index, holder)) return true;
      } else if (n-- == 0) {
        field = &f;
        index = i;
        holder = base;
        return true;
      }
    }
  return false;
}

}  // namespace
}  // namespace dejavm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm;
  const DeviceModel& m = model();
  static StateBuffer state(*m.schema);
  if (!decode_state(*m.schema, 0, m.schema->version, {data, size}, state.data())) return 0;
  const Bytes again = encode_state(*m.schema, state.data());
  CHECK(again.size() == size && std::equal(again.begin(), again.end(), data));
  CHECK(!m.schema->invalid || !m.schema->invalid(state.data()));
  // A few steps of life, and it must still be a state: of every sixteenth, as it costs far more than the parser does.
  if (hash64({data, size}, 0) % 16) return 0;
  Nanos now{0};
  for (const FieldInfo& f : m.schema->fields)
    if (f.name == "now_ns") now = {load_element(f, state.data(), 0)};
  if (now.value >> 61) return 0;
  for (const DeviceOp& op : m.idioms) perform(m, state.data(), now, op);
  perform(m, state.data(), now, {DeviceOp::Kind::kWait, 1, 0, 1'000'000, 0});
  static StateBuffer copy(*m.schema);
  CHECK(decode_state(*m.schema, 0, m.schema->version, encode_state(*m.schema, state.data()), copy.data()).ok());
  return 0;
}

// Structure-aware: most of the time one number of a state takes another value, in its range or near its edges.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using namespace dejavm;
  const DeviceModel& m = model();
  static StateBuffer state(*m.schema);
  static Bytes out;  // what `state` encodes to: libFuzzer mutates its own last output a few times in a row, and need
                     // not decode it
  if (seed % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  if ((out.size() != size || !std::equal(out.begin(), out.end(), data)) &&
      !decode_state(*m.schema, 0, m.schema->version, {data, size}, state.data())) {
    std::memset(state.data(), 0, m.schema->size);  // the last mutation may have left what is no value
    m.reset(state.data());
  }
  uint64_t random = seed * 0x9e3779b97f4a7c15;
  for (unsigned n = 0; n < 1 + seed / 8 % 3; ++n) {
    random = random * 6364136223846793005 + 1442695040888963407;
    uint32_t which = static_cast<uint32_t>(random >> 33) % m.schema->size;
    const FieldInfo* f = nullptr;
    uint32_t index = 0;
    std::byte* holder = nullptr;
    if (!visit(m.schema->fields, static_cast<std::byte*>(state.data()), which, f, index, holder)) continue;
    const uint64_t old = load_element(*f, holder, index), width = f->max_value - f->min_value;
    const uint64_t pick = random >> 8;
    uint64_t v = pick;
    switch (random >> 60 & 3) {
      case 0: v = f->min_value + (width + 1 ? pick % (width + 1) : pick); break;
      case 1: v = pick & 1 ? f->max_value - (pick >> 1) % 2 : f->min_value + (pick >> 1) % 2; break;
      case 2: v = old ^ uint64_t { 1 } << (pick & 63); break;
      default: v = old + (pick & 1 ? 1 : ~uint64_t{0}); break;
    }
    store_element(*f, holder, index, v);
  }
  out = encode_state(*m.schema, state.data());
  if (out.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(out.begin(), out.end(), data);
  return out.size();
}
