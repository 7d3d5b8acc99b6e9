// A guest of --cpu dejavm-v2 that always has something in the upper halves of all 16 YMM registers; its snapshot is golden-snapshots/machines/avx-middle.
// A Multiboot 1 kernel that rotates the registers' contents, folds them into a sum, prints the sum and powers the machine off. Built as tests/tools/avx_guest.elf; to make the snapshot again:
//   dejavm run --cpu dejavm-v2 --memory 4M --kernel avx_guest.elf --snapshot-at 1000000:avx-middle.dvs && dejavm snapshot pack avx-middle.dvs -o avx-middle.dvs.zst
#define TABLES 0x110000          /* PML4, PDPT, page directory */
#define STACK_TOP 0x120000
#define ROUNDS 100000

        .text
        .balign 4
        .long 0x1badb002, 0, -0x1badb002         // Multiboot: magic, flags, checksum
        .balign 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:   .short . - gdt - 1
        .long gdt

        .code32
        .globl _start
_start: movl    $STACK_TOP, %esp
        movl    $TABLES + 0x1003, TABLES         // the first 2 MiB mapped onto themselves
        movl    $TABLES + 0x2003, TABLES + 0x1000
        movl    $0x83, TABLES + 0x2000
        movl    $TABLES, %eax
        movl    %eax, %cr3
        movl    $0x40620, %eax                   // OSXSAVE, OSXMMEXCPT, OSFXSR, PAE
        movl    %eax, %cr4
        xorl    %ecx, %ecx                       // XCR0: x87, SSE, AVX
        xorl    %edx, %edx
        movl    $7, %eax
        xsetbv
        movl    $0xc0000080, %ecx                // EFER: LME
        movl    $0x100, %eax
        wrmsr
        movl    $0x80000033, %eax                // PG, NE, ET, MP, PE
        movl    %eax, %cr0
        lgdt    gdtr
        ljmp    $8, $1f
        .code64
1:      movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss

        // Register n: 8 words n * 0x01010101 + its number in the register * 0x9e3779b9.
        vpxor   %ymm0, %ymm0, %ymm0
        vpcmpeqd %ymm15, %ymm15, %ymm15
        vpsrld  $31, %ymm15, %ymm15
        movl    $0x01010101, %eax
        vmovd   %eax, %xmm14
        vpbroadcastd %xmm14, %ymm14
        movl    $steps, %eax
        vmovdqu (%rax), %ymm0
        .irp    n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
        vpaddd  %ymm14, %ymm0, %ymm\n
        vpaddd  %ymm15, %ymm14, %ymm14
        .endr
        movl    $ROUNDS, %ecx
2:      vpaddd  %ymm0, %ymm13, %ymm15
        vpermq  $0x39, %ymm15, %ymm15
        vpxor   %ymm14, %ymm15, %ymm14
        .irp    n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
        vpaddd  %ymm14, %ymm\n, %ymm\n
        .endr
        vmovdqa %ymm0, %ymm15
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
        vpsrld  $3, %ymm\n, %ymm\n
        vpxor   %ymm14, %ymm\n, %ymm\n
        .endr
        vpaddd  %ymm15, %ymm13, %ymm13
        decl    %ecx
        jnz     2b

        // The registers' sum, folded to 32 bits, in hexadecimal on COM1.
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15
        vpaddd  %ymm\n, %ymm14, %ymm14
        .endr
        vextracti128 $1, %ymm14, %xmm0
        vpaddd  %xmm0, %xmm14, %xmm0
        vpshufd $0x4e, %xmm0, %xmm1
        vpaddd  %xmm1, %xmm0, %xmm0
        vpshufd $0xb1, %xmm0, %xmm1
        vpaddd  %xmm1, %xmm0, %xmm0
        vmovd   %xmm0, %ebx
        movl    $8, %ecx
3:      roll    $4, %ebx
        movl    %ebx, %eax
        andl    $15, %eax
        cmpl    $10, %eax
        jb      4f
        addl    $'a' - '0' - 10, %eax
4:      addl    $'0', %eax
        call    put
        loop    3b
        movl    $'\n', %eax
        call    put
        movl    $0x604, %edx                     // PM1a_CNT: SLP_TYP 5, SLP_EN
        movl    $0x3400, %eax
        outw    %ax, %dx
5:      hlt
        jmp     5b

put:    pushq   %rax
        movl    $0x3fd, %edx                     // COM1's line status: until it takes a byte
6:      inb     %dx, %al
        testb   $0x20, %al
        jz      6b
        popq    %rax
        movl    $0x3f8, %edx
        outb    %al, %dx
        ret

steps:  .long   0, 0x9e3779b9, 0x3c6ef372, 0xdaa66d2b, 0x78dde6e4, 0x1715609d, 0xb54cda56, 0x5384540f
