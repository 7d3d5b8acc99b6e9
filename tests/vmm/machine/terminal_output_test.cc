#include "vmm/machine/terminal_output.h"

#include <gtest/gtest.h>

namespace dejavm {
namespace {

TEST(TerminalOutput, PassesWhatAsksNothing) {
  for (const std::string text :
       {"plain\r\n", "\x1b[1;31mred\x1b[0m", "\x1b[2J\x1b[H", "\x1b]0;a title\x07", "\x1b(B\x1b=\x1b>", "\x1b[?25l",
        "\x1b[8;24;80t", "\x1bPq#0;2;0;0;0\x1b\\", "\xe2\x82\xac"}) {
    EXPECT_EQ(TerminalOutput(true).pass(text), text);
    TerminalOutput by_byte(true);
    std::string out;
    for (const char byte : text) out += by_byte.pass({&byte, 1});
    EXPECT_EQ(out, text);
  }
}

TEST(TerminalOutput, LeavesOutQuestionsWhereNobodyReadsTheAnswers) {
  for (const std::string text : {"\x05", "\x1b[c", "\x1b[>c", "\x1b[0c", "\x1b[6n", "\x1b[?6n", "\x1b[5n", "\x1b[18t",
                                 "\x1b[21;0t", "\x1b[?2004$p", "\x1b[>0q", "\x1bP$qm\x1b\\", "\x1bP+q544e\x1b\\",
                                 "\x1b]11;?\x07", "\x1b]4;1;?\x1b\\", "\x1bZ", "\x1b[x"}) {
    EXPECT_EQ(TerminalOutput(true).pass("a" + text + "b"), "ab") << text.substr(1);
    EXPECT_EQ(TerminalOutput(false).pass("a" + text + "b"), "a" + text + "b") << text.substr(1);
  }
}

TEST(TerminalOutput, BringsBackWhatWasSwitched) {
  TerminalOutput t(false);
  EXPECT_EQ(t.restore(), "");
  t.pass("\x1b[?1049h\x1b[?25l\x1b[?1000;1006h\x1b[31m");
  EXPECT_EQ(t.restore(), "\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b[?1049l");
  EXPECT_EQ(t.restore(), "");
  t.pass("\x1b[?1049h\x1b[?25l\x1b[?1049l\x1b[?25h\x1b[31mred\x1b[m");
  EXPECT_EQ(t.restore(), "");
}

TEST(TerminalOutput, ASequenceWithoutAnEndIsBounded) {
  TerminalOutput t(true);
  std::string out = t.pass("\x1b]");
  for (unsigned n = 0; n < 10'000; ++n) out += t.pass("x");
  EXPECT_EQ(out.size(), 10'002u);
  EXPECT_EQ(TerminalOutput(true).pass("\x1b[12\x18rest"), "\x1b[12\x18rest");
}

}  // namespace
}  // namespace dejavm
