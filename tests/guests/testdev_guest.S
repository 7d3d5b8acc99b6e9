// A guest of --test-device: a Multiboot 1 kernel that looks at each part of the device and prints what it finds, one letter for each:
// capital where it is as it should be. Ends with a power-off. QEMU prints the same (tests/tools/qemu_guest.sh).
#define WINDOW 0xff000000

#include "judged_guest.inc"

        .code32
        judged_start

        movw    $0xe0, %dx                       // the echo
        movl    $0x44332211, %eax
        outl    %eax, %dx
        movw    $0xe1, %dx
        inb     %dx, %al
        cmpb    $0x22, %al
        movb    $'B', %cl
        call    judge
        movw    $0xe2, %dx
        inw     %dx, %ax
        cmpw    $0x4433, %ax
        movb    $'W', %cl
        call    judge
        movw    $0xe0, %dx
        inl     %dx, %eax
        cmpl    $0x44332211, %eax
        movb    $'D', %cl
        call    judge

        movl    $WINDOW, %edi                    // the window, from end to end
        movl    $0x4000, %ecx
1:      movl    %ecx, (%edi)
        addl    $4, %edi
        loop    1b
        xorl    %edx, %edx
        movl    $WINDOW, %esi
        movl    $0x4000, %ecx
1:      lodsl
        cmpl    %ecx, %eax
        je      2f
        incl    %edx
2:      loop    1b
        testl   %edx, %edx
        movb    $'M', %cl
        call    judge

        movl    $handler, %eax                   // interrupt line 5, by the first 8259 at vector 0x25
        andl    $0xffff, %eax
        orl     $0x80000, %eax
        movl    %eax, IDT + 8 * 0x25
        movl    $handler, %eax
        andl    $0xffff0000, %eax
        orl     $0x8e00, %eax
        movl    %eax, IDT + 8 * 0x25 + 4
        lidt    idtr
        movb    $0x11, %al
        outb    %al, $0x20
        movb    $0x20, %al
        outb    %al, $0x21
        movb    $4, %al
        outb    %al, $0x21
        movb    $1, %al
        outb    %al, $0x21
        movb    $0xdf, %al
        outb    %al, $0x21
        xorl    %ebx, %ebx
        sti
        movw    $0x2005, %dx
        movb    $1, %al
        outb    %al, %dx
        movl    $100000, %ecx                    // an engine may take its time
1:      testl   %ebx, %ebx
        loope   1b
        movb    $0, %al
        outb    %al, %dx
        cli
        cmpl    $1, %ebx
        movb    $'I', %cl
        call    judge
        movb    $'\n', %al
        call    put
        movw    $0x604, %dx                      // power-off, as the chipset of either machine knows it
        movw    $0x2000, %ax
        outw    %ax, %dx
        movw    $0x3400, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b

handler:
        incl    %ebx
        pushl   %eax
        movb    $0x20, %al
        outb    %al, $0x20
        popl    %eax
        iret
