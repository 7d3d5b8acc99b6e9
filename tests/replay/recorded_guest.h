// A recorded run of the built-in guest, made once, for tests of what is done with recordings.
#pragma once

#include "replay/record/recorder.h"
#include "replay/trace/reader.h"
#include "vmm/machine/host.h"

namespace dejavm {

inline const TraceReader& recorded_guest() {
  static const auto reader = [] {
    std::vector<uint8_t> bytes;
    MachineConfig config;
    config.memory_bytes = 32 << 20;
    auto machine = Machine::create(config, "deterministic", nullptr).take();
    CHECK(machine->boot({}).ok());
    auto writer = TraceWriter::create(std::make_unique<MemorySink>(bytes));
    NoConsoleInputs none;
    RecordOptions options;
    options.keyframe_interval = 2'000'000;
    CHECK(record(*machine, none, *writer, options).ok());
    return TraceReader::open(std::make_unique<MemorySource>(std::move(bytes), "sample"), TraceReader::Check::kAll)
        .take();
  }();
  return *reader;
}

}  // namespace dejavm
