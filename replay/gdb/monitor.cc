#include "replay/gdb/monitor.h"
#include "replay/trace/cursor.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include <fmt/format.h>

#include "replay/guest/where.h"
#include "replay/record/digest.h"
#include "replay/replay/position.h"
#include "replay/replay/replayer.h"
#include "replay/state/describe.h"
#include "replay/state/state_codec.h"
#include "vmm/machine/schedule.h"

namespace dejavm::gdb {
namespace {

constexpr const char* kHelp =
    "when                         where the machine stands: position, virtual time, next instruction, digest\n"
    "goto POSITION                go there (then: maintenance flush register-cache)\n"
    "exits [N]                    the last N events of the log before here, and the next one\n"
    "devices                      the state chunks of the machine\n"
    "device NAME                  every register of a device, here\n"
    "keyframes                    the states that the trace holds\n"
    "mark NAME                    gives this position a name, for POSITION\n"
    "last-write ADDRESS [BYTES]   which instruction before here wrote there last\n"
    "schedule [N]                 of several vCPUs: the last N turns before here, and what each vCPU does\n"
    "diff POSITION POSITION       what of the machine differs between the two\n"
    "phys ADDRESS [BYTES]         guest-physical memory\n"
    "POSITION: INSTRUCTIONS (5000000, 5M), @event:N, @time:T (20ms, 1.5s), @keyframe:N, begin, end, a mark, or . for "
    "here\n"
    "Once it stands elsewhere by goto, gdb must be told to forget what it knows of registers: maintenance flush "
    "register-cache\n";

std::optional<uint64_t> number(const std::string& text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  uint64_t v = 0;
  const char *begin = text.data() + (hex ? 2 : 0), *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, v, hex ? 16 : 10);
  return error == std::errc{} && stop == end && begin != end ? std::optional(v) : std::nullopt;
}

Error usage(std::string why) { return {ErrorKind::kHost, std::move(why)}; }

}  // namespace

VcpuState Monitor::state() {
  VcpuState s;
  timeline_.machine().sync_out();
  timeline_.machine().engine().get_state(timeline_.machine().position().vcpu, s);
  return s;
}

std::string Monitor::answer(std::string_view command) {
  std::istringstream in{std::string(command)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  auto text = obey(words);
  return text ? text.take() : text.error().message + "\n";
}

Result<std::string> Monitor::obey(const std::vector<std::string>& words) {
  const std::string what = words.empty() ? "help" : words[0];
  const size_t count = words.size() - (words.empty() ? 0 : 1);
  auto value = [&](size_t n, uint64_t otherwise) {
    return words.size() > n ? number(words[n]) : std::optional(otherwise);
  };
  if (what == "when" && count == 0) return here();
  if (what == "goto" && count == 1) {
    auto to = position(words[1]);
    if (!to) return to.error();
    if (auto done = timeline_.seek(*to); !done) return done.error();
    return here() + "(gdb: maintenance flush register-cache)\n";
  }
  if (what == "exits" && count <= 1) {
    const auto n = value(1, 10);
    return n ? exits(*n) : Result<std::string>(usage("exits N: N is a number"));
  }
  if (what == "schedule" && count <= 1) {
    const auto n = value(1, 10);
    return n ? schedule(*n) : Result<std::string>(usage("schedule N: N is a number"));
  }
  if (what == "devices" && count == 0) return devices();
  if (what == "device" && count == 1) return device(words[1]);
  if (what == "keyframes" && count == 0) return keyframes();
  if (what == "mark" && count == 1) {
    marks_[words[1]] = timeline_.now();
    return words[1] + ": " + at(timeline_.now()) + "\n";
  }
  if ((what == "last-write" || what == "phys") && (count == 1 || count == 2)) {
    const auto address = value(1, 0), bytes = value(2, what == "phys" ? 64 : 8);
    if (!address || !bytes || *bytes == 0 || *bytes > 4096)
      return usage(what + " ADDRESS [BYTES, 1 to 4096]: numbers, 0x for hexadecimal");
    return what == "phys" ? physical(*address, *bytes) : last_write(*address, *bytes);
  }
  if (what == "diff" && count == 2) {
    auto a = position(words[1]), b = position(words[2]);
    if (!a) return a.error();
    if (!b) return b.error();
    return diff(*a, *b);
  }
  if (what != "help") return usage(fmt::format("'{}': no such command, or not with these arguments\n{}", what, kHelp));
  return std::string(kHelp);
}

Result<Timeline::Moment> Monitor::position(const std::string& text) const {
  if (text == ".") return timeline_.now();
  if (const auto mark = marks_.find(text); mark != marks_.end()) return mark->second;
  auto at = parse_position(trace_, text);
  if (!at) return at.error();
  return Timeline::Moment{*at, {}};
}

std::string Monitor::at(Timeline::Moment m) const {
  return m.address ? fmt::format("instruction {}, about to execute {:#x}", m.at.value, *m.address)
                   : fmt::format("instruction {}", m.at.value);
}

std::string Monitor::here() {
  Machine& machine = timeline_.machine();
  const std::string what = describe_instruction(machine);
  const VcpuState s = state();
  symbols_.set_linux_entry(s.lstar);
  const std::string name = symbols_.name(s.rip);
  return fmt::format("{}\nvirtual time {} ns, of {} to {} instructions\n{}{}\ndigest {}\n", at(timeline_.now()),
                     machine.now().value, timeline_.begin().value, timeline_.end().value, what,
                     name.empty() ? "" : "\nin " + name, to_hex(timeline_.digest()));
}

Result<std::string> Monitor::exits(uint64_t count) {
  const Retired now = timeline_.now().at;
  const Keyframe& from = trace_.keyframes()[keyframe_before(trace_, now)];
  EventCursor cursor(trace_, from);
  uint64_t next = from.first_event;
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    if (e->at.retired >= now) break;
    next = cursor.index() + 1;
  }
  std::string out;
  cursor.seek(next > count ? next - count : 0);
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    if (cursor.index() > next) break;
    out += fmt::format("{}{} {}\n", cursor.index() == next ? "next: " : "", cursor.index(), describe(*e));
  }
  if (cursor.error()) return *cursor.error();
  return out;
}

Result<std::string> Monitor::schedule(uint64_t count) {
  Machine* machine = &timeline_.machine();
  if (machine->config().vcpus == 1) return std::string("one vCPU, whose turn it always is\n");
  auto turns = timeline_.turns(std::min<uint64_t>(count, 100'000));
  if (!turns) return turns.error();
  std::string out;
  for (const Turn& turn : *turns) out += fmt::format("from instruction {}: vCPU {}\n", turn.begin.value, turn.vcpu);
  machine = &timeline_.machine();
  machine->sync_out();
  for (const ChunkRef& c : machine->chunks())
    if (c.schema == &schema_of<VcpuTurn>())
      out += fmt::format("{}: {} instructions of its own so far\n", names_.of(*machine, c.instance),
                         static_cast<const VcpuTurn::State*>(c.data)->executed);
  return out;
}

Result<std::string> Monitor::device(const std::string& name) {
  timeline_.machine().sync_out();
  for (const StoredChunk& c : store_chunks(timeline_.machine().chunks())) {
    if (chunk_name(c.name, c.instance) != name) continue;
    std::string out;
    for (const FieldText& f : flatten(c.payload)) out += fmt::format("{}.{} = {}\n", name, f.path, f.value);
    return out;
  }
  return usage(fmt::format("there is no '{}'; `monitor devices` tells what there is", name));
}

Result<std::string> Monitor::devices() {
  std::string out;
  for (const ChunkRef& c : timeline_.machine().chunks())
    out += fmt::format("{}\n", chunk_name(c.schema->name, c.instance));
  return out;
}

std::string Monitor::keyframes() const {
  std::string out;
  for (size_t n = 0; n < trace_.keyframes().size(); ++n)
    out += fmt::format("{} at instruction {}, event {}\n", n, trace_.keyframes()[n].at.value,
                       trace_.keyframes()[n].first_event);
  return out + fmt::format("and {} checkpoints in memory, {} MiB\n", timeline_.checkpoints(),
                           timeline_.checkpoint_bytes() >> 20);
}

Result<std::string> Monitor::physical(uint64_t address, uint64_t count) {
  std::string out;
  for (uint64_t n = 0; n < count; ++n) {
    uint8_t byte = 0;
    if (!timeline_.machine().memory().read(Gpa{address + n}, &byte, 1)) {
      out += fmt::format("{}no memory at {:#x}\n", n % 16 ? "\n" : "", address + n);
      break;
    }
    if (n % 16 == 0) out += fmt::format("{:#x}:", address + n);
    out += fmt::format(" {:02x}{}", byte, n % 16 == 15 || n + 1 == count ? "\n" : "");
  }
  return out;
}

Result<std::string> Monitor::last_write(uint64_t address, uint64_t bytes) {
  const Timeline::Moment from = timeline_.now();
  DebugPoints points;
  points.data.push_back({address, bytes, false, true});
  auto stop = timeline_.backward(points);
  if (!stop) return stop.error();
  std::string out =
      fmt::format("nothing in this trace wrote to {:#x}, {} bytes, before {}\n", address, bytes, at(from));
  if (stop->hit) {
    const VcpuState s = state();
    symbols_.set_linux_entry(s.lstar);
    const std::string name = symbols_.name(s.rip);
    out = fmt::format("{:#x} was written last by\n{}{}\n", stop->hit->address,
                      describe_instruction(timeline_.machine()), name.empty() ? "" : "\nin " + name);
  }
  if (auto done = timeline_.seek(from); !done) return done.error();
  return out;
}

Result<std::string> Monitor::diff(Timeline::Moment a, Timeline::Moment b) {
  const Timeline::Moment from = timeline_.now();
  if (auto done = timeline_.seek(a); !done) return done.error();
  Machine* machine = &timeline_.machine();
  machine->sync_out();
  const auto before = store_chunks(machine->chunks());
  const auto pages_before = timeline_.page_hashes();
  if (auto done = timeline_.seek(b); !done) return done.error();
  machine = &timeline_.machine();
  machine->sync_out();
  const auto after = store_chunks(machine->chunks());
  const auto pages_after = timeline_.page_hashes();
  std::string out;
  size_t fields = 0, pages = 0;
  for (const FieldDifference& d : diff_stored(before, after))
    if (++fields <= 100) out += fmt::format("{}: {} -> {}\n", d.path, d.before, d.after);
  if (fields > 100) out += fmt::format("and {} more fields\n", fields - 100);
  for (const auto& [index, hash] : pages_after) {
    const auto old = pages_before.find(index);
    if (old != pages_before.end() && old->second == hash) continue;
    if (++pages <= 20) out += fmt::format("page {:#x}\n", index * kPageSize);
  }
  for (const auto& [index, hash] : pages_before)
    if (!pages_after.contains(index) && ++pages <= 20) out += fmt::format("page {:#x}\n", index * kPageSize);
  if (pages > 20) out += fmt::format("and {} more pages\n", pages - 20);
  out += fmt::format("{} fields and {} pages differ\n", fields, pages);
  if (auto done = timeline_.seek(from); !done) return done.error();
  return out;
}

}  // namespace dejavm::gdb
