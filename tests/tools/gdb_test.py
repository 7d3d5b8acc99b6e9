#!/usr/bin/env python3
"""Debian's gdb on recorded runs: breakpoints, watchpoints, steps and their reverses, and the digest at the end.
Usage: gdb_test.py DEJAVM [GUEST_DIR]; with a Debian guest there, its kernel's boot by the kernel's own symbols too."""
import os, re, shutil, subprocess, sys, tempfile

dejavm = os.path.abspath(sys.argv[1])
guest = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else ""
if not shutil.which("gdb"):
    print("gdb_test: skipped, there is no gdb")
    sys.exit(77)


def gdb(trace, commands, options=(), before=()):
    """Runs gdb in batch mode on a trace; its output, command by command, without what it says at the start."""
    script = ["set pagination off", "set confirm off", "set width 0", *before,
              "target remote | %s debug --stdio %s %s" % (dejavm, " ".join(options), trace)]
    for n, c in enumerate(commands):
        script += ["echo \\n@%d\\n" % n] + c.split("\n")
    with open("script.gdb", "w") as f:
        f.write("\n".join(script) + "\n")
    r = subprocess.run(["gdb", "-q", "-nx", "-batch", "-x", "script.gdb"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    parts = re.split(r"\n@(\d+)\n", r.stdout)
    out = {int(parts[n]): parts[n + 1] for n in range(1, len(parts) - 1, 2)}
    assert len(out) == len(commands), r.stdout[-3000:]
    return [re.sub(r"\[Inferior 1.*detached\]\n", "", out[n]) for n in range(len(commands))]


def find(pattern, text):
    m = re.search(pattern, text)
    assert m, (pattern, text)
    return m.group(1) if m.groups() else m.group(0)


def position(text):
    return int(find(r"^instruction (\d+)", text))


def record(name, *options):
    r = subprocess.run([dejavm, "record", "-o", name, "--force", "--console", "none", *options], capture_output=True, text=True, timeout=500)
    assert r.returncode == 0, r
    return find(r"digest ([0-9a-f]{32})", r.stderr)


def embedded():
    digest = record("g.dvt", "--memory", "32M")
    # Where a loop stands, and what it writes: found in the run itself.
    first = gdb("g.dvt", ["monitor when", "info registers rip rsp", "x/20i $pc", "info threads", "info registers cr0"], ["--at", "3M"])
    assert position(first[0]) == 3000000, first[0]
    rip = find(r"rip\s+(0x[0-9a-f]+)", first[1])
    assert find(r"=> (0x[0-9a-f]+)", first[2]) == rip, first
    assert "vCPU 0" in first[3], first
    assert int(find(r"cr0\s+(0x[0-9a-f]+)", first[4]), 16) & 0x80000001 == 0x80000001, first

    # A breakpoint, met forwards and backwards in the same state.
    out = gdb("g.dvt", ["hbreak *" + rip, "continue", "monitor when", "continue", "monitor when", "reverse-continue", "monitor when", "reverse-continue", "monitor when"],
              ["--at", "2999000"])
    there = [out[n] for n in (2, 4, 6, 8)]
    assert "Breakpoint 1" in out[1] and "Breakpoint 1" in out[5], out
    assert there[2] == there[0] != there[1], there
    assert position(there[3]) < position(there[0]), there

    # 1000 steps back and 1000 forward: the same state.
    out = gdb("g.dvt", ["monitor when", "reverse-stepi 1000", "monitor when", "stepi 1000", "monitor when"], ["--at", "5M"])
    assert out[4] == out[0] and position(out[2]) == 5000000 - 1000, out

    # Beyond both ends there is nothing; the digest at the end is the recorded one.
    out = gdb("g.dvt", ["reverse-continue", "continue", "monitor when", "reverse-stepi", "stepi", "monitor when"], ["--at", "100"])
    assert "No more reverse-execution history" in out[0] and "No more reverse-execution history" in out[1], out
    assert find(r"digest ([0-9a-f]{32})", out[2]) == digest == find(r"digest ([0-9a-f]{32})", out[5]), (digest, out)

    # A recorded run cannot be changed.
    for change in ("set $rax = 1", "set *(char*)0x100000 = 0", "jump *0x100000"):
        try:
            gdb("g.dvt", [change, "monitor when"])
        except AssertionError as e:
            assert "cannot be changed" in str(e) or "E01" in str(e) or "Cannot access" in str(e), e
        else:
            raise AssertionError(change)

    # A watchpoint, forwards to the write and back to before it.
    sp = int(find(r"rsp\s+(0x[0-9a-f]+)", first[1]), 16)
    out = gdb("g.dvt", ["watch *(long*)%d" % (sp - 8), "continue", "monitor when", "reverse-continue", "monitor when", "monitor last-write %d" % (sp - 8), "delete", "stepi", "monitor when"],
              ["--at", "3M"])
    assert "Hardware watchpoint 1" in out[0] and "Old value" in out[1] and "New value" in out[1], out
    assert position(out[4]) == position(out[2]) - 1, out
    assert out[8].splitlines()[-1] == out[2].splitlines()[-1], out  # the digest

    # Positions, devices and the log.
    out = gdb("g.dvt", ["monitor mark here", "monitor goto @keyframe:0", "monitor goto @event:500", "monitor exits 3", "monitor goto @time:20ms", "monitor goto here",
                        "monitor device vatpit", "monitor devices", "monitor diff 1M here", "monitor diff here here", "monitor phys 0x100000 32", "monitor goto nowhere", "monitor nothing",
                        "monitor keyframes", "monitor help"], ["--at", "3M"])
    assert position(out[1]) == 0 and position(out[5]) == 3000000, out
    assert "next: 500 " in out[3] and len(out[3].strip().splitlines()) == 4, out[3]
    assert int(find(r"virtual time (\d+) ns", out[4])) in range(10_000_000, 20_000_001), out[4]
    assert "vatpit.channel[2].count = " in out[6] and "vlapic" in out[7], out
    assert "vcpu.retired: 1000000 " in out[8] and re.search(r"\d+ fields and \d+ pages differ", out[8]), out[8]
    assert "0 fields and 0 pages differ" in out[9], out[9]
    assert out[10].startswith("0x100000: ") and "0x100010: " in out[10], out[10]
    assert "no position" in out[11] and "no such command" in out[12] and "keyframe" in out[14], out
    subprocess.run([dejavm, "replay", "g.dvt"], check=True, capture_output=True)
    print("gdb on the built-in guest: breakpoints, watchpoints and steps, forwards and backwards; digest as recorded")


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    embedded()
