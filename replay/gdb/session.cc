#include "replay/gdb/session.h"

#include <algorithm>
#include <deque>

#include <fmt/format.h>

#include "replay/gdb/registers.h"

namespace dejavm::gdb {
namespace {

using Kind = DebugPoints::Kind;
using Item = PacketReader::Item;

// Beyond this many points gdb is told that there are none left.
constexpr size_t kMaxPoints = 1000;

class Session {
 public:
  Session(Wire& wire, Target& target) : wire_(wire), target_(target), shown_(target.current()) {
    stop_reply_ = stopped("T05");
  }

  Farewell run() {
    for (;;) {
      while (items_.empty()) {
        receive(true);
        if (items_.empty() && wire_.closed()) return Farewell::kClosed;
      }
      const Item item = std::move(items_.front());
      items_.pop_front();
      switch (item.kind) {
        case Item::Kind::kAck: break;
        case Item::Kind::kNack:
          if (acks_) wire_.send(sent_);
          break;
        case Item::Kind::kInterrupt: reply(stop_reply_); break;  // it stands still already
        case Item::Kind::kDamaged:
          if (acks_) wire_.send("-");
          break;
        case Item::Kind::kPacket:
          if (acks_) wire_.send("+");
          if (item.data == "k" || item.data.starts_with("vKill")) {
            if (item.data != "k") reply("OK");
            return Farewell::kKill;
          }
          if (item.data == "D" || item.data.starts_with("D;")) {
            reply("OK");
            return Farewell::kDetach;
          }
          handle(item.data);
          break;
      }
    }
  }

 private:
  void receive(bool wait) {
    const std::vector<uint8_t> bytes = wire_.receive(wait);
    std::vector<Item> got;
    reader_.feed(bytes, got);
    for (Item& i : got) items_.push_back(std::move(i));
  }
  // Has gdb asked for a stop since?
  bool interrupted() {
    if (items_.size() < 256) receive(false);  // the rest waits in the socket
    for (auto i = items_.begin(); i != items_.end(); ++i)
      if (i->kind == Item::Kind::kInterrupt) {
        items_.erase(i);
        return true;
      }
    return wire_.closed();
  }
  void reply(std::string_view text) {
    sent_ = frame_packet(text);
    wire_.send(sent_);
  }
  void fail(const std::string& why) { reply(errors_ ? "E." + why : std::string("E01")); }

  void handle(std::string_view p) {
    const char what = p.empty() ? '\0' : p.front();
    std::string_view rest = p.empty() ? p : p.substr(1);
    switch (what) {
      case '?': return reply(stop_reply_);
      case 'g': return reply(to_hex_bytes(read_all_registers(target_.state(shown_))));
      case 'G': return write_registers(rest);
      case 'p': return read_one(rest);
      case 'P': return write_one(rest);
      case 'm': return read_memory(rest);
      case 'M': return write_memory(rest, true);
      case 'X': return write_memory(rest, false);
      case 'c':
      case 's': return resume(what, rest);
      case 'b': return rest == "c" || rest == "s" ? resume_back(rest[0]) : reply("");
      case 'Z':
      case 'z': return point(what == 'Z', rest);
      case 'H': return choose_thread(rest);
      case 'T': return reply(thread(rest) ? "OK" : "E01");
      case 'q':
      case 'Q': return query(p);
      case 'v': return multi_letter(p);
      default: return reply("");
    }
  }

  void query(std::string_view p) {
    if (take(p, "qSupported")) {
      errors_ = p.find("error-message+") != std::string_view::npos;
      return reply(fmt::format(
          "PacketSize={:x};QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+;error-message+{}",
          kMaxPacketBytes, target_.reversible() ? ";ReverseStep+;ReverseContinue+" : ""));
    }
    if (p == "QStartNoAckMode") {
      reply("OK");
      acks_ = false;
      return;
    }
    if (take(p, "qXfer:features:read:target.xml:")) {
      const auto from = take_hex(p);
      const auto count = from && take(p, ",") ? take_hex(p) : std::nullopt;
      if (!count) return reply("E01");
      const std::string& all = target_description();
      const size_t at = std::min<uint64_t>(*from, all.size()),
                   n = std::min<uint64_t>({*count, all.size() - at, kMaxPacketBytes / 4});
      return reply((at + n == all.size() ? "l" : "m") + all.substr(at, n));
    }
    if (take(p, "qRcmd,")) {
      const auto command = from_hex_bytes(p);
      if (!command) return reply("E01");
      const std::string answer = target_.monitor({reinterpret_cast<const char*>(command->data()), command->size()});
      // Long answers go as console output before the end of the command.
      constexpr size_t kPiece = kMaxPacketBytes / 4;
      for (size_t at = 0; at < answer.size(); at += kPiece)
        reply("O" + to_hex_bytes(std::string_view(answer).substr(at, kPiece)));
      return reply("OK");
    }
    if (p == "qC") return reply(fmt::format("QC{:x}", shown_ + 1));
    if (p == "qfThreadInfo") return list_threads();
    if (p == "qsThreadInfo") return reply("l");
    if (take(p, "qThreadExtraInfo,")) {
      const auto vcpu = thread(p);
      return reply(vcpu ? to_hex_bytes(std::string_view(target_.about(*vcpu))) : "E01");
    }
    if (p.starts_with("qAttached")) return reply("1");
    if (p.starts_with("qSymbol")) return reply("OK");
    reply("");
  }

  void multi_letter(std::string_view p) {
    if (p == "vCont?") return reply("vCont;c;C;s;S");
    if (take(p, "vCont;")) return resume_threads(p);
    reply("");
  }

  // --- threads: vCPU n is thread n + 1 ---
  // Nothing: no such thread.
  std::optional<uint32_t> thread(std::string_view p) const {
    const auto number = take_hex(p);
    if (!number || !p.empty() || *number == 0 || *number > target_.vcpus()) return std::nullopt;
    return static_cast<uint32_t>(*number - 1);
  }
  void list_threads() {
    std::string all;
    for (uint32_t n = 0; n < target_.vcpus(); ++n) all += fmt::format("{}{:x}", n == 0 ? "m" : ",", n + 1);
    reply(all);
  }
  // Hg THREAD: of which registers and memory are; Hc THREAD: which one `s` is of. 0: any; -1: all.
  void choose_thread(std::string_view p) {
    const bool to_show = take(p, "g");
    if (!to_show && !take(p, "c")) return reply("E01");
    const auto vcpu = thread(p);
    if (!vcpu && p != "0" && p != "-1") return reply("E01");
    if (to_show && vcpu) shown_ = *vcpu;
    if (!to_show) stepped_ = vcpu;
    reply("OK");
  }
  // ACTION[:THREAD];...: the first action that names a thread, or none, is that thread's. One that steps is what is to
  // be done; without others it alone is to run (gdb's scheduler-locking).
  void resume_threads(std::string_view p) {
    std::optional<uint32_t> stepped, alone;
    bool others = false, step = false;
    while (!p.empty()) {
      const std::string_view action = p.substr(0, p.find(';'));
      p.remove_prefix(std::min(p.size(), action.size() + 1));
      const char what = action.empty() ? '\0' : action[0];
      if (what != 'c' && what != 'C' && what != 's' && what != 'S') return reply("E01");
      const size_t colon = action.find(':');
      const auto vcpu = colon == std::string_view::npos ? std::nullopt : thread(action.substr(colon + 1));
      if (colon != std::string_view::npos && !vcpu && action.substr(colon + 1) != "-1") return reply("E01");
      if ((what == 's' || what == 'S') && !step) {
        step = true;
        stepped = vcpu;
      } else if (!vcpu) {
        others = true;
      }
      if (vcpu && !alone) alone = vcpu;
    }
    const bool held = alone && !others && target_.vcpus() > 1;
    go(step ? Target::How::kStep : Target::How::kContinue, {(step ? stepped : alone).value_or(shown_), held});
  }

  // --- registers and memory ---
  void write_registers(std::string_view p) {
    const auto values = from_hex_bytes(p);
    VcpuState s = target_.state(shown_);
    if (!values || !write_all_registers(s, *values)) return fail("these registers cannot have these values");
    set(s);
  }
  void read_one(std::string_view p) {
    const auto number = take_hex(p);
    const auto value = number ? read_register(target_.state(shown_), *number) : std::vector<uint8_t>();
    reply(value.empty() ? "E01" : to_hex_bytes(value));
  }
  void write_one(std::string_view p) {
    const auto number = take_hex(p);
    const auto value = number && take(p, "=") ? from_hex_bytes(p) : std::nullopt;
    VcpuState s = target_.state(shown_);
    if (!value || !write_register(s, *number, *value)) return fail("this register cannot have this value");
    set(s);
  }
  void set(const VcpuState& s) {
    if (const auto done = target_.set_state(shown_, s); !done) return fail(done.error().message);
    reply("OK");
  }
  void read_memory(std::string_view p) {
    const auto address = take_hex(p);
    const auto count = address && take(p, ",") ? take_hex(p) : std::nullopt;
    if (!count) return reply("E01");
    std::vector<uint8_t> bytes(std::min<uint64_t>(*count, kMaxPacketBytes / 2 - 8));
    bytes.resize(target_.read(shown_, *address, bytes));
    reply(bytes.empty() && *count != 0 ? "E14" : to_hex_bytes(bytes));
  }
  void write_memory(std::string_view p, bool hex) {
    const auto address = take_hex(p);
    const auto count = address && take(p, ",") ? take_hex(p) : std::nullopt;
    if (!count || !take(p, ":")) return reply("E01");
    auto bytes = hex ? from_hex_bytes(p) : std::optional(std::vector<uint8_t>(p.begin(), p.end()));
    if (!bytes || bytes->size() != *count) return reply("E01");
    if (const auto done = target_.write(shown_, *address, *bytes); !done) return fail(done.error().message);
    reply("OK");
  }

  // --- breakpoints and watchpoints ---
  void point(bool insert, std::string_view p) {
    const auto type = take_hex(p);
    const auto address = type && take(p, ",") ? take_hex(p) : std::nullopt;
    const auto length = address && take(p, ",") ? take_hex(p) : std::nullopt;
    if (!length || *type > 4) return reply("");
    if (insert && points_.code.size() + points_.data.size() >= kMaxPoints) return fail("too many breakpoints");
    if (*type <= 1) {
      auto& code = points_.code;
      const auto found = std::find(code.begin(), code.end(), *address);
      if (insert) code.push_back(*address);  // as often as it is inserted
      else if (found != code.end()) code.erase(found);
      return reply("OK");
    }
    if (*length == 0 || *length > (uint64_t{1} << 32) || *address + *length < *address) return reply("E01");
    const DebugPoints::Data d{*address, *length, *type != 2, *type != 3};
    auto& data = points_.data;
    const auto found = std::find_if(data.begin(), data.end(), [&](const auto& o) {
      return o.start == d.start && o.len_bytes == d.len_bytes && o.read == d.read && o.write == d.write;
    });
    if (insert) data.push_back(d);
    else if (found != data.end()) data.erase(found);
    reply("OK");
  }

  // --- running ---
  void resume(char what, std::string_view address) {
    if (!address.empty()) {
      const auto to = take_hex(address);
      VcpuState s = target_.state(shown_);
      if (!to) return reply("E01");
      if (s.rip != *to) {
        s.rip = *to;
        if (const auto done = target_.set_state(shown_, s); !done) return fail(done.error().message);
      }
    }
    if (what != 'c' && what != 's') return reply("E01");
    go(what == 'c' ? Target::How::kContinue : Target::How::kStep, {stepped_.value_or(shown_), false});
  }
  void resume_back(char what) {
    if (!target_.reversible()) return reply("");
    go(what == 'c' ? Target::How::kContinueBack : Target::How::kStepBack, {stepped_.value_or(shown_), false});
  }
  void go(Target::How how, Target::Who who) {
    auto stop = target_.resume(how, who, points_, [this] { return interrupted(); });
    shown_ = target_.current();
    stepped_.reset();
    if (!stop) {
      // It stands somewhere; gdb is told by its console why.
      reply("O" + to_hex_bytes(std::string_view(stop.error().message + "\n")));
      stop = Target::Stop{Target::Why::kInterrupted, {}};
    }
    stop_reply_ = describe(*stop);
    reply(stop_reply_);
    if (stop->why != Target::Why::kExited) return;
    stop_reply_ = "W00";
  }
  std::string stopped(std::string_view how) const { return fmt::format("{}thread:{:x};", how, shown_ + 1); }
  std::string describe(const Target::Stop& stop) {
    switch (stop.why) {
      case Target::Why::kExited: return "W00";
      case Target::Why::kInterrupted: return stopped("T02");
      case Target::Why::kBegin: return stopped("T05") + "replaylog:begin;";
      case Target::Why::kEnd: return stopped("T05") + "replaylog:end;";
      case Target::Why::kStepped: return stopped("T05");
      case Target::Why::kHit: break;
    }
    // gdb looks for its breakpoint at $pc, which is not a linear address where CS has a base; what it does not find it
    // passes over.
    if (!stop.hit || stop.hit->kind == Kind::kCode)
      return stop.hit && target_.state(shown_).rip != stop.hit->address ? stopped("T05") : stopped("T05") + "hwbreak:;";
    // As what it was asked for.
    const char* name = stop.hit->kind == Kind::kWrite ? "watch" : "rwatch";
    for (const DebugPoints::Data& d : points_.data)
      if (stop.hit->address - d.start < d.len_bytes && d.read && d.write) name = "awatch";
    return stopped("T05") + fmt::format("{}:{:x};", name, stop.hit->address);
  }

  Wire& wire_;
  Target& target_;
  PacketReader reader_;
  std::deque<Item> items_;
  DebugPoints points_;
  uint32_t shown_;                   // the vCPU that registers and memory are of
  std::optional<uint32_t> stepped_;  // that `s` is of, if gdb has said so
  std::string stop_reply_, sent_;
  bool acks_ = true, errors_ = false;
};

}  // namespace

Farewell serve(Wire& wire, Target& target) { return Session(wire, target).run(); }

}  // namespace dejavm::gdb
