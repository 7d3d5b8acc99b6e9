// Copies of this process, each of which does one thing and answers with a text: what a machine does from here on, tried
// many times over. They share the memory that none of them writes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dejavm {

class Copies {
 public:
  struct Done {
    uint64_t key = 0;
    std::optional<std::string> answer;  // none: it was killed, or ended in a fault
    std::string fault;                  // then, which
  };
  // Each is killed after so long.
  explicit Copies(std::chrono::milliseconds limit) : limit_(limit) {}
  ~Copies();  // kills those that run
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;

  // No other thread may hold a lock meanwhile. `key`: comes back with the answer.
  void start(uint64_t key, const std::function<std::string()>& what);
  size_t running() const { return all_.size(); }
  // The next that is done, or nothing: none ends within this time.
  std::optional<Done> wait(std::chrono::milliseconds at_most);

 private:
  using Clock = std::chrono::steady_clock;
  struct Copy {
    uint64_t key;
    pid_t pid;
    int fd;
    Clock::time_point deadline;
    std::string answer;
    bool timed_out = false;
  };
  bool read_some(Copy&);  // false: that was all
  Done finish(size_t n);
  std::chrono::milliseconds limit_;
  std::vector<Copy> all_;
};

}  // namespace dejavm
