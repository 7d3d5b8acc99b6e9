#!/usr/bin/env python3
"""A Debian with several vCPUs that works in parallel: processes, threads, pipes, CPUs that go away and come back; its answers are those of
one vCPU. Recorded with four: replayed whole and by the devices alone, saved at moments and gone on from each to one end; run without
translation to the same end. Usage: parallel_test.py DEJAVM DIR [SEED [MOMENTS]]
DIR: of tools/get-system with PACKAGES; status 77 without it"""
import os, random, re, shutil, sys, tempfile

from guest_terminal import Terminal, require, run

PACKAGES = "stress-ng rt-tests xz-utils python3 perl"
dejavm = os.path.abspath(sys.argv[1])
system = os.path.abspath(sys.argv[2])
seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
moments = int(sys.argv[4]) if len(sys.argv) > 4 else 10

# What is typed, and what its output has to have; without that: what it has with one vCPU.
SESSION = [
    ("for n in 1 2 3 4; do seq $((n * 100000)) | sha256sum & done | sort; wait", None),
    ("for n in 1 2 3 4; do sqlite3 /root/$n.db \"create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)"
     " insert into t select i, i * i % 997 from n; select count(*), sum(b), max(b) from t; pragma integrity_check\" & done | sort; wait; rm /root/?.db", None),
    ("sqlite3 /root/c.db 'pragma journal_mode=wal; create table t(a)' >/dev/null; (for n in 1 2 3 4; do (for k in $(seq 40); do sqlite3 -cmd '.timeout 20000'"
     " /root/c.db \"insert into t values($n)\"; done) & done; wait); sqlite3 /root/c.db 'select a, count(*) from t group by a; pragma integrity_check'; rm /root/c.db*", None),
    ("seq 300000 > s; xz -T4 --block-size=200K -k s && xz -dc s.xz | cmp - s && xz -l s.xz | tail -n1 | awk '{print $1, $2}'; rm s s.xz", None),
    ("python3 -c \"import multiprocessing as m; print(sum(m.Pool(4).map(pow, range(3000), [3] * 3000)) if 0 else sum(m.Pool(4).starmap(pow, [(k, 3) for k in range(3000)])))\"", None),
    ("python3 -c \"import threading as t, mmap; m = mmap.mmap(-1, 1 << 20); l = t.Lock()\ndef w(k):\n  for i in range(2000):\n    with l: m[k] = (m[k] + 1) % 251; m[99] = (m[99] + 1) % 241\n"
     "a = [t.Thread(target=w, args=(k,)) for k in range(4)]; [x.start() for x in a]; [x.join() for x in a]; print(*m[:4], m[99])\"", None),
    ("perl -e 'for $k (1..60) { if (!fork) { exit $k % 7 } } $s = 0; while (wait > 0) { $s += $? >> 8 } print \"$s\\n\"'", None),
    ("for n in $(seq 150); do (echo $n | cat | cat) & done | sort -n | md5sum; wait", None),
    ("hackbench -g 3 -l 60 2>&1 | grep -c Time", r"^1\b"),
    ("stress-ng --fork 2 --futex 2 --mutex 2 --pipe 2 --sem 2 --switch 2 --mmap 2 --clone 2 --membarrier 2 --signal 2 --timeout 2s 2>&1 | grep -iE 'fail|passed|successful' | tail -n 3",
     r"successful run completed"),
    ("dmesg -n 1; n=$(nproc); for c in $(seq 1 $((n - 1))); do echo 0 > /sys/devices/system/cpu/cpu$c/online; done; nproc; for c in $(seq 1 $((n - 1))); do echo 1 > /sys/devices/system/cpu/cpu$c/online; done;"
     " [ $(nproc) = $n ] && echo all back", r"^1\s+all back"),
    ("dmesg --level=emerg,alert,crit,err,warn | grep -iE 'rcu|stall|lockup|tsc|mtrr|apic|smp|BUG|Oops'; echo errors-above", r"^\s*errors-above"),
]


def machine(vcpus, image="debian.img"):
    return ["--disk", image + ",serial=SYSTEM", "--memory", "1G", "--vcpus", str(vcpus), "--kernel", system + "/vmlinuz",
            "--append", "root=/dev/nvme0n1p1 rw console=ttyS0"]


def session(command, vcpus, of_one):
    """Its answers; an error if one is not as it is to be."""
    terminal = Terminal([dejavm, *command, *machine(vcpus)])
    terminal.log_in()
    answers, failures = [], []
    for number, (typed, expected) in enumerate(SESSION):
        output, seconds = terminal.ask(typed)
        good = re.search(expected, output, re.S | re.M) if expected else output and (of_one is None or output == of_one[number])
        print(("ok   " if good else "FAIL ") + f"{vcpus} vCPUs {seconds:5.0f} s  " + typed[:90].replace("\n", ";"),
              "" if good else "\n" + output[-1500:], flush=True)
        answers.append(output)
        if not good: failures.append((typed, expected or of_one[number], output))
    terminal.type("systemctl poweroff")
    require(terminal.end() == 0, open("log").read())
    require(not failures, failures)
    return answers


def end_of(text):
    return re.findall(r"digest ([0-9a-f]{32})", text)[-1]


def saved_at_moments():
    command = "systemd.run=\"/bin/sh -c 'for n in 1 2 3 4; do (seq 100000 | sha256sum) & done; wait; hackbench -g 2 -l 20'\""
    boot = ["--digest", "--console", "none", *machine(4)[:-1], machine(4)[-1] + " " + command]
    said = run(dejavm, "run", "--json", *boot)
    end, length = re.search(r'"digest": ?"([0-9a-f]+)"', said).group(1), int(re.search(r'"instructions": ?(\d+)', said).group(1))
    at = sorted(random.Random(seed).sample(range(1, length), moments))
    snapshots = [word for n, instruction in enumerate(at) for word in ("--snapshot-at", f"{instruction}:s{n}.dvs")]
    require(end_of(run(dejavm, "run", "--delta", *snapshots, *boot)) == end, "a run with snapshots ends differently")
    for n in range(moments):
        said = run(dejavm, "restore", "--digest", "--console", "none", f"s{n}.dvs")
        require(end_of(said) == end, (n, at[n], said, end))
    print(f"a Debian on four vCPUs: saved at {moments} moments of {length} instructions, gone on from each to one end")


def main():
    if not os.path.exists(system + "/debian.img"):
        print(f"skipped: there is no such system; to have one: tools/get-system build/parallel {PACKAGES}")
        return 77
    work = tempfile.mkdtemp(prefix="dejavm-parallel-", dir=os.environ.get("TMPDIR", "/tmp"))
    os.chdir(work)
    try:
        run("cp", "--sparse=always", system + "/debian.img", "debian.img")
        of_one = session(["run"], 1, None)
        session(["run"], 2, of_one)
        session(["record", "-o", "t.dvt"], 4, of_one)
        end = end_of(open("log").read())
        os.rename("debian.img", "away.img")
        require(end in run(dejavm, "replay", "t.dvt"), "the replay ends differently")
        require(end in run(dejavm, "replay", "--translate", "off", "t.dvt"), "without translation the replay ends differently")
        run(dejavm, "replay", "--devices-only", "t.dvt")
        os.rename("away.img", "debian.img")
        saved_at_moments()
        print(f"a Debian on four vCPUs: recorded in {os.path.getsize('t.dvt')} bytes, replayed without its image and without translation")
    finally:
        os.chdir("/")
        shutil.rmtree(work)
    return 0


sys.exit(main())
