// A kernel module with races planted in it, of two threads that are bound to a CPU each. insmod chooses one:
//   race=lost-update race=use-after-free race=deadlock race=missed-wakeup
// and returns once both are done, with a line in the kernel's log.
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

MODULE_LICENSE("Dual BSD/GPL");

static char* race = "";
module_param(race, charp, 0);

static atomic_t ready = ATOMIC_INIT(0);
static struct completion done[2];
static struct task_struct* threads[2];

static noinline void work(unsigned rounds) {
  volatile unsigned n;
  for (n = 0; n < rounds; ++n) {}
}

// --- two add to one counter, without a lock ---

static unsigned counter;
static noinline void add_one(void) {
  unsigned value = READ_ONCE(counter);
  WRITE_ONCE(counter, value + 1);
}
static void lost_update(unsigned n) {
  unsigned k;
  for (k = 0; k < 50; ++k) {
    work(20);
    add_one();
  }
}

// --- one frees what the other may still use: no grace period, no rcu_read_lock() ---

struct thing {
  unsigned alive;
  unsigned value;
};
static struct thing* shared;
static unsigned dead_ones;
static noinline void look_at_it(void) {
  struct thing* thing = READ_ONCE(shared);
  work(3);
  if (READ_ONCE(thing->alive) != 0x600d) ++dead_ones;
}
static noinline void replace_it(struct thing* by) {
  struct thing* old = xchg(&shared, by);
  WRITE_ONCE(old->alive, 0xdead);
  kfree(old);
}
static void use_after_free(unsigned n) {
  unsigned k;
  for (k = 0; k < 20; ++k) {
    work(20);
    if (n == 0) {
      look_at_it();
    } else {
      struct thing* by = kmalloc(sizeof *by, GFP_KERNEL);
      by->alive = 0x600d;
      replace_it(by);
    }
  }
}

// --- two take two locks in different orders ---

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);
static noinline void with_both(struct mutex* first, struct mutex* second) {
  mutex_lock(first);
  work(5);
  mutex_lock(second);
  ++counter;
  mutex_unlock(second);
  mutex_unlock(first);
}
static void deadlock(unsigned n) {
  unsigned k;
  for (k = 0; k < 10; ++k) {
    work(100);
    if (n == 0) with_both(&lock_a, &lock_b);
    else with_both(&lock_b, &lock_a);
  }
}

// --- one looks whether it has to sleep before it says that it sleeps ---

static unsigned made;
static unsigned taken;
static noinline void wait_for_one(void) {
  if (READ_ONCE(made) != taken) return;
  set_current_state(TASK_UNINTERRUPTIBLE);
  schedule();
}
static noinline void make_one(void) {
  WRITE_ONCE(made, made + 1);
  wake_up_process(threads[0]);
}
static void missed_wakeup(unsigned n) {
  unsigned k;
  for (k = 0; k < 20; ++k) {
    work(20);
    if (n == 0) {
      wait_for_one();
      WRITE_ONCE(taken, taken + 1);
    } else {
      make_one();
      while (READ_ONCE(taken) != READ_ONCE(made)) cond_resched();
    }
  }
}

static void (*chosen)(unsigned n);
static int run(void* which) {
  const unsigned n = (unsigned)(unsigned long)which;
  atomic_inc(&ready);
  while (atomic_read(&ready) < 2) cpu_relax();
  chosen(n);
  complete(&done[n]);
  return 0;
}

static int __init races_init(void) {
  unsigned n;
  chosen = !strcmp(race, "lost-update")      ? lost_update
           : !strcmp(race, "use-after-free") ? use_after_free
           : !strcmp(race, "deadlock")       ? deadlock
           : !strcmp(race, "missed-wakeup")  ? missed_wakeup
                                             : NULL;
  if (!chosen) return -EINVAL;
  shared = kmalloc(sizeof *shared, GFP_KERNEL);
  shared->alive = 0x600d;
  for (n = 0; n < 2; ++n) {
    init_completion(&done[n]);
    threads[n] = kthread_create(run, (void*)(unsigned long)n, "race/%u", n);
    kthread_bind(threads[n], n);
  }
  for (n = 0; n < 2; ++n) wake_up_process(threads[n]);
  for (n = 0; n < 2; ++n) wait_for_completion(&done[n]);
  if (chosen == lost_update && counter != 100) pr_info("races: lost update: counted %u\n", counter);
  if (dead_ones != 0) pr_info("races: use after free, %u times\n", dead_ones);
  pr_info("races: over\n");
  return 0;
}

static void __exit races_exit(void) { kfree(shared); }

module_init(races_init);
module_exit(races_exit);
