// Standard input that is a pipe: typed as fast as the machine takes it; then an idle machine waits for nothing more.
#include <gtest/gtest.h>

#include <unistd.h>

#include "vmm/machine/host.h"

namespace dejavm {
namespace {

// The reading end as standard input, while it lives.
struct Pipe {
  int saved = dup(STDIN_FILENO), ends[2]{};
  Pipe() {
    EXPECT_EQ(pipe(ends), 0);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
  }
  ~Pipe() {
    dup2(saved, STDIN_FILENO);
    close(saved);
  }
};

TEST(StandardInputTest, APipeIsTypedInWholeAndThenAtAnEnd) {
  Pipe pipe;
  ASSERT_EQ(write(pipe.ends[1], "abc", 3), 3);
  StandardInput input([] { return size_t{2}; }, [] {});
  Input first = input.take({}, {1});
  ASSERT_EQ(first.kind, Input::Kind::kConsole);
  EXPECT_EQ(first.data, (std::vector<uint8_t>{'a', 'b'}));
  EXPECT_EQ(input.take({}, {1}).kind, Input::Kind::kNone) << "not before the next poll";
  const Position later{0, input.next_poll({})};
  EXPECT_EQ(input.take(later, {2}).data, (std::vector<uint8_t>{'c'}));
  EXPECT_EQ(input.idle(later, {2}, {5}), Nanos{5});
  close(pipe.ends[1]);
  EXPECT_EQ(input.take(later, {6}).kind, Input::Kind::kNone);
  EXPECT_EQ(input.idle(later, {6}, kNever), Nanos{6}) << "nothing is left that could wake the machine";
}

}  // namespace
}  // namespace dejavm
