#include "replay/replay/position.h"
#include "replay/trace/cursor.h"

#include <charconv>

#include <fmt/format.h>

#include "replay/replay/replay_run.h"
#include "replay/state/state_codec.h"

namespace dejavm {
namespace {

std::optional<uint64_t> whole(std::string_view text) {
  uint64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty() ? std::optional(v) : std::nullopt;
}

// A number with at most `digits` decimals, times 10^digits.
std::optional<uint64_t> scaled(std::string_view text, unsigned digits) {
  const size_t point = text.find('.');
  std::string all(text.substr(0, point));
  const std::string_view part = point == std::string_view::npos ? "" : text.substr(point + 1);
  if (all.empty() || part.size() > digits || (point != std::string_view::npos && part.empty())) return std::nullopt;
  all += part;
  all.append(digits - part.size(), '0');
  return whole(all);
}

std::optional<uint64_t> with_unit(std::string_view text,
                                  std::initializer_list<std::pair<std::string_view, unsigned>> units) {
  for (const auto& [unit, digits] : units)
    if (text.ends_with(unit)) return scaled(text.substr(0, text.size() - unit.size()), digits);
  return whole(text);
}

Result<Retired> at_time(const TraceReader& trace, uint64_t time) {
  auto begin = time_base_of(trace);
  if (!begin) return begin.error();
  uint64_t base = *begin;
  EventCursor cursor(trace, trace.keyframes().front());
  for (; const Event* e = cursor.peek(); cursor.pop()) {
    if (e->kind != EventKind::kIdle) continue;
    if (time <= e->now.value) break;
    if (time <= e->value) return e->at.retired;  // the processor sleeps then
    base = e->value - e->at.retired.value;
  }
  if (cursor.error()) return *cursor.error();
  return Retired{time > base ? time - base : 0};
}

}  // namespace

std::optional<uint64_t> parse_instructions(std::string_view text) {
  return with_unit(text, {{"k", 3}, {"M", 6}, {"G", 9}});
}

Result<uint64_t> time_base_of(const TraceReader& trace) {
  auto snapshot = trace.snapshot(trace.keyframes().front());
  if (!snapshot) return snapshot.error();
  MachineClock::State clock;
  for (const StoredChunk& c : snapshot->chunks)
    if (c.name == MachineClock::kName)
      if (auto done = decode_state(schema_of<MachineClock>(), c.instance, c.version, c.payload, &clock); !done)
        return done.error();
  return clock.time_base_ns;
}

Retired begin_of(const TraceReader& trace) { return trace.keyframes().front().at; }
Retired end_of(const TraceReader& trace) { return limit_of(trace, kForever); }

Result<Retired> parse_position(const TraceReader& trace, std::string_view text) {
  auto bad = [&](std::string why) { return Error{ErrorKind::kHost, fmt::format("position '{}': {}", text, why)}; };
  auto rest = [&](std::string_view prefix) {
    return text.starts_with(prefix) ? std::optional(text.substr(prefix.size())) : std::nullopt;
  };
  Retired at;
  if (text == "begin") return begin_of(trace);
  if (text == "end") return end_of(trace);
  if (const auto number = rest("@event:")) {
    const auto n = whole(*number);
    if (!n || *n >= trace.event_count())
      return bad(fmt::format("the log has {} events, from 0 on", trace.event_count()));
    EventCursor cursor(trace, trace.keyframes().front());
    cursor.seek(*n);
    const Event* e = cursor.peek();
    if (!e) return cursor.error() ? *cursor.error() : bad("no such event");
    at = e->at.retired;
  } else if (const auto keyframe = rest("@keyframe:")) {
    const auto n = whole(*keyframe);
    if (!n || *n >= trace.keyframes().size())
      return bad(fmt::format("there are keyframes 0 to {}", trace.keyframes().size() - 1));
    at = trace.keyframes()[*n].at;
  } else if (const auto time = rest("@time:")) {
    const auto ns = with_unit(*time, {{"ns", 0}, {"us", 3}, {"ms", 6}, {"s", 9}});
    if (!ns) return bad("a time is nanoseconds, or has one of the units ns, us, ms and s");
    auto found = at_time(trace, *ns);
    if (!found) return found.error();
    at = *found;
  } else {
    const auto n = parse_instructions(text);
    if (!n) return bad(fmt::format("no position; there are {}", kPositionHelp));
    at = {*n};
  }
  if (at < begin_of(trace) || at > end_of(trace))
    return bad(fmt::format("the trace goes from instruction {} to {}", begin_of(trace).value, end_of(trace).value));
  return at;
}

}  // namespace dejavm
