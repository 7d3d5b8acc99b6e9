#!/usr/bin/env python3
"""Races in a Debian guest, planted in a kernel module and in a program (tests/guests/races): explore finds each within 200 seeds, though it does not show in
order; minimise names the place. Usage: debian_races_test.py DEJAVM DIR [KIND=RACE...]    DIR: of tools/get-races"""
import json
import os
import subprocess
import sys
import tempfile

DEJAVM, DIR = (os.path.abspath(path) for path in sys.argv[1:3])
SEEDS = 200
# When it is bad; of what both vCPUs touch around the deciding switch, one is among the three closest.
RACES = {
    "lost-update": ("console:lost update", {"counter"}),
    "use-after-free": ("console:use after free", {"shared"}),
    "deadlock": ("hang", {"lock_a", "lock_b"}),
    "missed-wakeup": ("hang", {"made", "taken", "condition", "lock"}),
}


def run(*words, status=0, timeout=3000):
    done = subprocess.run([DEJAVM, *words], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout


def ready_at(trace):
    """Where the guest says that it is ready for its race."""
    text = ""
    with subprocess.Popen([DEJAVM, "trace", "dump", "--json", "--kind", "io_write", trace], stdout=subprocess.PIPE, text=True) as dump:
        for line in dump.stdout:
            if '"0x3f8"' not in line:
                continue
            event = json.loads(line)
            text += chr(int(event["value"], 16) & 0xFF)
            if text.endswith("races: ready"):
                dump.kill()
                return event["instruction"]
    raise AssertionError("it never says that it is ready: " + text[-500:])


def hunt(kind, race):
    test, touched = RACES[race]
    machine = ["--vcpus", "2", "--kernel", DIR + "/vmlinuz", "--initrd", DIR + "/initrd", "--append", "console=ttyS0 quiet %s=%s" % (kind, race)]
    if not os.path.exists("ready"):
        run("record", *machine, "--console", "none", "-o", "boot.dvt", "--max-instructions", "5G")
        with open("ready", "w") as file:
            file.write(str(ready_at("boot.dvt")))
    snapshot = "%s-%s.dvs" % (kind, race)
    ready = open("ready").read()
    run("run", *machine, "--console", "none", "--snapshot-at", ready + ":" + snapshot, "--max-instructions", str(int(ready) + 1), status=4)
    folder = "%s-%s" % (kind, race)
    # In order the guest is over after some 2 M instructions. What hangs may spin, or sleep.
    limits = ["--max-time", "3", "--max-instructions", str(int(ready) + 30_000_000), "--until-bad", test]
    found = json.loads(run("explore", "-o", folder, "--snapshot", snapshot, "--seeds", str(SEEDS), "--first", "--json", *limits, status=4))
    assert not found["in_order_bad"] and found["bad"] > 0, found
    trace = sorted(name for name in os.listdir(folder) if name.endswith(".dvt"))[0]
    symbols = ["--symbols", DIR + "/races"] if kind == "program" else []
    result = json.loads(run("minimise", folder + "/" + trace, "-o", "why-" + folder, "--json", *symbols, *limits))
    report = open("why-%s/report.txt" % folder).read()
    print("%-24s %s, %d of %d switches" % (kind + "=" + race, trace, result["switches"], result["recorded_switches"]), flush=True)
    print(report, flush=True)
    for name in ["bad", "good"]:
        run("replay", "why-%s/%s.dvt" % (folder, name))
    places = [line.split(", ")[1] for line in report.splitlines() if line.startswith("  0x") and ", " in line]
    assert touched & {name.split("+")[0].split(" ")[0] for name in places[:3]}, places
    os.remove(snapshot)


def main():
    if not os.path.exists(DIR + "/vmlinuz"):
        print("skipped: there is no such guest; to have one: tools/get-races build/races build/guest")
        sys.exit(77)
    wanted = sys.argv[3:] or [kind + "=" + race for kind in ("race", "program") for race in RACES]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as folder:
        os.chdir(folder)
        for one in wanted:
            hunt(*one.split("="))


main()
