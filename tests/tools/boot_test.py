#!/usr/bin/python3
"""SeaBIOS boots from disks of ours, NVMe and virtio, in the order of the command line: a boot sector reads its disk's second sector by
INT 13H, prints what is there by INT 10H, resets the machine, and the second time powers it off. Recorded, replayed without the
images, devices alone, gone on from a snapshot. With a qcow2 image too, where qemu-img and qemu-nbd are installed.
Usage: boot_test.py DEJAVM     status 77 without SeaBIOS"""
import os, re, shutil, subprocess, sys, tempfile

dejavm = os.path.abspath(sys.argv[1])

# What every boot sector of ours begins and ends with.
BEGIN = r"""
.code16
.globl _start
_start:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %sp
"""
END = r"""
.org 510
.byte 0x55, 0xaa
"""

SOURCE = r"""
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
"""

# Reads a sector of each 256 KiB of the disk, one after the other.
READER = r"""
next:
    mov $packet, %si
    mov $0x42, %ah
    int $0x13
    jc failed
    mov $0x0e2e, %ax
    mov $7, %bx
    int $0x10
    addl $512, lba
    jmp next
failed:
    mov $0x0e21, %ax
    int $0x10
    cli
    hlt
packet: .byte 16, 0, 1, 0, 0x00, 0x7e, 0, 0
lba: .byte 1, 0, 0, 0, 0, 0, 0, 0
"""

# Adds one to the first byte of the disk's third sector, and powers off.
WRITER = r"""
    mov $packet, %si
    mov $0x42, %ah
    int $0x13
    incb 0x7e00
    mov $packet, %si
    mov $0x4300, %ax
    int $0x13
    mov $0x604, %dx
    mov $0x3400, %ax
    out %ax, %dx
packet: .byte 16, 0, 1, 0, 0x00, 0x7e, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0
"""


def run(*arguments, status=0):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == status, (arguments, done.returncode, done.stdout[-3000:])
    return done.stdout


def assemble(source):
    with open("boot.S", "w") as f:
        f.write(BEGIN + source + END)
    run("as", "--32", "-o", "boot.o", "boot.S")
    run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", "boot.bin", "boot.o")
    sector = open("boot.bin", "rb").read()
    assert len(sector) == 512, len(sector)
    return sector


def make_images():
    sector = assemble(SOURCE)
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
    requests = [line.split() for line in run(dejavm, "trace", "dump", "--requests", "run/t.dvt").splitlines() if " block " in line]
    blocks = [line[4] for line in requests if line[1] == "disk0"]
    assert blocks.count("0") == 2 and blocks.count("1") == 2 and all(line[2] == "read" for line in requests), requests
    instructions = int(re.findall(r"(\d+) instructions", out)[-1])
    run(dejavm, "run", "--snapshot-at", f"{instructions // 3}:run/s.dvs", "--console", "none", *images, *more)
    assert end in run(dejavm, "restore", "--digest", "--console", "none", "run/s.dvs"), "from the snapshot it ends differently"


def serve(image, socket):
    server = subprocess.Popen(["qemu-nbd", "--read-only", "--persistent", "--shared=0", "-f", "raw", "--socket", socket, image])
    while not os.path.exists(socket):
        assert server.poll() is None
    return server


def loses(image, lose, why):
    """A recording whose image goes away in its midst ends there, with the reason, and is whole."""
    shutil.rmtree("run", ignore_errors=True)
    os.mkdir("run")
    record = subprocess.Popen([dejavm, "record", "-o", "run/t.dvt", "--memory", "64M", "--console", "file:run/out", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (os.path.exists("run/out") and "Booting from Hard Disk...\r\n..." in open("run/out", newline="").read()):
        assert record.poll() is None, record.stdout.read()
    lose()
    out, _ = record.communicate(timeout=300)
    assert record.returncode == 1 and "disk0, " + image + ": cannot be read any more: " in out and why in out, out
    assert "its trace is whole up to there" in out, out
    assert "!" not in open("run/out").read().split("Booting from")[1], "the guest has seen it"
    run(dejavm, "replay", "run/t.dvt")
    run(dejavm, "replay", "--devices-only", "run/t.dvt")


def commits():
    """What the guest writes stays in the image only if asked, and then as a whole."""
    size = (1 << 20) + 100  # no whole blocks: what is beyond them stays
    with open("D", "wb") as f:
        f.write(assemble(WRITER))
        f.truncate(size - 4)
        f.seek(0, 2)
        f.write(b"tail")
    os.chmod("D", 0o640)
    os.symlink("D", "link")
    expected = bytearray(open("D", "rb").read())
    run(dejavm, "record", "-o", "w.dvt", "--console", "none", "D")
    assert open("D", "rb").read() == expected
    for count in 1, 2:
        run(dejavm, "run", "--console", "none", "link,write=commit,if=" + ("nvme" if count == 1 else "virtio"))
        expected[1024] = count
        assert open("D", "rb").read() == expected and os.stat("D").st_mode & 0o777 == 0o640 and os.path.islink("link")
    out = run(dejavm, "disk", "commit", "w.dvt", "D", status=1)
    assert "the disk started from one with" in out, out
    expected[1024] = 0
    open("E", "wb").write(expected)
    run(dejavm, "disk", "commit", "--at", "begin", "w.dvt", "E")
    assert open("E", "rb").read() == expected
    run(dejavm, "disk", "commit", "w.dvt", "E")
    expected[1024] = 1
    assert open("E", "rb").read() == expected
    refused = [("D,ro,write=commit", "exclude each other"), ("nbd+unix:///?socket=/none,write=commit", "only raw files"), ("/dev/null,write=commit", "null")]
    if shutil.which("qemu-img"):
        run("qemu-img", "create", "-q", "-f", "qcow2", "Q", "1M")
        refused.append(("Q,write=commit", "its format is qcow2"))
    for disk, why in refused:
        out = run(dejavm, "run", disk, status=1)
        assert why in out, out
    # Two at once; replaced, or written, or cut off in the midst.
    begin = open("D", "rb").read()
    first = subprocess.Popen([dejavm, "run", "--console", "none", "--control", "c", "--paused", "D,write=commit"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not os.path.exists("c"):
        assert first.poll() is None
    assert "another dejavm" in run(dejavm, "run", "D,write=commit", status=1)
    os.rename("D", "old")
    open("D", "wb").write(begin)
    run(dejavm, "ctl", "c", "resume")
    out, _ = first.communicate(timeout=60)
    assert first.returncode == 1 and "is as it was before" in out and "replaced" in out, out
    assert open("D", "rb").read() == begin and open("old", "rb").read() == begin
    assert not [name for name in os.listdir() if "partial" in name], os.listdir()


def boots_an_iso():
    """A hybrid ISO image, as installers have, with GRUB: it is a disk, too."""
    os.makedirs("iso/boot/grub")
    with open("iso/boot/grub/grub.cfg", "w") as f:
        f.write("serial --unit=0\nterminal_output serial\nsearch --set=root --file /boot/grub/here\ncat /boot/grub/here\nhalt\n")
    with open("iso/boot/grub/here", "w") as f:
        f.write("here is the ISO.\n")
    run("grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", "image.iso", "iso")
    for kind in "nvme", "virtio":
        out = run(dejavm, "run", "--memory", "64M", "image.iso,ro,if=" + kind)
        assert "here is the ISO." in out and "powered off" in out, out[-2000:]


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
    commits()
    if all(shutil.which(tool) for tool in ("grub-mkrescue", "xorriso", "mformat")) and os.path.isdir("/usr/lib/grub/i386-pc"):
        boots_an_iso()
        print("GRUB booted from a hybrid ISO image")
    print("two kinds of disks booted by SeaBIOS, reset and powered off; replayed, and gone on from snapshots")
    if shutil.which("qemu-img") and shutil.which("qemu-nbd"):
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "A", "A.qcow2")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "A.qcow2", "-F", "qcow2", "over.qcow2")
        before = open("over.qcow2", "rb").read()
        boots("A", ["over.qcow2"])
        assert open("over.qcow2", "rb").read() == before, "the image has changed"
        socket = os.path.join(work, "socket")
        server = serve("B", socket)
        boots("B", [f"nbd+unix:///?socket={socket}"])
        server.terminate()
        server.wait()
        out = run(dejavm, "run", f"nbd+unix:///?socket={socket}", status=1)
        assert "nbd" in out and socket in out, out
        print("so did a qcow2 image over another, and one of an NBD server")
        with open("C", "wb") as f:
            f.write(assemble(READER))
            f.truncate(64 << 30)
        server = serve("C", socket)
        loses(f"nbd+unix:///?socket={socket}", server.kill, "server")
        server.wait()
        loses("C", lambda: os.truncate("C", 1 << 20), "it is shorter than it was")
        print("recordings whose disk was lost end whole")
