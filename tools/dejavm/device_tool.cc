#include "tools/dejavm/device_tool.h"

#include <cstdio>
#include <iostream>
#include <iterator>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "devices/catalog.h"
#include "devices/core/script.h"
#include "replay/state/describe.h"
#include "replay/state/state_codec.h"
#include "replay/store/file_io.h"
#include "replay/trace/header.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {
namespace {

using nlohmann::json;

void print(const std::string& line) { std::puts(line.c_str()); }

Result<const DeviceModel*> find(const std::string& name) {
  if (const DeviceModel* m = find_device(name)) return m;
  std::string all;
  for (const DeviceModel& m : device_catalog()) all += (all.empty() ? "" : ", ") + std::string(m.name());
  return Error{ErrorKind::kHost, fmt::format("there is no device '{}'; there are {}", name, all)};
}

int list(const DeviceOptions& o) {
  json all = json::array();
  for (const DeviceModel& m : device_catalog()) {
    if (o.json)
      all.push_back({{"name", m.name()},
                     {"version", m.schema->version},
                     {"state_bytes", m.schema->size},
                     {"summary", m.summary}});
    else
      print(fmt::format("{:<10} version {}, {:>4} bytes of state  {}", m.name(), m.schema->version, m.schema->size,
                        m.summary));
  }
  if (o.json) print(line_of(all));
  return kDone;
}

int show(const DeviceOptions& o) {
  auto found = find(o.device);
  if (!found) return fail(found.error());
  const DeviceModel& m = **found;
  const Schema* schema = m.schema;
  CborWriter table;
  encode_schemas(table, {&schema, 1});
  std::vector<std::string> fields;
  CborReader r(table.out());
  read_schemas(r, &fields);
  StateBuffer state(*schema);
  m.reset(state.data());
  if (o.json) {
    json j{{"name", m.name()},
           {"version", schema->version},
           {"summary", m.summary},
           {"sources", m.sources},
           {"inputs", m.inputs},
           {"fields", fields},
           {"registers", std::vector<uint32_t>(m.registers.begin(), m.registers.end())}};
    for (const auto& line : m.line_names)
      if (!line.empty()) j["lines"].push_back(line);
    for (const DeviceCall& c : m.calls) j["calls"].push_back({{"name", c.name}, {"arguments", c.arguments}});
    print(line_of(j));
    return kDone;
  }
  print(fmt::format("{}: {}\nafter      {}\nversion    {}", m.name(), m.summary, m.sources, schema->version));
  std::string registers, lines, calls;
  for (const uint32_t offset : m.registers) registers += fmt::format(" {:#x}", offset);
  for (const auto& line : m.line_names) lines += line.empty() ? "" : " " + std::string(line);
  for (const DeviceCall& c : m.calls) calls += fmt::format(" {}({})", c.name, c.arguments);
  print(fmt::format("registers {}\ninputs     {}\noutputs   {}{}\ncalls     {}", registers, m.inputs,
                    lines.empty() ? " by bit" : lines, m.pop_message ? " and messages" : "",
                    calls.empty() ? " none" : calls));
  print("fields     (name, kind, size, unit)");
  for (const std::string& f : fields) print("  " + f);
  print("after reset, other than 0");
  for (const FieldText& f : flatten(encode_state(*schema, state.data())))
    if (f.value != "0" && f.value != "false") print("  " + f.path + " = " + f.value);
  return kDone;
}

Result<std::string> read_text(const std::string& path) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  auto source = open_file(path);
  if (!source) return source.error();
  std::vector<uint8_t> bytes((*source)->size());
  if (auto done = (*source)->read_at(0, bytes); !done) return done.error();
  return std::string(bytes.begin(), bytes.end());
}

// The output lines over time, for GTKWave and its like (IEEE 1364, value change dump).
class Vcd {
 public:
  Vcd(const std::string& path, const DeviceModel& m) : file_(path.empty() ? nullptr : std::fopen(path.c_str(), "w")) {
    if (!file_) return;
    std::fprintf(file_, "$timescale 1ns $end\n$scope module %s $end\n", std::string(m.name()).c_str());
    for (unsigned bit = 0; bit < 64; ++bit) {
      const bool named = bit < m.line_names.size() && !m.line_names[bit].empty();
      if (named || m.line_names.empty())
        std::fprintf(file_, "$var wire 1 %c%c %s $end\n", '!' + bit / 8, '!' + bit % 8,
                     named ? std::string(m.line_names[bit]).c_str() : ("line" + std::to_string(bit)).c_str());
    }
    std::fputs("$upscope $end\n$enddefinitions $end\n", file_);
  }
  ~Vcd() {
    if (file_) std::fclose(file_);
  }
  bool open() const { return file_ != nullptr; }
  void lines(Nanos now, uint64_t v) {
    if (!file_ || (any_ && v == last_)) return;
    std::fprintf(file_, "#%llu\n", static_cast<unsigned long long>(now.value));
    for (unsigned bit = 0; bit < 64; ++bit)
      if (!any_ || ((v ^ last_) >> bit & 1))
        std::fprintf(file_, "%d%c%c\n", static_cast<int>(v >> bit & 1), '!' + bit / 8, '!' + bit % 8);
    any_ = true;
    last_ = v;
  }

 private:
  std::FILE* file_;
  bool any_ = false;
  uint64_t last_ = 0;
};

std::string names_of(const DeviceModel& m, uint64_t lines) {
  std::string out;
  for (unsigned bit = 0; bit < 64; ++bit)
    if (lines >> bit & 1)
      out += fmt::format(" {}", bit < m.line_names.size() && !m.line_names[bit].empty() ? std::string(m.line_names[bit])
                                                                                        : fmt::format("line{}", bit));
  return out.empty() ? " none" : out;
}

int run(const DeviceOptions& o) {
  auto found = find(o.device);
  if (!found) return fail(found.error());
  const DeviceModel& m = **found;
  auto text = read_text(o.script);
  if (!text) return fail(text.error());
  auto ops = parse_script(m, *text);
  if (!ops) return fail({ErrorKind::kBadInput, fmt::format("{}: {}", o.script, ops.error().message)});
  Vcd vcd(o.vcd, m);
  if (!o.vcd.empty() && !vcd.open()) return fail(host_error(o.vcd, "create the file", errno));
  StateBuffer state(*m.schema);
  m.reset(state.data());
  Nanos now{0};
  uint64_t lines = m.lines(state.data());
  vcd.lines(now, lines);
  // Wherever time alone changes the lines: between the operations too.
  auto changed = [&] {
    const uint64_t v = m.lines(state.data());
    vcd.lines(now, v);
    if (v != lines && !o.json) print(fmt::format("{:>12} lines{}", now.value, names_of(m, v)));
    lines = v;
  };
  constexpr unsigned kShown = 10'000;  // changes within one wait; beyond, only the end is looked at
  for (const DeviceOp& op : *ops) {
    if (op.kind == DeviceOp::Kind::kWait) {
      const Nanos end{now.value + std::min(op.a, uint64_t{1} << 62)};
      for (unsigned n = 0; n < kShown; ++n) {
        const Nanos event = m.next_event(state.data());
        if (event >= end || event <= now) break;
        m.advance(state.data(), event);
        now = event;
        changed();
      }
      DeviceOp rest = op;
      rest.a = (end - now).value;
      perform(m, state.data(), now, rest);
    } else {
      const DeviceAnswer a = perform(m, state.data(), now, op);
      const bool answers = op.kind == DeviceOp::Kind::kRead || op.kind == DeviceOp::Kind::kCall ||
                           op.kind == DeviceOp::Kind::kMessage || op.kind == DeviceOp::Kind::kTransfer;
      if (o.json)
        print(line_of({{"now_ns", now.value}, {"op", dejavm::print(m, op)}, {"value", a.value}, {"lines", a.lines}}));
      else
        print(fmt::format("{:>12} {}{}", now.value, dejavm::print(m, op),
                          answers ? fmt::format(" -> {:#x}", a.value) : ""));
    }
    changed();
  }
  if (o.state)
    for (const FieldText& f : flatten(encode_state(*m.schema, state.data())))
      print(fmt::format("  {} = {}", f.path, f.value));
  return kDone;
}

}  // namespace

void add_device_tool(CLI::App& app, DeviceOptions& o) {
  app.require_subcommand(1);
  CLI::App* s = app.add_subcommand("list", "the models");
  s->add_flag("--json", o.json, "as JSON");
  s = app.add_subcommand("show", "a model's registers, lines, fields, sources");
  s->add_option("device", o.device, "e.g. vatpit")->type_name("NAME")->required();
  s->add_flag("--json", o.json, "as JSON");
  s = app.add_subcommand("run", "perform operations on a fresh model, and print its answers and how its lines change");
  s->add_option("device", o.device, "e.g. vatpit")->type_name("NAME")->required();
  s->add_option("script", o.script,
                "one operation a line: read OFFSET SIZE, write OFFSET SIZE VALUE, line INPUT LEVEL, wait NS, reset, "
                "message, or a call of the model's; -: standard input")
      ->type_name("SCRIPT")
      ->required();
  s->add_option("--vcd", o.vcd, "the lines over time as a value change dump, for GTKWave")->type_name("FILE");
  s->add_flag("--state", o.state, "every field at the end");
  s->add_flag("--json", o.json, "one JSON object for each operation");
}

int run_device(const CLI::App& app, const DeviceOptions& o) {
  const std::string what = app.get_subcommands().front()->get_name();
  return what == "list" ? list(o) : what == "show" ? show(o) : run(o);
}

}  // namespace dejavm::cli
