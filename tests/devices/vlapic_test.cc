// Expectations: Intel SDM volume 3A, "Advanced Programmable Interrupt Controller"; sections by its numbers.
#include "devices/vlapic.h"

#include <gtest/gtest.h>

#include <set>

#include <cstring>
#include <random>

namespace dejavm {
namespace {

constexpr uint32_t kTpr = 0x80, kPpr = 0xa0, kEoi = 0xb0, kSvr = 0xf0, kEsr = 0x280, kIcrLow = 0x300, kIcrHigh = 0x310,
                   kLvtTimer = 0x320, kLint0 = 0x350, kLint1 = 0x360, kLvtError = 0x370, kInitial = 0x380,
                   kCurrent = 0x390, kDivide = 0x3e0;
constexpr uint32_t kMsrBase = 0x1b, kMsrDeadline = 0x6e0;

class LocalApic : public testing::Test {
 protected:
  LocalApic() {
    schema_of<Vlapic>();
    Vlapic::reset(s);
  }
  ~LocalApic() override { EXPECT_EQ(Vlapic::invalid(s), nullptr) << Vlapic::invalid(s); }
  void out(uint32_t reg, uint32_t value) { Vlapic::write(s, {now}, reg, 4, value); }
  uint32_t in(uint32_t reg) { return static_cast<uint32_t>(Vlapic::read(s, {now}, reg, 4)); }
  void enable() { out(kSvr, 0x1ff); }
  bool intr() { return Vlapic::lines(s) & Vlapic::kIntr; }
  int ack() { return Vlapic::acknowledge(s, {now}); }
  void take(uint8_t vector, bool level = false) {
    EXPECT_TRUE(Vlapic::accept(s, {now}, {.level = level, .vector = vector}));
  }
  void at(uint64_t t) {
    now = t;
    Vlapic::advance(s, {t});
  }
  Vlapic::State s{};
  uint64_t now = 0;
};

TEST_F(LocalApic, Section11_4_7_1_ResetStateIsTheManuals) {  // 11.4.7.1
  EXPECT_EQ(in(0x20), 0u);
  EXPECT_EQ(in(0x30), 0x01050014u);
  EXPECT_EQ(in(kSvr), 0xffu);
  EXPECT_EQ(in(0xe0), 0xffffffffu);
  for (uint32_t lvt : {0x320u, 0x330u, 0x340u, 0x350u, 0x360u, 0x370u}) EXPECT_EQ(in(lvt), 0x10000u);
  uint64_t base = 0;
  EXPECT_TRUE(Vlapic::msr_read(s, {0}, kMsrBase, base));
  EXPECT_EQ(base, 0xfee00900u);
  out(kLint0, 0x700);
  EXPECT_EQ(in(kLint0), 0x10700u) << "masked while software-disabled (11.4.7.2)";
}

TEST_F(LocalApic, Section11_8_3_PrioritiesDecideWhatIsDelivered) {  // 11.8.3
  enable();
  take(0x41);
  EXPECT_TRUE(intr());
  out(kTpr, 0x40);
  EXPECT_FALSE(intr()) << "the task's class is not below the vector's";
  EXPECT_EQ(ack(), 0xff) << "spurious";
  out(kTpr, 0x3f);
  EXPECT_EQ(ack(), 0x41);
  EXPECT_EQ(in(kPpr), 0x40u);
  take(0x4f);
  EXPECT_FALSE(intr()) << "the same class as the one in service";
  take(0x50);
  EXPECT_EQ(ack(), 0x50);
  out(kEoi, 0);
  EXPECT_FALSE(intr());
  out(kEoi, 0);
  EXPECT_EQ(ack(), 0x4f);
  EXPECT_EQ(Vlapic::cr8(s), 3u);
}

TEST_F(LocalApic, Section11_6_2_2_LogicalDestinationsAreFlatOrOfClusters) {
  auto reaches = [&](uint32_t destination) {
    return Vlapic::matches(s, {.logical = true, .destination = destination}, false);
  };
  out(0xd0, 0x22000000);
  for (const uint32_t d : {0x02u, 0x20u, 0x22u, 0xf2u, 0xffu}) EXPECT_TRUE(reaches(d)) << "flat: any common bit, " << d;
  for (const uint32_t d : {0x00u, 0x01u, 0x11u, 0xddu}) EXPECT_FALSE(reaches(d)) << "flat: " << d;
  out(0xe0, 0x0fffffff);
  for (const uint32_t d : {0x22u, 0x23u, 0x2fu, 0xffu}) EXPECT_TRUE(reaches(d)) << "cluster 2, member 1: " << d;
  for (const uint32_t d : {0x02u, 0x12u, 0x21u, 0x2du, 0x20u, 0xf2u})
    EXPECT_FALSE(reaches(d)) << "another cluster, or not a member: " << d;
}

TEST_F(LocalApic, Section11_8_5_AnEoiOfALevelInterruptIsBroadcastUnlessSuppressed) {  // 11.8.5
  enable();
  BusMessage m;
  take(0x61, true);
  EXPECT_EQ(ack(), 0x61);
  out(kEoi, 0);
  ASSERT_TRUE(Vlapic::pop_message(s, m));
  EXPECT_EQ(m.kind, BusMessage::Kind::kEoi);
  EXPECT_EQ(m.vector, 0x61);
  take(0x61);
  EXPECT_EQ(ack(), 0x61);
  out(kEoi, 0);
  EXPECT_FALSE(Vlapic::pop_message(s, m)) << "edge";
  out(kSvr, 0x11ff);
  take(0x61, true);
  EXPECT_EQ(ack(), 0x61);
  out(kEoi, 0);
  EXPECT_FALSE(Vlapic::pop_message(s, m));
}

TEST_F(LocalApic, Section11_5_4_TheTimerCountsDownByItsDivider) {  // 11.5.4
  enable();
  out(kLvtTimer, 0xe0);
  out(kDivide, 0x3);  // by 16
  at(1000);
  out(kInitial, 100);
  EXPECT_EQ(in(kCurrent), 100u);
  EXPECT_EQ(Vlapic::next_event(s).value, 1000u + 1600);
  at(1000 + 17);
  EXPECT_EQ(in(kCurrent), 99u);
  at(1000 + 1599);
  EXPECT_FALSE(intr());
  at(1000 + 1600);
  EXPECT_EQ(ack(), 0xe0);
  EXPECT_EQ(in(kCurrent), 0u);
  EXPECT_EQ(Vlapic::next_event(s), kNever);
}

TEST_F(LocalApic, Section11_5_4_APeriodicTimerReloads) {
  enable();
  out(kLvtTimer, 0x200e0);
  out(kDivide, 0xb);  // by 1
  out(kInitial, 1000);
  for (uint64_t n = 1; n < 5; ++n) {
    EXPECT_EQ(Vlapic::next_event(s).value, n * 1000);
    at(n * 1000);
    EXPECT_EQ(ack(), 0xe0);
    out(kEoi, 0);
  }
}

TEST_F(LocalApic, Section11_5_4_1_TheDeadlineFiresOnceTheTscReachesIt) {  // 11.5.4.1
  enable();
  EXPECT_TRUE(Vlapic::msr_write(s, {0}, kMsrDeadline, 500));
  uint64_t v = 1;
  EXPECT_TRUE(Vlapic::msr_read(s, {0}, kMsrDeadline, v));
  EXPECT_EQ(v, 0u) << "ignored outside TSC-deadline mode";
  out(kLvtTimer, 0x400ec);
  Vlapic::set_tsc_offset(s, {0}, 100);
  EXPECT_TRUE(Vlapic::msr_write(s, {0}, kMsrDeadline, 500));
  EXPECT_EQ(Vlapic::next_event(s).value, 400u);
  at(399);
  EXPECT_FALSE(intr());
  at(400);
  EXPECT_EQ(ack(), 0xec);
  out(kEoi, 0);
  EXPECT_TRUE(Vlapic::msr_write(s, {now}, kMsrDeadline, 10)) << "in the past: at once";
  EXPECT_EQ(ack(), 0xec);
}

TEST_F(LocalApic, Section11_5_1_The8259sComeThroughLint0) {
  Vlapic::set_line(s, {0}, Vlapic::kLint0, true);
  EXPECT_FALSE(intr());
  enable();
  out(kLint0, 0x700);
  EXPECT_TRUE(intr());
  EXPECT_EQ(ack(), Vlapic::kAckFromPic);
  EXPECT_TRUE(intr()) << "follows the level";
  out(kLint0, 0x10700);
  EXPECT_FALSE(intr());
  EXPECT_TRUE(Vlapic::msr_write(s, {0}, kMsrBase, 0xfee00100));
  EXPECT_TRUE(intr()) << "INTR itself, with the APIC off (11.4.3)";
  out(kLint1, 0x400);
  Vlapic::set_line(s, {0}, Vlapic::kLint1, true);
  EXPECT_TRUE(Vlapic::lines(s) & Vlapic::kNmi);
  EXPECT_TRUE(Vlapic::take_nmi(s));
}

TEST_F(LocalApic, Section11_6_1_IpisAreSentAsTheIcrSays) {  // 11.6.1
  enable();
  out(kIcrHigh, 0x05000000);
  out(kIcrLow, 0x000c4 << 12 | 0xfd);  // logical bits are shifted below
  BusMessage m;
  while (Vlapic::pop_message(s, m)) {}
  out(kIcrLow, 0x4500);  // INIT, assert
  ASSERT_TRUE(Vlapic::pop_message(s, m));
  EXPECT_EQ(m.delivery, Delivery::kInit);
  EXPECT_EQ(m.destination, 5u);
  EXPECT_FALSE(Vlapic::matches(s, m, true));
  out(kIcrLow, 0x44000 | 0xf1);  // self
  ASSERT_TRUE(Vlapic::pop_message(s, m));
  EXPECT_TRUE(Vlapic::matches(s, m, true));
  EXPECT_FALSE(Vlapic::matches(s, m, false));
  EXPECT_TRUE(Vlapic::accept(s, {0}, m));
  EXPECT_EQ(ack(), 0xf1);
}

TEST_F(LocalApic, Section11_5_3_AnIllegalVectorIsAnErrorAndAnInterrupt) {  // 11.5.3
  enable();
  out(kLvtError, 0xfe);
  out(kIcrLow, 0x4005);
  EXPECT_EQ(ack(), 0xfe);
  EXPECT_EQ(in(kEsr), 0u) << "before ESR is written";
  out(kEsr, 0);
  EXPECT_EQ(in(kEsr), 0x20u);
  out(kEsr, 0);
  EXPECT_EQ(in(kEsr), 0u);
}

// Table 11-6. 82FH, of CMCI, the board refuses: machines of revision 1 have it.
TEST_F(LocalApic, Section11_12_1_2_TheRegistersOfX2apicAreThoseOfTheTable) {
  std::set<uint32_t> readable = {0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f, 0x828, 0x830, 0x838, 0x839, 0x83e};
  for (uint32_t index = 0x810; index < 0x828; ++index) readable.insert(index);
  for (uint32_t index = 0x832; index <= 0x837; ++index) readable.insert(index);
  std::set<uint32_t> writable = {0x808, 0x80b, 0x80f, 0x828, 0x830, 0x838, 0x83e, 0x83f};
  for (uint32_t index = 0x832; index <= 0x837; ++index) writable.insert(index);
  ASSERT_TRUE(Vlapic::msr_write(s, {0}, kMsrBase, 0xfee00c00));
  for (uint32_t index = 0x800; index < 0x900; ++index) {
    if (index == 0x82f) continue;
    uint64_t value = 0;
    EXPECT_EQ(Vlapic::msr_read(s, {0}, index, value), readable.contains(index)) << std::hex << index;
    EXPECT_EQ(Vlapic::msr_write(s, {0}, index, 0), writable.contains(index)) << std::hex << index;
  }
}

TEST_F(LocalApic, Section11_12_X2apicHasItsOwnRulesAndNoWayBackButOff) {  // 11.12
  s.initial_id = 0x23;
  Vlapic::reset(s);
  uint64_t v = 0;
  EXPECT_FALSE(Vlapic::msr_read(s, {0}, 0x802, v)) << "not in xAPIC mode";
  EXPECT_FALSE(Vlapic::msr_write(s, {0}, kMsrBase, 0xfee00400)) << "EXTD without EN";
  EXPECT_TRUE(Vlapic::msr_write(s, {0}, kMsrBase, 0xfee00c00));
  EXPECT_FALSE(Vlapic::window_open(s));
  EXPECT_TRUE(Vlapic::msr_read(s, {0}, 0x802, v));
  EXPECT_EQ(v, 0x23u);
  EXPECT_TRUE(Vlapic::msr_read(s, {0}, 0x80d, v));
  EXPECT_EQ(v, 0x20008u);
  EXPECT_TRUE(Vlapic::msr_write(s, {0}, 0x80f, 0x1ff));
  EXPECT_FALSE(Vlapic::msr_write(s, {0}, 0x802, 1)) << "read-only";
  EXPECT_FALSE(Vlapic::msr_write(s, {0}, 0x80b, 1)) << "EOI takes 0 only";
  EXPECT_FALSE(Vlapic::msr_read(s, {0}, 0x80b, v)) << "write-only";
  EXPECT_FALSE(Vlapic::msr_read(s, {0}, 0x80e, v)) << "no DFR";
  EXPECT_FALSE(Vlapic::msr_write(s, {0}, 0x808, 0x100)) << "a reserved bit";
  EXPECT_TRUE(Vlapic::msr_write(s, {0}, 0x83f, 0x77)) << "SELF IPI";
  BusMessage m;
  ASSERT_TRUE(Vlapic::pop_message(s, m));
  EXPECT_TRUE(Vlapic::accept(s, {0}, m));
  EXPECT_EQ(ack(), 0x77);
  EXPECT_TRUE(Vlapic::matches(s, {.logical = true, .destination = 0x20008}, false));
  EXPECT_FALSE(Vlapic::matches(s, {.logical = true, .destination = 0x20004}, false));
  EXPECT_FALSE(Vlapic::msr_write(s, {0}, kMsrBase, 0xfee00800)) << "to xAPIC";
  EXPECT_TRUE(Vlapic::msr_write(s, {0}, kMsrBase, 0xfee00000));
  EXPECT_FALSE(Vlapic::msr_write(s, {0}, kMsrBase, 0xfee00c00)) << "from disabled";
}

// Law 2, law 4 and the invariants: random accesses at random times; two ways to the same time give the same state.
TEST_F(LocalApic, EveryAccessIsTotalAndTimeIsAdditive) {
  std::mt19937_64 r(1);
  for (unsigned n = 0; n < 200'000; ++n) {
    const uint64_t step = r() % 3 ? r() % 100 : r() % 100'000;
    Vlapic::State direct = s, halves = s;
    const uint64_t middle = now + r() % (step + 1);
    now += step;
    Vlapic::advance(direct, {now});
    Vlapic::advance(halves, {middle});
    Vlapic::advance(halves, {now});
    ASSERT_EQ(std::memcmp(&direct, &halves, sizeof direct), 0) << "step " << n;
    const uint64_t next = Vlapic::next_event(s).value;
    if (next > now) {
      ASSERT_EQ(Vlapic::lines(direct), Vlapic::lines(s)) << "a change before next_event, step " << n;
    }
    s = direct;
    static constexpr uint32_t kRegisters[] = {kTpr,     kEoi,      kSvr,   kEsr,   kIcrLow,
                                              kIcrHigh, kLvtTimer, kLint0, kLint1, kLvtError,
                                              kInitial, kDivide,   0xd0,   0xe0,   0x20};
    uint64_t v = 0;
    switch (r() % 10) {
      case 0: out(kRegisters[r() % std::size(kRegisters)], static_cast<uint32_t>(r())); break;
      case 1: out(kInitial, static_cast<uint32_t>(r() % 5000)); break;
      case 2: out(kLvtTimer, static_cast<uint32_t>((r() % 4) << 17 | (r() % 2) << 16 | (r() & 0xff))); break;
      case 3: out(kSvr, 0x1ff); break;
      case 4: Vlapic::read(s, {now}, r() % 0x1100, static_cast<unsigned>(1 + r() % 8)); break;
      case 5: Vlapic::set_line(s, {now}, static_cast<unsigned>(r() % 3), r() & 1); break;
      case 6:
        if (intr()) ack();
        out(kEoi, 0);
        break;
      case 7: Vlapic::msr_write(s, {now}, kMsrDeadline, now + r() % 10'000); break;
      case 8:
        Vlapic::msr_write(s, {now}, r() % 4 ? 0x800 + static_cast<uint32_t>(r() % 0x100) : kMsrBase,
                          r() % 2 ? r() : 0xfee00000 | (r() % 4) << 10);
        break;
      default:
        for (BusMessage m; Vlapic::pop_message(s, m);) {}
        Vlapic::accept(
            s, {now},
            {.delivery = static_cast<Delivery>(r() % 8), .level = (r() & 1) != 0, .vector = static_cast<uint8_t>(r())});
        Vlapic::take_nmi(s);
        Vlapic::take_init(s);
        Vlapic::msr_read(s, {now}, 0x800 + static_cast<uint32_t>(r() % 0x100), v);
    }
    ASSERT_EQ(Vlapic::invalid(s), nullptr) << Vlapic::invalid(s) << " after step " << n;
  }
}

}  // namespace
}  // namespace dejavm
