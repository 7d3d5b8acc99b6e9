// The control socket: JSON lines over a Unix socket, answered while the guest runs. docs/control.md is the protocol.
//
// One thread owns the socket and all clients. It answers `status`, and every line that is no request, itself; the
// others wait in a queue until the machine's thread stands at an instruction boundary and takes them. Nothing that a
// client does or leaves undone holds up the machine.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "devices/core/result.h"
#include "tools/dejavm/control_protocol.h"

namespace dejavm::cli {

inline constexpr int kControlVersion = 1;

// What `status` tells.
struct ControlStatus {
  std::string state = "running";  // or "paused"
  uint64_t instruction = 0, now_ns = 0;
  bool saving = false;
  std::string recording;  // the trace's path, or empty
};

class ControlServer {
 public:
  // The socket gets mode 0600. A socket that nobody listens on is replaced; anything else at `path` is refused.
  static Result<std::unique_ptr<ControlServer>> listen(const std::string& path);
  ~ControlServer();
  // From here on clients are served; those that came before have waited.
  void start(const ControlStatus&);

  bool pending() const { return pending_; }
  std::optional<ControlRequest> next();
  std::string waiting() const;                         // the commands in the queue, for the log
  void wait(unsigned milliseconds);                    // until something is pending, or so long
  void answer(const ControlRequest&, nlohmann::json);  // must have "ok"; gets the request's id
  void publish(const ControlStatus&);
  int wake_fd() const { return wake_machine_; }  // readable while something is pending, or a watched descriptor was
  void woken();                                  // the machine's thread is awake and looks
  // Wakes the machine's thread once this descriptor is readable; -1: none.
  void watch(int fd);

 private:
  struct Client {
    uint64_t number;
    int fd;
    RequestLines in;
    std::string out;
    unsigned waiting = 0;  // requests without an answer
    uint64_t last_heard = 0;
    bool closing = false;  // it has been told why; gone once that is sent
    bool ended = false;    // it sends no more, and may still read
  };
  explicit ControlServer(std::string path, int fd);
  void work();
  void accept_one();
  void hear(Client&);
  void take(Client&, ControlRequest);
  void send(Client&, const nlohmann::json&);
  void drop(Client&);

  std::string path_;
  int listen_, wake_server_, wake_machine_;
  std::vector<std::unique_ptr<Client>> clients_;  // the thread's alone
  uint64_t next_client_ = 1, heard_ = 0;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<ControlRequest> queue_;
  std::deque<std::pair<uint64_t, nlohmann::json>> answers_;
  ControlStatus status_;
  int watched_ = -1;
  std::atomic<bool> pending_ = false, quit_ = false;
  std::thread thread_;
};

}  // namespace dejavm::cli
