#!/usr/bin/env python3
"""A Debian boot on KVM saved at 20 moments; each goes on to its end on the deterministic engine, is saved there again half way, and goes
on from that on KVM. Right answers wherever they are still to come, power-off, and the state carried over field for field.
  kvm_moments.py save DEJAVM GUEST_DIR WORK     on a machine with KVM, or in tools/kvm-lab
  kvm_moments.py cross DEJAVM GUEST_DIR WORK    anywhere: all by the deterministic engine
  kvm_moments.py back DEJAVM GUEST_DIR WORK     on KVM again
WORK: a folder that all three see."""
import glob, hashlib, json, os, random, re, subprocess, sys

phase, dejavm, guest, work = sys.argv[1], os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3]), os.path.abspath(sys.argv[4])
COUNT = int(os.environ.get("MOMENTS", "20"))
text = (b"dejavm\n" * 2857143)[:20000000]
answers = [b"guest: md5 " + hashlib.md5(text).hexdigest().encode(), b"guest: sha256 " + hashlib.sha256(text).hexdigest().encode()]
def run(*arguments):
    return subprocess.run([dejavm, *arguments], capture_output=True, text=True)


def finished(r, console, whole=False):
    """It powered off, and every answer that it printed is right; all of them, if it is a whole run."""
    assert r.returncode == 0 and "powered off" in r.stderr, r.stderr[-2000:]
    printed = re.findall(rb"guest: (?:md5|sha256) [0-9a-f]+", open(console, "rb").read())
    assert all(p in answers for p in printed) and (not whole or len(printed) == 2), printed


if phase == "save":
    console = work + "/kvm.txt"
    machine = ["--engine", "kvm", "--kernel", guest + "/vmlinuz", "--initrd", guest + "/initrd", "--append", "console=ttyS0", "--memory", "128M"]
    r = run("run", *machine, "--console", "file:" + console)
    finished(r, console, whole=True)
    ticks = int(re.search(r"(\d+) ticks", r.stderr).group(1))
    rng = random.Random(1)
    options = []
    for n in range(COUNT):
        options += ["--snapshot-at", "%d:%s/%02d.dvs" % (ticks * n // COUNT + rng.randrange(1, ticks // COUNT), work, n)]
    r = run("run", *machine, "--console", "file:" + console, *options)
    finished(r, console, whole=True)
    print("%d ticks; saved %d snapshots" % (ticks, len(glob.glob(work + "/[0-9][0-9].dvs"))))
elif phase == "cross":
    for path in sorted(glob.glob(work + "/[0-9][0-9].dvs")):
        begin = int(re.search(r"instruction (\d+)", run("snapshot", "info", path).stdout).group(1))
        # Saved again before anything is executed: what the other engine holds.
        same = path[:-4] + "-same.dvs"
        run("restore", "--engine", "deterministic", "--console", "none", "--snapshot-at", "%d:%s" % (begin, same), "--max-instructions", str(begin + 1), path)
        differs = run("snapshot", "diff", path, same).stdout
        assert differs.splitlines() == ["soft-tlb: - -> version 1", "1 fields and 0 pages differ"], differs  # the engine's own
        os.remove(same)
        r = run("restore", "--engine", "deterministic", "--console", "file:" + path + ".txt", path)
        finished(r, path + ".txt")
        end = int(re.search(r"(\d+) instructions", r.stderr).group(1))
        back = path[:-4] + "-back.dvs"
        run("restore", "--engine", "deterministic", "--console", "none", "--snapshot-at", "%d:%s" % (begin + (end - begin) // 2, back),
            "--max-instructions", str(begin + (end - begin) // 2 + 1), path)
        assert os.path.exists(back)
        os.remove(path)
        print(os.path.basename(path), end - begin, "instructions to the end", flush=True)
else:
    done = 0
    for path in sorted(glob.glob(work + "/[0-9][0-9]-back.dvs"))[:: 20 // COUNT]:
        r = run("restore", "--engine", "kvm", "--console", "file:" + work + "/back.txt", path)
        finished(r, work + "/back.txt")
        done += 1
    print("%d went on from the deterministic engine to their end on KVM" % done)
