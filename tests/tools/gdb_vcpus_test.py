#!/usr/bin/env python3
"""Debian's gdb on guests with several vCPUs, each a thread: recorded ones, forwards and backwards over turns, and live ones.
Usage: gdb_vcpus_test.py DEJAVM GUEST [GUEST_DIR]     GUEST: smp_guest.elf; GUEST_DIR: a Debian guest, whose tasks are named"""
import os, re, shutil, subprocess, sys, tempfile

dejavm, guest = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
debian = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else ""
if not shutil.which("gdb"):
    print("gdb_vcpus_test: skipped, there is no gdb")
    sys.exit(77)

MACHINE = ["--memory", "4M", "--vcpus", "4", "--slice", "1000", "--kernel", guest]
symbols = {name: int(value, 16) for value, _, name in
           (line.split() for line in subprocess.run(["nm", guest], capture_output=True, text=True, check=True).stdout.splitlines())}


def gdb(where, commands):
    """The output of each command."""
    with open("script.gdb", "w") as f:
        f.write("set pagination off\nset confirm off\nset width 0\nset architecture i386:x86-64\ntarget remote %s\n" % where)
        for n, command in enumerate(commands): f.write("echo \\n@%d\\n\n%s\n" % (n, command))
    r = subprocess.run(["gdb", "-q", "-nx", "-batch", "-x", "script.gdb"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=300)
    parts = re.split(r"\n@\d+\n", r.stdout)[1:]
    assert len(parts) == len(commands), r.stdout[-3000:]
    return parts


def acting(text):
    """What `monitor when` says: the count, the vCPU and its place."""
    found = re.search(r"vCPU (\d+) at instruction (\d+): rip (0x[0-9a-f]+)", text)
    assert found, text
    return tuple(int(v, 0) for v in found.groups())


def recorded():
    subprocess.run([dejavm, "record", "-o", "t.dvt", "--console", "none", "--keyframe-every", "700000", *MACHINE], check=True, capture_output=True)
    debug = "| %s debug --stdio t.dvt" % dejavm
    out = gdb(debug, ["info threads", "hbreak *%#x" % symbols["add"], "continue", "continue", "continue", "info threads", "monitor when", "delete"])
    assert out[0].count("waits for STARTUP") == 3, out[0]
    assert [re.search(r"Thread (\d) hit", out[n]).group(1) for n in (2, 3, 4)] == ["2", "3", "4"], out
    assert "* 4 " in out[5] and acting(out[6])[0] == 3, out

    # Each step of a thread is one instruction of that vCPU, whatever the others do between; and back the same way.
    steps = 1500
    walk = ["thread 3"] + ["stepi\nmonitor when"] * 3 + ["stepi %d\nmonitor when" % steps] + ["stepi\nmonitor when"] * 3
    back = ["reverse-stepi\nmonitor when"] * 3 + ["reverse-stepi %d\nmonitor when" % steps] + ["reverse-stepi\nmonitor when"] * 2
    out = gdb(debug, ["monitor goto 100000"] + walk + back)
    there = [acting(text) for text in out[2:2 + 7]]
    again = [acting(text) for text in out[9:]]
    assert all(vcpu == 2 for vcpu, _, _ in there + again), (there, again)
    assert there[3][1] - there[2][1] >= steps, there
    # Between its instructions others run: where it stands is either just behind the one or just before the next.
    assert [rip for _, _, rip in again] == [there[n][2] for n in (5, 4, 3, 2, 1, 0)], (there, again)

    # A watchpoint is of all; backwards it finds who wrote before.
    out = gdb(debug, ["monitor goto 20000", "watch *(int*)%#x" % symbols["fixeds"]] + ["continue\nmonitor when"] * 6 + ["reverse-continue\nmonitor when"] * 6)
    forwards, backwards = [acting(text) for text in out[2:8]], [acting(text) for text in out[8:]]
    assert len({vcpu for vcpu, _, _ in forwards}) > 1, forwards
    # gdb stands behind the access forwards, and before it backwards; the last one forwards it stands behind already.
    assert [at + 1 for _, at, _ in backwards[:6]] == [at for _, at, _ in forwards[::-1]], (forwards, backwards)
    assert [vcpu for vcpu, _, _ in backwards[:6]] == [vcpu for vcpu, _, _ in forwards[::-1]], (forwards, backwards)

    out = gdb(debug, ["monitor goto 500000", "monitor schedule 40", "monitor when"])
    turns = [tuple(map(int, t)) for t in re.findall(r"from instruction (\d+): vCPU (\d)", out[1])]
    assert len(turns) == 40 and turns == sorted(turns) and {vcpu for _, vcpu in turns} == {0, 1, 2, 3}, out[1]
    assert sum(int(n) for n in re.findall(r"vCPU \d.*: (\d+) instructions of its own", out[1])) == 500000, out[1]
    assert acting(out[2])[1] == 500000
    print("gdb on four vCPUs, recorded: threads, steps of one, watchpoints on all, forwards and backwards over turns")


def live():
    def start(*arguments):
        p = subprocess.Popen([dejavm, *arguments, "--console", "file:out", "--gdb", "127.0.0.1:0", *MACHINE], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return p, re.search(r"target remote (\S+)", p.stderr.readline()).group(1)

    def counter(text):
        return int(re.search(r"= (\d+)", text).group(1))

    for recording in (False, True):
        p, where = start(*(["record", "-o", "live.dvt", "--force"] if recording else ["run", "--force"]))
        sum_now = "print *(int*)%#x" % symbols["sum"]
        out = gdb(where, ["hbreak *%#x" % symbols["add"], "continue", "continue", "delete", "set scheduler-locking on", "thread 3", sum_now, "stepi 60", sum_now,
                          "info threads", "set scheduler-locking off", "thread 2", "stepi", "info threads", "detach"])
        if not recording: assert counter(out[8]) - counter(out[6]) == 30, out  # two instructions each, and nobody else adds
        assert "* 3 " in out[9] and "* 2 " in out[13], out
        said = p.communicate(timeout=60)[1]
        assert p.returncode == 0 and open("out").read().startswith("AXFHNBGSLKPQCVI"), (said, open("out").read())
        if not recording: continue
        digest = re.search(r"digest ([0-9a-f]{32})", said).group(1)
        assert digest in subprocess.run([dejavm, "replay", "live.dvt"], capture_output=True, text=True, check=True).stdout
    print("gdb on four live vCPUs: one stepped alone, one among the others; recorded under gdb, it replays")


def tasks():
    subprocess.run([dejavm, "record", "-o", "d.dvt", "--console", "none", "--vcpus", "2", "--kernel", debian + "/vmlinuz", "--initrd", debian + "/initrd",
                    "--append", "console=ttyS0"], check=True, capture_output=True)
    out = gdb("| %s debug --stdio --at 4000M d.dvt" % dejavm, ["info threads"])[0]
    assert len(re.findall(r"Thread \d \(vCPU \d(?:, halted)?, [\w/:-]+ \(\d+\)\)", out)) == 2, out
    print("gdb on Debian with two vCPUs: each thread names its task")


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    recorded()
    live()
    if os.path.exists(debian + "/vmlinuz"): tasks()
