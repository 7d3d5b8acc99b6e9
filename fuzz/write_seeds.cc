// Writes the seed corpora: states of every device from its life, operations, a small snapshot and a small trace.
// Usage: fuzz_write_seeds CORPUS_DIR
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "replay/snapshot_file.h"
#include "tests/conformance/random_ops.h"
#include "tests/replay/sample_trace.h"

using namespace dejavm;

namespace {

void write(const std::filesystem::path& folder, const std::string& name, const Bytes& bytes) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

Bytes pack(const std::vector<DeviceOp>& ops) {
  Bytes out;
  for (const DeviceOp& op : ops) {
    out.push_back(static_cast<uint8_t>(op.kind));
    out.push_back(op.size);
    out.push_back(static_cast<uint8_t>(op.index)), out.push_back(static_cast<uint8_t>(op.index >> 8));
    for (int k = 0; k < 7; ++k) out.push_back(static_cast<uint8_t>(op.a >> (8 * k)));
    for (int k = 0; k < 8; ++k) out.push_back(static_cast<uint8_t>(op.b >> (8 * k)));
  }
  return out;
}

Bytes small_snapshot(const DeviceModel& m, bool delta) {
  SnapshotHead h;
  h.writer = "seed", h.engine = "none", h.config.memory_bytes = 1 << 20, h.bindings = {"console"};
  Device d(m);
  const ChunkRef ref{m.schema, 0, true, d.state.data()};
  h.schemas = {m.schema};
  h.state.chunks = store_chunks({&ref, 1});
  if (delta) h.parent = ParentRef{hash128({}), "parent"}, h.extents = {{0x1000, 0x1000, 1}, {0x2000, 0x1000, 0}};
  else h.extents = {{0, 1 << 20, 0}};
  for (const MemoryExtent& e : h.extents) h.state.pages += e.len_bytes / 4096;
  lay_out(h);
  h.state.digest = digest_of(h.state.chunks, h.state.memory);
  Bytes out = encode_snapshot_head(h);
  out.resize(h.file_bytes);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("usage: fuzz_write_seeds CORPUS_DIR\n", stderr), 1;
  const std::filesystem::path corpus = argv[1];
  for (const DeviceModel& m : device_catalog()) {
    const std::string name(m.name());
    for (unsigned n = 0; n < 8; ++n) {
      RandomOps random(m, n + 1);
      Device d(m);
      d.live(random, n * 12);
      write(corpus / ("parse_" + name), "seed" + std::to_string(n), d.saved());
      if (n % 2) write(corpus / ("operate_" + name), "seed" + std::to_string(n), pack(d.ops));
    }
  }
  write(corpus / "snapshot_file", "full", small_snapshot(*find_device("vatpic"), false));
  write(corpus / "snapshot_file", "delta", small_snapshot(*find_device("vpmtmr"), true));
  write(corpus / "trace", "sample", sample_trace());
  Bytes accesses(16 * 40);
  for (size_t i = 0; i < accesses.size(); ++i) accesses[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  write(corpus / "board", "seed0", accesses);
  return 0;
}
