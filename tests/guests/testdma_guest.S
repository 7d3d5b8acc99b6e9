// A guest of --test-device's bus master: a Multiboot 1 kernel that prints a letter for each thing it tries, capital where it is as it should
// be. F fill, S sum, C code that is copied over code which has run, E the local APIC as a source, R the firmware's place as a
// target, W an address that wraps, I the interrupt. Ends with a power-off.
#define DATA 0x200000
#define DMA 0x2100

#include "judged_guest.inc"

        .macro  reg offset, value
        movl    \value, %eax
        movw    $(DMA + \offset), %dx
        outl    %eax, %dx
        .endm
        .macro  dma command, source, target, length
        reg     0x08, \source
        reg     0x10, \target
        reg     0x18, \length
        reg     0x00, \command
        .endm

        .code32
        judged_start

        reg     0x1c, $0x5a
        dma     $3, $0, $DATA, $1000             // fill
        call    finish
        movl    $DATA, %edi
        movl    $1000, %ecx
        movb    $0x5a, %al
        repe scasb
        jne     1f
        cmpb    $0, (%edi)
1:      movb    $'F', %cl
        call    judge

        dma     $2, $DATA, $0, $1000             // sum
        call    finish
        movw    $(DMA + 0x1c), %dx
        inl     %dx, %eax
        cmpl    $(1000 * 0x5a), %eax
        movb    $'S', %cl
        call    judge

        movl    $200, %ebx                       // hot, if the engine knows such a thing
1:      call    victim
        decl    %ebx
        jnz     1b
        dma     $1, $replacement, $victim, $(replacement_end - replacement)
        call    finish
        call    victim
        cmpl    $2, %eax
        movb    $'C', %cl
        call    judge

        dma     $2, $0xfee00000, $0, $4
        call    finish
        cmpl    $4, %eax
        movb    $'E', %cl
        call    judge

        dma     $3, $0, $0xfffffff0, $16
        call    finish
        cmpl    $4, %eax
        movb    $'R', %cl
        call    judge

        reg     0x0c, $0xffffffff
        dma     $2, $0xfffffff8, $0, $16
        call    finish
        cmpl    $4, %eax
        movb    $'W', %cl
        call    judge
        reg     0x0c, $0

        movl    $handler, %eax                   // interrupt line 11, by the second 8259 at vector 0x2b
        andl    $0xffff, %eax
        orl     $0x80000, %eax
        movl    %eax, IDT + 8 * 0x2b
        movl    $handler, %eax
        andl    $0xffff0000, %eax
        orl     $0x8e00, %eax
        movl    %eax, IDT + 8 * 0x2b + 4
        lidt    idtr
        .irp    word, 0x1120, 0x11a0, 0x2021, 0x28a1, 0x0421, 0x02a1, 0x0121, 0x01a1, 0xfb21, 0xf7a1
        movw    $(\word & 0xff), %dx
        movb    $(\word >> 8), %al
        outb    %al, %dx
        .endr
        xorl    %ebx, %ebx
        dma     $2, $DATA, $0, $5000
        sti
1:      hlt
        testl   %ebx, %ebx
        jz      1b
        cli
        cmpl    $1, %ebx
        movb    $'I', %cl
        call    judge
        movb    $'\n', %al
        call    put
        movw    $0x604, %dx
        movw    $0x3400, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b

handler:
        incl    %ebx
        pushl   %eax
        pushl   %edx
        reg     0x04, $6
        movb    $0x20, %al
        outb    %al, $0xa0
        outb    %al, $0x20
        popl    %edx
        popl    %eax
        iret

        // Waits until it is not busy; EAX: how it ended, which is then forgotten.
finish: movw    $(DMA + 4), %dx
1:      inl     %dx, %eax
        testl   $1, %eax
        jnz     1b
        outl    %eax, %dx
        ret

        .balign 64
victim: movl    $1, %eax
        ret
        .balign 64
replacement:
        movl    $2, %eax
        ret
replacement_end:
        .balign 64
