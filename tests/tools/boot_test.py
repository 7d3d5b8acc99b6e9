#!/usr/bin/python3
"""SeaBIOS boots from disks of ours, NVMe and virtio, in the order of the command line: a boot sector reads its disk's second sector by
INT 13H, prints what is there by INT 10H, resets the machine, and the second time powers it off. Recorded, replayed without the
images, devices alone, gone on from a snapshot. With a qcow2 image too, where qemu-img and qemu-nbd are installed.
Usage: boot_test.py DEJAVM     status 77 without SeaBIOS"""
import os, re, shutil, subprocess, sys, tempfile

dejavm = os.path.abspath(sys.argv[1])

SOURCE = r"""
.code16
.globl _start
_start:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %sp
    cld
    mov $packet, %si
    mov $0x42, %ah
    int $0x13
    jc failed
    mov $0x7e00, %si
print:
    lodsb
    test %al, %al
    jz said
    mov $0x0e, %ah
    mov $7, %bx
    int $0x10
    jmp print
said:
    sti
    hlt
    hlt
    mov $0x70, %al
    out %al, $0x70
    in $0x71, %al
    test %al, %al
    jnz power_off
    mov $0x70, %al
    out %al, $0x70
    mov $1, %al
    out %al, $0x71
    mov $0xcf9, %dx
    mov $6, %al
    out %al, %dx
    jmp .
power_off:
    mov $0x604, %dx
    mov $0x3400, %ax
    out %ax, %dx
failed:
    cli
    hlt
packet: .byte 16, 0, 1, 0, 0x00, 0x7e, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0
.org 510
.byte 0x55, 0xaa
"""


def run(*arguments, status=0):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == status, (arguments, done.returncode, done.stdout[-3000:])
    return done.stdout


def make_images():
    with open("boot.S", "w") as f:
        f.write(SOURCE)
    run("as", "--32", "-o", "boot.o", "boot.S")
    run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", "boot.bin", "boot.o")
    sector = open("boot.bin", "rb").read()
    assert len(sector) == 512, len(sector)
    for name in "A", "B":
        with open(name, "wb") as f:
            f.write(sector + f"here is {name}.".encode().ljust(512, b"\0"))
            f.truncate(4 << 20)


def boots(name, images, *more):
    """Records it, and checks what was booted, twice, and all ways to see it again."""
    shutil.rmtree("run", ignore_errors=True)
    os.mkdir("run")
    out = run(dejavm, "record", "-o", "run/t.dvt", "--console", "file:run/out", *images, *more)
    said = open("run/out", errors="replace").read()
    assert len(re.findall(f"here is {name}\\.", said)) == 2 and said.count("here is ") == 2, (name, said[-2000:])
    assert said.count("Booting from Hard Disk...") == 2, said[-2000:]
    assert "powered off" in out, out
    end = re.findall(r"digest ([0-9a-f]{32})", out)[-1]
    paths = [path for path in (word.split(",")[0] for word in (*images, *more)) if path in os.listdir()]
    for path in paths:
        os.rename(path, path + ".away")
    assert end in run(dejavm, "replay", "run/t.dvt")
    run(dejavm, "replay", "--devices-only", "run/t.dvt")
    for path in paths:
        os.rename(path + ".away", path)
    instructions = int(re.findall(r"(\d+) instructions", out)[-1])
    run(dejavm, "run", "--snapshot-at", f"{instructions // 3}:run/s.dvs", "--console", "none", *images, *more)
    assert end in run(dejavm, "restore", "--digest", "--console", "none", "run/s.dvs"), "from the snapshot it ends differently"


if not os.path.exists("/usr/share/seabios/bios-256k.bin"):
    print("skipped: package seabios is not installed")
    sys.exit(77)
with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    make_images()
    boots("A", ["A", "B"])
    boots("B", ["B,if=virtio", "A"])
    boots("A", ["A,if=virtio,ro"], "--memory", "64M", "--rng")
    boots("A", [], "--firmware", "/usr/share/seabios/bios-256k.bin", "--disk", "A,block=512")
    out = run(dejavm, "run", "--firmware", "/usr/share/seabios/bios-256k.bin", "--memory", "5G", "--max-instructions", "200M", "--firmware-log", "A", status=0)
    assert "here is A." in out and "0000000100000000 - 0000000180000000 = 1 RAM" in out, out[-3000:]
    print("two kinds of disks booted by SeaBIOS, reset and powered off; replayed, and gone on from snapshots")
    if shutil.which("qemu-img") and shutil.which("qemu-nbd"):
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "A", "A.qcow2")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "A.qcow2", "-F", "qcow2", "over.qcow2")
        before = open("over.qcow2", "rb").read()
        boots("A", ["over.qcow2"])
        assert open("over.qcow2", "rb").read() == before, "the image has changed"
        socket = os.path.join(work, "socket")
        server = subprocess.Popen(["qemu-nbd", "--read-only", "--persistent", "--shared=0", "-f", "raw", "--socket", socket, "B"])
        while not os.path.exists(socket):
            assert server.poll() is None
        boots("B", [f"nbd+unix:///?socket={socket}"])
        server.terminate()
        server.wait()
        out = run(dejavm, "run", f"nbd+unix:///?socket={socket}", status=1)
        assert "nbd" in out and socket in out, out
        print("so did a qcow2 image over another, and one of an NBD server")
