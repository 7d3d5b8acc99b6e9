// gdb's `monitor` commands on a recorded run of the built-in guest.
#include "replay/gdb/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/replay/recorded_guest.h"

namespace dejavm::gdb {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class MonitorTest : public testing::Test {
 protected:
  std::string say(const std::string& command) { return monitor.answer(command); }
  static auto lines(const std::string& text) { return std::ranges::count(text, '\n'); }

  std::unique_ptr<Timeline> timeline = Timeline::open(recorded_guest(), nullptr, {}).take();
  Monitor monitor{recorded_guest(), *timeline, Symbols{}};
};

TEST_F(MonitorTest, GoesToPositionsOfEachKind) {
  EXPECT_THAT(say("when"), StartsWith("instruction 0\n"));
  const std::string end = say("goto end");
  EXPECT_THAT(end, StartsWith("instruction " + std::to_string(timeline->end().value)));
  EXPECT_THAT(end, EndsWith("(gdb: maintenance flush register-cache)\n"));
  EXPECT_THAT(say("goto 1M"), StartsWith("instruction 1000000\nvirtual time "));
  EXPECT_THAT(say("mark here"), StartsWith("here: instruction 1000000"));
  EXPECT_THAT(say("goto @keyframe:1"), StartsWith("instruction 2"));
  EXPECT_THAT(say("goto here"), StartsWith("instruction 1000000\n"));
  EXPECT_THAT(say("goto ."), StartsWith("instruction 1000000\n"));
  EXPECT_THAT(say("goto 1.5k"), StartsWith("instruction 1500\n"));
  for (const char* wrong : {"1.2345k", "1.k", "1k.", "k", ".5k", "@time:1.2345678901s"})
    EXPECT_THAT(say(std::string("goto ") + wrong), Not(StartsWith("instruction"))) << wrong;
  EXPECT_THAT(say("goto 1M"), StartsWith("instruction 1000000\n"));
  EXPECT_THAT(say("goto nowhere"), Not(HasSubstr("instruction 1000000\n")));
  EXPECT_THAT(say("when"), StartsWith("instruction 1000000\n"));
}

TEST_F(MonitorTest, TellsTheEventsAround) {
  say("goto 1M");
  const std::string ten = say("exits");
  EXPECT_EQ(lines(ten), 11);
  EXPECT_EQ(ten, say("exits 10"));
  EXPECT_EQ(lines(say("exits 3")), 4);
  EXPECT_THAT(say("exits 0"), StartsWith("next: "));
  EXPECT_THAT(say("exits x"), HasSubstr("N is a number"));
  EXPECT_THAT(say("exits 1 2"), HasSubstr("no such command"));
  say("goto end");
  EXPECT_THAT(say("exits 1"), Not(HasSubstr("next: ")));
  say("goto begin");
  EXPECT_THAT(say("exits"), StartsWith("next: 0 "));
}

TEST_F(MonitorTest, ShowsDevicesAndMemory) {
  EXPECT_THAT(say("devices"), HasSubstr("\nvatpit\n"));
  EXPECT_THAT(say("device vatpit"), HasSubstr("vatpit.channel[0].reload = "));
  EXPECT_THAT(say("device vatpot"), HasSubstr("there is no 'vatpot'"));
  EXPECT_EQ(lines(say("phys 0x1000")), 4);
  EXPECT_EQ(say("phys 0x100000 1").size(), std::string("0x100000: 00\n").size());
  EXPECT_EQ(lines(say("phys 4096 17")), 2);
  EXPECT_THAT(say("phys 0x1fffff8"), HasSubstr("\nno memory at 0x2000000\n"));
  EXPECT_THAT(say("phys 0xf0000000"), testing::Eq("no memory at 0xf0000000\n"));
  for (const char* const bad : {"phys 0x", "phys 12z", "phys 0 0", "phys 0 4097", "last-write 0 x"})
    EXPECT_THAT(say(bad), HasSubstr("ADDRESS [BYTES, 1 to 4096]")) << bad;
  const std::string keyframes = say("keyframes");
  EXPECT_THAT(keyframes, StartsWith("0 at instruction 0, event 0\n1 at instruction 2"));
  EXPECT_THAT(keyframes, HasSubstr("\nand "));
}

TEST_F(MonitorTest, FindsTheLastWriteAndStaysWhereItIs) {
  say("goto 1M");
  const std::string here = say("when");
  EXPECT_THAT(say("last-write 0x1fffff0 1"), StartsWith("nothing in this trace wrote to 0x1fffff0, 1 bytes, before "));
  EXPECT_EQ(say("when"), here);
  EXPECT_EQ(say("diff . ."), "0 fields and 0 pages differ\n");
  const std::string differences = say("diff begin 1M");
  EXPECT_THAT(differences, HasSubstr("vcpu.rip: "));
  EXPECT_THAT(differences, EndsWith(" pages differ\n"));
  EXPECT_EQ(say("when"), here);
  EXPECT_THAT(say("diff 1M nowhere"), Not(HasSubstr("pages differ")));
}

TEST_F(MonitorTest, HelpsWithWhatItDoesNotKnow) {
  EXPECT_THAT(say(""), StartsWith("when  "));
  EXPECT_EQ(say("help"), say(""));
  EXPECT_THAT(say("fly"), StartsWith("'fly': no such command, or not with these arguments\nwhen  "));
}

}  // namespace
}  // namespace dejavm::gdb
