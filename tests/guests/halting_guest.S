// A guest that halts for good while its timer ticks: a Multiboot 1 kernel that sets the 8254 to its fastest rate and lets it
// through the 8259, but masks LINT0 of the local APIC, so that no tick ever wakes it.
        .set    MAGIC, 0x1badb002
        .section .text
        .align  4
        .long   MAGIC, 0, -MAGIC
        .global _start
        .code32
_start:
        .irp    word, 0x1120, 0x11a0, 0x2021, 0x28a1, 0x0421, 0x02a1, 0x0121, 0x01a1, 0xfe21, 0xffa1, 0x3443, 0x0240, 0x0040
        movw    $(\word & 0xff), %dx
        movb    $(\word >> 8), %al
        outb    %al, %dx
        .endr
        movl    $0x1ff, 0xfee000f0               // the APIC is on
        movl    $0x10700, 0xfee00350             // ExtINT, masked
        sti
1:      hlt
        jmp     1b
