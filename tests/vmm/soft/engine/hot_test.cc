// The specialised handlers against the plain functions: random programs run with and without blocks, in one go and sliced
// at random stops, must end in the same state and memory. DEJAVM_SEED picks the programs, DEJAVM_NIGHTLY=1 runs 20 times as many.
#include <cstdlib>

#include "tests/vmm/soft/engine/guest.h"

namespace dejavm::soft {
namespace {

struct Random {
  uint64_t s;
  uint64_t next() {  // SplitMix64
    uint64_t z = (s += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t n) { return next() % n; }
};

// Opcodes with a ModRM byte and, as `imm`, the bytes of immediate that follow (9: by operand size, at most 4).
struct Shape {
  const char* opcode;
  unsigned len;
  unsigned imm;
  int reg;  // ModRM.reg, or -1 for any
};
constexpr Shape kShapes[] = {
    {"\x00", 1, 0, -1}, {"\x01", 1, 0, -1}, {"\x02", 1, 0, -1}, {"\x03", 1, 0, -1}, {"\x09", 1, 0, -1}, {"\x0b", 1, 0, -1},
    {"\x10", 1, 0, -1}, {"\x11", 1, 0, -1}, {"\x13", 1, 0, -1}, {"\x19", 1, 0, -1}, {"\x1b", 1, 0, -1}, {"\x20", 1, 0, -1},
    {"\x21", 1, 0, -1}, {"\x23", 1, 0, -1}, {"\x28", 1, 0, -1}, {"\x29", 1, 0, -1}, {"\x2b", 1, 0, -1}, {"\x31", 1, 0, -1},
    {"\x33", 1, 0, -1}, {"\x38", 1, 0, -1}, {"\x39", 1, 0, -1}, {"\x3b", 1, 0, -1}, {"\x84", 1, 0, -1}, {"\x85", 1, 0, -1},
    {"\x86", 1, 0, -1}, {"\x87", 1, 0, -1}, {"\x88", 1, 0, -1}, {"\x89", 1, 0, -1}, {"\x8a", 1, 0, -1}, {"\x8b", 1, 0, -1},
    {"\x8d", 1, 0, -1}, {"\x63", 1, 0, -1}, {"\x80", 1, 1, -1}, {"\x81", 1, 9, -1}, {"\x83", 1, 1, -1}, {"\xc6", 1, 1, 0},
    {"\xc7", 1, 9, 0},  {"\x69", 1, 9, -1}, {"\x6b", 1, 1, -1}, {"\xf6", 1, 0, 2},  {"\xf6", 1, 0, 3},  {"\xf6", 1, 1, 0},
    {"\xf7", 1, 0, 2},  {"\xf7", 1, 0, 3},  {"\xf7", 1, 0, 4},  {"\xf7", 1, 0, 5},  {"\xf7", 1, 9, 0},  {"\xf7", 1, 0, 6},
    {"\xc0", 1, 1, -1}, {"\xc1", 1, 1, -1}, {"\xd0", 1, 0, -1}, {"\xd1", 1, 0, -1}, {"\xd2", 1, 0, -1}, {"\xd3", 1, 0, -1},
    {"\xfe", 1, 0, 0},  {"\xfe", 1, 0, 1},  {"\xff", 1, 0, 0},  {"\xff", 1, 0, 1},  {"\xff", 1, 0, 6},  {"\x8f", 1, 0, 0},
    {"\x0f\xaf", 2, 0, -1}, {"\x0f\xb6", 2, 0, -1}, {"\x0f\xb7", 2, 0, -1}, {"\x0f\xbe", 2, 0, -1}, {"\x0f\xbf", 2, 0, -1},
    {"\x0f\xa3", 2, 0, -1}, {"\x0f\xab", 2, 0, -1}, {"\x0f\xb3", 2, 0, -1}, {"\x0f\xbb", 2, 0, -1}, {"\x0f\xba", 2, 1, 4},
    {"\x0f\xba", 2, 1, 5},  {"\x0f\xba", 2, 1, 6},  {"\x0f\xba", 2, 1, 7},  {"\x0f\xbc", 2, 0, -1}, {"\x0f\xbd", 2, 0, -1},
    {"\x0f\xa4", 2, 1, -1}, {"\x0f\xa5", 2, 0, -1}, {"\x0f\xac", 2, 1, -1}, {"\x0f\xad", 2, 0, -1}, {"\x0f\xb0", 2, 0, -1},
    {"\x0f\xb1", 2, 0, -1}, {"\x0f\xc0", 2, 0, -1}, {"\x0f\xc1", 2, 0, -1}, {"\x0f\x1f", 2, 0, 0},  {"\x0f\x10", 2, 0, -1},
    {"\x0f\x11", 2, 0, -1}, {"\x0f\x28", 2, 0, -1}, {"\x0f\x29", 2, 0, -1}, {"\x0f\x6f", 2, 0, -1}, {"\x0f\xef", 2, 0, -1},
};
constexpr const char* kPlain[] = {"\x98", "\x99", "\x48\x98", "\x48\x99", "\x90", "\xc9", "\x50", "\x53", "\x58", "\x5a",
                                  "\xf8", "\xf9", "\xfc", "\xf5", "\x9c", "\x0f\xc8", "\x48\x0f\xcb", "\xaa", "\x48\xab",
                                  "\xf3\xaa", "\xf3\x48\xa5", "\xa4", "\xac", "\x9e", "\x9f"};

std::string random_instruction(Random& r) {
  std::string out;
  if (r.below(12) == 0) return kPlain[r.below(std::size(kPlain))];
  if (r.below(10) == 0) {  // jcc over a few bytes, forwards
    out = {static_cast<char>(0x70 + r.below(16)), static_cast<char>(r.below(3))};
    return out;
  }
  unsigned imm_size = 4;
  const Shape* shape;
  int cc = -1;
  Shape conditional{"\x0f", 1, 0, -1};
  if (r.below(8) == 0) {
    shape = &conditional;
    cc = static_cast<int>((r.below(2) ? 0x40 : 0x90) + r.below(16));
  } else {
    shape = &kShapes[r.below(std::size(kShapes))];
  }
  const bool operand16 = r.below(8) == 0;
  if (operand16) out += '\x66', imm_size = 2;
  if (r.below(2)) {
    const char rex = static_cast<char>(0x40 | (r.below(2) << 3) | (r.below(2) << 2) | (r.below(4) == 0 ? 1 : 0));
    out += rex;
    if (rex & 8) imm_size = 4;
  }
  out.append(shape->opcode, shape->len);
  if (cc >= 0) out += static_cast<char>(cc);
  const unsigned reg = shape->reg >= 0 ? static_cast<unsigned>(shape->reg) : static_cast<unsigned>(r.below(8));
  switch (r.below(6)) {
    case 0: case 1: out += static_cast<char>(0xc0 | reg << 3 | r.below(8)); break;
    case 2: out += static_cast<char>(0x43 | reg << 3), out += static_cast<char>(r.next()); break;  // [rbx + disp8]
    case 3: {  // [rsi + disp32], near a page end now and then
      const auto disp = static_cast<int32_t>(r.below(4) == 0 ? 4090 + r.below(8) : r.below(0x3000));
      out += static_cast<char>(0x86 | reg << 3);
      out.append(reinterpret_cast<const char*>(&disp), 4);
      break;
    }
    case 4: out += static_cast<char>(0x44 | reg << 3), out += static_cast<char>(r.below(4) << 6 | 1 << 3 | 3), out += static_cast<char>(r.below(128)); break;
    default: {  // [rip + disp32], in the data area
      const int32_t disp = static_cast<int32_t>(0x100000 + r.below(0x1000));
      out += static_cast<char>(0x05 | reg << 3);
      out.append(reinterpret_cast<const char*>(&disp), 4);
      break;
    }
  }
  const unsigned imm = shape->imm == 9 ? imm_size : shape->imm;
  for (unsigned k = 0; k < imm; ++k) out += static_cast<char>(r.next());
  return out;
}

void prepare(Guest& g, const std::string& program, uint64_t seed) {
  Random r{seed};
  g.code(program);
  for (uint64_t k = 0; k < 0x4000; k += 8) g.write<uint64_t>(Guest::kData + k, r.next());
  VcpuState s = g.state();
  for (unsigned n = 0; n < 16; ++n) s.gpr[n] = r.below(3) ? r.next() : r.below(16);
  s.gpr[kRbx] = Guest::kData + 0x1000;
  s.gpr[kRsi] = Guest::kData;
  s.gpr[kRdi] = Guest::kData + r.below(0x3000);
  s.gpr[kRbp] = Guest::kData + 0x2008;
  s.gpr[kRcx] = r.below(64);
  s.gpr[kRsp] = Guest::kStack;
  s.rflags = 2 | (r.next() & kArithFlags);
  g.engine->set_state(0, s);
}

TEST(SoftHot, RandomProgramsEndAlikeWithBlocksAndWithPlainFunctions) {
  const uint64_t base = std::getenv("DEJAVM_SEED") ? std::strtoull(std::getenv("DEJAVM_SEED"), nullptr, 0) : 1;
  const unsigned programs = std::getenv("DEJAVM_NIGHTLY") ? 40000 : 2000;
  Guest fast, slow(false), sliced;
  for (unsigned p = 0; p < programs; ++p) {
    const uint64_t seed = base + p;
    Random r{seed};
    std::string program;
    for (unsigned k = 0; k < 30; ++k) program += random_instruction(r);
    program += std::string(16, '\xf4');
    for (Guest* g : {&fast, &slow, &sliced}) {
      VcpuState fresh = g->state();
      fresh.rip = Guest::kCode;
      fresh.retired = 0;
      fresh.activity = Activity::kRunning;
      fresh.cr2 = 0;
      fresh.dr6 = 0xffff0ff0;
      fresh.pending_debug = 0;
      fresh.sti_shadow = fresh.movss_shadow = false;
      fresh.fpu = FpuState{};
      g->engine->set_state(0, fresh);
      prepare(*g, program, seed);
    }
    fast.run_to(2000);
    slow.run_to(2000);
    for (uint64_t at = 0; at < 2000 && sliced.state().activity == Activity::kRunning;)
      sliced.run_to(at = std::min<uint64_t>(at + 1 + r.below(7), 2000));
    const VcpuState a = fast.state(), b = slow.state(), d = sliced.state();
    ASSERT_EQ(differing(a, b), "") << "blocks against plain, DEJAVM_SEED=" << seed << " retired " << a.retired << " / " << b.retired;
    ASSERT_EQ(differing(a, d), "") << "sliced, DEJAVM_SEED=" << seed;
    const auto data = [](Guest& g) { return std::string_view(reinterpret_cast<char*>(g.memory->page(Gpa{Guest::kData})), 0x4000); };
    ASSERT_TRUE(data(fast) == data(slow)) << "memory, DEJAVM_SEED=" << seed;
    ASSERT_TRUE(data(fast) == data(sliced)) << "memory of the sliced run, DEJAVM_SEED=" << seed;
    const auto tables = [](Guest& g) { return std::string_view(reinterpret_cast<char*>(g.memory->page(Gpa{Guest::kPt})), 0x8000); };
    ASSERT_TRUE(tables(fast) == tables(slow)) << "accessed and dirty bits, DEJAVM_SEED=" << seed;
  }
}

}  // namespace
}  // namespace dejavm::soft
