#include "tools/dejavm/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

namespace dejavm::cli {
namespace {

// In a child that has entered the sandbox. True: it did as it was asked.
bool holds(const std::function<bool()>& what) {
  const pid_t child = fork();
  if (child == 0) _exit(enter_sandbox().ok() && what() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
bool refused(long result) { return result == -1 && errno == EPERM; }

TEST(Sandbox, NoProgramCanBeStarted) {
  EXPECT_TRUE(holds([] {
    char* arguments[] = {const_cast<char*>("/bin/true"), nullptr};
    return refused(execve("/bin/true", arguments, nullptr));
  }));
  EXPECT_TRUE(holds([] { return refused(unshare(CLONE_NEWUSER)); }));
}
TEST(Sandbox, NoConnectionCanBeOpened) {
  EXPECT_TRUE(
      holds([] { return refused(socket(AF_INET, SOCK_STREAM, 0)) && refused(socket(AF_UNIX, SOCK_STREAM, 0)); }));
}
TEST(Sandbox, NoProcessCanBeTracedOrKilled) {
  EXPECT_TRUE(holds([] { return refused(ptrace(PTRACE_ATTACH, getppid(), 0, 0)) && refused(kill(getppid(), 0)); }));
}
TEST(Sandbox, NoMemoryIsWritableAndExecutable) {
  EXPECT_TRUE(holds([] {
    void* both = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void* write = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return both == MAP_FAILED && errno == EPERM && write != MAP_FAILED &&
           refused(mprotect(write, 4096, PROT_WRITE | PROT_EXEC)) && mprotect(write, 4096, PROT_READ | PROT_EXEC) == 0;
  }));
}
TEST(Sandbox, FilesThreadsAndMemoryAreToBeHad) {
  EXPECT_TRUE(holds([] {
    const int fd = open("/proc/self/status", O_RDONLY);
    bool ran = false;
    std::thread([&ran] { ran = true; }).join();
    return fd >= 0 && ran;
  }));
}
TEST(Sandbox, NoPrivilegeOverTheSystemIsLeft) {
  EXPECT_TRUE(holds([] {
    FILE* f = fopen("/proc/self/status", "r");
    char line[256];
    bool none = false, no_new = false;
    while (fgets(line, sizeof line, f)) {
      unsigned long long caps;
      if (sscanf(line, "CapEff: %llx", &caps) == 1)
        none = (caps & ~0xfull) == 0;  // chown, dac_override, dac_read_search, fowner
      if (sscanf(line, "NoNewPrivs: %llu", &caps) == 1) no_new = caps == 1;
    }
    return none && no_new;
  }));
}

}  // namespace
}  // namespace dejavm::cli
