// The decoder against Zydis (everything it says of an instruction) and Capstone (lengths), on random strings and on
// Debian's kernel. DEJAVM_SEED picks the strings, DEJAVM_NIGHTLY=1 tries 50 times as many.
#include <capstone/capstone.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include <elf.h>

#include "tests/vmm/soft/decode/reading.h"

namespace dejavm::soft {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes random_string(std::mt19937_64& g) {
  static constexpr uint8_t kPrefixes[] = {0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
  Bytes b;
  if (g() % 4) {
    const unsigned prefixes = g() % 2 ? 0 : g() % 4;
    for (unsigned i = 0; i < prefixes; ++i) b.push_back(kPrefixes[g() % std::size(kPrefixes)]);
    if (g() % 3 == 0) b.push_back(static_cast<uint8_t>(0x40 | g() % 16));
    switch (g() % 6) {
      case 0: break;
      case 5:
        if (g() % 2) b.insert(b.end(), {0xc5, static_cast<uint8_t>(g())});
        else
          b.insert(b.end(), {0xc4, static_cast<uint8_t>((g() & 0xe0) | g() % 4),
                             static_cast<uint8_t>(g() % 2 ? g() : (g() & 7) | 0x78)});
        break;
      case 3: b.insert(b.end(), {0x0f, 0x38}); break;
      case 4: b.insert(b.end(), {0x0f, 0x3a}); break;
      default: b.push_back(0x0f);
    }
  }
  while (b.size() < 24) b.push_back(static_cast<uint8_t>(g()));
  return b;
}

// Where Zydis 4.0 reads otherwise than processors do, or shows other operands of an instruction that uses none of them.
bool is_quirk(const Reading& ours, const OracleAnswer& zydis, const std::string& difference) {
  const std::string& m = ours.mnemonic;
  if (m == "nop" || m == "ud0" || m == "ud1") return difference.find("length") != 0;  // operands are not used
  // SIB with base 5 and mod 0 has no base register, whatever REX.B says (SDM vol. 2, table 2-3, note 1).
  if (difference.find("base: 255") == 0 && ours.address_size == 4) return true;
  // A near branch with 66 after an ignored REX (40 66 ff e1): 16 bits wide on AMD processors; to Zydis 64.
  if ((m == "jmp" || m == "call") && difference.find(":2 / ") != std::string::npos && difference.find("operand") == 0)
    return true;
  static const std::set<std::pair<std::string, std::string>> kNames = {{"fstp", "fstpnce"},  {"fstp", "fstp"},
                                                                       {"fucomp", "fucomp"}, {"xchg", "pause"},
                                                                       {"fcomp", "fcomp"},   {"fxch", "fxch"}};
  return zydis.reading && kNames.contains({m, zydis.reading->mnemonic}) && difference.find("length") != 0;
}
// Operations that the CPU model lacks, but Zydis counts to a set that it has; and one hint that is a prefetch
// elsewhere. PREFETCH of a register is #UD on AMD, and a NOP elsewhere.
bool is_known_outside(const OracleAnswer& zydis, const Decoded& ours) {
  if (zydis.outside == "PREFETCHWT1") return true;
  // Gathers whose registers overlap are #UD when they are executed.
  const bool gathers = ours.op >= Op::k_vpgatherdd && ours.op <= Op::k_vgatherqpd;
  if (gathers && (ours.operands[0].reg == ours.operands[2].reg || ours.operands[0].reg == ours.index ||
                  ours.operands[2].reg == ours.index))
    return true;
  return zydis.reading &&
         (zydis.reading->mnemonic == "rsm" || (zydis.reading->mnemonic == "nop" && ours.opcode == 0x10d));
}

// VEX behind a prefix that it does not allow: of one that is too long as well, Zydis says that it is invalid.
bool is_vex_behind_prefix(const Bytes& bytes, CodeMode mode) {
  bool forbidden = false;
  for (const uint8_t b : bytes) {
    if (b == 0x66 || b == 0xf2 || b == 0xf3 || b == 0xf0 || (mode == CodeMode::k64 && b >> 4 == 4)) forbidden = true;
    else if (b != 0x67 && b != 0x26 && b != 0x2e && b != 0x36 && b != 0x3e && b != 0x64 && b != 0x65)
      return forbidden && (b == 0xc4 || b == 0xc5);
  }
  return false;
}

// Empty, or what differs.
std::string compare(const Bytes& bytes, CodeMode mode) {
  Decoded d;
  const DecodeStatus status = decode(bytes, mode, d);
  const OracleAnswer zydis = ask_zydis(bytes, mode);
  if (status == DecodeStatus::kTooLong && !zydis.too_long && !zydis.reading && is_vex_behind_prefix(bytes, mode))
    return "";
  if ((status == DecodeStatus::kTooLong) != zydis.too_long) return "one says that it is too long";
  const bool valid = status == DecodeStatus::kOk && d.op != Op::kInvalid;
  if (valid != zydis.reading.has_value()) {
    if (is_known_outside(zydis, d)) return "";
    return valid ? "valid for us only: " + std::string(op_name(d.op))
                 : "valid for Zydis only: " + zydis.reading->mnemonic;
  }
  if (!valid) return "";
  const Reading ours = reading_of(d);
  const std::string what = difference(ours, *zydis.reading);
  return what.empty() || is_quirk(ours, zydis, what) ? "" : ours.mnemonic + " " + what;
}

TEST(Decode, RandomStringsReadAsZydisReadsThem) {
  const char* seed = std::getenv("DEJAVM_SEED");
  std::mt19937_64 g(seed ? std::strtoull(seed, nullptr, 0) : 1);
  const unsigned strings = std::getenv("DEJAVM_NIGHTLY") ? 5'000'000 : 100'000;
  for (unsigned n = 0; n < strings; ++n) {
    const Bytes bytes = random_string(g);
    for (CodeMode mode : {CodeMode::k16, CodeMode::k32, CodeMode::k64})
      ASSERT_EQ(compare(bytes, mode), "") << mode_name(mode) << "-bit: " << to_hex(bytes) << "\n"
                                          << ask_zydis(bytes, mode, true).text;
  }
}

TEST(Decode, VexWMakesA64BitOperandIn64BitModeOnly) {
  for (const Bytes& bytes : {Bytes{0xc4, 0xe3, 0xf1, 0x22, 0x06, 0x01}, Bytes{0xc4, 0xe3, 0xf9, 0x16, 0xc0, 0x01},
                             Bytes{0xc4, 0xe1, 0xf9, 0x6e, 0xc0}, Bytes{0xc4, 0xe1, 0xfa, 0x2a, 0xc0}}) {
    Bytes whole = bytes;
    whole.resize(15, 0x90);
    for (CodeMode mode : {CodeMode::k16, CodeMode::k32, CodeMode::k64}) {
      EXPECT_EQ(compare(whole, mode), "") << mode_name(mode) << "-bit: " << to_hex(bytes);
      Decoded d;
      ASSERT_EQ(decode(whole, mode, d), DecodeStatus::kOk);
      EXPECT_EQ(d.rex & 8, mode == CodeMode::k64 ? 8 : 0) << mode_name(mode) << "-bit: " << to_hex(bytes);
    }
  }
}

TEST(Decode, AShortStringIsTruncatedOrReadsAlike) {
  std::mt19937_64 g(2);
  for (unsigned n = 0; n < 20'000; ++n) {
    const Bytes bytes = random_string(g);
    Decoded whole, part;
    if (decode(std::span(bytes).first(15), CodeMode::k64, whole) != DecodeStatus::kOk) continue;
    for (unsigned len = 0; len < 15; ++len) {
      const DecodeStatus s = decode(std::span(bytes).first(len), CodeMode::k64, part);
      if (whole.op == Op::kInvalid) continue;
      ASSERT_EQ(s == DecodeStatus::kOk, len >= whole.len) << to_hex(bytes) << " cut to " << len;
      if (s == DecodeStatus::kOk) {
        ASSERT_EQ(part.len, whole.len);
      }
    }
  }
}

// The kernel's .text section, or nothing where tools/get-guest could not unpack it.
Bytes kernel_text() {
  std::ifstream file(DEJAVM_GUEST_DIR "/vmlinux", std::ios::binary);
  Bytes elf((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (elf.size() < sizeof(Elf64_Ehdr)) return {};
  Elf64_Ehdr e;
  std::memcpy(&e, elf.data(), sizeof e);
  std::vector<Elf64_Shdr> sections(e.e_shnum);
  std::memcpy(sections.data(), elf.data() + e.e_shoff, sections.size() * sizeof(Elf64_Shdr));
  for (const Elf64_Shdr& s : sections)
    if (s.sh_type == SHT_PROGBITS && (s.sh_flags & SHF_EXECINSTR))
      return Bytes(elf.begin() + static_cast<long>(s.sh_offset),
                   elf.begin() + static_cast<long>(s.sh_offset + s.sh_size));
  return {};
}

// Linear sweep. Where we find an instruction, both oracles find one of that length. What Capstone 4 does not know,
// Zydis alone decides; the kernel also holds instructions outside the CPU model (AVX, VMX ...), which it executes
// nowhere.
TEST(Decode, TheKernelsTextHasTheLengthsThatCapstoneAndZydisSee) {
  const Bytes text = kernel_text();
  if (text.empty()) GTEST_SKIP() << "no vmlinux in " DEJAVM_GUEST_DIR " (tools/get-guest)";
  csh capstone;
  ASSERT_EQ(cs_open(CS_ARCH_X86, CS_MODE_64, &capstone), CS_ERR_OK);
  cs_insn* insn = cs_malloc(capstone);
  size_t ours = 0, outside = 0, unknown_to_capstone = 0;
  for (size_t at = 0; at + 15 <= text.size();) {
    const std::span<const uint8_t> rest = std::span(text).subspan(at, 15);
    Decoded d;
    const OracleAnswer zydis = ask_zydis(rest, CodeMode::k64);
    const bool valid = decode(rest, CodeMode::k64, d) == DecodeStatus::kOk && d.op != Op::kInvalid;
    ASSERT_EQ(valid, zydis.reading.has_value()) << "at offset " << at << ": " << to_hex(rest);
    const uint8_t* code = rest.data();
    size_t size = rest.size();
    uint64_t address = 0;
    const bool known = cs_disasm_iter(capstone, &code, &size, &address, insn);
    if (!valid) {
      ++outside;
      at += known ? insn->size : 1;
      continue;
    }
    ++ours;
    ASSERT_EQ(unsigned{d.len}, zydis.reading->len) << "at offset " << at << ": " << to_hex(rest);
    if (known && insn->size != d.len && d.op != Op::k_ud1)
      ADD_FAILURE() << "at offset " << at << ": " << to_hex(rest) << " Capstone: " << insn->size;
    unknown_to_capstone += known ? 0 : 1;
    at += d.len;
  }
  cs_free(insn, 1);
  cs_close(&capstone);
  EXPECT_GT(ours, 2'000'000u);
  EXPECT_LT(outside, ours / 500);
  EXPECT_LT(unknown_to_capstone, ours / 10'000);
  RecordProperty("instructions", std::to_string(ours));
  std::printf("%zu instructions compared, %zu outside the CPU model, %zu unknown to Capstone\n", ours, outside,
              unknown_to_capstone);
}

}  // namespace
}  // namespace dejavm::soft
