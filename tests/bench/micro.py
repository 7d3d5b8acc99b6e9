#!/usr/bin/env python3
"""Small loops in a Linux guest, under dejavm and under QEMU in turn: ns for each operation, by the host's clock, and the ratio.
Usage: micro.py DEJAVM GUEST_FOLDER PROGRAM [REPETITIONS (3)]"""
import os, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from user_guest import write_cpio

dejavm, guest, program = sys.argv[1:4]
repetitions = int(sys.argv[4]) if len(sys.argv) > 4 else 3
folder = tempfile.TemporaryDirectory()
work = folder.name
initrd = work + "/initrd"
write_cpio(initrd, [("dev", 0o40755, b""), ("init", 0o100755, open(program, "rb").read())])
kernel = os.path.join(guest, "vmlinuz")
engines = {
    "QEMU": ["qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-display", "none", "-monitor", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd],
    "dejavm": [dejavm, "run", "--memory", "256M", "--kernel", kernel, "--initrd", initrd],
    "recorded": [dejavm, "record", "--force", "-o", work + "/t.dvt", "--memory", "256M", "--kernel", kernel, "--initrd", initrd],
}


def measure(command):
    """{loop: ns for each operation}"""
    out, begun, n = {}, 0.0, 1
    p = subprocess.Popen(command + ["--append" if command[0] == dejavm else "-append", "console=ttyS0 quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in p.stdout:
        now, words = time.monotonic(), line.decode(errors="replace").split()
        if words[:2] == ["micro", "begin"]:
            begun, n = now, int(words[-1])
        elif words[:2] == ["micro", "end"]:
            out[" ".join(words[2:])] = (now - begun) * 1e9 / n
    if p.wait() != 0 or not out:
        sys.exit("micro: %s failed with status %d" % (command[0], p.returncode))
    return out


best = {name: {} for name in engines}
for _ in range(repetitions):
    for name, command in engines.items():
        for loop, ns in measure(command).items():
            best[name][loop] = min(ns, best[name].get(loop, ns))
print("%-16s %s  QEMU / dejavm" % ("ns per operation", "".join("%12s" % name for name in engines)))
for loop in best["QEMU"]:
    print("%-16s %s  %13.2f" % (loop, "".join("%12.2f" % best[name][loop] for name in engines), best["QEMU"][loop] / best["dejavm"][loop]))
