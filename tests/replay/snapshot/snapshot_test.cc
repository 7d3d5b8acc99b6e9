// Saving and restoring the embedded default guest through snapshot files, full and in chains of deltas.
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "replay/record/digest.h"
#include "replay/record/recorder.h"
#include "replay/snapshot/restore_snapshot.h"
#include "replay/snapshot/saver.h"
#include "replay/store/atomic_file.h"
#include "tests/replay/folder.h"
#include "vmm/machine/host.h"

namespace dejavm {
namespace {

std::unique_ptr<Machine> booted() {
  MachineConfig c;
  c.memory_bytes = 32 << 20;
  c.seed = 7;
  auto machine = Machine::create(c, "deterministic", nullptr);
  CHECK(machine.ok());
  CHECK((*machine)->boot({}).ok());
  return machine.take();
}

SnapshotHead about() {
  SnapshotHead h;
  h.writer = "test";
  return h;
}

RunEnd run(Machine& m, Retired until = kForever) {
  NoConsoleInputs inputs;
  return m.run(until, inputs, m.board());
}

Saved save(Saver& saver, const std::string& path, SaveOptions options = {}) {
  const auto started = saver.start(path, options);
  EXPECT_TRUE(started.ok()) << started.error().message;
  auto result = saver.wait();
  EXPECT_TRUE(result && result->ok()) << (result ? result->error().message : "");
  return result && result->ok() ? **result : Saved{};
}

TEST(Snapshot, EveryMomentRestoresToTheSameEnd) {
  const Folder folder;
  auto whole = booted();
  ASSERT_EQ(run(*whole), RunEnd::kPowerOff);
  const Hash128 end = machine_digest(*whole);
  const uint64_t length = whole->position().retired.value;

  auto machine = booted();
  Saver saver(*machine, about());
  std::vector<std::string> files;
  std::vector<Hash128> digests;
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(run(*machine, {length * i / 12 + i * 7}), RunEnd::kUntil);
    files.push_back(folder / ("s" + std::to_string(i)));
    const Saved s = save(saver, files.back(), {.delta = i % 4 != 0});
    EXPECT_EQ(s.delta, i % 4 != 0);
    digests.push_back(s.digest);
  }
  ASSERT_EQ(run(*machine), RunEnd::kPowerOff);
  EXPECT_EQ(machine_digest(*machine), end) << "saving changed the run";
  for (size_t i = 0; i < files.size(); ++i) {
    auto r = restore_file(files[i], nullptr, {.engine = {}, .verify = i % 2 == 0});
    ASSERT_TRUE(r.ok()) << r.error().message;
    EXPECT_EQ(machine_digest(*r->machine), digests[i]) << i;
    ASSERT_EQ(run(*r->machine), RunEnd::kPowerOff);
    EXPECT_EQ(machine_digest(*r->machine), end) << i;
    const auto verified = r->verification->wait();
    EXPECT_TRUE(verified.ok()) << verified.error().message;
  }
}

TEST(Snapshot, DeltasGoOnFromARestoredMachine) {
  const Folder folder;
  auto machine = booted();
  Saver saver(*machine, about());
  run(*machine, {3'000'000});
  save(saver, folder / "a");
  auto again = restore_file(folder / "a", nullptr, {.engine = {}, .verify = true});
  ASSERT_TRUE(again.ok());
  Saver other(*again->machine, about());
  const SnapshotHead& h = again->chain->head();
  other.came_from(folder / "a", h, again->verification->hashes());
  run(*again->machine, {6'000'000});
  const Saved s = save(other, folder / "b", {.delta = true});
  EXPECT_TRUE(s.delta);
  EXPECT_LT(s.content_bytes, 4u << 20);
  run(*machine, {6'000'000});
  EXPECT_EQ(machine_digest(*machine), s.digest);
  auto third = restore_file(folder / "b", nullptr, {.engine = {}, .verify = true});
  ASSERT_TRUE(third.ok()) << third.error().message;
  EXPECT_EQ(machine_digest(*third->machine), s.digest);
  // Under another name the parent is found by its digest; without it the delta is refused.
  std::filesystem::rename(folder / "a", folder / "renamed");
  EXPECT_TRUE(restore_file(folder / "b", nullptr).ok());
  std::filesystem::remove(folder / "renamed");
  const auto alone = restore_file(folder / "b", nullptr);
  ASSERT_FALSE(alone.ok());
  EXPECT_EQ(alone.error().kind, ErrorKind::kBadInput);
  EXPECT_NE(alone.error().message.find("not in its folder"), std::string::npos) << alone.error().message;
}

TEST(Snapshot, AFailedSaveLeavesTheOldFileAndTheGuestAlone) {
  const Folder folder;
  auto machine = booted();
  Saver saver(*machine, about());
  run(*machine, {1'000'000});
  const Saved first = save(saver, folder / "a");
  EXPECT_FALSE(saver.start(folder / "a", {}).ok()) << "an existing file is refused";
  run(*machine, {2'000'000});
  ASSERT_TRUE(saver.start(folder / "no/such/folder", {}).ok());
  const auto failed = saver.wait();
  ASSERT_TRUE(failed.has_value());
  EXPECT_FALSE(failed->ok());
  const Saved second = save(saver, folder / "a", {.force = true, .delta = true});
  EXPECT_FALSE(second.delta) << "there is nothing certain to be a delta of";
  auto r = restore_file(folder / "a", nullptr, {.engine = {}, .verify = true});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(machine_digest(*r->machine), second.digest);
  EXPECT_NE(first.digest, second.digest);
  size_t files = 0;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(folder.path)) ++files;
  EXPECT_EQ(files, 1u);
}

TEST(Snapshot, ADeltaOfTheSameMomentIsFoundItsParent) {
  const Folder folder;
  auto machine = booted();
  Saver saver(*machine, about());
  run(*machine, {1'000'000});
  const Saved first = save(saver, folder / "b");
  const Saved same = save(saver, folder / "a", {.delta = true});  // nothing has changed: the same digest
  EXPECT_TRUE(same.delta);
  EXPECT_EQ(same.digest, first.digest);
  std::filesystem::rename(folder / "b", folder / "z");  // looked for by digest, which the delta itself has too
  auto r = restore_file(folder / "a", nullptr, {.engine = {}, .verify = true});
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(machine_digest(*r->machine), first.digest);
}

TEST(Snapshot, ADeltaNeverReplacesItsParent) {
  const Folder folder;
  auto machine = booted();
  Saver saver(*machine, about());
  run(*machine, {1'000'000});
  save(saver, folder / "a");
  run(*machine, {2'000'000});
  const Saved again = save(saver, folder / "a", {.force = true, .delta = true});
  EXPECT_FALSE(again.delta) << "what it would be a delta of is the file that it replaces";
  auto r = restore_file(folder / "a", nullptr, {.engine = {}, .verify = true});
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(machine_digest(*r->machine), again.digest);
}

TEST(Snapshot, AnOptionalChunkThatNobodyKnowsIsPassedOverAndKept) {
  const Folder folder;
  auto machine = booted();
  Saver saver(*machine, about());
  run(*machine, {1'000'000});
  save(saver, folder / "a");
  // The same file with more in it, as a later build might write it.
  auto with = [&](bool critical, const std::string& name) {
    auto file = SnapshotFile::open(folder / "a");
    CHECK(file.ok());
    SnapshotHead h = (*file)->head();
    const uint64_t data = h.data;
    h.state.chunks.push_back({"future", 0, 3, critical, {0xf5}});
    h.unknown.push_back({"file.future", 0, 1, false, {0xf4}});
    const auto blocks = h.blocks;
    lay_out(h);
    h.blocks = blocks;
    h.state.digest = digest_of(h.state.chunks, h.state.memory);
    auto out = AtomicFile::create(folder / name, false);
    CHECK(out.ok() && (*out)->write_at(0, encode_snapshot_head(h)).ok());
    std::vector<uint8_t> bytes((*file)->source().size() - data);
    CHECK((*file)->source().read_at(data, bytes).ok() && (*out)->write_at(h.data, bytes).ok() && (*out)->commit().ok());
  };
  with(true, "critical");
  const auto refused = restore_file(folder / "critical", nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("chunk 'future' is unknown here"), std::string::npos)
      << refused.error().message;
  with(false, "optional");
  auto r = restore_file(folder / "optional", nullptr, {.engine = {}, .verify = true});
  ASSERT_TRUE(r.ok()) << r.error().message;
  for (const bool as_stored : {true, false}) {
    Saver again(*r->machine, head_for_rewrite(*r, as_stored));
    save(again, folder / "again", {.force = true});
    auto kept = SnapshotFile::open(folder / "again");
    ASSERT_TRUE(kept.ok()) << kept.error().message;
    EXPECT_EQ((*kept)->head().state.chunks.back().name, "future");
    ASSERT_EQ((*kept)->head().unknown.size(), 1u);
    EXPECT_EQ((*kept)->head().unknown[0].name, "file.future");
    EXPECT_EQ((*kept)->head().state.chunks, r->chain->head().state.chunks);
  }
}

// What only a TLB remembers: an accessed bit that the guest cleared, and a mapping that it changed, without flushing.
// 0..2 MiB are mapped to themselves, by 4 KiB.
constexpr uint8_t kTlbGuest[] = {
    0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00,        // mov rax, [0x20000]
    0x48, 0x83, 0x24, 0x25, 0x00, 0x41, 0x00, 0x00, 0xdf,  // and qword [0x4100], ~0x20: its entry, not accessed
    0xb9, 0x00, 0x10, 0x00, 0x00,                          // mov ecx, 0x1000
    0x48, 0x8b, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00, 0xff,
    0xc9, 0x75, 0xf4,                                // 1: mov rbx, [0x20000]; dec ecx; jnz 1b
    0x48, 0x8b, 0x14, 0x25, 0x00, 0x41, 0x00, 0x00,  // mov rdx, [0x4100]
    0x48, 0xc7, 0x04, 0x25, 0x00, 0x41, 0x00, 0x00, 0x03,
    0x10, 0x02, 0x00,              // mov qword [0x4100], 0x21003: to the next page
    0xb9, 0x00, 0x10, 0x00, 0x00,  // mov ecx, 0x1000
    0x48, 0x8b, 0x34, 0x25, 0x00, 0x00, 0x02, 0x00, 0xff,
    0xc9, 0x75, 0xf4,  // 1: mov rsi, [0x20000]; dec ecx; jnz 1b
    0xf4};             // hlt, with interrupts off

VcpuState& vcpu(Machine& m) {
  for (const ChunkRef& c : m.chunks())
    if (c.schema == &schema_of<Vcpu>()) return *static_cast<VcpuState*>(c.data);
  std::abort();
}

std::unique_ptr<Machine> tlb_guest() {
  MachineConfig c;
  c.memory_bytes = 2 << 20;
  auto machine = Machine::create(c, "deterministic", nullptr);
  CHECK(machine.ok());
  Machine& m = **machine;
  auto put = [&](uint64_t gpa, uint64_t value) {
    m.write_memory({gpa}, {reinterpret_cast<const uint8_t*>(&value), 8});
  };
  put(0x1000, 0x2003);
  put(0x2000, 0x3003);
  put(0x3000, 0x4003);
  for (uint64_t i = 0; i < 512; ++i) put(0x4000 + i * 8, i << 12 | 3);
  put(0x20000, 0x1111);
  put(0x21000, 0x2222);
  m.write_memory({0x10000}, kTlbGuest);
  m.sync_out();
  VcpuState& s = vcpu(m);
  s.rip = 0x10000;
  s.cr0 = 0x80000011;
  s.cr3 = 0x1000;
  s.cr4 = 0x20;
  s.efer = 0x500;
  for (const Seg seg : {kEs, kSs, kDs, kFs, kGs}) s.segment[seg] = {0x10, 0xc93, 0xffffffff, 0};
  s.segment[kCs] = {8, 0xa9b, 0xffffffff, 0};
  m.sync_in();
  return machine.take();
}

TEST(Snapshot, WhatOnlyTheTlbRemembersIsInIt) {
  const Folder folder;
  auto whole = tlb_guest();
  ASSERT_EQ(run(*whole), RunEnd::kHaltedForever) << whole->detail();
  whole->sync_out();
  EXPECT_EQ(vcpu(*whole).gpr[kRdx] & 0x20, 0u) << "the accessed bit stays clear";
  EXPECT_EQ(vcpu(*whole).gpr[kRsi], 0x1111u) << "the old mapping stays in use";
  const Hash128 end = machine_digest(*whole);
  const uint64_t length = whole->position().retired.value;

  auto machine = tlb_guest();
  Saver saver(*machine, about());
  for (int i = 1; i < 10; ++i) {
    ASSERT_EQ(run(*machine, {length * i / 10}), RunEnd::kUntil);
    save(saver, folder / "s", {.force = true});
    auto r = restore_file(folder / "s", nullptr);
    ASSERT_TRUE(r.ok()) << r.error().message;
    ASSERT_EQ(run(*r->machine), RunEnd::kHaltedForever);
    r->machine->sync_out();
    EXPECT_EQ(vcpu(*r->machine).gpr[kRdx] & 0x20, 0u);
    EXPECT_EQ(vcpu(*r->machine).gpr[kRsi], 0x1111u);
    EXPECT_EQ(machine_digest(*r->machine), end) << i;
  }
  run(*machine);
  EXPECT_EQ(machine_digest(*machine), end);
}

TEST(Snapshot, AStateThatTheCpuModelDoesNotAllowIsRefused) {
  const Folder folder;
  for (const char* model : {"dejavm-v1", "dejavm-v2"}) {
    MachineConfig c;
    c.memory_bytes = 4 << 20;
    c.cpu_model = model;
    auto machine = Machine::create(c, "deterministic", nullptr).take();
    ASSERT_TRUE(machine->boot({}).ok());
    VcpuState s;
    machine->engine().get_state(0, s);
    s.xcr0 = 7;  // AVX
    machine->engine().set_state(0, s);
    Saver saver(*machine, about());
    save(saver, folder / model);
    auto r = restore_file(folder / model, nullptr, {.engine = {}, .verify = true});
    ASSERT_EQ(r.ok(), c.cpu_model == "dejavm-v2") << (r.ok() ? "" : r.error().message);
    if (!r.ok()) {
      EXPECT_NE(r.error().message.find("XCR0"), std::string::npos) << r.error().message;
    }
  }
}

}  // namespace
}  // namespace dejavm
