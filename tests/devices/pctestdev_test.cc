// As QEMU's pc-testdev.
#include "devices/pctestdev.h"

#include <gtest/gtest.h>

namespace dejavm {
namespace {

uint64_t in(Pctestdev::State& s, uint64_t port, unsigned size) { return Pctestdev::read(s, {0}, port, size); }
void out(Pctestdev::State& s, uint64_t port, unsigned size, uint64_t value) {
  Pctestdev::write(s, {0}, port, size, value);
}

TEST(Pctestdev, EchoesOneTwoAndFourBytes) {
  Pctestdev::State s{};
  out(s, 0xe0, 4, 0x44332211);
  EXPECT_EQ(in(s, 0xe0, 4), 0x44332211u);
  EXPECT_EQ(in(s, 0xe1, 1), 0x22u);
  EXPECT_EQ(in(s, 0xe2, 2), 0x4433u);
  out(s, 0xe1, 1, 0xaa);
  EXPECT_EQ(in(s, 0xe0, 4), 0x4433aa11u);
  out(s, 0xe2, 2, 0xbbcc);
  EXPECT_EQ(in(s, 0xe8, 4), 0xbbccaa11u) << "the same bytes at 0xe8";
  out(s, 0xeb, 4, 0x12345678);
  EXPECT_EQ(in(s, 0xe0, 4), 0x78ccaa11u) << "only the byte that there is";
  EXPECT_EQ(in(s, 0xe3, 2), 0x78u);
}

TEST(Pctestdev, SetsInterruptLinesByTheByte) {
  Pctestdev::State s{};
  out(s, 0x2005, 1, 1);
  out(s, 0x2017, 1, 0x80);
  EXPECT_EQ(Pctestdev::lines(s), 1u << 5 | 1u << 23);
  out(s, 0x2005, 1, 0);
  out(s, 0x2018, 1, 1);
  out(s, 0x2006, 2, 1);
  EXPECT_EQ(Pctestdev::lines(s), 1u << 23);
  EXPECT_EQ(in(s, 0x2017, 1), 0xffu);
  Pctestdev::reset(s);
  EXPECT_EQ(Pctestdev::lines(s), 0u);
}

TEST(Pctestdev, AFlushDoesNothing) {
  Pctestdev::State s{};
  out(s, 0xe4, 4, 0x1000);
  EXPECT_EQ(in(s, 0xe4, 4), 0xffffffffu);
  EXPECT_EQ(s.echo, 0u);
}

}  // namespace
}  // namespace dejavm
