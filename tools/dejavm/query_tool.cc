#include "tools/dejavm/query_tool.h"

#include <algorithm>
#include <charconv>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/guest/tasks.h"
#include "replay/guest/where.h"
#include "replay/replay/devices_only.h"
#include "replay/replay/disk_requests.h"
#include "replay/replay/position.h"
#include "replay/replay/replayer.h"
#include "replay/timeline/timeline.h"
#include "replay/trace/cursor.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {
namespace {

using json = nlohmann::ordered_json;

Error bad(std::string why) { return {ErrorKind::kHost, std::move(why)}; }

std::optional<uint64_t> number(std::string_view text) {
  const bool hex = text.starts_with("0x");
  uint64_t v = 0;
  if (hex) text.remove_prefix(2);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v, hex ? 16 : 10);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(v) : std::nullopt;
}

struct Query {
  const QueryOptions& o;
  std::unique_ptr<TraceReader> trace;
  std::unique_ptr<Timeline> timeline;
  std::optional<GuestKernel> kernel;
  std::unique_ptr<Machine> kernel_memory;  // where it was found
  Symbols symbols;
  Retired from, to;

  Result<void> open(bool with_machine) {
    auto opened = TraceReader::open(o.file);
    if (!opened) return opened.error();
    trace = opened.take();
    from = begin_of(*trace);
    to = end_of(*trace);
    for (const auto& [text, place] : {std::pair(&o.after, &from), std::pair(&o.before, &to)}) {
      if (text->empty()) continue;
      auto at = parse_position(*trace, *text);
      if (!at) return at.error();
      *place = *at;
    }
    if (auto found = find_kernel(*trace)) {
      kernel = std::move(found->kernel);
      kernel_memory = std::move(found->machine);
      symbols = symbols_of(*kernel);
    }
    if (!with_machine) return {};
    auto t = Timeline::open(*trace, nullptr);
    if (!t) return t.error();
    timeline = t.take();
    return {};
  }
  // An address, or a symbol of the guest's kernel with an offset or without.
  Result<uint64_t> address(const std::string& text) const {
    if (const auto n = number(text)) return *n;
    const size_t plus = text.find('+');
    const auto offset =
        plus == std::string::npos ? std::optional<uint64_t>(0) : number(std::string_view(text).substr(plus + 1));
    if (!kernel) return bad(fmt::format("'{}': not a number, and the guest has no kernel symbols in its memory", text));
    const KernelSymbol* s = kernel->symbol(text.substr(0, plus));
    if (s == nullptr || !offset)
      return bad(
          fmt::format("'{}': neither a number nor a symbol of the guest's kernel (dejavm symbols lists them)", text));
    return s->address + *offset;
  }
  // Where the timeline stands.
  json place() {
    VcpuState s;
    Machine& m = timeline->machine();
    const std::string text = describe_instruction(m);
    m.engine().get_state(m.position().vcpu, s);
    json j{{"vcpu", m.position().vcpu},
           {"instruction", timeline->now().at.value},
           {"now_ns", m.now().value},
           {"rip", fmt::format("{:#x}", linear_rip(s))},
           {"text", text}};
    if (const std::string name = symbols.name(linear_rip(s)); !name.empty()) j["symbol"] = name;
    return j;
  }
  static std::string text_of(const json& place) {
    std::string out = place["text"];
    if (place.contains("symbol")) out += "\n  in " + place["symbol"].get<std::string>();
    return out + fmt::format("\n  at {} ns", place["now_ns"].get<uint64_t>());
  }
  int say(const json& j, const std::string& text) const {
    std::puts(o.json ? line_of(j).c_str() : text.c_str());
    return kDone;
  }
};

int last_write(Query& q) {
  auto at = q.address(q.o.what);
  if (!at) return fail(at.error());
  DebugPoints points;
  points.data.push_back({*at, q.o.bytes, false, true});
  if (auto done = q.timeline->seek(q.to); !done) return fail(done.error());
  auto stop = q.timeline->backward(points);
  if (!stop) return fail(stop.error());
  if (!stop->hit)
    return q.say({{"found", false}}, fmt::format("nothing wrote to {:#x} before instruction {}", *at, q.to.value));
  json j{{"found", true}, {"address", fmt::format("{:#x}", stop->hit->address)}};
  j.update(q.place());
  return q.say(j, Query::text_of(j));
}

int first_exec(Query& q) {
  auto at = q.address(q.o.what);
  if (!at) return fail(at.error());
  DebugPoints points;
  points.code.push_back(*at);
  if (auto done = q.timeline->seek(q.from); !done) return fail(done.error());
  auto stop = q.timeline->forward(points, q.to);
  if (!stop) return fail(stop.error());
  if (!stop->hit) return q.say({{"found", false}}, fmt::format("{:#x} is not executed", *at));
  json j{{"found", true}};
  j.update(q.place());
  return q.say(j, Query::text_of(j));
}

int count_exec(Query& q) {
  auto at = q.address(q.o.what);
  if (!at) return fail(at.error());
  DebugPoints points;
  points.code.push_back(*at);
  if (auto done = q.timeline->seek(q.from); !done) return fail(done.error());
  auto count = q.timeline->count(points, q.to);
  if (!count) return fail(count.error());
  return q.say({{"count", *count}}, fmt::format("{} times", *count));
}

int irq_latency(Query& q) {
  std::map<uint8_t, std::vector<uint64_t>> all;
  std::map<uint8_t, Position> worst;
  auto done = interrupts_taken(*q.trace, [&](const InterruptTaken& i) {
    if (i.at.retired < q.from || i.at.retired > q.to) return;
    auto& v = all[i.vector];
    const uint64_t ns = (i.taken - i.raised).value;
    if (v.empty() || ns > *std::max_element(v.begin(), v.end())) worst[i.vector] = i.at;
    v.push_back(ns);
  });
  if (!done) return fail(done.error());
  json j = json::array();
  std::string text = fmt::format("{:>6} {:>8} {:>12} {:>12} {:>12} {:>12}  {}", "vector", "count", "min ns",
                                 "median ns", "99% ns", "max ns", "the longest at instruction");
  for (auto& [vector, v] : all) {
    std::sort(v.begin(), v.end());
    const uint64_t median = v[v.size() / 2],
                   most = v[(v.size() * 99) / 100 < v.size() ? v.size() * 99 / 100 : v.size() - 1];
    j.push_back({{"vector", vector},
                 {"count", v.size()},
                 {"min_ns", v.front()},
                 {"median_ns", median},
                 {"p99_ns", most},
                 {"max_ns", v.back()},
                 {"longest_at", worst[vector].retired.value}});
    text += fmt::format("\n{:>#6x} {:>8} {:>12} {:>12} {:>12} {:>12}  {}", vector, v.size(), v.front(), median, most,
                        v.back(), worst[vector].retired.value);
  }
  return q.say(j, text);
}

int who_touched(Query& q) {
  const size_t dot = q.o.what.find('.');
  const std::string device = q.o.what.substr(0, dot);
  const auto wanted = dot == std::string::npos ? std::nullopt : number(std::string_view(q.o.what).substr(dot + 1));
  if (dot != std::string::npos && !wanted)
    return fail(bad(fmt::format(
        "'{}': DEVICE or DEVICE.ADDRESS, the address a port, physical address or MSR, as in vatpit.0x43", q.o.what)));
  json j = json::array();
  std::string text;
  uint64_t count = 0;
  bool known = false;
  EventCursor cursor(*q.trace, q.trace->keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    if (device_of(*e) != device) continue;
    known = true;
    if ((wanted && e->address != *wanted) || !is_exit(e->kind) || e->at.retired < q.from || e->at.retired > q.to)
      continue;
    if (++count > q.o.limit) continue;
    if (auto done = q.timeline->seek(e->at.retired); !done) return fail(done.error());
    json one{{"event", cursor.index()}, {"what", describe(*e)}};
    one.update(q.place());
    text += fmt::format("{} {}\n  {}\n", cursor.index(), describe(*e), Query::text_of(one));
    j.push_back(one);
  }
  if (cursor.error()) return fail(*cursor.error());
  if (!known) return fail(bad(fmt::format("'{}': no device that this trace has anything of", device)));
  return q.say(
      {{"count", count}, {"first", j}},
      text + fmt::format("{} accesses{}", count,
                         count > q.o.limit ? fmt::format("; the first {} are shown (--limit)", q.o.limit) : ""));
}

// Of each boot of the guest its kernel is another, at another place.
void find_kernel_again(Query& q, std::optional<GuestTasks>& tasks, const GuestMemory& memory, uint64_t rip) {
  constexpr uint64_t kImage = 0xffffffff80000000, kModules = 0xffffffffc0000000;
  if (rip < kImage || rip >= kModules || !q.symbols.name(rip).empty()) return;
  auto kernel = GuestKernel::find(memory);
  if (!kernel) return;
  q.symbols = symbols_of(*kernel);
  if (auto found = GuestTasks::find(memory, *kernel)) tasks = found.take();
}

// The guest's task and kernel function at the moment of a request, as far as they can be told.
Result<json> who_asks(Query& q, std::optional<GuestTasks>& tasks, const DiskRequest& request) {
  if (auto done = q.timeline->seek(request.at.retired); !done) return done.error();
  Machine& machine = q.timeline->machine();
  VcpuState s;
  machine.engine().get_state(request.at.vcpu, s);
  find_kernel_again(q, tasks, machine.memory(), linear_rip(s));
  json who = json::object();
  if (const std::string symbol = q.symbols.name(linear_rip(s)); !symbol.empty()) who["symbol"] = symbol;
  const auto task = tasks ? tasks->current(machine.memory(), s) : std::nullopt;
  if (task) who.update({{"task", task->name}, {"pid", task->pid}, {"process", task->process}});
  return who;
}

std::string text_of(const json& request) {
  std::string out = fmt::format("{:>9} {:>14} {:>16} disk{} {:<7} {:>10} {:>8}", request["event"].get<uint64_t>(),
                                request["instruction"].get<uint64_t>(), request["now_ns"].get<uint64_t>(),
                                request["disk"].get<unsigned>(), request["kind"].get<std::string>(),
                                request["block"].get<uint64_t>(), request["bytes"].get<uint64_t>());
  if (!request["ok"]) out += " failed";
  if (request.contains("task"))
    out += fmt::format("  {} ({})", request["task"].get<std::string>(), request["pid"].get<uint32_t>());
  if (request.contains("symbol")) out += "  in " + request["symbol"].get<std::string>();
  return out;
}

int show_disk_requests(Query& q) {
  const auto& disks = q.trace->header().config.disks;
  if (q.o.disk && *q.o.disk >= disks.size())
    return fail(bad(fmt::format("{}: there is no disk {}; the machine has {}", q.o.file, *q.o.disk, disks.size())));
  std::vector<DiskRequest> shown;
  std::map<std::string, std::pair<uint64_t, uint64_t>> sums;  // number and bytes, by kind
  auto done = disk_requests(*q.trace, [&](const DiskRequest& request) {
    if (request.at.retired > q.to) return false;
    if (request.at.retired < q.from || (q.o.disk && *q.o.disk != request.disk)) return true;
    auto& [count, bytes] = sums[std::string(name_of_request(request.kind))];
    ++count;
    bytes += request.len_bytes;
    if (shown.size() < q.o.limit) shown.push_back(request);
    return true;
  });
  if (!done) return fail(done.error());
  std::optional<GuestTasks> tasks;
  if (q.kernel)
    if (auto found = GuestTasks::find(q.kernel_memory->memory(), *q.kernel)) tasks = found.take();
  json all = json::array();
  std::string text = fmt::format("{:>9} {:>14} {:>16} {:<5} {:<7} {:>10} {:>8}  {}\n", "event", "instruction", "ns",
                                 "disk", "what", "block", "bytes", "who");
  for (const DiskRequest& request : shown) {
    json one{{"event", request.event},
             {"instruction", request.at.retired.value},
             {"now_ns", request.now.value},
             {"disk", request.disk},
             {"kind", name_of_request(request.kind)},
             {"block", request.offset / disks[request.disk].block_bytes},
             {"bytes", request.len_bytes},
             {"ok", request.ok}};
    auto who = who_asks(q, tasks, request);
    if (!who) return fail(who.error());
    one.update(*who);
    text += text_of(one) + "\n";
    all.push_back(one);
  }
  json totals = json::object();
  uint64_t number = 0;
  for (const auto& [kind, sum] : sums) {
    totals[kind] = {{"requests", sum.first}, {"bytes", sum.second}};
    text += fmt::format("{} {}, {} bytes\n", sum.first, kind, sum.second);
    number += sum.first;
  }
  text += number > shown.size() ? fmt::format("the first {} of {} are shown (--limit)", shown.size(), number)
                                : fmt::format("{} requests", number);
  return q.say({{"requests", all}, {"totals", totals}}, text);
}

}  // namespace

void add_query_tool(CLI::App& app, QueryOptions& o) {
  app.require_subcommand(1);
  app.add_option("trace", o.file, "a trace")->type_name("FILE")->required();
  auto add = [&](const char* name, const char* about, const char* what) {
    CLI::App* s = app.add_subcommand(name, about);
    if (what) s->add_option("what", o.what, what)->required()->type_name("WHAT");
    s->add_option("--before", o.before, fmt::format("up to here [end]: {}", kPositionHelp))->type_name("POSITION");
    s->add_option("--after", o.after, "from here on [begin]")->type_name("POSITION");
    s->add_flag("--json", o.json, "one JSON value");
    return s;
  };
  add("last-write", "which instruction wrote last to a linear address", "an address, or a kernel symbol: jiffies")
      ->add_option("--bytes", o.bytes, "how many from there on [8]")
      ->check(CLI::Range(1, 4096));
  add("first-exec", "when an instruction is executed first", "an address, or a kernel symbol: do_exit, do_exit+0x10");
  add("count-exec", "how often", "an address, or a kernel symbol");
  add("irq-latency", "how long interrupts waited, by vector", nullptr);
  add("who-touched", "which code accessed a device's register",
      "DEVICE or DEVICE.ADDRESS: vatpit, vatpit.0x43, vlapic.0x80b")
      ->add_option("--limit", o.limit, "how many are shown with their code [20]");
  CLI::App* disk = add("disk-requests", "what the disks were asked for, and by which task of the guest", nullptr);
  disk->add_option("--limit", o.limit, "how many are shown [20]");
  disk->add_option("--disk", o.disk, "of this one alone")->type_name("N");
  app.footer(
      "  dejavm query boot.dvt first-exec start_kernel\n  dejavm query boot.dvt last-write panic_cpu --before end\n  "
      "dejavm query boot.dvt who-touched vrtc.0x71 --json");
}

int run_query(const CLI::App& app, const QueryOptions& o) {
  Query q{o, {}, {}, {}, {}, {}, {}, {}};
  const bool latency = app.got_subcommand("irq-latency");
  if (auto done = q.open(!latency); !done) return fail(done.error());
  if (latency) return irq_latency(q);
  if (app.got_subcommand("last-write")) return last_write(q);
  if (app.got_subcommand("first-exec")) return first_exec(q);
  if (app.got_subcommand("count-exec")) return count_exec(q);
  if (app.got_subcommand("disk-requests")) return show_disk_requests(q);
  return who_touched(q);
}

}  // namespace dejavm::cli
