// A guest with an NVMe disk and a virtio disk, both 256 KiB or more: a Multiboot 1 kernel with drivers of its own that prints a letter for
// each thing it tries, capital where it is as it should be. Q the controller's queues, R a read of its block 3 (all 'N'), W a write of
// block 5 that is read again, Z zeroes over block 6, E an error beyond the end; the same of virtio: q, r (all 'V'), w, z, e as
// V, T, X, Y, U. M: block 3 of both has been copied to block 130 of the other. Ends with a power-off.
#define NVME 0xc0000000
#define VIRTIO 0xc0010000
#define COMMON VIRTIO
#define NOTIFY (VIRTIO + 0x3000)
#define QUEUES 0x300000                          // of NVMe: submission and completion, 4 KiB each, by number
#define RING 0x310000                            // of virtio: descriptors, +0x1000 driver's, +0x2000 device's
#define HEADER 0x320000
#define STATUS 0x320010
#define BUFFER 0x330000

#include "judged_guest.inc"

        .macro  pci slot, register, value
        movl    $(0x80000000 | \slot << 11 | \register), %eax
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movl    $\value, %eax
        movw    $0xcfc, %dx
        outl    %eax, %dx
        .endm
        .macro  nvme queue, opcode, first, second
        movl    $\opcode, command
        movl    \first, %eax
        movl    %eax, command + 40
        movl    \second, command + 44
        movl    $\queue, %ebx
        call    submit
        .endm
        .macro  judged letter
        movb    $\letter, %cl
        call    judge
        .endm
        // Reads or writes blocks of the disks by BUFFER; ZF: it went well.
        .macro  nvme_io opcode, block
        movl    $1, command + 4
        movl    $BUFFER, command + 24
        nvme    1, \opcode, $\block, $0
        .endm
        .macro  virtio_io type, block, length
        movl    $\type, HEADER
        movl    $0, HEADER + 4
        movl    $\block, HEADER + 8
        movl    $0, HEADER + 12
        movl    $\length, %ecx
        call    request
        .endm
        // ZF: BUFFER has 512 times this byte.
        .macro  expect byte
        movl    $BUFFER, %edi
        movl    $512, %ecx
        movb    $\byte, %al
        repe scasb
        .endm
        .macro  fill byte
        movl    $BUFFER, %edi
        movl    $512, %ecx
        movb    $\byte, %al
        rep stosb
        .endm
        .macro  put64 address, value
        movl    $\value, \address
        movl    $0, \address + 4
        .endm

        .code32
        judged_start
        pci     4, 0x10, NVME
        pci     4, 0x14, 0
        pci     4, 0x04, 6
        pci     20, 0x10, VIRTIO
        pci     20, 0x14, 0
        pci     20, 0x04, 6

        // NVMe: the queues of administration, then one of I/O.
        movl    $0x00070007, NVME + 0x24
        put64   (NVME + 0x28), QUEUES
        put64   (NVME + 0x30), (QUEUES + 0x1000)
        movl    $0x00460001, NVME + 0x14
1:      testl   $1, NVME + 0x1c
        jz      1b
        movl    $(QUEUES + 0x3000), command + 24
        nvme    0, 5, $0x00070001, $1
        jne     2f
        movl    $(QUEUES + 0x2000), command + 24
        nvme    0, 1, $0x00070001, $0x00010001
2:      judged  'Q'

        nvme_io 2, 3
        jne     2f
        expect  'N'
2:      judged  'R'
        fill    'w'
        nvme_io 1, 5
        jne     2f
        fill    0
        nvme_io 2, 5
        jne     2f
        expect  'w'
2:      judged  'W'
        nvme_io 8, 5
        fill    1
        nvme_io 2, 5
        jne     2f
        expect  0
2:      judged  'Z'
        nvme_io 2, 0x7fffffff
        cmpl    $0x4080, %eax                    // LBA Out of Range, and Do Not Retry
        judged  'E'

        // Virtio: features, one split queue of eight.
        movb    $0, COMMON + 20
        movb    $1, COMMON + 20
        movb    $3, COMMON + 20
        movl    $0, COMMON + 8
        movl    $(1 << 14), COMMON + 12          // write zeroes
        movl    $1, COMMON + 8
        movl    $1, COMMON + 12                  // version 1
        movb    $11, COMMON + 20
        testb   $8, COMMON + 20
        jz      2f
        movw    $0, COMMON + 22
        movw    $8, COMMON + 24
        put64   (COMMON + 32), RING
        put64   (COMMON + 40), (RING + 0x1000)
        put64   (COMMON + 48), (RING + 0x2000)
        movw    $1, COMMON + 28
        movb    $15, COMMON + 20
        cmpb    $15, COMMON + 20
2:      judged  'V'

        virtio_io 0, 3, 512
        jne     2f
        expect  'V'
2:      judged  'T'
        fill    'x'
        virtio_io 1, 5, 512
        jne     2f
        fill    0
        virtio_io 0, 5, 512
        jne     2f
        expect  'x'
2:      judged  'X'
        put64   BUFFER, 5                        // from block 5 on,
        put64   (BUFFER + 8), 1                  // one of them
        virtio_io 13, 0, 16
        jne     2f
        fill    1
        virtio_io 0, 5, 512
        jne     2f
        expect  0
2:      judged  'Y'
        virtio_io 0, 0x7fffffff, 512
        cmpb    $1, STATUS
        judged  'U'

        // Each to the other, at a place of another piece.
        nvme_io 2, 3
        virtio_io 1, 130, 512
        jne     2f
        virtio_io 0, 3, 512
        jne     2f
        nvme_io 1, 130
        jne     2f
        nvme_io 0, 0                             // flush
2:      judged  'M'
        movb    $'\n', %al
        call    put
        movw    $0x604, %dx
        movw    $0x3400, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b

        // Submits `command` to queue EBX and waits; EAX: its status, ZF: 0.
submit: movl    %ebx, %edi
        shll    $13, %edi
        addl    $QUEUES, %edi
        movl    tails(, %ebx, 4), %eax
        movl    %eax, %ecx
        shll    $6, %ecx
        pushl   %edi
        addl    %ecx, %edi
        movl    $command, %esi
        movl    $16, %ecx
        rep movsl
        popl    %edi
        movl    %eax, %ecx
        incl    %ecx
        andl    $7, %ecx
        movl    %ecx, tails(, %ebx, 4)
        movl    %ecx, NVME + 0x1000(, %ebx, 8)
        addl    $0x1000, %edi
        shll    $4, %eax
        addl    %eax, %edi                       // the completion is where the command was
1:      movl    12(%edi), %eax
        shrl    $16, %eax
        xorl    phases(, %ebx, 4), %eax
        testl   $1, %eax
        jz      1b
        movl    %ecx, NVME + 0x1004(, %ebx, 8)
        testl   %ecx, %ecx
        jnz     2f
        xorl    $1, phases(, %ebx, 4)
2:      movl    12(%edi), %eax
        shrl    $17, %eax
        ret

        // A request of HEADER, ECX bytes of BUFFER, which the device writes if it is a read, and STATUS, and waits; ZF: it went well.
request:
        put64   RING, HEADER
        movl    $16, RING + 8
        movl    $0x00010001, RING + 12           // next is 1
        put64   (RING + 16), BUFFER
        movl    %ecx, RING + 24
        movl    $0x00020001, RING + 28
        cmpl    $0, HEADER
        jne     1f
        orl     $2, RING + 28
1:
        put64   (RING + 32), STATUS
        movl    $1, RING + 40
        movl    $0x00000002, RING + 44
        movb    $0xff, STATUS
        movzwl  RING + 0x1002, %eax              // all of them begin at descriptor 0
        incl    %eax
        movw    %ax, RING + 0x1002
        movw    $0, NOTIFY
1:      cmpw    %ax, RING + 0x2002
        jne     1b
        cmpb    $0, STATUS
        ret

        .balign 64
command:
        .fill   16, 4, 0
tails:  .long   0, 0
phases: .long   0, 0
