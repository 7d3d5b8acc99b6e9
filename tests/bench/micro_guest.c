// The first process of a Linux guest: small loops of one kind each, between two lines of the console by which the host takes the time.
// Does its work LOOPS times as the kernel's command line says (micro=N), then powers the machine off.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void alu(long n) {
  uint64_t a = 1, b = 2, c = 3;
  for (long i = 0; i < n; ++i) __asm__ volatile("add %1, %0\n xor %0, %2\n shl $3, %1\n sub %2, %1\n lea 5(%0,%2,2), %0\n ror $7, %2\n and %0, %1\n or $1, %1" : "+r"(a), "+r"(b), "+r"(c) : : "cc");
}

static uint64_t words[4096];
static void load_store(long n) {
  for (long i = 0; i < n; ++i) {
    volatile uint64_t* w = words;
    const long at = (i * 8) & 4088;
    w[at] = w[at + 1], w[at + 2] = w[at + 3], w[at + 4] = w[at + 5], w[at + 6] = w[at + 7];
  }
}

static void sse(long n) {
  double a = 1.5, b = 1.000001;
  for (long i = 0; i < n; ++i) __asm__ volatile("mulsd %1, %0\n addsd %1, %0\n sqrtsd %0, %0\n divsd %1, %0" : "+x"(a) : "x"(b));
}

__attribute__((noinline)) static long one(long x) { __asm__ volatile(""); return x + 1; }
__attribute__((noinline)) static long two(long x) { __asm__ volatile(""); return x + 2; }
__attribute__((noinline)) static long three(long x) { __asm__ volatile(""); return x ^ 3; }
__attribute__((noinline)) static long four(long x) { __asm__ volatile(""); return x - 4; }
static void call(long n) {
  long x = 0;
  for (long i = 0; i < n; ++i) x = one(two(three(four(x))));
  words[0] = (uint64_t)x;
}
static void indirect(long n) {
  static long (*volatile const table[4])(long) = {one, two, three, four};
  long x = 0;
  for (long i = 0; i < n; ++i) x = table[(i ^ (i >> 3)) & 3](x);
  words[0] = (uint64_t)x;
}

static void system_call(long n) {
  for (long i = 0; i < n; ++i) syscall(SYS_getppid);
}

static void page_fault(long n) {
  enum { kPages = 64 };
  for (long i = 0; i < n; i += kPages) {
    char* p = mmap(NULL, kPages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    for (int k = 0; k < kPages; ++k) p[k * 4096] = 1;
    munmap(p, kPages * 4096);
  }
}

// Two processes that wake each other; each round is two switches.
static void context_switch(long n) {
  int there[2], back[2];
  char c = 0;
  if (pipe(there) || pipe(back)) abort();
  const pid_t child = fork();
  if (child == 0) {
    for (long i = 0; i < n; i += 2)
      if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1) _exit(1);
    _exit(0);
  }
  for (long i = 0; i < n; i += 2)
    if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) abort();
  waitpid(child, NULL, 0);
  close(there[0]), close(there[1]), close(back[0]), close(back[1]);
}

static void fork_exit(long n) {
  for (long i = 0; i < n; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
  }
}

int main(void) {
  static const struct { const char* name; void (*work)(long); long n; } all[] = {
      {"alu", alu, 20000000},         {"load-store", load_store, 20000000}, {"sse", sse, 5000000},          {"call", call, 10000000},
      {"indirect call", indirect, 20000000}, {"syscall", system_call, 500000},     {"page fault", page_fault, 200000}, {"context switch", context_switch, 60000},
      {"fork", fork_exit, 1000},
  };
  const char* times = getenv("micro");  // the kernel hands on what it does not know
  setvbuf(stdout, NULL, _IONBF, 0);
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) {
    const long n = all[i].n * (times ? atol(times) : 1);
    printf("micro begin %s %ld\n", all[i].name, n);
    all[i].work(n);
    printf("micro end %s\n", all[i].name);
  }
  reboot(RB_POWER_OFF);
  return 0;
}
