// Every form of every MMX and SSE operation against the host's own processor: registers, flags, MXCSR, memory.
// The vendors' approximations (RCPxx, RSQRTxx) are approximate_test.cc's.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/vmm/soft/native/differences.h"
#include "tests/vmm/soft/sse/judged.h"

namespace dejavm::soft {
namespace {

// DEJAVM_SEED=n runs other cases.
const uint64_t kSeed = std::getenv("DEJAVM_SEED") ? std::strtoull(std::getenv("DEJAVM_SEED"), nullptr, 0) : 1;
constexpr uint32_t kAllMasked = 0x1f80;

unsigned distance_from_end(Random& r, const Form& f) {
  if (f.aligned) return 16 * r.below(3);
  return r.below(2) ? 0 : r.below(17);
}

bool nan(uint32_t v) { return v << 1 > 0xff000000; }
bool nan(uint64_t v) { return v << 1 > 0xffe0000000000000; }

template <class T>
bool equal_or_both_nan(const Bits128& a, const Bits128& b) {
  std::array<T, 16 / sizeof(T)> x, y;
  std::memcpy(x.data(), a.data(), 16);
  std::memcpy(y.data(), b.data(), 16);
  return std::equal(x.begin(), x.end(), y.begin(), [](T u, T v) { return u == v || (nan(u) && nan(v)); });
}

// Which of several NaNs a dot product or a sum of neighbours gives is the processor's choice; docs/fpu.md has ours.
bool only_nan_choice_differs(Judged& j, const Form& f) {
  const Bits128 &host = j.host.fx.xmm[1], &ours = j.guest.fx.xmm[1];
  bool same = false;
  if (f.op == Op::k_dpps || f.op == Op::k_haddps) same = equal_or_both_nan<uint32_t>(host, ours);
  if (f.op == Op::k_dppd || f.op == Op::k_haddpd) same = equal_or_both_nan<uint64_t>(host, ours);
  if (same) j.guest.fx.xmm[1] = host;
  return same;
}

void judge(const Form& f, unsigned index, unsigned cases, bool masked, Differences& differences) {
  if (f.text->data == Data::kApproximate) return;
  static Judged j;
  Random r(kSeed << 32 | index);
  for (unsigned n = 0; n < cases; ++n) {
    const uint32_t masks = masked ? kAllMasked : static_cast<uint32_t>(r.below(64)) << 7;
    const NativeState state = random_state(r, f.text->data, masks);
    j.run(f, state, static_cast<uint8_t>(r.next()), distance_from_end(r, f));
    if (j.difference().empty()) continue;
    if (only_nan_choice_differs(j, f) && j.difference().empty()) {
      differences.add_known(choice_of_nan());
      continue;
    }
    const std::string name = fmt::format("{} {}{}", f.text->name, f.text->operands, f.memory ? " (memory)" : "");
    differences.add_unknown(name, fmt::format("case {}, {}:\n{}{}", n, name, j.difference(), j.describe()));
  }
}

TEST(SseHost, EveryFormGivesTheHostsResultWithExceptionsMasked) {
  Differences differences;
  for (unsigned i = 0; i < forms().size(); ++i)
    judge(forms()[i], i, forms()[i].floating() ? 3000 : 600, true, differences);
  differences.finish(kSeed);
}

TEST(SseHost, UnmaskedExceptionsFaultWithTheHostsFlagsAndChangeNothingElse) {
  Differences differences;
  for (unsigned i = 0; i < forms().size(); ++i)
    if (forms()[i].floating() || forms()[i].text->data == Data::kInteger)
      judge(forms()[i], i, 1500, false, differences);
  differences.finish(kSeed);
}

TEST(SseHost, TheTableHasEveryOperationOfTheGroup) {
  for (unsigned i = 1; i < static_cast<unsigned>(Op::kCount); ++i) {
    const Op op = static_cast<Op>(i);
    if (op_group(op) != OpGroup::kSse || is_extended(op) || std::count(kElsewhere.begin(), kElsewhere.end(), op))
      continue;
    const bool listed = std::any_of(forms().begin(), forms().end(), [&](const Form& f) { return f.op == op; });
    EXPECT_TRUE(listed) << op_name(op);
  }
}

TEST(SseHost, EveryTableLineNamesAnOperation) {
  for (const Form& f : forms()) EXPECT_NE(f.exec, nullptr) << f.text->name;
}

}  // namespace
}  // namespace dejavm::soft
