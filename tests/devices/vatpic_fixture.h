// An 8259A pair at hand, and what software does with it.
#pragma once

#include <gtest/gtest.h>

#include "devices/vatpic.h"

namespace dejavm {

class VatpicTest : public ::testing::Test {
 protected:
  void SetUp() override {
    schema_of<Vatpic>();
    Vatpic::reset(s);
  }
  void out(uint64_t port, uint8_t value) { Vatpic::write(s, {0}, port, 1, value); }
  uint8_t in(uint64_t port) { return static_cast<uint8_t>(Vatpic::read(s, {0}, port, 1)); }
  void raise(unsigned irq) { Vatpic::set_line(s, {0}, irq, true); }
  void lower(unsigned irq) { Vatpic::set_line(s, {0}, irq, false); }
  bool intr() const { return Vatpic::lines(s) & Vatpic::kIntr; }
  int ack() { return Vatpic::acknowledge(s, {0}); }
  uint8_t irr(uint64_t port) {
    out(port, 0x0a);
    return in(port);
  }
  uint8_t isr(uint64_t port) {
    out(port, 0x0b);
    return in(port);
  }
  // The PC's usual initialisation, with vectors 0x30 and 0x38.
  void initialise(uint8_t icw1 = 0x11, uint8_t master_icw4 = 0x01, uint8_t slave_icw4 = 0x01) {
    out(0x20, icw1);
    out(0xa0, icw1);
    out(0x21, 0x30);
    out(0x21, 0x04);
    out(0x21, master_icw4);
    out(0xa1, 0x38);
    out(0xa1, 0x02);
    out(0xa1, slave_icw4);
  }
  Vatpic::State s;
};

}  // namespace dejavm
