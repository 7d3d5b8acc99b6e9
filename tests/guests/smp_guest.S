// A guest of three to eight vCPUs: a Multiboot 1 kernel that prints a letter for each thing it tries, capital where it is as it should be:
//   A all start (INIT, STARTUP)      X locked additions
//   F fixed, physical, to spinning   H the same to halted ones     N NMI to each            B all, G all but self, S self
//   L logical, flat                  K logical, cluster            P lowest priority        Q x2APIC's ICR, if there is one
//   C code patched for the others    V STARTUP to one that runs    I INIT and STARTUP of one that runs
// Ends with a power-off by the last vCPU.
#include "judged_guest.inc"

#define APIC 0xfee00000
#define TRAMPOLINE 0x8000
#define ROUNDS 2000

        // EAX: this vCPU's id.
        .macro  id
        movl    APIC + 0x20, %eax
        shrl    $24, %eax
        .endm
        .macro  ipi command, destination=$0
        movl    \destination, APIC + 0x310
        movl    \command, APIC + 0x300
        .endm
        .macro  gate vector, handler
        movl    $\handler, %eax
        andl    $0xffff, %eax
        orl     $0x80000, %eax
        movl    %eax, IDT + 8 * \vector
        movl    $\handler, %eax
        andl    $0xffff0000, %eax
        orl     $0x8e00, %eax
        movl    %eax, IDT + 8 * \vector + 4
        .endm
        // All other vCPUs call `what`; goes on when they have.
        .macro  others what
        movl    $\what, %eax
        call    order
        call    await
        .endm
        .macro  verdict letter
        movb    $\letter, %cl
        call    judge
        .endm

        .code32
        judged_start
        movb    $0x5f, %al                       // the clock's memory tells how many processors there are
        outb    %al, $0x70
        inb     $0x71, %al
        movzbl  %al, %eax
        movl    %eax, last
        gate    0x40, fixed
        gate    2, nmi
        lidt    idtr
        movl    $0x1ff, APIC + 0xf0
        movb    $0xff, %al                       // nothing from the 8259 pair
        outb    %al, $0x21
        outb    %al, $0xa1
        movl    $trampoline, %esi
        movl    $TRAMPOLINE, %edi
        movl    $(trampoline_end - trampoline), %ecx
        rep movsb

        ipi     $0xc4500
        ipi     $0xc4608
1:      pause
        movl    started, %eax
        cmpl    last, %eax
        jne     1b
        verdict 'A'

        others  add
        movl    $ROUNDS, %eax
        mull    last
        cmpl    sum, %eax
        verdict 'X'

        movl    $spin, %eax
        call    order
        call    each
        .long   0x4040
        call    await
        call    once
        verdict 'F'

        movl    $halt, %eax
        call    order
        call    rest
        call    each
        .long   0x4040
        call    await
        call    once
        verdict 'H'

        movl    $spin_nmi, %eax
        call    order
        call    each
        .long   0x4400
        call    await
        movl    nmis, %eax
        cmpl    last, %eax
        verdict 'N'

        movl    $spin, %eax
        call    order
        sti
        ipi     $0x84040
        call    await
        cli
        movl    last, %eax
        incl    %eax
        cmpl    fixeds, %eax
        call    forget
        verdict 'B'

        movl    $halt, %eax
        call    order
        ipi     $0xc4040
        call    await
        call    once
        verdict 'G'

        sti
        ipi     $0x44040
1:      pause
        cmpl    $0, fixeds
        je      1b
        cli
        cmpl    $1, fixeds
        call    forget
        verdict 'S'

        others  set_flat
        movl    $spin, %eax
        call    order
        ipi     $0x4840, $0x06000000             // vCPUs 1 and 2
        call    rest
        cmpl    $2, fixeds
        pushf
        call    release
        popf
        call    forget
        verdict 'L'

        others  set_cluster
        movl    $spin, %eax
        call    order
        ipi     $0x4840, $0x12000000             // cluster 1 has vCPU n as its bit n % 4: number 1
        call    rest
        cmpl    $1, fixeds
        pushf
        call    release
        popf
        call    forget
        verdict 'K'

        others  set_flat
        others  set_priority
        movl    $spin, %eax
        call    order
        ipi     $0x4940, $0xfe000000
        call    rest
        movl    last, %ecx                       // of the last vCPU it is the lowest
        cmpl    $1, fixed_by(, %ecx, 4)
        pushf
        call    release
        popf
        call    forget
        verdict 'P'

        movl    $1, %eax
        cpuid
        testl   $0x200000, %ecx
        jz      9f
        movl    $0x1b, %ecx
        rdmsr
        orl     $0xc00, %eax
        wrmsr
        movl    $halt, %eax
        call    order
        movl    $0x830, %ecx
        movl    last, %ebx
1:      movl    %ebx, %edx
        movl    $0x4040, %eax
        wrmsr
        decl    %ebx
        jnz     1b
        call    await
        call    once
        verdict 'Q'
        movl    $0x1b, %ecx                      // x2APIC to off to xAPIC
        rdmsr
        andl    $~0xc00, %eax
        wrmsr
        orl     $0x800, %eax
        wrmsr
        movl    $0x1ff, APIC + 0xf0
9:
        // Patched again and again while all call it, each time to what all then find.
        movl    $1, %ebx
1:      movl    %ebx, victim + 1
        others  call_victim
        incl    %ebx
        cmpl    $60, %ebx
        jne     1b
        cmpl    $0, wrong
        verdict 'C'

        ipi     $0x4608, $0x01000000
        call    rest
        movl    started, %eax
        cmpl    last, %eax
        verdict 'V'

        movl    $for_ever, %eax
        call    order
        ipi     $0x4500, $0x01000000
        movl    $50000, %ecx                     // no turns for those, who take all of theirs
1:      loop    1b
        movl    $0, orders + 4
        ipi     $0x4608, $0x01000000
        movl    last, %ecx
        incl    %ecx
1:      pause
        cmpl    started, %ecx
        jne     1b
        ipi     $0x4500, $0x02000000             // of those that go on for ever one is stopped for good
        verdict 'I'
        movb    $'\n', %al
        call    put
        movl    $power_off, orders + 4
1:      cli
        hlt
        jmp     1b

// --- of the first vCPU ---

order:  movl    last, %ecx
1:      movl    %eax, orders(, %ecx, 4)
        loop    1b
        ret

await:  movl    last, %ecx
1:      pause
        cmpl    $0, orders(, %ecx, 4)
        jne     1b
        loop    1b
        ret

// Long enough for all to come to where they wait.
rest:   pushl   %ecx
        movl    $100000, %ecx
1:      pause
        loop    1b
        popl    %ecx
        ret

// As if each had taken one.
release:
        movl    $1, %eax
        movl    last, %ecx
1:      movl    %eax, fixed_by(, %ecx, 4)
        loop    1b
        jmp     await

// The ICR command behind the call, to each of the others.
each:   popl    %esi
        lodsl
        movl    last, %ecx
1:      movl    %ecx, %edx
        shll    $24, %edx
        ipi     %eax, %edx
        loop    1b
        jmp     *%esi

// ZF: each of the others has taken one fixed interrupt.
once:   movl    last, %ecx
1:      cmpl    $1, fixed_by(, %ecx, 4)
        jne     forget
        loop    1b
        movl    fixeds, %eax
        cmpl    last, %eax
// Keeps the flags.
forget: pushf
        movl    $0, fixeds
        xorl    %ecx, %ecx
1:      movl    $0, fixed_by(, %ecx, 4)
        incl    %ecx
        cmpl    $8, %ecx
        jne     1b
        popf
        ret

// --- of the others: EBP is their number ---

other:  id
        movl    %eax, %ebp
        shll    $12, %eax
        leal    0x140000(%eax), %esp
        lidt    idtr
        movl    $0x1ff, APIC + 0xf0
        lock incl started
1:      pause
        movl    orders(, %ebp, 4), %eax
        testl   %eax, %eax
        jz      1b
        call    *%eax
        movl    $0, orders(, %ebp, 4)
        jmp     1b

add:    movl    $ROUNDS, %ecx
1:      lock incl sum
        loop    1b
        ret

spin:   sti
1:      pause
        cmpl    $0, fixed_by(, %ebp, 4)
        je      1b
        cli
        ret

spin_nmi:
1:      cmpl    $0, nmi_by(, %ebp, 4)
        je      1b
        ret

halt:   cli
        cmpl    $0, fixed_by(, %ebp, 4)
        jne     1f
        sti
        hlt
        jmp     halt
1:      ret

for_ever:
        jmp     for_ever

set_flat:
        movl    $-1, APIC + 0xe0
        movl    %ebp, %ecx
        movl    $0x1000000, %eax
        shll    %cl, %eax
        movl    %eax, APIC + 0xd0
        ret

set_cluster:
        movl    $0x0fffffff, APIC + 0xe0
        movl    %ebp, %ecx
        andl    $3, %ecx
        movl    $0x1000000, %eax
        shll    %cl, %eax
        movl    %ebp, %ecx
        shrl    $2, %ecx
        incl    %ecx
        shll    $28, %ecx
        orl     %ecx, %eax
        movl    %eax, APIC + 0xd0
        ret

set_priority:
        movl    last, %eax
        subl    %ebp, %eax
        shll    $1, %eax
        movl    %eax, APIC + 0x80
        ret

call_victim:
        movl    $100, %ecx
1:      call    victim
        cmpl    victim + 1, %eax
        je      2f
        lock incl wrong
2:      loop    1b
        ret

power_off:
        movw    $0x604, %dx
        movw    $0x2000, %ax                     // QEMU's
        outw    %ax, %dx
        movw    $0x3400, %ax
        outw    %ax, %dx
        ret

// --- of all ---

fixed:  pushl   %eax
        id
        lock incl fixeds
        incl    fixed_by(, %eax, 4)
        movl    $0, APIC + 0xb0
        popl    %eax
        iret

nmi:    pushl   %eax
        id
        lock incl nmis
        incl    nmi_by(, %eax, 4)
        popl    %eax
        iret

        .balign 64
victim: movl    $0, %eax
        ret

        .code16
trampoline:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdtl   TRAMPOLINE + (1f - trampoline)
        movl    %cr0, %eax
        orl     $1, %eax
        movl    %eax, %cr0
        ljmpl   $8, $2f
1:      .short  23
        .long   gdt
trampoline_end:
        .code32
2:      movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        jmp     other

        .balign 64
last:   .long 0
started: .long 0
sum:    .long 0
fixeds: .long 0
nmis:   .long 0
wrong:  .long 0
orders: .fill 8, 4, 0
fixed_by: .fill 8, 4, 0
nmi_by: .fill 8, 4, 0
