#include "devices/testpci.h"

namespace dejavm {
namespace {

using State = Testpci::State;

bool interrupts(const State& s) { return Testdma::lines(s.dma) != 0; }

void signal_what_ended(State& s, uint32_t before) {
  const uint32_t rising = s.dma.ended & ~before;
  if (rising & Testdma::kDone) pci::signal(Testpci::kPci, s.pci, 0);
  if (rising & Testdma::kError) pci::signal(Testpci::kPci, s.pci, 1);
}

bool is_dma(uint64_t offset, uint64_t& at) {
  for (const unsigned bar : {Testpci::kMemoryBar, Testpci::kIoBar}) {
    at = offset - pci::region(bar);
    if (at < Testdma::kWindowBytes) return true;
  }
  return false;
}

}  // namespace

const char* Testpci::invalid(const State& s) {
  if (const char* why = Testdma::invalid(s.dma)) return why;
  return pci::invalid(kPci, s.pci);
}

void Testpci::reset(State& s) {
  s = State{};
  Testdma::reset(s.dma);
}

uint64_t Testpci::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  if (offset < pci::kConfigBytes) return pci::config_read(kPci, s.pci, offset, size, interrupts(s));
  uint64_t at = 0;
  if (is_dma(offset, at)) return Testdma::read(s.dma, now, at, size);
  uint64_t value = 0;
  const bool found = pci::msix_read(kPci, s.pci, s.vector, offset - pci::region(kMsixBar), size, value);
  return found ? value : open_bus(size);
}

void Testpci::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  uint64_t at = 0;
  if (offset < pci::kConfigBytes) {
    if (!pci::config_write(kPci, s.pci, offset, size, value)) return;
    const uint64_t time = s.dma.now_ns;
    reset(s);
    s.dma.now_ns = time;
  } else if (is_dma(offset, at)) {
    const uint32_t before = s.dma.ended;
    Testdma::write(s.dma, now, at, size, value);
    signal_what_ended(s, before);
  } else {
    pci::msix_write(kPci, s.vector, offset - pci::region(kMsixBar), size, value);
  }
}

void Testpci::advance(State& s, Nanos now) { Testdma::advance(s.dma, now); }

Nanos Testpci::next_event(const State& s) { return Testdma::next_event(s.dma); }

uint64_t Testpci::lines(const State& s) { return interrupts(s) && pci::drives_intx(s.pci) ? uint64_t{kInta} : 0; }

bool Testpci::pop_message(State& s, BusMessage& message) { return pci::pop_message(kPci, s.pci, s.vector, message); }

bool Testpci::next_transfer(const State& s, Transfer& t) {
  return pci::may_master(s.pci) && Testdma::next_transfer(s.dma, t);
}

void Testpci::transferred(State& s, Nanos now, bool ok, std::span<const uint8_t> bytes) {
  if (!ok) pci::received_master_abort(s.pci);
  const uint32_t before = s.dma.ended;
  Testdma::transferred(s.dma, now, ok, bytes);
  signal_what_ended(s, before);
}

}  // namespace dejavm
