#!/usr/bin/env python3
"""A Debian boot saved at 30 moments (random ones, and ones inside interrupt handlers and string instructions), each restored by a
process of its own with nothing but the file, and replayed from every keyframe of its recording: always the same end.
Takes some minutes. Usage: moments_test.py DEJAVM GUEST_DIR [SEED]"""
import os, random, re, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor

dejavm, guest = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
machine = ["--kernel", guest + "/vmlinuz", "--initrd", guest + "/initrd", "--append", "console=ttyS0", "--console", "none"]


def run(*arguments, cwd=None):
    return subprocess.run([dejavm] + list(arguments), capture_output=True, text=True, cwd=cwd)


def digest(r):
    found = re.search(r"digest ([0-9a-f]{32})", [l for l in (r.stdout + r.stderr).splitlines() if "digest" in l and "snapshot:" not in l][-1])
    return found.group(1)


def what(path):
    """User or kernel, handler or not, string instruction or not: by gdb."""
    out = subprocess.run(["gdb", "-batch", "-nx", "-ex", "set architecture i386:x86-64", "-ex", "core-file " + path, "-ex", 'printf "cs=%x flags=%x\\n", $cs, $eflags',
                          "-ex", "x/i $rip"], capture_output=True, text=True).stdout
    found = re.search(r"cs=(\w+) flags=(\w+)", out)
    cs, flags = int(found.group(1), 16), int(found.group(2), 16)
    return ("user" if cs & 3 else "kernel", "no interrupts" if not flags & 0x200 else "interrupts", "string" if "rep " in out else "")


with tempfile.TemporaryDirectory(dir=".") as work:
    os.chdir(work)
    r = run("record", "-o", "t.dvt", *machine)
    end, length = digest(r), int(re.search(r"(\d+) instructions", r.stderr).group(1))
    handlers = re.findall(r"interrupt vcpu 0 at (\d+)", run("trace", "dump", "t.dvt", "--kind", "interrupt").stdout)
    at = sorted({int(p) + rng.randrange(1, 40) for p in rng.sample(handlers, 6)} | {length * i // 25 + rng.randrange(1, length // 25) for i in range(24)})
    options = []
    for i, p in enumerate(at):
        options += ["--snapshot-at", "%d:%d.dvs" % (p, i)]
    r = run("run", "--digest", *machine, *options)
    assert digest(r) == end and r.returncode == 0, r
    kinds = [what("%d.dvs" % i) for i in range(len(at))]
    for names in zip(*kinds):
        print({n: names.count(n) for n in sorted(set(names)) if n})

    def restored(i):
        r = run("restore", "--digest", "--console", "none", os.path.abspath("%d.dvs" % i), cwd="/")
        assert r.returncode == 0 and digest(r) == end, (i, at[i], r)

    def replayed(k):
        r = run("replay", "t.dvt", "--from", "k%d" % k)
        assert r.returncode == 0 and digest(r) == end, (k, r)

    keyframes = int(re.search(r"keyframes +(\d+)", run("trace", "info", "t.dvt").stdout).group(1))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(restored, range(len(at))))
        list(pool.map(replayed, range(keyframes)))
    print("%d moments restored and %d keyframes replayed to the same end" % (len(at), keyframes))
    os.chdir("..")
