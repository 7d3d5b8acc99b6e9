// What a client of the gdb server may send, in whatever pieces it comes: each packet gets an answer that can be read,
// and memory stays bounded.
#include "fuzz/fuzz.h"

#include "tests/replay/gdb/gdb_fake.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dejavm::gdb;
  if (size == 0) return 0;
  FakeTarget target;
  target.count = 1 + data[0] % 4u;
  FakeWire wire({reinterpret_cast<const char*>(data) + 1, size - 1}, 1 + data[0] % 64u);
  serve(wire, target);
  PacketReader reader;
  std::vector<PacketReader::Item> items;
  reader.feed({reinterpret_cast<const uint8_t*>(wire.received.data()), wire.received.size()}, items);
  for (const auto& item : items)
    CHECK(item.kind != PacketReader::Item::Kind::kDamaged || wire.received.size() >= 1 << 20);
  return 0;
}
