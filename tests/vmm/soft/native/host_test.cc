// Random user-mode instructions, with random prefixes, operands and memory, executed by the host's own processor and by
// the engine from the same state: registers, defined flags, x87 and SSE state, memory and faults must be equal.
// DEJAVM_SEED picks the cases, DEJAVM_CASES how many.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "tests/vmm/soft/native/differences.h"
#include "tests/vmm/soft/native/random_case.h"
#include "tests/vmm/soft/native/user_guest.h"

namespace dejavm::soft {
namespace {

// FS and GS are the host process's own; what RIP is relative to holds the harness.
bool memory_is_in_reach(const Decoded& d) { return d.seg != kFs && d.seg != kGs && !d.rip_relative; }

std::vector<uint8_t> random_bytes(Random& r) {
  static constexpr uint8_t kPrefixes[] = {0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x3e};
  std::vector<uint8_t> b;
  if (r.below(3) == 0)
    for (unsigned n = 1 + r.below(2); n > 0; --n) b.push_back(kPrefixes[r.below(sizeof kPrefixes)]);
  if (r.below(2)) b.push_back(static_cast<uint8_t>(0x40 | r.below(16)));
  switch (r.below(8)) {
    case 0:
    case 1: break;
    case 2: b.push_back(static_cast<uint8_t>(0xd8 + r.below(8))); break;
    case 3: b.insert(b.end(), {0x0f, 0x38}); break;
    case 4: b.insert(b.end(), {0x0f, 0x3a}); break;
    default: b.push_back(0x0f);
  }
  while (b.size() < 15) b.push_back(static_cast<uint8_t>(r.next()));
  return b;
}

// Displacements are made small, so that memory operands mostly are where there is memory.
bool make_case(Random& r, Case& k) {
  k.bytes = random_bytes(r);
  if (decode(k.bytes, CodeMode::k64, k.d) != DecodeStatus::kOk || is_left_out(k.d.op)) return false;
  if (!memory_is_in_reach(k.d)) return false;
  const bool moffs = k.d.has_mem && !k.d.has_modrm;
  if (k.d.has_mem && !moffs) {
    const unsigned mod = k.d.modrm >> 6;
    const bool sib_without_base = mod == 0 && k.d.base == kNoReg;
    if (mod == 2 || sib_without_base) {
      // The displacement is the last four bytes before the immediates.
      const auto find = static_cast<uint32_t>(k.d.disp);
      for (size_t at = 1; at + 4 <= k.d.len; ++at) {
        uint32_t v;
        std::memcpy(&v, &k.bytes[at], 4);
        if (v != find) continue;
        v = sib_without_base ? static_cast<uint32_t>(kWindow + r.below(kWindowSize)) : r.below(256) - 128;
        std::memcpy(&k.bytes[at], &v, 4);
        break;
      }
    }
  }
  if (moffs) return false;
  k.bytes.resize(k.d.len);
  if (decode(k.bytes, CodeMode::k64, k.d) != DecodeStatus::kOk || k.d.len != k.bytes.size()) return false;
  for (uint64_t& g : k.before.gpr) g = random_gpr(r);
  // Index registers stay small more often; a count in RCX too.
  if (k.d.has_mem && k.d.index != kNoReg && r.below(4)) k.before.gpr[k.d.index] = r.below(64);
  if (r.below(2)) k.before.gpr[kRcx] = r.below(80);
  k.before.rflags = 0x202 | (r.next() & (kArithFlags | kDF_));
  k.before.rip = kInsnAddress;
  random_fx(r, k.before.fx);
  return true;
}

TEST(Host, RandomInstructionsDoWhatTheHostsProcessorDoes) {
  const uint64_t seed = number_from_environment("DEJAVM_SEED", 1);
  const uint64_t cases = number_from_environment("DEJAVM_CASES", 300'000);
  UserGuest guest;
  Differences differences;
  std::map<Op, uint64_t> done;
  Random fill(seed);
  auto* host_window = reinterpret_cast<uint8_t*>(kWindow);
  std::vector<uint8_t> initial(kWindowSize), host_memory(kWindowSize);
  for (uint8_t& b : initial) b = static_cast<uint8_t>(fill.next());
  {
    UserState warm{};
    warm.fx.fcw = 0x37f;
    warm.fx.mxcsr = 0x1f80;
    const uint8_t nop[] = {0x90};
    run_on_host(nop, warm);
  }
  for (uint64_t n = 0; n < cases;) {
    Random r(seed * 0x100000001b3 + n * 0x9e3779b97f4a7c15);
    Case k{};
    while (!make_case(r, k)) {}
    ++n;
    ++done[k.d.op];
    for (unsigned b = 0; b < 16; ++b) initial[r.below(kWindowSize)] = static_cast<uint8_t>(r.next());
    std::memcpy(guest.window(), initial.data(), kWindowSize);
    UserState ours;
    guest.put(k);
    const int vector = guest.execute(k, ours);
    if (guest.met_the_harness) continue;
    UserState host;
    int signal = 0;
    const std::string what = repeated_difference([&] {
      std::memcpy(host_window, initial.data(), kWindowSize);
      host = k.before;
      signal = run_on_host(k.bytes, host);
      std::memcpy(host_memory.data(), host_window, kWindowSize);
      return difference(k, host, signal, ours, vector, host_memory, guest.window());
    });
    if (what.empty()) continue;
    differences.add({k.d, k.before, host, signal, ours, vector}, std::string(op_name(k.d.op)), n - 1, what);
  }
  std::printf("%llu cases of %zu operations, seed %llu\n", static_cast<unsigned long long>(cases), done.size(),
              static_cast<unsigned long long>(seed));
  differences.finish(seed);
}

// Where the process has its stack differs from run to run, so a case that goes there would differ, too.
TEST(Host, WhatTheProcessHasItselfIsNotTried) {
  UserGuest guest;
  uint64_t mine = 0;
  Case k{};
  k.bytes = {0x48, 0x8b, 0x03};  // mov (%rbx), %rax
  ASSERT_EQ(decode(k.bytes, CodeMode::k64, k.d), DecodeStatus::kOk);
  k.before.rflags = 0x202;
  k.before.rip = kInsnAddress;
  k.before.fx.fcw = 0x37f;
  k.before.fx.mxcsr = 0x1f80;
  UserState after;
  for (const auto& [address, is_mine] :
       {std::pair(reinterpret_cast<uint64_t>(&mine), true), {uint64_t{0x1000}, false}, {uint64_t{kWindow}, false}}) {
    k.before.gpr[kRbx] = address;
    guest.put(k);
    const int vector = guest.execute(k, after);
    EXPECT_EQ(vector, address == kWindow ? -1 : 14);
    EXPECT_EQ(guest.met_the_harness, is_mine) << address;
  }
}

// Of ECX, or CL, and EAX, in that order or the other; ModRM bytes C1 and, of groups, the operation with ECX.
const std::vector<std::vector<uint8_t>> kIntegerForms = {{0x00, 0xc1},
                                                         {0x01, 0xc1},
                                                         {0x08, 0xc1},
                                                         {0x09, 0xc1},
                                                         {0x10, 0xc1},
                                                         {0x11, 0xc1},
                                                         {0x18, 0xc1},
                                                         {0x19, 0xc1},
                                                         {0x20, 0xc1},
                                                         {0x21, 0xc1},
                                                         {0x28, 0xc1},
                                                         {0x29, 0xc1},
                                                         {0x30, 0xc1},
                                                         {0x31, 0xc1},
                                                         {0x38, 0xc1},
                                                         {0x39, 0xc1},
                                                         {0x84, 0xc1},
                                                         {0x85, 0xc1},
                                                         {0xf6, 0xd1},
                                                         {0xf7, 0xd1},
                                                         {0xf6, 0xd9},
                                                         {0xf7, 0xd9},
                                                         {0xf6, 0xe1},
                                                         {0xf7, 0xe1},
                                                         {0xf6, 0xe9},
                                                         {0xf7, 0xe9},
                                                         {0xf6, 0xf1},
                                                         {0xf7, 0xf1},
                                                         {0xf6, 0xf9},
                                                         {0xf7, 0xf9},
                                                         {0xfe, 0xc1},
                                                         {0xff, 0xc1},
                                                         {0xfe, 0xc9},
                                                         {0xff, 0xc9},
                                                         {0xd3, 0xc0},
                                                         {0xd3, 0xc8},
                                                         {0xd3, 0xd0},
                                                         {0xd3, 0xd8},
                                                         {0xd3, 0xe0},
                                                         {0xd3, 0xe8},
                                                         {0xd3, 0xf8},
                                                         {0xd2, 0xc0},
                                                         {0xd2, 0xc8},
                                                         {0xd2, 0xd0},
                                                         {0xd2, 0xd8},
                                                         {0xd2, 0xe0},
                                                         {0xd2, 0xe8},
                                                         {0xd2, 0xf8},
                                                         {0xd1, 0xc1},
                                                         {0xd1, 0xd1},
                                                         {0xd1, 0xd9},
                                                         {0xd1, 0xf9},
                                                         {0x98},
                                                         {0x99},
                                                         {0x0f, 0xa3, 0xc1},
                                                         {0x0f, 0xab, 0xc1},
                                                         {0x0f, 0xb3, 0xc1},
                                                         {0x0f, 0xbb, 0xc1},
                                                         {0x0f, 0xa5, 0xd0},
                                                         {0x0f, 0xad, 0xd0},
                                                         {0x0f, 0xaf, 0xc1},
                                                         {0x0f, 0xbc, 0xc1},
                                                         {0x0f, 0xbd, 0xc1},
                                                         {0x0f, 0xc0, 0xc1},
                                                         {0x0f, 0xc1, 0xc1},
                                                         {0x0f, 0xb0, 0xc1},
                                                         {0x0f, 0xb1, 0xc1},
                                                         {0x0f, 0xb6, 0xc1},
                                                         {0x0f, 0xb7, 0xc1},
                                                         {0x0f, 0xbe, 0xc1},
                                                         {0x0f, 0xbf, 0xc1},
                                                         {0x0f, 0xc8}};
const std::vector<std::vector<uint8_t>> kIntegerFormsWithF3 = {{0x0f, 0xb8, 0xc1}, {0x0f, 0xb8, 0xc8}};

// What chance seldom draws: each form with operands where results and flags change, of each size.
TEST(Host, IntegerFormsOfBoundaryOperandsDoWhatTheHostsProcessorDoes) {
  UserGuest guest;
  Differences differences;
  Random random(number_from_environment("DEJAVM_SEED", 1));
  uint64_t cases = 0;
  const auto one = [&](std::vector<uint8_t> bytes) {
    Case k{};
    k.bytes = std::move(bytes);
    if (decode(k.bytes, CodeMode::k64, k.d) != DecodeStatus::kOk || k.d.len != k.bytes.size()) return;
    for (unsigned n = 0; n < 300; ++n) {
      for (uint64_t& gpr : k.before.gpr) gpr = boundary_gpr(random);
      k.before.rflags = 0x202 | (random.next() & kArithFlags);
      k.before.rip = kInsnAddress;
      random_fx(random, k.before.fx);
      UserState ours;
      guest.put(k);
      const int vector = guest.execute(k, ours);
      UserState host;
      int signal = 0;
      const std::string what = repeated_difference([&] {
        host = k.before;
        signal = run_on_host(k.bytes, host);
        return difference(k, host, signal, ours, vector, {}, nullptr);
      });
      if (!what.empty())
        differences.add({k.d, k.before, host, signal, ours, vector}, std::string(op_name(k.d.op)), n, what);
      ++cases;
    }
  };
  const auto with = [](std::vector<uint8_t> prefixes, const std::vector<uint8_t>& form) {
    prefixes.insert(prefixes.end(), form.begin(), form.end());
    return prefixes;
  };
  for (const auto& form : kIntegerForms)
    for (const std::vector<uint8_t>& prefixes : {std::vector<uint8_t>{}, {0x66}, {0x48}}) one(with(prefixes, form));
  for (const auto& form : kIntegerFormsWithF3)
    for (const std::vector<uint8_t>& prefixes : {std::vector<uint8_t>{0xf3}, {0x66, 0xf3}, {0xf3, 0x48}})
      one(with(prefixes, form));
  EXPECT_GT(cases, 60'000u);
  differences.finish(1);
}

// With an operand-size prefix AMD's near branches have 16-bit operands and targets, in 64-bit mode too; REX.W undoes
// it.
TEST(Host, NearBranchesGoWhereTheHostsProcessorGoes) {
  if (!host_processor().amd) GTEST_SKIP() << "near branches with an operand-size prefix: this processor is not AMD's";
  const std::vector<std::vector<uint8_t>> branches = {{0xe9, 0x10, 0, 0, 0},
                                                      {0x66, 0xe9, 0x10, 0, 0, 0},
                                                      {0x66, 0x48, 0xe9, 0x10, 0, 0, 0},
                                                      {0x66, 0x0f, 0x84, 0x10, 0, 0, 0},
                                                      {0x66, 0xeb, 0x10},
                                                      {0x66, 0x74, 0x10},
                                                      {0x66, 0x75, 0x10},
                                                      {0xe8, 0x10, 0, 0, 0},
                                                      {0x66, 0xe8, 0x10, 0, 0, 0},
                                                      {0xc3},
                                                      {0x66, 0xc3},
                                                      {0xc2, 8, 0},
                                                      {0x66, 0xc2, 8, 0},
                                                      {0xff, 0xe0},
                                                      {0x66, 0xff, 0xe0},
                                                      {0xff, 0xd0},
                                                      {0x66, 0xff, 0xd0},
                                                      {0xff, 0x23},
                                                      {0x66, 0xff, 0x23},
                                                      {0x66, 0xff, 0x13},
                                                      {0xe2, 0x10},
                                                      {0x66, 0xe2, 0x10},
                                                      {0x67, 0xe2, 0x10},
                                                      {0x66, 0xe3, 0x10},
                                                      {0xe0, 0x10},
                                                      {0xe1, 0x10},
                                                      {0x67, 0xe3, 0x10}};
  UserGuest guest;
  for (const auto& bytes : branches) {
    Case k{};
    k.bytes = bytes;
    k.before.fx.fcw = 0x37f;
    k.before.fx.mxcsr = 0x1f80;
    k.before.gpr.fill(kWindow + 0x1000);
    k.before.gpr[kRax] = 0x1234567890;
    k.before.gpr[kRcx] = uint64_t{1} << 32;
    k.before.rflags = 0x242;
    k.before.rip = kInsnAddress;
    UserState host = k.before, ours;
    run_on_host(std::vector<uint8_t>{0x90}, host);  // maps the window
    host = k.before;
    const uint64_t target = 0x1122334455667788 >> 16;
    for (uint8_t* window : {reinterpret_cast<uint8_t*>(kWindow), guest.window()}) {
      std::memset(window, 0, kWindowSize);
      std::memcpy(window + 0x1000, &target, 8);
    }
    run_on_host(bytes, host);
    guest.put(k);
    guest.execute(k, ours);
    const std::string name = "bytes " + hex(bytes[0]).substr(14) + " " + hex(bytes[1 % bytes.size()]).substr(14);
    EXPECT_EQ(hex(host.rip), hex(ours.rip)) << name;
    EXPECT_EQ(hex(host.gpr[kRsp]), hex(ours.gpr[kRsp])) << name;
    EXPECT_EQ(hex(host.gpr[kRcx]), hex(ours.gpr[kRcx])) << name;
    EXPECT_EQ(std::memcmp(reinterpret_cast<void*>(kWindow), guest.window(), kWindowSize), 0) << name;
  }
}

}  // namespace
}  // namespace dejavm::soft
