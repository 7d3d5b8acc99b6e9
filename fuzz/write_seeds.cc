// Writes the seed corpora: states of every device from its life, operations, a small snapshot and a small trace; and
// dictionaries for libFuzzer. Usage: fuzz_write_seeds CORPUS_DIR DICTIONARY_DIR
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "replay/snapshot/snapshot_file.h"
#include "tests/conformance/random_ops.h"
#include "tests/replay/trace/sample_trace.h"

using namespace dejavm;

namespace {

void write(const std::filesystem::path& folder, const std::string& name, const Bytes& bytes) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

Bytes pack(const std::vector<DeviceOp>& ops) {
  Bytes out;
  for (const DeviceOp& op : ops) {
    out.push_back(static_cast<uint8_t>(op.kind));
    out.push_back(op.size);
    out.push_back(static_cast<uint8_t>(op.index));
    out.push_back(static_cast<uint8_t>(op.index >> 8));
    for (int k = 0; k < 7; ++k) out.push_back(static_cast<uint8_t>(op.a >> (8 * k)));
    for (int k = 0; k < 8; ++k) out.push_back(static_cast<uint8_t>(op.b >> (8 * k)));
  }
  return out;
}

void write_text(const std::filesystem::path& folder, const std::string& name, std::string_view text) {
  write(folder, name, Bytes(text.begin(), text.end()));
}

// A field's name as CBOR has it.
void add_names(std::span<const FieldInfo> fields, std::string& out) {
  for (const FieldInfo& f : fields) {
    out += "\"\\x" + std::string(f.name.size() < 16 ? "6" : "7") + "0123456789abcdef"[f.name.size() % 16] +
           std::string(f.name) + "\"\n";
    add_names(f.members, out);
  }
}

Bytes small_snapshot(const DeviceModel& m, bool delta, bool with_disk = false) {
  SnapshotHead h;
  h.writer = "seed";
  h.engine = "none";
  h.config.memory_bytes = 1 << 20;
  h.bindings = {"console"};
  Device d(m);
  const ChunkRef ref{m.schema, 0, true, d.state.data()};
  h.schemas = {m.schema};
  h.state.chunks = store_chunks({&ref, 1});
  if (delta) {
    h.parent = ParentRef{hash128({}), "parent"};
    h.extents = {{0x1000, 0x1000, 1}, {0x2000, 0x1000, 0}};
  } else h.extents = {{0, 1 << 20, 0}};
  if (with_disk) {
    h.config.disks = {{.bytes = 8192, .serial = "S"}};
    h.disks = {{"disk.img", false}};
    h.extents.push_back({disk_region(0).value, disk_region_bytes(8192), 0});
    h.extents.push_back({image_region(0).value, 4096, 0});
  }
  for (const MemoryExtent& e : h.extents) h.state.pages += e.len_bytes / 4096;
  lay_out(h);
  h.state.digest = digest_of(h.state.chunks, h.state.memory);
  Bytes out = encode_snapshot_head(h);
  out.resize(h.file_bytes);
  return out;
}

void write_devices(const std::filesystem::path& corpus, const std::filesystem::path& dictionaries) {
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
  for (const DeviceModel& m : device_catalog()) {
    std::string names;
    add_names(m.schema->fields, names);
    write_text(dictionaries, "parse_" + std::string(m.name()) + ".dict", names);
  }
}

void write_requests(const std::filesystem::path& corpus, const std::filesystem::path& dictionaries) {
  constexpr std::string_view kRequests[] = {
      R"({"command":"status"})",
      R"({"id":7,"command":"checkpoint","file":"a.dvs","delta":true,"force":false})",
      R"({"command":"pause","id":"x"})",
      R"({"command":"record-start","file":"t.dvt","force":true})",
      R"({"command":"stop"})",
      R"(["command"])",
      R"({"command":"resume","file":""})",
      R"({"id":{"a":[1,2]},"command":"suspend","file":"s"})"};
  std::string all = "@";  // the size of the pieces
  for (const std::string_view r : kRequests) all += std::string(r) + "\n";
  write_text(corpus / "control", "requests", all);
  for (size_t i = 0; i < std::size(kRequests); ++i)
    write_text(corpus / "control", "request" + std::to_string(i), " " + std::string(kRequests[i]) + "\n");
  write_text(dictionaries, "control.dict",
             "\"\\\"command\\\":\"\n\"\\\"file\\\":\"\n\"\\\"force\\\":true\"\n\"\\\"delta\\\":true\"\n\"\\\"id\\\":"
             "\"\n\"checkpoint\"\n\"suspend\"\n\"status\"\n\"record-start\"\n");
}

void write_code(const std::filesystem::path& corpus, const std::filesystem::path& dictionaries) {
  constexpr uint8_t kCode[][16] = {{0, 0x48, 0x8b, 0x44, 0x24, 0x08},
                                   {0, 0x0f, 0x01, 0xf9},
                                   {0, 0xf3, 0x48, 0xa5},
                                   {0, 0x66, 0x0f, 0x6f, 0x05, 1, 2, 3, 4},
                                   {0, 0xf0, 0x48, 0x0f, 0xb1, 0x0c, 0x91},
                                   {1, 0x67, 0x8b, 0x47, 0x10},
                                   {1, 0x9a, 1, 2, 3, 4, 5, 6},
                                   {2, 0x26, 0x8a, 0x07},
                                   {2, 0x66, 0xea, 1, 2, 3, 4, 5, 6},
                                   {0, 0xdf, 0x6c, 0x24, 0x10},
                                   {0, 0x0f, 0xae, 0x04, 0x24}};
  for (size_t i = 0; i < std::size(kCode); ++i)
    write(corpus / "decode", "code" + std::to_string(i), Bytes(kCode[i], kCode[i] + 16));
  write_text(dictionaries, "decode.dict",
             "\"\\x0f\\x01\"\n\"\\x0f\\xae\"\n\"\\x66\\x0f\"\n\"\\xf2\\x0f\"\n\"\\xf3\\x0f\"\n\"\\x0f\\x38\"\n\"\\x0f\\"
             "x3a\"\n\"\\x48\"\n\"\\x67\"\n\"\\xf0\"\n");
}

void write_files(const std::filesystem::path& corpus, const std::filesystem::path& dictionaries) {
  write_text(dictionaries, "snapshot_file.dict",
             "\"\\x7fELF\"\n\"DEJAVM\"\n\"file.machine\"\n\"file.schemas\"\n\"file.snapshot\"\n\"file.memory\"\n\"file."
             "seal\"\n\"extents\"\n\"blocks\"\n\"parent\"\n\"file.disks\"\n\"external\"\n");
  write_text(dictionaries, "trace.dict",
             "\"schemas\"\n\"config\"\n\"engine\"\n\"writer\"\n\"devices_only\"\n\"serial_timing\"\n\"pm_timer_"
             "bits\"\n\"keyframe_interval\"\n\"\\x28\\xb5\\x2f\\xfd\"\n");
  write(corpus / "snapshot_file", "full", small_snapshot(*find_device("vatpic"), false));
  write(corpus / "snapshot_file", "delta", small_snapshot(*find_device("vpmtmr"), true));
  write(corpus / "snapshot_file", "disk", small_snapshot(*find_device("vpmtmr"), false, true));
  write(corpus / "trace", "sample", sample_trace());
}

void write_board(const std::filesystem::path& corpus) {
  Bytes accesses(16 * 40);
  for (size_t i = 0; i < accesses.size(); ++i) accesses[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  write(corpus / "board", "seed0", accesses);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: fuzz_write_seeds CORPUS_DIR DICTIONARY_DIR\n", stderr);
    return 1;
  }
  const std::filesystem::path corpus = argv[1], dictionaries = argv[2];
  write_devices(corpus, dictionaries);
  write_requests(corpus, dictionaries);
  write_code(corpus, dictionaries);
  write_files(corpus, dictionaries);
  write_board(corpus);
  return 0;
}
