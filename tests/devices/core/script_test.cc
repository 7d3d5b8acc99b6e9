// Scripts of operations: what their numbers may look like, and what is refused.
#include "devices/core/script.h"

#include <gtest/gtest.h>

#include "devices/catalog.h"

namespace dejavm {
namespace {

const DeviceModel& model() { return *find_device("vatpit"); }

TEST(DeviceScript, NumbersAreDecimalOrHexadecimal) {
  const auto parsed =
      parse_script(model(), "write 0x43 1 0X3a\n# a comment\n\nwait 18446744073709551615\nread 67 0x1\n");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 3u);
  EXPECT_EQ((*parsed)[0].a, 0x43u);
  EXPECT_EQ((*parsed)[0].b, 0x3au);
  EXPECT_EQ((*parsed)[1].a, ~uint64_t{0});
  EXPECT_EQ((*parsed)[2].a, 67u);
  EXPECT_EQ((*parsed)[2].size, 1);
}

TEST(DeviceScript, WhatIsNoNumberIsRefusedWithItsLine) {
  for (const char* const word : {"0x", "0xg", "12a", "18446744073709551616", "0x10000000000000000", "-1", "1x10"}) {
    const auto parsed = parse_script(model(), "reset\nwait " + std::string(word) + "\n");
    ASSERT_FALSE(parsed.ok()) << word;
    EXPECT_NE(parsed.error().message.find("line 2"), std::string::npos) << parsed.error().message;
  }
}

TEST(DeviceScript, WhatIsPrintedIsReadBack) {
  const std::string text = "write 0x43 1 0x34\nread 0x40 2\nwait 1000\nreset\nmessage\ntransfer 1\n";
  const auto parsed = parse_script(model(), text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(print(model(), *parsed), text);
}

}  // namespace
}  // namespace dejavm
