// The control server without a machine behind it: what is asked and not taken stays bounded.
#include "tools/dejavm/control.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include <gtest/gtest.h>

#include "tests/replay/folder.h"

namespace dejavm::cli {
namespace {

struct Caller {
  int fd = -1;
  std::string unread;

  explicit Caller(const std::string& path) : fd(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, path.size());
    const auto* const where = reinterpret_cast<const sockaddr*>(&address);
    EXPECT_EQ(::connect(fd, where, sizeof address), 0);
    line();  // the greeting
  }
  ~Caller() { ::close(fd); }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  void say(const std::string& text) const {
    EXPECT_EQ(::send(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }
  nlohmann::json line() {
    size_t end;
    while ((end = unread.find('\n')) == std::string::npos) {
      char part[4096];
      const ssize_t n = ::recv(fd, part, sizeof part, 0);
      if (n <= 0) return nullptr;
      unread.append(part, static_cast<size_t>(n));
    }
    const std::string text = unread.substr(0, end);
    unread.erase(0, end + 1);
    return nlohmann::json::parse(text);
  }
};

std::string many(unsigned count) {
  std::string out;
  for (unsigned i = 0; i < count; ++i) out += "{\"command\":\"pause\"}\n";
  return out;
}

// docs/control.md: 64 requests of one client, 256 of all.
TEST(ControlServer, WhatWaitsForTheMachineIsBounded) {
  const Folder folder;
  const std::string path = folder / "sock";
  {
    auto listening = ControlServer::listen(path);
    ASSERT_TRUE(listening.ok()) << listening.error().message;
    const std::unique_ptr<ControlServer> server = std::move(*listening);
    server->start({});

    Caller first(path);
    first.say(many(65));
    EXPECT_EQ(first.line()["error"], "too many requests are waiting for their answers");

    Caller second(path);
    Caller third(path);
    Caller fourth(path);
    for (Caller* caller : {&second, &third, &fourth}) {
      caller->say(many(64) + "{\"command\":\"status\"}\n");  // answered once all before it are in the queue
      EXPECT_EQ(caller->line()["ok"], true);
    }
    Caller fifth(path);
    fifth.say(many(1));
    EXPECT_EQ(fifth.line()["error"], "too many requests are waiting for this machine");

    // One taken makes room for one.
    const auto taken = server->next();
    ASSERT_TRUE(taken.has_value());
    server->answer(*taken, {{"ok", true}});
    EXPECT_EQ(first.line()["ok"], true);
    fifth.say(many(2));
    EXPECT_EQ(fifth.line()["error"], "too many requests are waiting for this machine");
  }
}

}  // namespace
}  // namespace dejavm::cli
