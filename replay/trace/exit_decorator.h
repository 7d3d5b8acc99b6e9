// Every exit of a machine as an event: the one decorator of ExitHandler, which recorders and verifiers derive from.
#pragma once

#include "replay/trace/events.h"
#include "vmm/engine.h"

namespace dejavm {

// Derived may hide any of these, all inline:
//   Position where(Position at)     where the exit is taken to be, for `to` and for the event
//   void access(EventKind, Position, uint64_t address, unsigned size, uint64_t value)   of ports and memory
//   void event(const Event&)        of every other exit
//   void done()                     when the exit is over
// Writes are told before they reach `to`, all else with its answer.
template <class Derived>
class ExitDecorator : public ExitHandler {
 public:
  explicit ExitDecorator(ExitHandler* to) : to_(to) {}

  uint64_t io_read(Position at, Port port, unsigned size) override {
    return read(EventKind::kIoRead, at, port.value, size,
                [&](Position here) { return to_->io_read(here, port, size); });
  }
  void io_write(Position at, Port port, unsigned size, uint64_t value) override {
    write(EventKind::kIoWrite, at, port.value, size, value,
          [&](Position here) { to_->io_write(here, port, size, value); });
  }
  uint64_t mmio_read(Position at, Gpa gpa, unsigned size) override {
    return read(EventKind::kMmioRead, at, gpa.value, size,
                [&](Position here) { return to_->mmio_read(here, gpa, size); });
  }
  void mmio_write(Position at, Gpa gpa, unsigned size, uint64_t value) override {
    write(EventKind::kMmioWrite, at, gpa.value, size, value,
          [&](Position here) { to_->mmio_write(here, gpa, size, value); });
  }
  bool msr_read(Position at, uint32_t index, uint64_t& value) override {
    at = self().where(at);
    const bool ok = to_->msr_read(at, index, value);
    tell({.kind = EventKind::kMsrRead, .ok = ok, .at = at, .address = index, .value = ok ? value : 0});
    return ok;
  }
  bool msr_write(Position at, uint32_t index, uint64_t value) override {
    at = self().where(at);
    const bool ok = to_->msr_write(at, index, value);
    tell({.kind = EventKind::kMsrWrite, .ok = ok, .at = at, .address = index, .value = value});
    return ok;
  }
  uint64_t cr8_read(Position at) override {
    at = self().where(at);
    const uint64_t value = to_->cr8_read(at);
    tell({.kind = EventKind::kCr8Read, .at = at, .value = value});
    return value;
  }
  void cr8_write(Position at, uint64_t value) override {
    at = self().where(at);
    self().event({.kind = EventKind::kCr8Write, .at = at, .value = value});
    to_->cr8_write(at, value);
    self().done();
  }
  CpuidResult cpuid(Position at, uint32_t leaf, uint32_t subleaf, uint64_t cr4, uint64_t xcr0) override {
    at = self().where(at);
    const CpuidResult result = to_->cpuid(at, leaf, subleaf, cr4, xcr0);
    tell({.kind = EventKind::kCpuid,
          .at = at,
          .address = leaf,
          .subleaf = subleaf,
          .cr4 = cr4,
          .xcr0 = xcr0,
          .cpuid = result});
    return result;
  }
  int acknowledge_interrupt(Position at) override {
    at = self().where(at);
    const int vector = to_->acknowledge_interrupt(at);
    tell({.kind = EventKind::kInterrupt, .at = at, .value = vector < 0 ? kNoVector : static_cast<uint64_t>(vector)});
    return vector;
  }
  // No exits: where the guest is, what a device read.
  void place(Position at, const Registers& registers, bool nmi) override {
    to_->place(at, registers, nmi);
    self().event(place_event(at, registers, nmi));
  }

  void dma_read(Position at, uint16_t requester, Gpa gpa, uint32_t len_bytes, bool ok,
                std::span<const uint8_t> bytes) override {
    to_->dma_read(at, requester, gpa, len_bytes, ok, bytes);
    self().event({.kind = EventKind::kDmaRead,
                  .ok = ok,
                  .at = at,
                  .address = gpa.value,
                  .value = len_bytes,
                  .subleaf = requester,
                  .data = {bytes.begin(), bytes.end()}});
  }

 protected:
  Position where(Position at) { return at; }
  void access(EventKind, Position, uint64_t, unsigned, uint64_t) {}
  void event(const Event&) {}
  void done() {}
  ExitHandler* to_;

 private:
  Derived& self() { return static_cast<Derived&>(*this); }
  void tell(const Event& e) {
    self().event(e);
    self().done();
  }
  template <class Reading>
  uint64_t read(EventKind kind, Position at, uint64_t address, unsigned size, Reading reading) {
    at = self().where(at);
    const uint64_t value = reading(at);
    self().access(kind, at, address, size, value);
    self().done();
    return value;
  }
  template <class Writing>
  void write(EventKind kind, Position at, uint64_t address, unsigned size, uint64_t value, Writing writing) {
    at = self().where(at);
    self().access(kind, at, address, size, value);
    writing(at);
    self().done();
  }
};

}  // namespace dejavm
