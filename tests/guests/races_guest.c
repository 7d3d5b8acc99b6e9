// A guest of two vCPUs with a race planted in it, which the kernel's command line chooses: a Multiboot 1 kernel in flat
// 32-bit segments. It prints what came of it, and powers off; or it hangs.
//   lost-update    two add to one counter, without a lock
//   use-after-free one frees what the other may still use, without waiting for it
//   deadlock       two take two locks in different orders
//   missed-wakeup  one looks whether it has to wait, and then waits: what wakes it may come in between
#include <stdbool.h>
#include <stdint.h>

// The first vCPU begins at _start; the other, woken by STARTUP to page 8, comes to other_main by way of the trampoline.
asm(".text\n"
    ".balign 4\n"
    ".long 0x1badb002, 0, -0x1badb002\n"  // Multiboot: magic, flags, checksum
    ".globl _start\n"
    "_start: movl $0x120000, %esp\n"
    "pushl %ebx\n"
    "lgdt gdt_pointer\n"
    "ljmp $8, $1f\n"
    "1: movl $16, %eax\n"
    "movl %eax, %ds\n"
    "movl %eax, %es\n"
    "movl %eax, %ss\n"
    "call first_main\n"
    "trampoline: .code16\n"
    "cli\n"
    "xorw %ax, %ax\n"
    "movw %ax, %ds\n"
    "lgdtl 0x8000 + (gdt_pointer_copy - trampoline)\n"
    "movl %cr0, %eax\n"
    "orl $1, %eax\n"
    "movl %eax, %cr0\n"
    "ljmpl $8, $2f\n"
    "gdt_pointer_copy: .short 23\n"
    ".long gdt\n"
    "trampoline_end: .code32\n"
    "2: movl $16, %eax\n"
    "movl %eax, %ds\n"
    "movl %eax, %es\n"
    "movl %eax, %ss\n"
    "movl $0x130000, %esp\n"
    "call other_main\n"
    ".balign 8\n"
    "gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
    "gdt_pointer: .short 23\n"
    ".long gdt\n"
    "wake_handler: movl $0, 0xfee000b0\n"
    "iret\n");
extern const uint8_t trampoline[], trampoline_end[], wake_handler[];

// --- the machine ---

static void out8(uint16_t port, uint8_t value) { asm volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static void out16(uint16_t port, uint16_t value) { asm volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static volatile uint32_t* apic(uint32_t offset) { return (volatile uint32_t*)(0xfee00000 + offset); }
static void ipi_to_others(uint32_t what) { *apic(0x300) = 0xc0000 | what; }
static void relax(void) { asm volatile("pause"); }

static void print(const char* text) {
  for (; *text; ++text) out8(0x3f8, (uint8_t)*text);
}

static void print_number(unsigned n) {
  if (n >= 10) print_number(n / 10);
  out8(0x3f8, (uint8_t)('0' + n % 10));
}

__attribute__((noreturn)) static void stop(void) {
  for (;;) asm volatile("cli; hlt");
}

__attribute__((noreturn)) static void power_off(void) {
  out16(0x604, 0x2000);  // QEMU's
  out16(0x604, 0x3400);
  stop();
}

static void work(unsigned rounds) {
  for (volatile unsigned n = 0; n < rounds; ++n) {}
}

// --- the races ---

static volatile unsigned finished;  // vCPUs
static void finish(void) { __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST); }
static void wait_for_other(void) {
  while (finished < 2) relax();
}

static volatile unsigned counter;
static void add_one(void) {
  unsigned value = counter;
  counter = value + 1;
}
static void lost_update(unsigned vcpu) {
  for (unsigned n = 0; n < 50; ++n) {
    work(20);
    add_one();
  }
  finish();
  if (vcpu != 0) return;
  wait_for_other();
  print(counter == 100 ? "counted " : "lost update: counted ");
  print_number(counter);
  print("\n");
}

struct thing {
  volatile bool alive;
  volatile unsigned value;
};
static struct thing things[2] = {{true, 1}, {true, 2}};
static struct thing* volatile shared = &things[0];
static void look_at_it(void) {
  struct thing* thing = shared;
  work(3);
  if (!thing->alive) print("use after free\n");
}
static void replace_it(void) {
  struct thing* old = shared;
  shared = &things[1];
  old->alive = false;
}
static void use_after_free(unsigned vcpu) {
  work(400);
  if (vcpu == 0) {
    for (unsigned n = 0; n < 30; ++n) {
      work(20);
      look_at_it();
    }
  } else {
    replace_it();
  }
  finish();
  if (vcpu != 0) return;
  wait_for_other();
  print("looked\n");
}

static volatile unsigned lock_a;
static volatile unsigned lock_b;
static void lock(volatile unsigned* what) {
  while (__atomic_exchange_n(what, 1, __ATOMIC_ACQUIRE) != 0) relax();
}
static void unlock(volatile unsigned* what) { __atomic_store_n(what, 0, __ATOMIC_RELEASE); }
static void with_both(volatile unsigned* first, volatile unsigned* second) {
  lock(first);
  work(5);
  lock(second);
  counter = counter + 1;
  unlock(second);
  unlock(first);
}
static void deadlock(unsigned vcpu) {
  for (unsigned n = 0; n < 10; ++n) {
    work(200);
    if (vcpu == 0) with_both(&lock_a, &lock_b);
    else with_both(&lock_b, &lock_a);
  }
  finish();
  if (vcpu != 0) return;
  wait_for_other();
  print("locked\n");
}

static volatile unsigned made;
static volatile unsigned taken;
static void wait_for_one(void) {
  if (made == taken) asm volatile("hlt");
}
static void make_one(void) {
  ++made;
  ipi_to_others(0x40);
}
static void missed_wakeup(unsigned vcpu) {
  if (vcpu == 0) asm volatile("sti");
  for (unsigned n = 0; n < 20; ++n) {
    work(20);
    if (vcpu == 0) {
      wait_for_one();
      ++taken;
    } else {
      make_one();
      while (taken != made) relax();
    }
  }
  if (vcpu == 0) print("all taken\n");
}

// --- the beginning ---

struct race {
  const char* name;
  void (*run)(unsigned vcpu);
};
static const struct race races[] = {{"lost-update", lost_update},
                                    {"use-after-free", use_after_free},
                                    {"deadlock", deadlock},
                                    {"missed-wakeup", missed_wakeup}};
static const struct race* volatile chosen;
static volatile bool started, both;

// The last word of the command line.
static const struct race* choose(const char* line) {
  for (unsigned n = 0; n < sizeof races / sizeof *races; ++n) {
    for (const char* at = line; *at; ++at) {
      unsigned k = 0;
      while (races[n].name[k] && at[k] == races[n].name[k]) ++k;
      if (!races[n].name[k] && !at[k]) return &races[n];
    }
  }
  return 0;
}

static uint64_t idt[0x41];
static void take_wakeups(void) {
  const uint32_t handler = (uint32_t)wake_handler;
  idt[0x40] = (uint64_t)(handler & 0xffff0000) << 32 | 0x00008e0000080000 | (handler & 0xffff);
  const struct __attribute__((packed)) {
    uint16_t limit;
    uint32_t base;
  } pointer = {sizeof idt - 1, (uint32_t)idt};
  asm volatile("lidt %0" ::"m"(pointer));
  *apic(0xf0) = 0x1ff;
  out8(0x21, 0xff);  // nothing from the 8259 pair
  out8(0xa1, 0xff);
}

void first_main(const uint32_t* info) {
  chosen = info[0] & 4 ? choose((const char*)info[4]) : 0;
  if (!chosen) {
    print("which race?\n");
    power_off();
  }
  take_wakeups();
  for (const uint8_t* byte = trampoline; byte < trampoline_end; ++byte)
    ((volatile uint8_t*)0x8000)[byte - trampoline] = *byte;
  ipi_to_others(0x4500);  // INIT
  ipi_to_others(0x4608);  // STARTUP
  while (!started) relax();
  both = true;
  chosen->run(0);
  power_off();
}

void other_main(void) {
  started = true;
  while (!both) relax();
  chosen->run(1);
  stop();
}
