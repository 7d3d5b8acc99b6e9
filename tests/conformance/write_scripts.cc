// write_scripts FOLDER: scripts for golden states of every model, where there are none yet: the reset state, three
// moments of busy lives, and the ends of every range that operations can reach.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "devices/catalog.h"
#include "tests/conformance/random_ops.h"

namespace {

using namespace dejavm;

std::string after(const DeviceModel& m, Device& at, uint64_t seed) {
  RandomOps random(m, seed);
  Device d(m);
  std::memcpy(d.state.data(), at.state.data(), m.schema->size);
  d.now = at.now;
  d.live(random, 24);
  return d.script();
}

// Of many lives the one that leaves the most bytes other than reset does.
Device busiest(const DeviceModel& m, uint64_t first_seed) {
  Device best(m);
  size_t most = 0;
  const Device fresh(m);
  for (uint64_t seed = first_seed; seed < first_seed + 300; ++seed) {
    RandomOps random(m, seed);
    Device d(m);
    d.live(random, 40);
    size_t differing = 0;
    for (size_t i = 0; i < m.schema->size; ++i)
      differing +=
          static_cast<const std::byte*>(d.state.data())[i] != static_cast<const std::byte*>(fresh.state.data())[i];
    if (differing <= most || d.now.value > 3'000'000'000) continue;
    most = differing;
    best.ops = d.ops;
    best.now = d.now;
    std::memcpy(best.state.data(), d.state.data(), m.schema->size);
  }
  return best;
}

Device extreme(const DeviceModel& m) {
  Device d(m);
  for (const DeviceOp& op : m.idioms) d.perform(op);
  for (unsigned i = 0; i < m.inputs; ++i) d.perform({DeviceOp::Kind::kLine, 1, static_cast<uint16_t>(i), 1, 0});
  for (const uint32_t r : m.registers)
    d.perform({DeviceOp::Kind::kWrite, static_cast<uint8_t>(m.registers.back() >= 0x100 ? 4 : 1), 0, r, ~uint64_t{0}});
  d.perform({DeviceOp::Kind::kWait, 1, 0, (uint64_t{1} << 61) - 1, 0});
  return d;
}

void write(const std::string& folder, const DeviceModel& m, const std::string& name, const char* about, Device d,
           uint64_t seed) {
  const std::string path = folder + "/devices/" + std::string(m.name()) + "/" + name + ".script";
  if (std::filesystem::exists(path)) return;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << "# " << about << "\n" << d.script() << "save\n" << after(m, d, seed);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: write_scripts FOLDER\n", stderr);
    return 1;
  }
  for (const DeviceModel& m : device_catalog()) {
    write(argv[1], m, "reset", "As after power-on.", Device(m), 1);
    for (unsigned n = 1; n <= 3; ++n)
      write(argv[1], m, "busy-" + std::to_string(n), "In the middle of a busy life.", busiest(m, n * 1000), n);
    write(argv[1], m, "extremes", "Every input high, ones in every register, seventy years later.", extreme(m), 9);
  }
}
