// The snapshot container: any bytes are refused or read, within memory bounded by their number.
#include "fuzz/fuzz.h"

#include "replay/snapshot/snapshot_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm;
  auto file = SnapshotFile::open(std::make_unique<MemorySource>(Bytes(data, data + size)));
  if (!file) {
    CHECK(!file.error().message.empty());
    return 0;
  }
  const Bytes head = encode_snapshot_head((*file)->head());
  // What was read is written the same again, unless its schemas were left out.
  if (!(*file)->head().schema_payload.empty()) CHECK(head.size() <= size && std::equal(head.begin(), head.end(), data));
  [[maybe_unused]] const auto verified = (*file)->verify();
  return 0;
}
