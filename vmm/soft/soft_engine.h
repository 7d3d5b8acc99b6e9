// The deterministic engine: vmm/engine.h by software, for x86-64 system and user code. Same state in, same bits out on
// every host. See docs/engine.md for how it runs and cpu.h, mmu.h, blocks.h for its parts.
#pragma once

#include <memory>

#include "vmm/engine.h"
#include "vmm/state/config.h"
#include "vmm/state/cpu_model.h"
#include "vmm/state/engine_choice.h"
#include "vmm/state/memory.h"

namespace dejavm::soft {

// strict: an instruction outside the engine ends the run (kUnimplemented) instead of raising #UD. use_blocks: false
// runs every instruction by its plain function, for judging the fast path; the results are the same.
struct SoftOptions {
  bool strict = false;
  uint32_t revision = kMachineRevision;  // MachineConfig::revision
  bool use_blocks = true;
  TranslateOptions translation{};
};

std::unique_ptr<Engine> make_soft_engine(const CpuModel& model, GuestMemory& memory, uint32_t vcpus,
                                         SoftOptions options);

// How it executes; the guest sees nothing of it. kSteps: each instruction decoded afresh, by its plain function.
enum class Execution : uint8_t { kSteps, kBlocks, kTranslated };
// Between two runs of an engine made by make_soft_engine. kTranslated takes effect only if it was made with translation
// on.
void set_execution(Engine& engine, Execution how);
void set_threshold(Engine& engine, unsigned threshold);  // TranslateOptions::threshold, from now on

}  // namespace dejavm::soft
