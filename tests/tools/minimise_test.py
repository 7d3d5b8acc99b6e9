#!/usr/bin/env python3
"""dejavm minimise: the switch that decides is where the race is, in each of those that are planted in races_guest.c.
Usage: minimise_test.py DEJAVM GUEST"""
import json
import os
import subprocess
import sys
import tempfile

DEJAVM, GUEST = (os.path.abspath(path) for path in sys.argv[1:3])
MACHINE = ["--memory", "4M", "--vcpus", "2", "--kernel", GUEST]
# Each race: when it is bad; the functions in one of which vCPU 0 or 1 stands between what has to be done at once; what both touch there.
RACES = {
    "lost-update": ("console:lost update", {"add_one"}, {"counter"}),
    "use-after-free": ("console:use after free", {"look_at_it"}, {"shared", "things"}),
    "deadlock": ("hang", {"with_both"}, {"lock_a", "lock_b"}),
    "missed-wakeup": ("hang", {"wait_for_one"}, {"made"}),
}


def run(*words, status=0):
    done = subprocess.run([DEJAVM, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done


def symbols():
    names = {}
    for line in subprocess.run(["nm", GUEST], capture_output=True, text=True, check=True).stdout.splitlines():
        address, _, name = line.split()
        names[int(address, 16)] = name
    return names


def name_of(address, names):
    return names[max(one for one in names if one <= address)]


def found(race, test):
    """Traces of bad runs."""
    run("explore", "-o", race, *MACHINE, "--append", race, "--max-instructions", "5M", "--seeds", "100", "--until-bad", test, status=4)
    return sorted(race + "/" + name for name in os.listdir(race) if name.endswith(".dvt"))


def minimise(trace, folder, test, *words):
    out = run("minimise", trace, "-o", folder, "--until-bad", test, "--symbols", GUEST, "--json", *words).stdout
    return json.loads(out)


def switches(path):
    return [line for line in open(path).read().splitlines() if line[0] in "0123456789"]


def the_race_is_named(race, names):
    test, functions, shared = RACES[race]
    for trace in found(race, test)[:1]:
        found_out = minimise(trace, "why-" + race, test)
        stacks = found_out["from_stack"] + found_out["to_stack"]
        assert functions & {name.split("+")[0] for name in stacks}, (trace, stacks)
        touched = [name_of(int(place[0]["address"], 16), names) for place in found_out["shared"]]
        assert touched and touched[0] in shared, (trace, touched)
        for place in found_out["shared"]:
            assert len({access["vcpu"] for access in place}) == 2 and any(access["write"] for access in place)
        assert found_out["complete"] and found_out["switches"] <= 12, found_out
        bad, good = (switches("why-%s/%s.schedule" % (race, name)) for name in ["bad", "good"])
        assert len(bad) == found_out["switches"] and good == bad[:-1]
        report = open("why-%s/report.txt" % race).read()
        assert "The deciding switch" in report and "monitor goto %d" % found_out["instruction"] in report
        # The traces replay, and the lists make the same of the machine from its start.
        for name in ["bad", "good"]:
            run("replay", "why-%s/%s.dvt" % (race, name))
            bounds = ["--max-instructions", "5M", "--force"]
            by_list = subprocess.run([DEJAVM, "run", *MACHINE, "--append", race, "--schedule", "file:why-%s/%s.schedule" % (race, name), *bounds], text=True,
                                     capture_output=True, timeout=60, check=False)
            printed = open("why-%s/%s.console" % (race, name)).read()
            assert by_list.stdout == printed, (by_list, printed)
        print("%-15s %d of %d switches, %d attempts" % (race, found_out["switches"], found_out["recorded_switches"], found_out["attempts"]))


def any_number_of_jobs_finds_the_same():
    trace = sorted(name for name in os.listdir("lost-update") if name.endswith(".dvt"))[0]
    results = []
    for jobs in ["1", "3"]:
        results.append(minimise("lost-update/" + trace, "jobs", "console:lost update", "--jobs", jobs, "--force"))
        results[-1].pop("attempts")
        results[-1]["schedule"] = switches("jobs/bad.schedule")
    assert results[0] == results[1]
    command = "command:! grep -q 'lost update' \"$DEJAVM_CONSOLE\""
    by_command = minimise("lost-update/" + trace, "command", command)
    assert by_command["switches"] == results[0]["switches"] and by_command["instruction"] == results[0]["instruction"]
    assert not [name for name in os.listdir("command") if name.startswith("attempt")]
    few = minimise("lost-update/" + trace, "few", "console:lost update", "--attempts", "9")
    assert not few["complete"] and few["switches"] >= results[0]["switches"]


def what_cannot_be_is_refused():
    def refused(trace, *words, text, status=1):
        done = run("minimise", trace, "-o", "refused", *words, status=status)
        assert text in done.stderr, done.stderr

    bad = "why-lost-update/bad.dvt"
    refused("why-lost-update/good.dvt", "--until-bad", "console:lost update", text="by its own switches the run is not bad")
    refused(bad, "--until-bad", "console:counted", text="bad in order (round robin) already")
    refused(bad, "--until-bad", "luck", text="is no test of a run")
    refused(bad, "--until-bad", "hang", "--symbols", "why-lost-update/report.txt", text="neither an ELF file nor a System.map")
    refused("why-lost-update/report.txt", "--until-bad", "hang", text="report.txt", status=2)
    done = run("minimise", bad, "-o", "why-lost-update", "--until-bad", "console:lost update", status=1)
    assert "exists" in done.stderr, done.stderr
    before = open(bad, "rb").read()
    done = run("minimise", bad, "-o", "why-lost-update", "--until-bad", "console:lost update", "--force", status=1)
    assert "bad.dvt" in done.stderr and open(bad, "rb").read() == before, done.stderr
    run("record", *MACHINE, "--append", "lost-update", "--console", "none", "-o", "order.dvt")
    refused("order.dvt", "--until-bad", "console:counted", text="there is no switch to be left out")
    run("record", "--console", "none", "-o", "one.dvt")
    refused("one.dvt", "--until-bad", "hang", text="one vCPU")
    subprocess.run([DEJAVM, "record", *MACHINE, "--append", "deadlock", "-o", "typed.dvt"], input=b"x", capture_output=True, timeout=60, check=True)
    refused("typed.dvt", "--until-bad", "hang", text="something was typed")


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        names = symbols()
        for race in RACES:
            the_race_is_named(race, names)
        any_number_of_jobs_finds_the_same()
        what_cannot_be_is_refused()


main()
