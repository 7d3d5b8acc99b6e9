#include "replay/explore/shared_memory.h"

#include <algorithm>
#include <map>
#include <optional>

#include "replay/guest/where.h"
#include "vmm/board/address_map.h"

namespace dejavm {
namespace {

struct Seen {
  DebugPoints::Access access;
  uint32_t vcpu = 0;
};

// All accesses of a window.
Result<std::vector<Seen>> watch(Timeline& timeline, Retired from, Retired to) {
  if (auto done = timeline.seek(from); !done) return done.error();
  std::vector<DebugPoints::Access> accesses;
  std::vector<Turn> turns{{.begin = from, .vcpu = timeline.machine().position().vcpu}};
  timeline.machine().watch_turns([&](const Turn& turn) { turns.push_back(turn); });
  DebugPoints everything;
  everything.data.push_back({0, ~uint64_t{0}, true, true});
  everything.accesses = &accesses;
  const auto done = timeline.count(everything, to);
  timeline.machine().watch_turns(nullptr);
  if (!done) return done.error();
  std::vector<Seen> out;
  size_t turn = 0;
  for (const DebugPoints::Access& access : accesses) {
    if (access.gpa - address_map::kLocalApic < 4096) continue;  // each has its own
    while (turn + 1 < turns.size() && turns[turn + 1].begin <= access.at) ++turn;
    out.push_back({access, turns[turn].vcpu});
  }
  return out;
}

bool overlap(const DebugPoints::Access& a, const DebugPoints::Access& b) {
  return a.gpa < b.gpa + b.len_bytes && b.gpa < a.gpa + a.len_bytes;
}

// For the accesses of one vCPU, from `begin` on in this direction, the first that overlaps each place.
const Seen* first_at(const std::vector<const Seen*>& all, const DebugPoints::Access& place) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Seen* one) { return overlap(one->access, place); });
  return found == all.end() ? nullptr : *found;
}

struct Triple {
  const Seen* before;
  const Seen* after;
  const Seen* back;  // or nullptr
  uint64_t distance(Retired the_switch) const {
    return (the_switch.value - before->access.at.value) + (after->access.at.value - the_switch.value);
  }
};

std::vector<Triple> conflicts(const std::vector<Seen>& all, Retired the_switch, uint32_t from, uint32_t to) {
  std::vector<const Seen*> before;  // the latest first
  std::vector<const Seen*> after;
  std::vector<const Seen*> back;
  for (const Seen& one : all) {
    if (one.access.at < the_switch && one.vcpu == from) before.push_back(&one);
    else if (one.access.at >= the_switch && one.vcpu == to) after.push_back(&one);
    else if (one.access.at >= the_switch && one.vcpu == from) back.push_back(&one);
  }
  std::reverse(before.begin(), before.end());
  std::vector<Triple> out;
  for (const Seen* one : after) {
    const Seen* last = first_at(before, one->access);
    if (last == nullptr || first_at(after, one->access) != one) continue;
    // A read and then a write of the same place, by who came: the write is what matters.
    const Seen* shown = one;
    for (const Seen* later : after)
      if (!shown->access.write && later->access.write && overlap(later->access, one->access)) shown = later;
    const Seen* again = first_at(back, one->access);
    const bool written = last->access.write || shown->access.write;
    if (written) out.push_back({last, shown, again});
  }
  std::stable_sort(out.begin(), out.end(),
                   [&](const Triple& a, const Triple& b) { return a.distance(the_switch) < b.distance(the_switch); });
  return out;
}

Result<SharedAccess> describe(Timeline& timeline, const Seen& seen) {
  if (auto done = timeline.seek(seen.access.at); !done) return done.error();
  VcpuState state;
  timeline.machine().engine().get_state(seen.vcpu, state);
  return SharedAccess{seen.access.at,    seen.vcpu,          seen.access.write,
                      linear_rip(state), seen.access.linear, seen.access.len_bytes};
}

}  // namespace

Result<std::vector<SharedPlace>> shared_around(Timeline& timeline, Retired the_switch, uint32_t from_vcpu,
                                               uint32_t to_vcpu, uint64_t window, size_t at_most) {
  const uint64_t begin = timeline.begin().value;
  const Retired from{the_switch.value > begin + window ? the_switch.value - window : begin};
  const Retired to{std::min(the_switch.value + window, timeline.end().value)};
  const auto seen = watch(timeline, from, to);
  if (!seen) return seen.error();
  std::vector<SharedPlace> out;
  for (const Triple& one : conflicts(*seen, the_switch, from_vcpu, to_vcpu)) {
    if (out.size() == at_most) break;
    SharedPlace place{one.after->access.gpa, {}};
    for (const Seen* access : {one.before, one.after, one.back}) {
      if (access == nullptr) continue;
      auto described = describe(timeline, *access);
      if (!described) return described.error();
      place.accesses.push_back(*described);
    }
    out.push_back(std::move(place));
  }
  return out;
}

}  // namespace dejavm
