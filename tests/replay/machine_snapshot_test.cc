// Saving and restoring the embedded default guest through snapshot files, full and in chains of deltas.
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "replay/digest.h"
#include "replay/recorder.h"
#include "replay/restore_file.h"
#include "replay/save.h"

namespace dejavm {
namespace {

struct NoInputs final : Inputs {
  Retired next_poll(Position) override { return kForever; }
  Input take(Position, Nanos) override { return {}; }
  Nanos idle(Position, Nanos now, Nanos next_event) override { return next_event == kNever ? now : next_event; }
};

struct Folder {
  std::string path = std::filesystem::temp_directory_path() / ("dejavm_snapshot_test." + std::to_string(getpid()));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

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

Hash128 digest(Machine& m) {
  mark_all_written(m);
  MemorySummer summer;
  return take_snapshot(m, summer).digest;
}

RunEnd run(Machine& m, Retired until = kForever) {
  NoInputs inputs;
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
  const Hash128 end = digest(*whole);
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
  EXPECT_EQ(digest(*machine), end) << "saving changed the run";
  for (size_t i = 0; i < files.size(); ++i) {
    auto r = restore_file(files[i], nullptr, {.verify = i % 2 == 0});
    ASSERT_TRUE(r.ok()) << r.error().message;
    EXPECT_EQ(digest(*r->machine), digests[i]) << i;
    ASSERT_EQ(run(*r->machine), RunEnd::kPowerOff);
    EXPECT_EQ(digest(*r->machine), end) << i;
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
  auto again = restore_file(folder / "a", nullptr, {.verify = true});
  ASSERT_TRUE(again.ok());
  Saver other(*again->machine, about());
  const SnapshotHead& h = again->chain->head();
  other.came_from({h.state.digest, "a"}, h.state.memory, again->verification->hashes());
  run(*again->machine, {6'000'000});
  const Saved s = save(other, folder / "b", {.delta = true});
  EXPECT_TRUE(s.delta);
  EXPECT_LT(s.content_bytes, 4u << 20);
  run(*machine, {6'000'000});
  EXPECT_EQ(digest(*machine), s.digest);
  auto third = restore_file(folder / "b", nullptr, {.verify = true});
  ASSERT_TRUE(third.ok()) << third.error().message;
  EXPECT_EQ(digest(*third->machine), s.digest);
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
  EXPECT_FALSE(saver.start(folder / "a", {}).ok());
  run(*machine, {2'000'000});
  ASSERT_TRUE(saver.start(folder / "no/such/folder", {}).ok());
  const auto failed = saver.wait();
  ASSERT_TRUE(failed.has_value());
  EXPECT_FALSE(failed->ok());
  const Saved second = save(saver, folder / "a", {.force = true, .delta = true});
  EXPECT_FALSE(second.delta) << "there is nothing certain to be a delta of";
  auto r = restore_file(folder / "a", nullptr, {.verify = true});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(digest(*r->machine), second.digest);
  EXPECT_NE(first.digest, second.digest);
  size_t files = 0;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(folder.path)) ++files;
  EXPECT_EQ(files, 1u);
}

}  // namespace
}  // namespace dejavm
