// gdb's remote protocol: framing, registers, and a session's answers, hostile clients included.
#include <gtest/gtest.h>

#include <cstring>

#include "replay/gdb/registers.h"
#include "replay/gdb/session.h"
#include "replay/gdb/timeline_target.h"
#include "tests/replay/gdb/gdb_fake.h"

#include <rapidcheck/gtest.h>

namespace dejavm::gdb {
namespace {

using Kind = PacketReader::Item::Kind;

std::vector<PacketReader::Item> read(PacketReader& reader, std::string_view text) {
  std::vector<PacketReader::Item> out;
  reader.feed({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, out);
  return out;
}

RC_GTEST_PROP(GdbPackets, WhatIsFramedIsReadHoweverItIsSplit,
              (std::vector<std::string> packets, std::vector<uint8_t> cuts)) {
  std::string wire;
  for (const std::string& p : packets) wire += frame_packet(p) + "+";
  PacketReader reader;
  std::vector<std::string> found;
  size_t at = 0;
  for (size_t n = 0; at < wire.size(); ++n) {
    const size_t count = n < cuts.size() ? std::min<size_t>(cuts[n] % 7, wire.size() - at) : wire.size() - at;
    for (const auto& item : read(reader, std::string_view(wire).substr(at, count))) {
      RC_ASSERT(item.kind != Kind::kDamaged);
      if (item.kind == Kind::kPacket) found.push_back(item.data);
    }
    at += count;
  }
  RC_ASSERT(found == packets);
}

TEST(GdbPackets, AWrongSumIsDamaged) {
  PacketReader reader;
  const auto got = read(reader, "$OK#9b$OK#9a-\x03$}\x03#80$x");
  ASSERT_EQ(got.size(), 5u);
  EXPECT_EQ(got[0].kind, Kind::kDamaged);
  EXPECT_EQ(got[1].data, "OK");
  EXPECT_EQ(got[2].kind, Kind::kNack);
  EXPECT_EQ(got[3].kind, Kind::kInterrupt);
  EXPECT_EQ(got[4].data, "#");
}

TEST(GdbPackets, MemoryIsBounded) {
  PacketReader reader;
  for (int n = 0; n < 1000; ++n) EXPECT_TRUE(read(reader, (n == 0 ? "$" : "") + std::string(10'000, 'a')).empty());
  const auto got = read(reader, "#00");
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].kind, Kind::kDamaged);
}

TEST(GdbRegisters, TheDescriptionNamesWhatIsSent) {
  const std::string& xml = target_description();
  size_t count = 0, bits = 0;
  for (size_t at = 0; (at = xml.find("bitsize=\"", at)) != std::string::npos; ++count)
    bits += std::stoul(xml.substr(at += 9));
  EXPECT_EQ(count, register_count());
  const VcpuState s = reset_vcpu_state();
  EXPECT_EQ(read_all_registers(s).size() * 8, bits);
  EXPECT_TRUE(read_register(s, register_count()).empty());
}

TEST(GdbRegisters, WhatIsWrittenIsRead) {
  VcpuState s = reset_vcpu_state();
  size_t writable = 0;
  for (size_t n = 0; n < register_count(); ++n) {
    std::vector<uint8_t> value = read_register(s, n);
    value[0] ^= 1;
    if (!write_register(s, n, value)) continue;  // read only
    EXPECT_EQ(read_register(s, n), value) << n;
    ++writable;
  }
  EXPECT_GT(writable, 16u + 2 + 8 + 4 + 17 + 2 - 1);
}

// --- a session ---

std::string talk(FakeTarget& target, const std::string& sent) {
  FakeWire wire(sent);
  serve(wire, target);
  return wire.received;
}
std::string ask(FakeTarget& target, const std::string& packet) {
  const std::string all = talk(target, frame_packet("QStartNoAckMode") + "+" + frame_packet(packet));
  const std::string head = "+" + frame_packet("OK");
  EXPECT_TRUE(all.starts_with(head)) << all;
  return all.substr(head.size());
}

TEST(GdbSession, AnswersWhatGdbAsks) {
  FakeTarget t;
  EXPECT_NE(ask(t, "qSupported:xmlRegisters=i386").find("ReverseContinue+"), std::string::npos);
  EXPECT_EQ(ask(t, "?"), frame_packet("T05thread:1;"));
  EXPECT_EQ(ask(t, "p10"), frame_packet("f0ff000000000000"));
  EXPECT_EQ(ask(t, "pfff"), frame_packet("E01"));
  EXPECT_EQ(ask(t, "m1000,4"), frame_packet("00010203"));
  EXPECT_EQ(ask(t, "m10fe,8"), frame_packet("feff"));
  EXPECT_EQ(ask(t, "m2000,1"), frame_packet("E14"));
  EXPECT_EQ(ask(t, "mffffffffffffffff,2"), frame_packet("E14"));
  EXPECT_EQ(ask(t, "M1001,2:aabb"), frame_packet("OK"));
  EXPECT_EQ(ask(t, "m1000,4"), frame_packet("00aabb03"));
  EXPECT_EQ(ask(t, "M1001,2:aa"), frame_packet("E01"));
  EXPECT_EQ(ask(t, "P10=0010000000000000"), frame_packet("OK"));
  EXPECT_EQ(t.vcpu.rip, 0x1000u);
  EXPECT_EQ(ask(t, "qfThreadInfo"), frame_packet("m1"));
  EXPECT_EQ(ask(t, "vMustReplyEmpty"), frame_packet(""));
  EXPECT_EQ(ask(t, "qRcmd,6869"), frame_packet("O" + to_hex_bytes(std::string_view("hi\n"))) + frame_packet("OK"));
}

TEST(GdbSession, EachVcpuIsAThread) {
  FakeTarget t;
  t.count = 3;
  t.acting = 1;
  EXPECT_EQ(ask(t, "?"), frame_packet("T05thread:2;"));
  EXPECT_EQ(ask(t, "qfThreadInfo"), frame_packet("m1,2,3"));
  EXPECT_EQ(ask(t, "qC"), frame_packet("QC2"));
  EXPECT_EQ(ask(t, "T3"), frame_packet("OK"));
  for (const char* none : {"T4", "T0", "Hg4", "Hx1", "vCont;s:4", "vCont;x", "qThreadExtraInfo,9"})
    EXPECT_EQ(ask(t, none), frame_packet("E01")) << none;
  EXPECT_EQ(ask(t, "qThreadExtraInfo,3"), frame_packet(to_hex_bytes(std::string_view("vCPU 2"))));
  EXPECT_EQ(ask(t, "p0"), frame_packet("0100000000000000"));

  FakeWire wire(frame_packet("QStartNoAckMode") + frame_packet("Hg3") + frame_packet("p0") +
                frame_packet("vCont;s:1;c") + frame_packet("p0") + frame_packet("Hc2") + frame_packet("s"));
  serve(wire, t);
  const std::string ok = frame_packet("OK");
  EXPECT_EQ(wire.received, "+" + ok + ok + frame_packet("0200000000000000") + frame_packet("T05thread:1;") +
                               frame_packet("0000000000000000") + ok + frame_packet("T05thread:2;"));
}

TEST(GdbSession, WithoutTheOthersAThreadRunsAlone) {
  const auto asked = [](const char* packet) {
    FakeTarget t;
    t.count = 3;
    ask(t, packet);
    return t.asked;
  };
  EXPECT_EQ(asked("vCont;s:2").vcpu, 1u);
  EXPECT_TRUE(asked("vCont;s:2").alone);
  EXPECT_FALSE(asked("vCont;s:2;c").alone);
  EXPECT_FALSE(asked("vCont;s:2;c:-1").alone);
  EXPECT_TRUE(asked("vCont;c:3").alone);
  EXPECT_EQ(asked("vCont;c:3").vcpu, 2u);
  EXPECT_FALSE(asked("vCont;c").alone);
}

TEST(GdbSession, RunsToItsPoints) {
  FakeTarget t;
  FakeWire wire(frame_packet("QStartNoAckMode") + frame_packet("Z1,1010,1") + frame_packet("Z2,1080,8") +
                frame_packet("vCont;c") + frame_packet("vCont;c") + frame_packet("z1,1010,1") + frame_packet("bc") +
                frame_packet("s") + frame_packet("bs") + frame_packet("c"));
  EXPECT_EQ(serve(wire, t), Farewell::kClosed);
  const std::string ok = frame_packet("OK");
  EXPECT_EQ(wire.received, "+" + ok + ok + ok + frame_packet("T05thread:1;hwbreak:;") +
                               frame_packet("T05thread:1;watch:1080;") + ok +
                               frame_packet("T05thread:1;replaylog:begin;") + frame_packet("T05thread:1;") +
                               frame_packet("T05thread:1;") + frame_packet("T05thread:1;watch:1080;"));
}

TEST(GdbSession, AnInterruptStopsIt) {
  // All at once; and after "c", which has five characters, has begun.
  for (const size_t piece : {64, 5}) {
    FakeTarget t;
    t.endless = true;
    FakeWire wire(frame_packet("c") + "\x03" + frame_packet("D"), piece);
    EXPECT_EQ(serve(wire, t), Farewell::kDetach);
    EXPECT_EQ(wire.received, "+" + frame_packet("T02thread:1;") + "+" + frame_packet("OK"));
  }
}

RC_GTEST_PROP(GdbSession, AnyBytesAreSurvived, (std::vector<std::string> packets, std::string noise)) {
  static const std::vector<std::string> kStarts = {
      "",       "g", "G", "p", "P",  "m", "M",      "X",
      "Z",      "z", "c", "s", "bc", "q", "vCont;", "qXfer:features:read:target.xml:",
      "qRcmd,", "H"};
  std::string wire;
  for (const std::string& p : packets) wire += frame_packet(*rc::gen::elementOf(kStarts) + p);
  FakeTarget t;
  talk(t, wire + noise);
}

// FSAVE's tags (SDM vol. 1, 8.1.7), and the flags' places (vol. 1, figure 3-8).
TEST(Registers, TagsAndFlagsAreThoseOfTheManual) {
  VcpuState s = reset_vcpu_state();
  s.fpu.ftw = 0x0f;
  s.fpu.st_mantissa = {uint64_t{1} << 63, 0, 5, 5, 0, 0, 0, 0};
  s.fpu.st_exponent = {0x3fff, 0, 0, 0x7fff, 0, 0, 0, 0};
  const auto number_of = [](const std::string& name) {
    const std::string& xml = target_description();
    const size_t at = xml.find("<reg name=\"" + name + "\"");
    EXPECT_NE(at, std::string::npos) << name;
    size_t number = 0;
    for (size_t from = 0; (from = xml.find("<reg ", from)) < at; ++from) ++number;
    return number;
  };
  const auto tags = read_register(s, number_of("ftag"));
  ASSERT_GE(tags.size(), 2u);
  EXPECT_EQ(tags[0], 0xa4) << "special, special, zero, valid";
  EXPECT_EQ(tags[1], 0xff) << "empty";
  for (const char* flag :
       {"\"CF\" start=\"0\"", "\"PF\" start=\"2\"", "\"AF\" start=\"4\"", "\"ZF\" start=\"6\"", "\"SF\" start=\"7\"",
        "\"TF\" start=\"8\"", "\"IF\" start=\"9\"", "\"DF\" start=\"10\"", "\"OF\" start=\"11\"", "\"NT\" start=\"14\"",
        "\"RF\" start=\"16\"", "\"VM\" start=\"17\"", "\"AC\" start=\"18\"", "\"VIF\" start=\"19\"",
        "\"VIP\" start=\"20\"", "\"ID\" start=\"21\""})
    EXPECT_NE(target_description().find(flag), std::string::npos) << flag;
}

TEST(TimelineMemory, IsReadAcrossPages) {
  MachineConfig config;
  config.memory_bytes = 16 << 20;
  auto machine = Machine::create(config, EngineChoice("deterministic", {}), nullptr).take();
  std::vector<uint8_t> bytes(3 * kPageSize);
  for (size_t n = 0; n < bytes.size(); ++n) bytes[n] = static_cast<uint8_t>(n * 7 + n / 256);
  machine->write_memory({0x2000}, bytes);
  std::vector<uint8_t> got(2 * kPageSize + 17);
  EXPECT_EQ(read_linear(*machine, reset_vcpu_state(), 0x2005, got), got.size());
  EXPECT_TRUE(std::equal(got.begin(), got.end(), bytes.begin() + 5));
}

}  // namespace
}  // namespace dejavm::gdb
