#!/usr/bin/python3
"""Firmware and bare programs that are not ours: SeaBIOS from the reset vector on, through all that it sets up to its search
for something to boot, recorded, replayed, and recorded again without translation; and memtest86+ over a whole pass of its tests.
firmware_test.py DEJAVM [MEMTEST IMAGE]..."""
import hashlib, os, re, subprocess, sys, tempfile

dejavm = os.path.abspath(sys.argv[1])
memtests = [os.path.abspath(a) for a in sys.argv[2:]]
SEABIOS = ["/usr/share/seabios/bios.bin", "/usr/share/seabios/bios-256k.bin"]


def run(*arguments, status=0):
    r = subprocess.run([dejavm, *arguments], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    assert r.returncode == status, (r.returncode, arguments, r.stdout[-2000:], r.stderr[-2000:])
    return r.stdout, r.stderr


def sum_of(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


def seabios(image):
    boot = ["--firmware", image, "--memory", "64M", "--firmware-log", "--max-instructions", "70000000"]
    said = run("record", "-o", "a.dvt", "--force", *boot, status=4)[0]
    # In this order: what it finds, and what it does without a disk.
    lines = ["SeaBIOS (version", "Found QEMU fw_cfg", "QEMU fw_cfg DMA interface supported", "qemu/e820: addr 0x0000000000000000 len 0x0000000004000000 [RAM]",
             "Relocating init", "Found 1 PCI devices (max PCI bus is 00)", "Found 1 cpu(s) max supported 1 cpu(s)", "CPU Mhz=1000",
             "Found 1 serial ports", "PS2 keyboard initialized", "All threads complete.",
             "3: 0000000000100000 - 0000000003fff000 = 1 RAM", "enter handle_19:", "enter handle_18:"]
    if image.endswith("256k.bin"): lines.insert(lines.index("CPU Mhz=1000"), "table(50434146)=")  # the small one reads no ACPI tables
    at = 0
    for line in lines:
        found = said.find(line, at)
        assert found >= 0, (line, said[-3000:])
        at = found
    assert "Found 4 cpu(s) max supported 4 cpu(s)" in run("run", "--vcpus", "4", *boot, status=4)[0], image
    run("record", "-o", "b.dvt", "--force", "--console", "none", "--translate", "off", *boot, status=4)
    assert sum_of("a.dvt") == sum_of("b.dvt"), image
    assert "replay: identical" in "".join(run("replay", "a.dvt")), image
    print(f"{image}: to its search for something to boot; replayed, and the same trace without translation")


def memtest(image):
    said = run("run", "--kernel", image, "--memory", "16M", "--append", "console=ttyS0,115200", "--max-instructions", "26G", status=4)[0]
    tests = set(int(n) for n in re.findall(r"#(\d+) +\[", said))
    assert tests >= {6, 9, 10}, tests  # its screen comes over the line every two seconds; the last waits, by the clock
    assert set(re.findall(r"Errors: (\d+)", said)) == {"0"}, said[-2000:]
    print(f"{image}: tests {sorted(tests)}, no errors")


with tempfile.TemporaryDirectory() as work:
    images = [i for i in SEABIOS if os.path.exists(i)]
    if not memtests: images = images[-1:]  # the larger one, quickly
    os.chdir(work)
    for i in images: seabios(i)
    for i in memtests: memtest(i)
    if not images + memtests:
        print("skipped: package seabios is not installed")
        sys.exit(77)
