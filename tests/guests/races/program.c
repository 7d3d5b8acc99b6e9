// A program with races planted in it, of two threads that are bound to a CPU each; the command line chooses one:
//   lost-update use-after-free deadlock missed-wakeup
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void __attribute__((noinline)) work(unsigned rounds) {
  for (volatile unsigned n = 0; n < rounds; ++n) {}
}

// --- two add to one counter, without a lock ---

static volatile unsigned counter;
static void __attribute__((noinline)) add_one(void) {
  unsigned value = counter;
  counter = value + 1;
}
static void lost_update(unsigned n) {
  (void)n;
  for (unsigned k = 0; k < 50; ++k) {
    work(20);
    add_one();
  }
}

// --- one frees what the other may still use ---

struct thing {
  volatile unsigned alive;
};
static struct thing* _Atomic shared;
static unsigned dead_ones;
static void __attribute__((noinline)) look_at_it(void) {
  struct thing* thing = shared;
  work(3);
  if (thing->alive != 0x600d) ++dead_ones;
}
static void __attribute__((noinline)) replace_it(struct thing* by) {
  struct thing* old = atomic_exchange(&shared, by);
  old->alive = 0xdead;
  free(old);
}
static void use_after_free(unsigned n) {
  for (unsigned k = 0; k < 20; ++k) {
    work(20);
    if (n == 0) {
      look_at_it();
    } else {
      struct thing* by = malloc(sizeof *by);
      by->alive = 0x600d;
      replace_it(by);
    }
  }
}

// --- two take two locks in different orders ---

static pthread_mutex_t lock_a = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock_b = PTHREAD_MUTEX_INITIALIZER;
static void __attribute__((noinline)) with_both(pthread_mutex_t* first, pthread_mutex_t* second) {
  pthread_mutex_lock(first);
  work(5);
  pthread_mutex_lock(second);
  ++counter;
  pthread_mutex_unlock(second);
  pthread_mutex_unlock(first);
}
static void deadlock(unsigned n) {
  for (unsigned k = 0; k < 10; ++k) {
    work(100);
    if (n == 0) with_both(&lock_a, &lock_b);
    else with_both(&lock_b, &lock_a);
  }
}

// --- what a condition stands for is set without its lock ---

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static volatile unsigned made;
static volatile unsigned taken;
static void __attribute__((noinline)) wait_for_one(void) {
  pthread_mutex_lock(&lock);
  while (made == taken) {
    work(3);
    pthread_cond_wait(&condition, &lock);
  }
  pthread_mutex_unlock(&lock);
}
static void __attribute__((noinline)) make_one(void) {
  ++made;
  pthread_cond_signal(&condition);
}
static void missed_wakeup(unsigned n) {
  for (unsigned k = 0; k < 20; ++k) {
    work(20);
    if (n == 0) {
      wait_for_one();
      ++taken;
    } else {
      make_one();
      while (taken != made) sched_yield();
    }
  }
}

static void (*chosen)(unsigned n);
static atomic_uint ready;
static void* run(void* which) {
  const unsigned n = (unsigned)(unsigned long)which;
  cpu_set_t cpu;
  CPU_ZERO(&cpu);
  CPU_SET(n, &cpu);
  sched_setaffinity(0, sizeof cpu, &cpu);
  ++ready;
  while (ready < 2) __builtin_ia32_pause();
  chosen(n);
  return NULL;
}

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : "";
  chosen = !strcmp(name, "lost-update")      ? lost_update
           : !strcmp(name, "use-after-free") ? use_after_free
           : !strcmp(name, "deadlock")       ? deadlock
           : !strcmp(name, "missed-wakeup")  ? missed_wakeup
                                             : NULL;
  if (!chosen) return 2;
  struct thing* first = malloc(sizeof *first);
  first->alive = 0x600d;
  shared = first;
  pthread_t threads[2];
  for (unsigned long n = 0; n < 2; ++n) pthread_create(&threads[n], NULL, run, (void*)n);
  for (unsigned n = 0; n < 2; ++n) pthread_join(threads[n], NULL);
  if (chosen == lost_update && counter != 100) printf("races: lost update: counted %u\n", counter);
  if (dead_ones != 0) printf("races: use after free, %u times\n", dead_ones);
  printf("races: over\n");
  return 0;
}
