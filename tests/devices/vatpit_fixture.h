// An 8254 at hand, and what software does with it.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "devices/vatpit.h"

namespace dejavm {

class VatpitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    schema_of<Vatpit>();
    Vatpit::reset(s);
  }
  Nanos now() const { return Vatpit::kClock.time_of(tick); }
  void out(uint64_t port, uint8_t value) { Vatpit::write(s, now(), port, 1, value); }
  uint8_t in(uint64_t port) { return static_cast<uint8_t>(Vatpit::read(s, now(), port, 1)); }
  void step(uint64_t n = 1) {
    tick += n;
    Vatpit::advance(s, now());
  }
  bool out2() const { return Vatpit::lines(s) & Vatpit::kOut2; }
  void gate(bool on) { out(0x61, on); }
  // Channel 2 in `mode`, low byte only, gate high, with `count` written.
  void start(unsigned mode, uint8_t count) {
    gate(true);
    out(0x43, static_cast<uint8_t>(0x90 | mode << 1));
    out(0x42, count);
  }
  unsigned count(unsigned channel = 2) {
    out(0x43, static_cast<uint8_t>(channel << 6));
    unsigned v = in(0x40 + channel);
    if ((s.channel[channel].control & 0x30) == 0x30) v |= static_cast<unsigned>(in(0x40 + channel)) << 8;
    return v;
  }
  uint8_t status(unsigned channel) {
    out(0x43, static_cast<uint8_t>(0xe0 | 2u << channel));
    return in(0x40 + channel);
  }
  // OUT of channel 2 over the next ticks, one character each: '~' high, '_' low.
  std::string wave(unsigned ticks) {
    std::string w;
    while (ticks--) {
      step();
      w += out2() ? '~' : '_';
    }
    return w;
  }
  std::string counts(unsigned ticks) {
    std::string w;
    while (ticks--) {
      step();
      w += std::to_string(count()) + ' ';
    }
    return w;
  }
  Vatpit::State s;
  uint64_t tick = 0;
};

}  // namespace dejavm
