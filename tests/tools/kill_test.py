#!/usr/bin/env python3
"""Killed at random moments while saving and while recording, and a disk that is full: what was there before is intact, no part of a
file remains, and every trace replays as far as it goes. Usage: kill_test.py DEJAVM [ROUNDS [SEED]]"""
import os, random, signal, subprocess, sys, tempfile, time

dejavm = os.path.abspath(sys.argv[1])
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 6
rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)


def require(condition, what):
    if not condition:
        raise AssertionError(what)


def run(*arguments, **more):
    return subprocess.run([dejavm] + list(arguments), capture_output=True, text=True, timeout=120, **more)


def killed(arguments, after):
    """The process and everything that it began, killed after so many seconds."""
    p = subprocess.Popen([dejavm] + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(after)
    try:
        os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    p.wait()
    while True:  # a saving child may outlive its parent by a moment
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.001)


def while_saving():
    require(run("run", "--console", "none", "--snapshot-at", "1000000:s").returncode == 0, "a first snapshot")
    replaced = 0
    for i in range(rounds):
        before = open("s", "rb").read(65536), os.stat("s").st_size
        killed(["run", "--console", "none", "--force", "--snapshot-at", "%d:s" % (9000000 + i)], rng.uniform(0.002, 0.06))
        v = run("snapshot", "verify", "s")
        require(v.returncode == 0, v)
        replaced += (open("s", "rb").read(65536), os.stat("s").st_size) != before
        left = [n for n in os.listdir(".") if n != "s"]
        # Whole, on its way to its name; or a part under a passing name, where the file system has no files without one.
        require(all(run("snapshot", "verify", n).returncode == 0 or (not NAMELESS and n.endswith(".partial")) for n in left), left)
        for n in left:
            os.unlink(n)
    os.unlink("s")
    return replaced


def while_recording():
    lengths = []
    for i in range(rounds):
        killed(["record", "-o", "t%d" % i, "--keyframe-every", "500000", "--console", "none"], rng.uniform(0.004, 0.12))
        if not os.path.exists("t%d" % i):
            continue
        r = run("replay", "t%d" % i)
        if "identical, " in r.stdout:  # it was finished already, but perhaps for its index
            require(r.returncode == 0 or (r.returncode == 2 and "only its index" in r.stderr), r)
        elif "identical" in r.stdout:
            require(r.returncode == 2 and "as far as the trace goes" in r.stdout, r)
        else:
            require(r.returncode == 2 and r.stderr.startswith("dejavm: t%d" % i), r)
        if "identical" in r.stdout:
            lengths.append(int(r.stdout.split(" instructions")[0].split()[-1]))
        require(run("trace", "info", "t%d" % i).returncode in (0, 2), "info")
        os.unlink("t%d" % i)
    return lengths


def full_disk():
    os.mkdir("small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "small"], capture_output=True).returncode != 0:
        print("skipped: a full disk (this user may not mount)")
        return
    try:
        whole = run("run", "--console", "none", "--digest").stderr.split("digest ")[1].split()[0]
        r = run("run", "--console", "none", "--digest", "--snapshot-at", "5000000:small/s")
        require(r.returncode == 1 and "No space left" in r.stderr and "digest " + whole in r.stderr, r)
        require(os.listdir("small") == [], "nothing remains")
    finally:
        subprocess.run(["umount", "small"])


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    try:
        os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))
        NAMELESS = True
    except OSError:
        NAMELESS = False
    replaced = while_saving()
    lengths = while_recording()
    full_disk()
    print("%d kills while saving, %d after it was done; %d while recording, replayed up to %s" % (rounds, replaced, rounds, sorted(lengths)))
