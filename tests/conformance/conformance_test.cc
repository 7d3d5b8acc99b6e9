// What every model in the catalog must be, whatever it is a model of. A failure prints the operations that lead to it,
// as a script for `dejavm device run`.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/conformance/random_ops.h"

namespace dejavm {
namespace {

uint64_t base_seed() {
  const char* s = std::getenv("DEJAVM_SEED");
  return s ? std::strtoull(s, nullptr, 0) * 1000003 : 1;
}
unsigned scale() { return std::getenv("DEJAVM_NIGHTLY") ? 20 : 1; }

class Conformance : public testing::TestWithParam<size_t> {
 protected:
  const DeviceModel& m() const { return device_catalog()[GetParam()]; }
  // Every offset from 0 on in which there may be something, those around the registers of windows that are far apart,
  // and some anywhere.
  std::vector<uint64_t> places(RandomOps& random) {
    constexpr uint64_t kNear = 0x1100;
    std::vector<uint64_t> out;
    const uint64_t last = std::max<uint64_t>(m().registers.back() + 16, 0x100);
    for (uint64_t offset = 0; offset <= std::min(last, kNear); ++offset) out.push_back(offset);
    for (const uint64_t offset : m().registers)
      for (uint64_t n = offset < kNear ? 16 : 0; n < 16; ++n) out.push_back(offset - 4 + n);
    for (unsigned n = 0; n < 20; ++n) out.push_back(random.value());
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Models, Conformance, testing::Range(size_t{0}, device_catalog().size()),
                         [](const auto& p) { return std::string(device_catalog()[p.param].name()); });

Result<void> load(const DeviceModel& m, std::span<const uint8_t> payload, void* state) {
  return decode_state(*m.schema, 0, m.schema->version, payload, state);
}

// The fields that are configuration and outlive a reset, by the model's header.
bool outlives_reset(std::string_view model, std::string_view field) {
  return (model == "vlapic" && field == "initial_id") || (model == "vrtc" && field == "base_unix_s") ||
         (model == "uart16550" && field == "timed") || (model == "vpmtmr" && field == "extended") ||
         (model == "sysctl" && (field == "debug_exit_enabled" || field == "no_firmware_debug")) ||
         (model == "fwcfg" && (field == "item_count" || field == "item" || field == "content")) ||
         (model == "pcihost" && field == "of_qemu") ||
         (model == "virtiorng" && (field == "seed" || field == "counter")) ||
         (model == "virtioblk" &&
          (field == "sectors" || field == "serial" || field == "block_bytes" || field == "read_only")) ||
         (model == "nvme" &&
          (field == "blocks" || field == "serial" || field == "block_shift" || field == "read_only"));
}

TEST_P(Conformance, ResetForgetsEverythingButConfiguration) {
  for (unsigned n = 0; n < 200 * scale(); ++n) {
    RandomOps random(m(), base_seed() + n);
    Device used(m()), fresh(m());
    used.live(random, 1 + n % 60);
    for (const FieldInfo& f : m().schema->fields)
      if (outlives_reset(m().name(), f.name))
        std::memcpy(static_cast<std::byte*>(fresh.state.data()) + f.offset,
                    static_cast<std::byte*>(used.state.data()) + f.offset, size_t{f.element_size} * f.count);
    m().reset(used.state.data());
    m().reset(fresh.state.data());
    ASSERT_EQ(used.saved(), fresh.saved()) << used.script() << "reset";
  }
}

TEST_P(Conformance, ARestoredModelIsTheSavedOne) {
  for (unsigned n = 0; n < 400 * scale(); ++n) {
    RandomOps random(m(), base_seed() + n);
    Device a(m()), b(m());
    a.live(random, n % 120);
    const Bytes saved = a.saved();
    b.live(random, 30);  // dirtied otherwise
    const auto restored = load(m(), saved, b.state.data());
    ASSERT_TRUE(restored.ok()) << a.script() << restored.error().message;
    ASSERT_EQ(b.saved(), saved) << a.script();
    b.now = a.now;
    for (unsigned i = 0; i < 60; ++i) {
      const DeviceOp op = random.next(a.state.data(), a.now);
      const DeviceAnswer want = a.perform(op), have = b.perform(op);
      ASSERT_EQ(want.value, have.value) << a.script();
      ASSERT_EQ(want.lines, have.lines) << a.script();
      ASSERT_EQ(want.next_event.value, have.next_event.value) << a.script();
    }
    ASSERT_EQ(a.saved(), b.saved()) << a.script();
  }
}

TEST_P(Conformance, TimeMayPassInPieces) {
  for (unsigned n = 0; n < 400 * scale(); ++n) {
    RandomOps random(m(), base_seed() + n);
    Device a(m());
    a.live(random, n % 100);
    Device b(m());
    ASSERT_TRUE(load(m(), a.saved(), b.state.data()).ok());
    const uint64_t total = random.value() >> (20 + random.below(44));
    Nanos at = a.now;
    const Nanos end{a.now.value + total};
    m().advance(a.state.data(), end);
    for (int piece = 0; piece < 8 && at < end; ++piece) {
      const Nanos event = m().next_event(b.state.data());
      const uint64_t left = (end - at).value;
      const uint64_t step = event > at && event != kNever && random.one_in(2) ? std::min(left, (event - at).value)
                                                                              : random.below(left + 1);
      at = {at.value + step};
      m().advance(b.state.data(), at);
    }
    m().advance(b.state.data(), end);
    ASSERT_EQ(a.saved(), b.saved()) << a.script() << "wait " << total;
    m().advance(b.state.data(), {0});  // an earlier time counts as the latest one
    ASSERT_EQ(a.saved(), b.saved()) << a.script() << "wait " << total;
  }
}

TEST_P(Conformance, NextEventIsNeverLateAndSeldomIdle) {
  for (unsigned n = 0; n < 400 * scale(); ++n) {
    RandomOps random(m(), base_seed() + n);
    Device a(m());
    a.live(random, n % 100);
    BusMessage message;
    while (m().pop_message && m().pop_message(a.state.data(), message)) {}
    // What time alone will do: nothing before next_event, however it is asked.
    const uint64_t lines = m().lines(a.state.data());
    const Nanos event = m().next_event(a.state.data());
    ASSERT_TRUE(event == kNever || event > a.now) << a.script() << "next event at " << event.value;
    Device b(m());
    ASSERT_TRUE(load(m(), a.saved(), b.state.data()).ok());
    const Nanos before = event == kNever ? Nanos{a.now.value + (random.value() >> 12)}
                                         : Nanos{a.now.value + random.below((event - a.now).value)};
    m().advance(b.state.data(), before);
    ASSERT_EQ(m().lines(b.state.data()), lines) << a.script() << "wait " << (before - a.now).value;
    ASSERT_FALSE(m().pop_message && m().pop_message(b.state.data(), message)) << a.script();
    // At its events something happens, or it says before long that nothing will.
    unsigned idle = 0, seldom = 0;
    Nanos at = event;
    while (at != kNever && idle <= m().idle_events && seldom < 100) {
      m().advance(a.state.data(), at);
      if (m().lines(a.state.data()) != lines || (m().pop_message && m().pop_message(a.state.data(), message))) break;
      const Nanos next = m().next_event(a.state.data());
      ASSERT_GT(next.value, at.value) << a.script() << "an event that stands still";
      ++((next - at).value < DeviceModel::kSeldomNs ? idle : seldom);
      at = next;
    }
    ASSERT_LE(idle, m().idle_events) << a.script() << "event after event without a change";
  }
}

TEST_P(Conformance, EveryAccessHasAResult) {
  RandomOps random(m(), base_seed());
  Device a(m());
  for (const uint64_t at : places(random)) {
    for (unsigned size = 1; size <= 8; ++size) {
      for (const uint64_t value : {uint64_t{0}, ~uint64_t{0}, random.value()})
        a.perform({DeviceOp::Kind::kWrite, static_cast<uint8_t>(size), 0, at, value});
      const uint64_t answer = a.perform({DeviceOp::Kind::kRead, static_cast<uint8_t>(size), 0, at, 0}).value;
      ASSERT_TRUE(size == 8 || answer >> (8 * size) == 0) << "read " << at << " " << size << ": " << answer;
    }
    if (random.one_in(8)) {
      Device b(m());
      const auto restored = load(m(), a.saved(), b.state.data());
      ASSERT_TRUE(restored.ok()) << restored.error().message;
      if (random.one_in(8)) m().reset(a.state.data());
    }
  }
}

// One number of a state: which of an array's, in which struct.
struct Leaf {
  const FieldInfo* f;
  uint32_t index;
  std::byte* base;  // of the struct that holds it
  std::string path;
};
// Of a long array some elements stand for all.
bool is_stood_for(const FieldInfo& f, uint32_t index) {
  if (f.kind == FieldKind::kStruct) return f.count > 16 && index > 2 && index != f.count - 1;
  return f.count > 1024 ? index % 509 != 0 : f.count > 40 && index % 7 != 0;
}
void leaves(std::span<const FieldInfo> fields, std::byte* base, const std::string& prefix, std::vector<Leaf>& out) {
  for (const FieldInfo& f : fields)
    for (uint32_t i = 0; i < f.count; ++i) {
      if (is_stood_for(f, i)) continue;
      const std::string path = prefix + std::string(f.name) + (f.is_array ? "[" + std::to_string(i) + "]" : "");
      if (f.kind == FieldKind::kStruct)
        leaves(f.members, base + f.offset + size_t{i} * f.element_size, path + ".", out);
      else out.push_back({&f, i, base, path});
    }
}
std::vector<Leaf> leaves(Device& d) {
  std::vector<Leaf> out;
  leaves(d.m.schema->fields, static_cast<std::byte*>(d.state.data()), "", out);
  return out;
}
// A value within the field's range that differs from the present one; the present one if there is no other.
uint64_t other_value(const Leaf& l, RandomOps& random) {
  const uint64_t now = load_element(*l.f, l.base, l.index), width = l.f->max_value - l.f->min_value;
  for (int i = 0; i < 40; ++i) {
    const uint64_t r = random.value(), v = l.f->min_value + (width + 1 ? r % (width + 1) : r);
    uint64_t kept = v;
    store_element(*l.f, l.base, l.index, v);
    kept = load_element(*l.f, l.base, l.index);
    store_element(*l.f, l.base, l.index, now);
    if (kept != now && in_range(*l.f, kept)) return kept;
  }
  return now;
}

TEST_P(Conformance, AMutatedFieldIsTakenOrRefusedByName) {
  unsigned taken = 0, refused = 0;
  for (unsigned n = 0; n < 60 * scale(); ++n) {
    RandomOps random(m(), base_seed() + n);
    Device a(m());
    a.live(random, n % 80);
    const size_t count = leaves(a).size();
    for (size_t i = 0; i < count; ++i) {
      Device b(m());
      ASSERT_TRUE(load(m(), a.saved(), b.state.data()).ok());
      b.now = a.now;
      const Leaf l = leaves(b)[i];
      if (random.one_in(4)) {
        // Outside its range, as far as its size can hold that.
        const uint64_t bad = l.f->max_value + 1 + random.below(3);
        const uint64_t old = load_element(*l.f, l.base, l.index);
        store_element(*l.f, l.base, l.index, bad);
        if (load_element(*l.f, l.base, l.index) == bad && !in_range(*l.f, bad) && l.f->kind != FieldKind::kBool) {
          Device c(m());
          const auto done = load(m(), b.saved(), c.state.data());
          ASSERT_FALSE(done.ok()) << l.path << " = " << bad;
          ASSERT_NE(done.error().message.find(std::string(l.f->name)), std::string::npos)
              << done.error().message << ": " << l.path;
          ASSERT_EQ(c.saved(), Device(m()).saved()) << "a refused state changed something";
        }
        store_element(*l.f, l.base, l.index, old);
      }
      store_element(*l.f, l.base, l.index, other_value(l, random));
      Device c(m());
      const auto done = load(m(), b.saved(), c.state.data());
      if (!done.ok()) {
        ASSERT_NE(done.error().message.find("chunk '" + std::string(m().name()) + "'"), std::string::npos)
            << done.error().message;
        ++refused;
        continue;
      }
      ++taken;
      // What is taken lives on, whatever comes, and stays something that can be saved and restored.
      c.now = b.now;
      for (const FieldInfo& f : m().schema->fields)
        if (f.name == "now_ns") c.now = {std::max(c.now.value, load_element(f, c.state.data(), 0))};
      if (c.now.value >> 61) continue;
      c.live(random, 12);
      Device d(m());
      const auto again = load(m(), c.saved(), d.state.data());
      ASSERT_TRUE(again.ok()) << a.script() << l.path << " mutated\n" << c.script() << again.error().message;
    }
  }
  std::printf("%u mutations taken, %u refused\n", taken, refused);
  EXPECT_GT(taken, 0u);
}

// Fields that no access shows, and why.
const char* excuse(std::string_view model, std::string_view path) {
  if (model == "vatpit" && path.find(".gate") != std::string_view::npos)
    return "tied: high, and for channel 2 bit 0 of port 0x61; every other value is refused";
  if (model == "vhpet" && path.find("period") != std::string_view::npos && path[7] != '0')
    return "only timer 0 is periodic; the others keep what was written, for a later version that is";
  if (model == "sysctl" && path == "debug_exit_value")
    return "for the board, which reads it when the debug exit's line rises";
  const bool is_virtio = model.starts_with("virtio");
  if (is_virtio && path.starts_with("pci.msi_")) return "of MSI, which this function has not";
  if (model == "virtiorng" && (path == "length" || path == "core.segments"))
    return "what the chain's room says; every other value is refused";
  const bool has_two_bars = model == "nvme" || is_virtio;
  if (path == "pci.bar[3]" || path == "pci.bar[5]" || (has_two_bars && path == "pci.bar[2]") ||
      path == "pci.pending[1]")
    return "of a BAR, or of vectors, that this function has not; every other value is refused";
  return nullptr;
}

// Fields that matter only in the middle of a command, or after a driver has set up queues of its own, as no random
// operations do. That they matter tests/devices/nvme_test.cc and virtioblk_test.cc show.
bool needs_a_driver(std::string_view model, std::string_view path) {
  if (model == "virtiorng" && path == "core.table") return true;  // its requests here have no indirect table
  if (model.starts_with("virtio"))
    for (const std::string_view part :
         {"core.turn", "core.queue", "core.readable", "core.writable", "core.segment[", "range", "unflushed", "data["})
      if (path.starts_with(part)) return true;
  if (model != "nvme") return false;
  for (const std::string_view part : {"command[", "data[", "position", "length", "page", "list", "result", "status",
                                      "in_turn", "queue", "turn", "ready", "unflushed", "phase", "pci.status"})
    if (path.starts_with(part)) return true;
  for (const std::string_view part : {"submission[", "completion[", "vector["})
    if (path.starts_with(part) && path[part.size()] != '0') return true;
  return false;
}

TEST_P(Conformance, NoFieldIsDead) {
  Device first(m());
  const auto all = leaves(first);
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].f->min_value == all[i].f->max_value) continue;  // reserved
    if (needs_a_driver(m().name(), all[i].path)) continue;
    if (m().name() == "i8042" && all[i].f->name == "queue" && all[i].index > 5)
      continue;  // one byte each 10 us: too deep for random reads
    if (m().name() == "uart16550" && all[i].f->name == "thr" && all[i].index > 8)
      continue;  // and one character's time each
    bool alive = false;
    const char* why = excuse(m().name(), all[i].path);
    for (unsigned n = 0; n < (why ? 500u : 20000u) && !alive; ++n) {
      RandomOps random(m(), 1 + n * 7919 + i);  // whether something can be found, not whether all is well: one seed
      Device a(m());
      a.live(random, n % 150);
      Device b(m());
      if (!load(m(), a.saved(), b.state.data()).ok()) continue;
      b.now = a.now;
      const Leaf l = leaves(b)[i];
      store_element(*l.f, l.base, l.index, other_value(l, random));
      Device c(m());
      if (!load(m(), b.saved(), c.state.data()).ok()) continue;
      c.now = a.now;
      for (unsigned k = 0; k < 100 && !alive; ++k) {
        const DeviceOp op = random.next(a.state.data(), a.now);
        alive = !(a.perform(op) == c.perform(op));
      }
    }
    EXPECT_TRUE(alive || why) << m().name() << "." << all[i].path << " changes no answer";
    EXPECT_FALSE(alive && why) << m().name() << "." << all[i].path << " is excused, but alive";
  }
}

}  // namespace
}  // namespace dejavm
