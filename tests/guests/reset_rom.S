// A firmware of 64 KiB that resets the machine once, at work with its timers, and switches it off the second time. Prints "1", then "2".
        .code16
        .org    0
begin:
        movb    $0x34, %al                       // channel 0 of the PIT, rate generator
        outb    %al, $0x43
        xorb    %al, %al
        outb    %al, $0x40
        movb    $0x10, %al
        outb    %al, $0x40
        movb    $0x70, %al                       // the clock's memory outlives a reset
        outb    %al, $0x70
        inb     $0x71, %al
        incb    %al
        movb    %al, %bl
        outb    %al, $0x71
        addb    $'0', %al
        movw    $0x3f8, %dx
        outb    %al, %dx
        movw    $1000, %cx
1:      inb     $0x40, %al
        loop    1b
        cmpb    $2, %bl
        je      2f
        movw    $0xcf9, %dx
        movb    $6, %al
        outb    %al, %dx
        jmp     .
2:      movw    $0x604, %dx
        movw    $0x3400, %ax
        outw    %ax, %dx
        jmp     .
        .org    0xfff0
        ljmp    $0xf000, $begin
        .org    0xffff
        .byte   0
