// The specialised handlers against the plain functions: random programs run with and without blocks, in one go and
// sliced at random stops, must end in the same state and memory. DEJAVM_SEED picks the programs, DEJAVM_NIGHTLY=1 runs
// 20 times as many.
#include <cstdlib>

#include <fmt/format.h>

#include "devices/core/split_mix.h"
#include "tests/vmm/soft/engine/guest.h"

namespace dejavm::soft {
namespace {

struct Random {
  SplitMix64 numbers;
  uint64_t next() { return numbers.next(); }
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
    {"\x00", 1, 0, -1},     {"\x01", 1, 0, -1},     {"\x02", 1, 0, -1},     {"\x03", 1, 0, -1},
    {"\x09", 1, 0, -1},     {"\x0b", 1, 0, -1},     {"\x10", 1, 0, -1},     {"\x11", 1, 0, -1},
    {"\x13", 1, 0, -1},     {"\x19", 1, 0, -1},     {"\x1b", 1, 0, -1},     {"\x20", 1, 0, -1},
    {"\x21", 1, 0, -1},     {"\x23", 1, 0, -1},     {"\x28", 1, 0, -1},     {"\x29", 1, 0, -1},
    {"\x2b", 1, 0, -1},     {"\x31", 1, 0, -1},     {"\x33", 1, 0, -1},     {"\x38", 1, 0, -1},
    {"\x39", 1, 0, -1},     {"\x3b", 1, 0, -1},     {"\x84", 1, 0, -1},     {"\x85", 1, 0, -1},
    {"\x86", 1, 0, -1},     {"\x87", 1, 0, -1},     {"\x88", 1, 0, -1},     {"\x89", 1, 0, -1},
    {"\x8a", 1, 0, -1},     {"\x8b", 1, 0, -1},     {"\x8d", 1, 0, -1},     {"\x63", 1, 0, -1},
    {"\x80", 1, 1, -1},     {"\x81", 1, 9, -1},     {"\x83", 1, 1, -1},     {"\xc6", 1, 1, 0},
    {"\xc7", 1, 9, 0},      {"\x69", 1, 9, -1},     {"\x6b", 1, 1, -1},     {"\xf6", 1, 0, 2},
    {"\xf6", 1, 0, 3},      {"\xf6", 1, 1, 0},      {"\xf7", 1, 0, 2},      {"\xf7", 1, 0, 3},
    {"\xf7", 1, 0, 4},      {"\xf7", 1, 0, 5},      {"\xf7", 1, 9, 0},      {"\xf7", 1, 0, 6},
    {"\xc0", 1, 1, -1},     {"\xc1", 1, 1, -1},     {"\xd0", 1, 0, -1},     {"\xd1", 1, 0, -1},
    {"\xd2", 1, 0, -1},     {"\xd3", 1, 0, -1},     {"\xfe", 1, 0, 0},      {"\xfe", 1, 0, 1},
    {"\xff", 1, 0, 0},      {"\xff", 1, 0, 1},      {"\xff", 1, 0, 6},      {"\x8f", 1, 0, 0},
    {"\x0f\xaf", 2, 0, -1}, {"\x0f\xb6", 2, 0, -1}, {"\x0f\xb7", 2, 0, -1}, {"\x0f\xbe", 2, 0, -1},
    {"\x0f\xbf", 2, 0, -1}, {"\x0f\xa3", 2, 0, -1}, {"\x0f\xab", 2, 0, -1}, {"\x0f\xb3", 2, 0, -1},
    {"\x0f\xbb", 2, 0, -1}, {"\x0f\xba", 2, 1, 4},  {"\x0f\xba", 2, 1, 5},  {"\x0f\xba", 2, 1, 6},
    {"\x0f\xba", 2, 1, 7},  {"\x0f\xbc", 2, 0, -1}, {"\x0f\xbd", 2, 0, -1}, {"\x0f\xa4", 2, 1, -1},
    {"\x0f\xa5", 2, 0, -1}, {"\x0f\xac", 2, 1, -1}, {"\x0f\xad", 2, 0, -1}, {"\x0f\xb0", 2, 0, -1},
    {"\x0f\xb1", 2, 0, -1}, {"\x0f\xc0", 2, 0, -1}, {"\x0f\xc1", 2, 0, -1}, {"\x0f\x1f", 2, 0, 0},
    {"\x0f\x10", 2, 0, -1}, {"\x0f\x11", 2, 0, -1}, {"\x0f\x28", 2, 0, -1}, {"\x0f\x29", 2, 0, -1},
    {"\x0f\x6f", 2, 0, -1}, {"\x0f\xef", 2, 0, -1}, {"\x8c", 1, 0, 0},      {"\x8c", 1, 0, 4},
    {"\xd9", 1, 0, 7},      {"\x0f\x18", 2, 0, 1},  {"\x0f\xa4", 2, 1, -1}, {"\x0f\xad", 2, 0, -1},
};
constexpr const char* kPlain[] = {
    "\x98",         "\x99",         "\x48\x98",     "\x48\x99",     "\x90",     "\xc9",         "\x50",
    "\x53",         "\x58",         "\x5a",         "\xf8",         "\xf9",     "\xfc",         "\xf5",
    "\x9c",         "\x0f\xc8",     "\x48\x0f\xcb", "\xaa",         "\x48\xab", "\xf3\xaa",     "\xf3\x48\xa5",
    "\xa4",         "\xac",         "\x9e",         "\x9f",         "\x0f\x31", "\x0f\x01\xf9", "\xfa",
    "\xfb",         "\x0f\x01\xf8", "\x0f\x01\xca", "\x0f\x01\xcb", "\xf3\xa4", "\xf3\xa5",     "\xf3\x66\xab",
    "\xf3\x48\xab", "\xf3\x64\xa4", "\xf2\xaa",     "\xfd"};

// MMX and SSE: map 0f, with each of the prefixes or none. imm follows the opcode's rule below.
std::string random_vector_opcode(Random& r, unsigned& imm, int& reg) {
  static constexpr uint8_t kOpcodes[] = {
      0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x28, 0x29, 0x2b, 0x50, 0x54, 0x55, 0x56, 0x57, 0x60, 0x61,
      0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73,
      0x74, 0x75, 0x76, 0x7e, 0x7f, 0xc6, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xdb, 0xdc,
      0xdd, 0xde, 0xdf, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
      0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe};
  std::string out;
  const uint64_t p = r.below(8);
  if (p < 4) out += '\x66';
  else if (p < 6) out += p == 4 ? '\xf2' : '\xf3';
  if (r.below(2))
    out += static_cast<char>(0x40 | (r.below(4) == 0 ? 8 : 0) | (r.below(2) << 2) | (r.below(4) == 0 ? 1 : 0));
  out += '\x0f';
  if (r.below(8) == 0) {  // map 0f 38: pshufb, pminsb, pcmpeqq, pmulld, ...
    static constexpr uint8_t kMap38[] = {0x00, 0x04, 0x28, 0x29, 0x2b, 0x37, 0x38, 0x39,
                                         0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x40};
    out += '\x38';
    return out += static_cast<char>(kMap38[r.below(std::size(kMap38))]);
  }
  const uint8_t opcode = kOpcodes[r.below(std::size(kOpcodes))];
  if (opcode == 0x70 || opcode == 0xc6) imm = 1;
  if (opcode >= 0x71 && opcode <= 0x73) {
    imm = 1;
    reg = static_cast<int>(2 + 2 * r.below(3));
  }
  return out += static_cast<char>(opcode);
}

// ModRM and what belongs to it.
void append_operand(Random& r, unsigned reg, std::string& out) {
  switch (r.below(6)) {
    case 0:
    case 1: out += static_cast<char>(0xc0 | reg << 3 | r.below(8)); break;
    case 2:
      out += static_cast<char>(0x43 | reg << 3);
      out += static_cast<char>(r.next());
      break;   // [rbx + disp8]
    case 3: {  // [rsi + disp32], near a page end now and then
      const auto disp = static_cast<int32_t>(r.below(4) == 0 ? 4090 + r.below(8) : r.below(0x3000));
      out += static_cast<char>(0x86 | reg << 3);
      out.append(reinterpret_cast<const char*>(&disp), 4);
      break;
    }
    case 4:
      out += static_cast<char>(0x44 | reg << 3);
      out += static_cast<char>(r.below(4) << 6 | 1 << 3 | 3);
      out += static_cast<char>(r.below(128));
      break;
    default: {  // [rip + disp32], in the data area
      const int32_t disp = static_cast<int32_t>(0x100000 + r.below(0x1000));
      out += static_cast<char>(0x05 | reg << 3);
      out.append(reinterpret_cast<const char*>(&disp), 4);
      break;
    }
  }
}

std::string random_instruction(Random& r) {
  std::string out;
  if (r.below(8) == 0) out += "\x64\x64\x65\x65\x2e"[r.below(5)];  // FS, GS, CS
  if (r.below(12) == 0) return out + kPlain[r.below(std::size(kPlain))];
  if (r.below(10) == 0) {  // jcc over a few bytes, forwards
    out.assign(1, static_cast<char>(0x70 + r.below(16)));
    return out += static_cast<char>(r.below(3));
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
  Shape vector{"", 0, 0, -1};
  if (r.below(5) == 0) {
    out += random_vector_opcode(r, vector.imm, vector.reg);
    shape = &vector;
    cc = -1;
  }
  const bool operand16 = shape != &vector && r.below(8) == 0;
  if (operand16) {
    out += '\x66';
    imm_size = 2;
  }
  if (shape != &vector && r.below(2)) {
    const char rex = static_cast<char>(0x40 | (r.below(2) << 3) | (r.below(2) << 2) | (r.below(4) == 0 ? 1 : 0));
    out += rex;
    if (rex & 8) imm_size = 4;
  }
  out.append(shape->opcode, shape->len);
  if (cc >= 0) out += static_cast<char>(cc);
  const unsigned reg = shape->reg >= 0 ? static_cast<unsigned>(shape->reg) : static_cast<unsigned>(r.below(8));
  append_operand(r, reg, out);
  const unsigned imm = shape->imm == 9 ? imm_size : shape->imm;
  for (unsigned k = 0; k < imm; ++k) out += static_cast<char>(r.next());
  return out;
}

// Every third program lies across the end of a page.
uint64_t start_of(const std::string& program, uint64_t seed) {
  return seed % 3 ? Guest::kCode : Guest::kCode + kPageSize - 1 - seed / 3 % (program.size() - 20);
}

void prepare(Guest& g, const std::string& program, uint64_t seed) {
  Random r{seed};
  g.code(program, start_of(program, seed));
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

void compare_random_programs(bool compatibility_mode) {
  const uint64_t base = std::getenv("DEJAVM_SEED") ? std::strtoull(std::getenv("DEJAVM_SEED"), nullptr, 0) : 1;
  const unsigned programs = std::getenv("DEJAVM_NIGHTLY") ? 40000 : 2000;
  Guest fast(true, {.on = false}), slow(false), sliced(true, {.on = false}), hot(true, {.on = true, .threshold = 1});
  Guest hot_sliced(true, {.on = true, .threshold = 1, .cache_bytes = 1 << 20});
  Guest* const all[] = {&fast, &slow, &sliced, &hot, &hot_sliced};
  for (unsigned p = 0; p < programs; ++p) {
    const uint64_t seed = base + p;
    Random r{seed};
    std::string program;
    for (unsigned k = 0; k < 30; ++k) program += random_instruction(r);
    program += std::string(16, '\xf4');
    for (Guest* g : all) {
      VcpuState fresh = g->state();
      fresh.rip = start_of(program, seed);
      fresh.retired = 0;
      fresh.activity = Activity::kRunning;
      fresh.cr2 = 0;
      fresh.dr6 = 0xffff0ff0;
      fresh.pending_debug = 0;
      fresh.sti_shadow = fresh.movss_shadow = false;
      fresh.fpu = FpuState{};
      g->engine->set_state(0, fresh);
      prepare(*g, program, seed);
      VcpuState s = g->state();
      s.segment[kCs].attributes =
          static_cast<uint16_t>(kSegP | kSegS | kSegG | 0xb | (compatibility_mode ? kSegDb : kSegL));
      // FS and GS have bases, and FS now and then a limit that it is checked against.
      s.segment[kFs].base = 0x1000;
      s.segment[kGs].base = 0x808;
      s.segment[kFs].limit = compatibility_mode && seed % 4 == 0 ? 0xfffff : 0xffffffff;
      if (compatibility_mode && seed % 16 == 1) s.segment[kDs].limit = 0x20ffff;
      g->engine->set_state(0, s);
    }
    fast.run_to(2000);
    slow.run_to(2000);
    hot.run_to(2000);
    for (Guest* g : {&sliced, &hot_sliced})
      for (uint64_t at = 0; at < 2000 && g->state().activity == Activity::kRunning;)
        g->run_to(at = std::min<uint64_t>(at + 1 + r.below(g == &sliced ? 7 : 40), 2000));
    static constexpr const char* kNames[] = {"blocks", "plain", "sliced", "translated", "translated and sliced"};
    const auto bytes = [](Guest& g, uint64_t at, size_t n) {
      return std::string_view(reinterpret_cast<char*>(g.memory->page(Gpa{at})), n);
    };
    for (size_t n = 0; n < std::size(all); ++n) {
      ASSERT_EQ(differing(all[n]->state(), slow.state()), "") << kNames[n] << " against plain, DEJAVM_SEED=" << seed;
      ASSERT_TRUE(bytes(*all[n], Guest::kData, 0x4000) == bytes(slow, Guest::kData, 0x4000))
          << kNames[n] << ": memory, DEJAVM_SEED=" << seed;
      ASSERT_TRUE(bytes(*all[n], Guest::kPt, 0x8000) == bytes(slow, Guest::kPt, 0x8000))
          << kNames[n] << ": accessed and dirty bits, DEJAVM_SEED=" << seed;
    }
  }
}

// Elements of each size, up and down, source and destination overlapping or not, within pages and across, stopped on
// the way.
TEST(SoftHot, RepeatedMovesAndStoresEndAlike) {
  Guest plain(false), blocks(true, {.on = false}), translated(true, {.on = true, .threshold = 1});
  Guest* const all[] = {&plain, &blocks, &translated};
  constexpr std::string_view kOps[] = {"\xf3\xa4", "\xf3\x66\xa5", "\xf3\xa5", "\xf3\x48\xa5",
                                       "\xf3\xaa", "\xf3\x66\xab", "\xf3\xab", "\xf3\x48\xab"};
  constexpr int64_t kDistances[] = {-5000, -4096, -17, -8, -7, -3, -2, -1, 0, 1, 2, 4, 7, 8, 9, 24, 4096, 6001};
  uint64_t seed = 0;
  for (const std::string_view op : kOps)
    for (const bool down : {false, true})
      for (const int64_t distance : kDistances)
        for (const uint64_t count : {0, 1, 2, 5, 63, 300, 2000}) {
          // MOV BL, [RSI]; OR BYTE [RDI], 0: both pages are at hand.
          const std::string code =
              "\x8a\x1e\x80\x0f" + std::string(1, '\0') + (down ? "\xfd" : "\xfc") + std::string(op) + "\x90\xf4";
          const Random random{++seed};
          std::string ends[3];
          for (size_t n = 0; n < 3; ++n) {
            Guest& g = *all[n];
            Random r = random;
            g.code(code);
            for (uint64_t k = 0; k < 0x10000; k += 8) g.write<uint64_t>(Guest::kData + k, r.next());
            VcpuState s = g.state();
            s.rip = Guest::kCode;
            s.retired = 0;
            s.activity = Activity::kRunning;
            s.gpr[kRsi] = Guest::kData + 0x6000 + r.below(0x1000);
            s.gpr[kRdi] = s.gpr[kRsi] + static_cast<uint64_t>(distance);
            s.gpr[kRcx] = count;
            s.gpr[kRax] = 0x8877665544332211;
            g.engine->set_state(0, s);
            g.run_to(3 + r.below(count + 2));
            const VcpuState middle = g.state();
            EXPECT_EQ(g.run_to(count + 100), StopReason::kHalted);
            s = g.state();
            ends[n] = fmt::format("{} {:x} {} {:x} {:x} {}, then {} {} {:x} {:x} ", middle.retired, middle.rip,
                                  middle.gpr[kRcx], middle.gpr[kRsi], middle.gpr[kRdi], middle.rflags, s.retired,
                                  s.gpr[kRcx], s.gpr[kRsi], s.gpr[kRdi]) +
                      std::string(reinterpret_cast<char*>(g.memory->page(Gpa{Guest::kData})), 0x10000);
          }
          ASSERT_TRUE(ends[1] == ends[0]) << "blocks: " << seed << '\n'
                                          << ends[0].substr(0, 120) << '\n'
                                          << ends[1].substr(0, 120);
          ASSERT_TRUE(ends[2] == ends[0]) << "translated: " << seed << '\n'
                                          << ends[0].substr(0, 120) << '\n'
                                          << ends[2].substr(0, 120);
        }
}

TEST(SoftHot, RandomProgramsEndAlikeWithBlocksAndWithPlainFunctions) { compare_random_programs(false); }
TEST(SoftHot, RandomProgramsOf32BitCodeEndAlike) { compare_random_programs(true); }

}  // namespace
}  // namespace dejavm::soft
