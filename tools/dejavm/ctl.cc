#include "tools/dejavm/ctl.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "replay/store/file_io.h"
#include "tools/dejavm/control.h"
#include "tools/dejavm/report.h"

namespace dejavm::cli {
namespace {

using nlohmann::json;

// The next line of the socket; empty at its end.
std::string read_line(int fd, std::string& buffer) {
  for (;;) {
    if (const size_t end = buffer.find('\n'); end != std::string::npos) {
      std::string line = buffer.substr(0, end);
      buffer.erase(0, end + 1);
      return line;
    }
    char part[4096];
    const ssize_t n = ::recv(fd, part, sizeof part, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {};
    buffer.append(part, static_cast<size_t>(n));
  }
}

std::string as_text(const std::string& command, const json& a) {
  std::string out = command + ":";
  if (a.contains("state")) out += fmt::format(" {}", a["state"].get<std::string>());
  if (a.contains("engine")) out += fmt::format(" {}", a["engine"].get<std::string>());
  if (a.contains("file")) out += fmt::format(" {}", a["file"].get<std::string>());
  if (a.contains("instruction")) out += fmt::format(" at instruction {}", a["instruction"].get<uint64_t>());
  if (a.contains("now_ns"))
    out += fmt::format(", {:.6f} s of guest time", static_cast<double>(a["now_ns"].get<uint64_t>()) / 1e9);
  if (a.contains("digest")) out += fmt::format(", digest {}", a["digest"].get<std::string>());
  if (a.contains("bytes")) out += fmt::format(", {} bytes", a["bytes"].get<uint64_t>());
  if (a.contains("recording")) out += fmt::format(", recording to {}", a["recording"].get<std::string>());
  if (a.value("saving", false)) out += ", saving";
  return out;
}

}  // namespace

void add_ctl(CLI::App& app, CtlOptions& o) {
  app.add_option("socket", o.socket, "the path that was given to --control")->type_name("PATH")->required();
  app.require_subcommand(1);
  auto sub = [&](CLI::App& of, const char* name, const char* command, const char* help, bool file) {
    CLI::App* s = of.add_subcommand(name, help);
    s->callback([&o, command] { o.command = command; });
    s->add_flag("--json", o.json, "the answer as it comes");
    if (file) {
      s->add_option("file", o.file, "the file to write")->type_name("FILE")->required();
      s->add_flag("--force", o.force, "replace an existing file");
    }
    return s;
  };
  sub(app, "status", "status", "what it is doing", false);
  for (CLI::App* saving : {sub(app, "checkpoint", "checkpoint", "save it while it runs", true),
                           sub(app, "suspend", "suspend", "save it and end it", true)}) {
    saving->add_flag("--delta", o.delta, "only what changed since its latest snapshot");
    saving->add_flag("--external-base", o.external_base, "leave the images of its disks outside");
  }
  sub(app, "pause", "pause", "hold it", false);
  sub(app, "resume", "resume", "let it go on", false);
  sub(app, "stop", "stop", "end it", false);
  CLI::App* engine = sub(app, "engine", "engine", "let another engine execute it from now on", false);
  engine->add_option("name", o.engine, "deterministic, kvm or kvm-step")
      ->required()
      ->check(CLI::IsMember({"deterministic", "kvm", "kvm-step"}));
  CLI::App* record = app.add_subcommand("record", "begin or end a trace of what it does");
  record->require_subcommand(1);
  sub(*record, "start", "record-start", "from now on", true);
  sub(*record, "stop", "record-stop", "up to now", false);
}

int run_ctl(const CtlOptions& o) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (o.socket.size() >= sizeof address.sun_path)
    return fail({ErrorKind::kHost, o.socket + ": too long for a socket's path"});
  o.socket.copy(address.sun_path, o.socket.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail(host_error(o.socket, "reach the machine", errno));
  std::string buffer;
  const json hello = json::parse(read_line(fd, buffer), nullptr, false);
  if (!hello.is_object() || hello.value("dejavm", "") != "control")
    return fail({ErrorKind::kHost, fmt::format("{}: no machine of ours answers there, or another user's", o.socket)});
  if (hello.value("version", 0) != kControlVersion)
    return fail({ErrorKind::kHost, fmt::format("{}: speaks version {}; this dejavm speaks {}", o.socket,
                                               hello.value("version", 0), kControlVersion)});
  json request{{"command", o.command}};
  if (!o.file.empty()) request["file"] = std::filesystem::absolute(o.file).string();  // the machine's folder is another
  if (!o.engine.empty()) request["engine"] = o.engine;
  if (o.force) request["force"] = true;
  if (o.delta) request["delta"] = true;
  if (o.external_base) request["external_base"] = true;
  const std::string line = line_of(request) + "\n";
  if (::send(fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    return fail(host_error(o.socket, "send", errno));
  const std::string text = read_line(fd, buffer);
  ::close(fd);
  const json answer = json::parse(text, nullptr, false);
  if (!answer.is_object())
    return fail({ErrorKind::kHost, fmt::format("{}: the machine ended before it answered", o.socket)});
  if (o.json) std::puts(text.c_str());
  if (!answer.value("ok", false))
    return o.json ? static_cast<int>(kUsage) : fail({ErrorKind::kHost, answer.value("error", "refused")});
  if (!o.json) std::puts(as_text(o.command, answer).c_str());
  return kDone;
}

}  // namespace dejavm::cli
