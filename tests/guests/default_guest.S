// The default guest as an ELF file, headers included: one segment that is the whole file, and the PVH note. Addresses
// are differences to its start, so no linker has a part in it. Entered in 32-bit mode; everything else is 64-bit.
#define BASE 0x100000
#define A(label) ((label) - dejavm_default_guest + BASE)
#define IDT (BASE + 0x2000)      /* 0x30 gates */
#define STACK_TOP (BASE + 0x8000)
#define WORDS (BASE + 0x10000)   /* 4096 pseudo-random bytes */
#define TABLES (BASE + 0x20000)   /* PML4, PDPT, two page directories */
#define FAR_PAGE 0x40000000      /* 1 GiB: the second directory's first entry */
#define FAR_DIRECTORY (TABLES + 0x3000)
#define SEGMENT_BYTES 0x24000

#define COM1 0x3f8
#define TICKS 16
#define PIT_DIVISOR 11932        /* 1193182 Hz / 100 */

        .section .rodata
        .balign 16
        .globl dejavm_default_guest, dejavm_default_guest_end
        .hidden dejavm_default_guest, dejavm_default_guest_end
dejavm_default_guest:
        .byte 0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        .short 2, 3                              // ET_EXEC, EM_386
        .long 1, A(entry), program_headers - dejavm_default_guest, 0, 0
        .short 52, 32, 2, 0, 0, 0
program_headers:
        .long 1, 0, BASE, BASE, dejavm_default_guest_end - dejavm_default_guest, SEGMENT_BYTES, 7, 0x1000
        .long 4, note - dejavm_default_guest, A(note), A(note), 20, 20, 4, 4
note:   .long 4, 4, 18                           // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .long A(entry)

        .balign 16
gdt:    .quad 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr:   .short . - gdt - 1
        .long A(gdt)
idtr:   .short 0x30 * 16 - 1
        .quad IDT

        .code32
entry:  cld
        movl    $STACK_TOP, %esp
        movl    %ebx, %ebp                       // hvm_start_info
        // The first 2 MiB mapped onto themselves, and a directory without entries at FAR_PAGE.
        movl    $TABLES, %edi
        movl    $0x4000 / 4, %ecx
        xorl    %eax, %eax
        rep stosl
        movl    $TABLES + 0x1003, TABLES
        movl    $TABLES + 0x2003, TABLES + 0x1000
        movl    $TABLES + 0x3003, TABLES + 0x1008
        movl    $0x83, TABLES + 0x2000
        movl    $TABLES, %eax
        movl    %eax, %cr3
        movl    $0x620, %eax                     // PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx                // EFER: LME
        xorl    %edx, %edx
        movl    $0x100, %eax
        wrmsr
        movl    $0x80000033, %eax                // PG, NE, ET, MP, PE
        movl    %eax, %cr0
        lgdt    A(gdtr)
        ljmp    $0x20, $A(1f)
        .code64
1:      movl    $0x18, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    %ebp, %r8d
        lidt    A(idtr)

        // COM1: 115200 baud, 8N1, FIFOs, an interrupt for each byte that arrives.
        movl    $A(uart_setup), %esi
        call    write_ports
        movl    $A(banner), %esi
        call    puts
        movl    24(%r8), %esi                   // hvm_start_info: cmdline_paddr
        testl   %esi, %esi
        jz      1f
        call    puts
1:      movl    $A(newline), %esi
        call    puts
        movl    $A(long_text), %esi
        call    puts
        call    print_date
        call    touch_far_page
        call    sse2

        // Interrupt gates for IRQ 0 and 4 at vectors 0x20 and 0x24.
        movl    $A(on_timer), %eax
        movl    $0x20, %ecx
        call    set_gate
        movl    $A(on_com1), %eax
        movl    $0x24, %ecx
        call    set_gate
        movl    $A(irq_setup), %esi
        call    write_ports
        call    echo                             // what came before its interrupt could be seen

        xorl    %edi, %edi                       // ticks seen; on_timer counts
        movl    $0x2545f491, %ebp                // state of the generator
tick:   movl    %edi, %ebx
1:      sti
        hlt
        cli
        cmpl    %edi, %ebx
        je      1b
        call    work
        movl    $A(tick_text), %esi
        call    puts
        movl    %edi, %eax
        movl    $2, %ecx
        call    put_hex
        movl    $A(sum_text), %esi
        call    puts
        movl    %edx, %eax
        movl    $8, %ecx
        call    put_hex
        movl    $A(newline), %esi
        call    puts
        cmpl    $TICKS, %edi
        jb      tick

        movl    $A(goodbye), %esi
        call    puts
1:      movl    $COM1 + 5, %edx                  // until the last bit is on the wire
        inb     %dx, %al
        testb   $0x40, %al
        jz      1b
        movl    $0x604, %edx                     // PM1a_CNT: SLP_TYP 5, SLP_EN
        movl    $0x3400, %eax
        outw    %ax, %dx
        movl    $0x2000, %eax                    // for QEMU, whose S5 is type 0
        outw    %ax, %dx
1:      cli
        hlt
        jmp     1b

        // 4096 bytes from a 32-bit xorshift generator, and their FNV-1a sum in edx; 32 times.
work:   pushq   %rdi
        pushq   %rbx
        movl    $0x811c9dc5, %edx
        movl    $32, %ebx
1:      movl    $WORDS, %edi
        movl    $1024, %ecx
2:      movl    %ebp, %eax
        shll    $13, %eax
        xorl    %eax, %ebp
        movl    %ebp, %eax
        shrl    $17, %eax
        xorl    %eax, %ebp
        movl    %ebp, %eax
        shll    $5, %eax
        xorl    %eax, %ebp
        movl    %ebp, %eax
        stosl
        loop    2b
        movl    $WORDS, %esi
        movl    $4096, %ecx
        xorl    %eax, %eax
3:      lodsb
        xorl    %eax, %edx
        imull   $0x01000193, %edx
        loop    3b
        decl    %ebx
        jnz     1b
        popq    %rbx
        popq    %rdi
        ret

on_timer:
        incl    %edi
        jmp     end_of_interrupt
on_com1:
        call    echo
end_of_interrupt:
        pushq   %rax
        movb    $0x20, %al
        outb    %al, $0x20
        popq    %rax
        iretq

        // A read of FAR_PAGE, which is not mapped until on_page_fault has mapped it onto the first 2 MiB.
touch_far_page:
        movl    $A(on_page_fault), %eax
        movl    $14, %ecx
        call    set_gate
        movl    FAR_PAGE + BASE, %ebx
        movl    $A(mapped_text), %esi
        call    puts
        movl    %ebx, %eax
        call    put_hex8
        jmp     put_newline
on_page_fault:                                   // error code, RIP, CS, RFLAGS, RSP, SS
        pushq   %rax
        pushq   %rcx
        pushq   %rsi
        movl    $A(fault_text), %esi
        call    puts
        movq    %cr2, %rax
        call    put_hex8
        movl    $A(error_text), %esi
        call    puts
        movl    24(%rsp), %eax
        call    put_hex8
        call    put_newline
        movl    $0x83, FAR_DIRECTORY
        popq    %rsi
        popq    %rcx
        popq    %rax
        addq    $8, %rsp
        iretq

        // The sum of sqrt(n) for n = 1 to 100, odd and even n in a lane each; printed as the bits of a double.
sse2:   movapd  A(one_two), %xmm0
        movapd  A(two_two), %xmm1
        xorpd   %xmm2, %xmm2
        movl    $50, %ecx
1:      sqrtpd  %xmm0, %xmm3
        addpd   %xmm3, %xmm2
        addpd   %xmm1, %xmm0
        loop    1b
        movapd  %xmm2, %xmm3
        unpckhpd %xmm3, %xmm3
        addsd   %xmm3, %xmm2
        movl    $A(sqrt_text), %esi
        call    puts
        movq    %xmm2, %rbx
        movq    %rbx, %rax
        shrq    $32, %rax
        call    put_hex8
        movl    %ebx, %eax
        call    put_hex8
put_newline:
        movl    $A(newline), %esi
        jmp     puts

        // Whatever has been received goes back.
echo:   pushq   %rax
        pushq   %rdx
1:      movl    $COM1 + 5, %edx
        inb     %dx, %al
        testb   $1, %al
        jz      2f
        movl    $COM1, %edx
        inb     %dx, %al
        call    putc
        jmp     1b
2:      popq    %rdx
        popq    %rax
        ret

        // eax: handler; ecx: vector
set_gate:
        shll    $4, %ecx
        movl    %eax, IDT(%rcx)
        movl    %eax, IDT + 4(%rcx)
        movw    $0x20, IDT + 2(%rcx)
        movw    $0x8e00, IDT + 4(%rcx)
        movq    $0, IDT + 8(%rcx)
        ret

        // esi: pairs of port and value, ended by port 0
write_ports:
        lodsw
        movzwl  %ax, %edx
        lodsb
        testl   %edx, %edx
        jz      1f
        outb    %al, %dx
        jmp     write_ports
1:      ret

        // al: a byte for COM1
putc:   pushq   %rdx
        pushq   %rax
        movl    $COM1 + 5, %edx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popq    %rax
        movl    $COM1, %edx
        outb    %al, %dx
        popq    %rdx
        ret

puts:   lodsb
        testb   %al, %al
        jz      1f
        call    putc
        jmp     puts
1:      ret

put_hex8:
        movl    $8, %ecx
        // eax: value; ecx: digits
put_hex:
        pushq   %rdx
        movl    %eax, %edx
        pushq   %rcx
        negl    %ecx
        leal    32(, %rcx, 4), %ecx
        shll    %cl, %edx
        popq    %rcx
1:      roll    $4, %edx
        movl    %edx, %eax
        andl    $0xf, %eax
        movb    A(digits)(%rax), %al
        call    putc
        loop    1b
        popq    %rdx
        ret

        // From the RTC, in BCD: century, year, month, day, hour, minute, second, each with what follows it.
print_date:
        movl    $A(date_format), %esi
1:      movb    $0x0a, %al
        outb    %al, $0x70
        inb     $0x71, %al
        testb   $0x80, %al                       // an update is in progress
        jnz     1b
2:      lodsb
        cmpb    $0xff, %al
        je      3f
        outb    %al, $0x70
        inb     $0x71, %al
        movzbl  %al, %eax
        movl    $2, %ecx
        call    put_hex
        call    puts
        jmp     2b
3:      ret

uart_setup:
        .macro port number value
        .short \number
        .byte \value
        .endm
        port    COM1 + 3, 0x80
        port    COM1, 1
        port    COM1 + 1, 0
        port    COM1 + 3, 3
        port    COM1 + 2, 7
        port    COM1 + 4, 0x0b
        port    COM1 + 1, 1
        port    0, 0
irq_setup:
        port    0x20, 0x11                       // 8259s: vectors 0x20 and 0x28, cascade at 2, 8086 mode
        port    0x21, 0x20
        port    0x21, 4
        port    0x21, 1
        port    0xa0, 0x11
        port    0xa1, 0x28
        port    0xa1, 2
        port    0xa1, 1
        port    0xa1, 0xff
        port    0x21, 0xee
        port    0x43, 0x34                       // 8254 counter 0: mode 2, 100 Hz
        port    0x40, PIT_DIVISOR & 0xff
        port    0x40, PIT_DIVISOR >> 8
        port    0, 0
        .balign 16
one_two:
        .double 1, 2
two_two:
        .double 2, 2
digits: .ascii  "0123456789abcdef"
date_format:
        .byte   0x32, 0, 9
        .asciz  "-"
        .byte   8
        .asciz  "-"
        .byte   7
        .asciz  " "
        .byte   4
        .asciz  ":"
        .byte   2
        .asciz  ":"
        .byte   0
        .asciz  "\r\n"
        .byte   0xff
banner: .asciz  "dejavm: the built-in guest. Command line: "
long_text:
        .asciz  "long mode, date "
fault_text:
        .asciz  "page fault at 0x"
error_text:
        .asciz  " error 0x"
mapped_text:
        .asciz  "mapped, and there is 0x"
sqrt_text:
        .asciz  "sse2: sum of square roots 0x"
tick_text:
        .asciz  "tick 0x"
sum_text:
        .asciz  " sum 0x"
newline:
        .asciz  "\r\n"
goodbye:
        .asciz  "powering off\r\n"
dejavm_default_guest_end:
        .section .note.GNU-stack, "", @progbits
