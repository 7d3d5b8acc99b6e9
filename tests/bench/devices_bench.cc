// What a model costs: ns for each register access, for a step of time, for saving and restoring. Google Benchmark's
// options apply:
//   devices_bench --benchmark_filter=vlapic --benchmark_out=now.json; compare with its tools/compare.py
#include <benchmark/benchmark.h>

#include "devices/catalog.h"
#include "devices/core/script.h"
#include "replay/state/state_codec.h"

namespace dejavm {
namespace {

// A model after its drivers' usual writes.
struct Busy {
  explicit Busy(const DeviceModel& model) : m(model), state(*m.schema) {
    m.reset(state.data());
    for (const DeviceOp& op : m.idioms)
      if (op.kind != DeviceOp::Kind::kRead) perform(m, state.data(), now, op);
  }
  const DeviceModel& m;
  StateBuffer state;
  Nanos now{0};
};

uint8_t access_size(const DeviceModel& m) { return m.registers.back() >= 0x100 || m.name() == "vioapic" ? 4 : 1; }

void read_registers(benchmark::State& bench, const DeviceModel& m) {
  Busy d(m);
  size_t i = 0;
  for (auto _ : bench) {
    benchmark::DoNotOptimize(m.read(d.state.data(), d.now, m.registers[i], access_size(m)));
    i = i + 1 < m.registers.size() ? i + 1 : 0;
  }
}

void write_registers(benchmark::State& bench, const DeviceModel& m) {
  Busy d(m);
  size_t i = 0;
  BusMessage message;
  for (auto _ : bench) {
    m.write(d.state.data(), d.now, m.registers[i], access_size(m), i * 37);
    while (m.pop_message && m.pop_message(d.state.data(), message)) {}
    i = i + 1 < m.registers.size() ? i + 1 : 0;
  }
}

void advance(benchmark::State& bench, const DeviceModel& m, uint64_t step_ns) {
  Busy d(m);
  for (auto _ : bench) {
    d.now = {d.now.value + step_ns};
    m.advance(d.state.data(), d.now);
    benchmark::DoNotOptimize(m.next_event(d.state.data()));
    benchmark::DoNotOptimize(m.lines(d.state.data()));
  }
}

void save(benchmark::State& bench, const DeviceModel& m) {
  const Busy d(m);
  for (auto _ : bench) benchmark::DoNotOptimize(encode_state(*m.schema, d.state.data()));
}

void restore(benchmark::State& bench, const DeviceModel& m) {
  Busy d(m);
  const Bytes saved = encode_state(*m.schema, d.state.data());
  for (auto _ : bench)
    benchmark::DoNotOptimize(decode_state(*m.schema, 0, m.schema->version, saved, d.state.data()).ok());
}

}  // namespace
}  // namespace dejavm

int main(int argc, char** argv) {
  using namespace dejavm;
  for (const DeviceModel& m : device_catalog()) {
    const std::string name(m.name());
    benchmark::RegisterBenchmark((name + "/read").c_str(), [&m](benchmark::State& s) { read_registers(s, m); });
    benchmark::RegisterBenchmark((name + "/write").c_str(), [&m](benchmark::State& s) { write_registers(s, m); });
    benchmark::RegisterBenchmark((name + "/advance 1 us").c_str(), [&m](benchmark::State& s) { advance(s, m, 1'000); });
    benchmark::RegisterBenchmark((name + "/advance 10 ms").c_str(),
                                 [&m](benchmark::State& s) { advance(s, m, 10'000'000); });
    benchmark::RegisterBenchmark((name + "/save").c_str(), [&m](benchmark::State& s) { save(s, m); });
    benchmark::RegisterBenchmark((name + "/restore").c_str(), [&m](benchmark::State& s) { restore(s, m); });
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
