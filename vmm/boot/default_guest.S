// The default guest as an ELF file, headers included: one segment that is the whole file, and the PVH note. Addresses
// are differences to its start, so no linker has a part in it. 32-bit, flat, without paging.
#define BASE 0x100000
#define A(label) ((label) - dejavm_default_guest + BASE)
#define IDT (BASE + 0x2000)      /* 0x30 gates */
#define STACK_TOP (BASE + 0x8000)
#define WORDS (BASE + 0x10000)   /* 4096 pseudo-random bytes */
#define SEGMENT_BYTES 0x20000

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

        .balign 8
gdt:    .quad 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:   .short . - gdt - 1
        .long A(gdt)
idtr:   .short 0x30 * 8 - 1
        .long IDT

        .code32
entry:  cld
        movl    $STACK_TOP, %esp
        lgdt    A(gdtr)
        ljmp    $0x10, $A(1f)
1:      movl    $0x18, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss

        // COM1: 115200 baud, 8N1, FIFOs, an interrupt for each byte that arrives.
        movl    $A(uart_setup), %esi
        call    write_ports
        movl    $A(banner), %esi
        call    puts
        movl    24(%ebx), %esi                   // hvm_start_info: cmdline_paddr
        testl   %esi, %esi
        jz      1f
        call    puts
1:      movl    $A(newline), %esi
        call    puts
        call    print_date

        // Interrupt gates for IRQ 0 and 4 at vectors 0x20 and 0x24.
        movl    $A(on_timer), %eax
        movl    $0x20, %ecx
        call    set_gate
        movl    $A(on_com1), %eax
        movl    $0x24, %ecx
        call    set_gate
        lidt    A(idtr)
        movl    $A(irq_setup), %esi
        call    write_ports

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
1:      cli
        hlt
        jmp     1b

        // 4096 bytes from a 32-bit xorshift generator, and their FNV-1a sum in edx; 32 times.
work:   pushl   %edi
        pushl   %ebx
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
        popl    %ebx
        popl    %edi
        ret

on_timer:
        incl    %edi
        jmp     end_of_interrupt
on_com1:
        pushl   %eax
        pushl   %edx
1:      movl    $COM1 + 5, %edx
        inb     %dx, %al
        testb   $1, %al
        jz      2f
        movl    $COM1, %edx
        inb     %dx, %al
        call    putc
        jmp     1b
2:      popl    %edx
        popl    %eax
end_of_interrupt:
        pushl   %eax
        movb    $0x20, %al
        outb    %al, $0x20
        popl    %eax
        iret

        // eax: handler; ecx: vector
set_gate:
        leal    IDT(, %ecx, 8), %ecx
        movl    %eax, (%ecx)
        movl    %eax, 4(%ecx)
        movw    $0x10, 2(%ecx)
        movw    $0x8e00, 4(%ecx)
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
putc:   pushl   %edx
        pushl   %eax
        movl    $COM1 + 5, %edx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popl    %eax
        movl    $COM1, %edx
        outb    %al, %dx
        popl    %edx
        ret

puts:   lodsb
        testb   %al, %al
        jz      1f
        call    putc
        jmp     puts
1:      ret

        // eax: value; ecx: digits
put_hex:
        pushl   %edx
        movl    %eax, %edx
        pushl   %ecx
        negl    %ecx
        leal    32(, %ecx, 4), %ecx
        shll    %cl, %edx
        popl    %ecx
1:      roll    $4, %edx
        movl    %edx, %eax
        andl    $0xf, %eax
        movb    A(digits)(%eax), %al
        call    putc
        loop    1b
        popl    %edx
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
tick_text:
        .asciz  "tick 0x"
sum_text:
        .asciz  " sum 0x"
newline:
        .asciz  "\r\n"
goodbye:
        .asciz  "powering off\r\n"
dejavm_default_guest_end:
        .code64
        .section .note.GNU-stack, "", @progbits
