// The board: every device model's state, the buses that lead to them, and the wiring between them. It knows neither
// engines nor files, so logged exits can be fed to a fresh board with no CPU at all (replay --devices-only).
//
// After each access and each step of time the board compares every model's lines() and messages with before and routes
// the changes to other models' set_line until nothing changes any more (law 3); then RunControl.intr/nmi/init
// reflect the vCPU-facing outputs. Time passes in event order: advance(t) stops at each model's next_event on the way,
// so advance(a); advance(b) equals advance(b) for the whole board too.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/core/model.h"
#include "devices/core/result.h"
#include "vmm/board/dma.h"
#include "vmm/board/inputs.h"
#include "vmm/engine.h"
#include "vmm/state/config.h"

namespace dejavm {

// The model's name that answers at an address (of a local APIC: where it is after reset), for readers of logs; "-":
// none.
std::string_view device_at_port(Port);
std::string_view device_at_gpa(Gpa);
std::string_view device_of_msr(uint32_t index);

class Board final : public ExitHandler {
 public:
  // `controls`: one per vCPU, owned by the caller, updated by the board.
  // `dma`: what bus masters reach; nullptr: there is no memory for them.
  Board(const MachineConfig&, std::span<RunControl> controls, Console*, GuestDma* dma = nullptr);
  ~Board() override;

  uint64_t io_read(Position, Port, unsigned size) override;
  void io_write(Position, Port, unsigned size, uint64_t value) override;
  uint64_t mmio_read(Position, Gpa, unsigned size) override;
  void mmio_write(Position, Gpa, unsigned size, uint64_t value) override;
  bool msr_read(Position, uint32_t index, uint64_t& value) override;
  bool msr_write(Position, uint32_t index, uint64_t value) override;
  uint64_t cr8_read(Position) override;
  void cr8_write(Position, uint64_t value) override;
  CpuidResult cpuid(Position, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) override;
  int acknowledge_interrupt(Position) override;

  // Virtual time at a position, by its vCPU's RunControl.time_base_ns.
  Nanos now(Position at) const;
  void advance(Nanos now);
  Nanos next_event() const;  // the earliest over all models that a vCPU could notice without asking one
  // Console bytes for the UART; those that do not fit its FIFO, or that come while the guest does not assert DTR, wait
  // in board state, in order.
  void console_input(Nanos now, std::span<const uint8_t> bytes);
  size_t console_room() const;  // bytes that console_input takes; more are lost

  // What the guest asked of the machine as a whole; checked by the run loop whenever RunControl.stop was set.
  enum class Request : uint8_t { kNone, kPowerOff, kReset, kDebugExit };
  Request request() const;
  Nanos requested_at() const;        // the time of the access that asked
  uint8_t debug_exit_value() const;  // of kDebugExit: the byte written

  // Reset of all models but time (a guest-requested reset).
  void reset(Nanos now);
  void init(uint32_t vcpu, Nanos now);  // INIT's part in the local APIC
  // Of several vCPUs: what its local APIC holds for this one (RunControl::signalled), which is no longer there then.
  bool take_nmi(uint32_t vcpu);
  bool take_init(uint32_t vcpu);
  bool take_startup(uint32_t vcpu, uint8_t& vector);
  std::vector<ChunkRef> chunks();
  void restored();  // recompute what is derived from the chunks

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dejavm
