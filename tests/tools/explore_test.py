#!/usr/bin/env python3
"""dejavm explore: finds what is planted in races_guest.c, tells the same at any number of jobs and after an interruption.
Usage: explore_test.py DEJAVM GUEST"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

DEJAVM, GUEST = (os.path.abspath(path) for path in sys.argv[1:3])
MACHINE = ["--memory", "4M", "--vcpus", "2", "--kernel", GUEST]
USUAL = ["--max-instructions", "5M", "--until-bad", "console:lost|after free", "--until-bad", "hang"]


def run(*words, status=0, timeout=300):
    done = subprocess.run([DEJAVM, *words], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done


def explore(folder, race, *words, status=4, options=USUAL):
    return run("explore", "-o", folder, *MACHINE, "--append", race, *options, *words, status=status)


def outcomes(folder):
    """What was looked for; and the runs, by their seeds."""
    lines = [json.loads(line) for line in open(folder + "/outcomes.jsonl")]
    assert len({line.get("seed") for line in lines[1:]}) == len(lines) - 1, "a seed was run twice"
    return lines[0], {line.get("seed"): line for line in lines[1:]}


def each_race_is_found():
    for race in ["lost-update", "use-after-free", "deadlock", "missed-wakeup"]:
        explore(race, race, "--seeds", "100")
        _, runs = outcomes(race)
        bad = [seed for seed, line in runs.items() if line["outcome"] == "bad"]
        assert set(runs) == {None, *range(100)}
        assert bad and None not in bad, "it is not found, or by plain round robin already"
        for seed in bad[:3]:
            line = runs[seed]
            again = json.loads(run("replay", race + "/" + line["trace"], "--json").stdout)
            assert again["identical"] and again["instructions"] == line["instructions"]
            console = open("%s/seed-%d.console" % (race, seed)).read()
            assert line["why"].startswith("hang") or line["why"].split("'")[1] in console
            # The line says how to have it without a trace.
            by_hand = run("run", *MACHINE, "--append", race, "--schedule", line["schedule"], "--slice", str(line["slice"]), "--max-instructions", "5M",
                          status=4 if line["why"].startswith("hang") else 0)
            assert " %d instructions" % line["instructions"] in by_hand.stderr
        print("%-15s %d of 100 seeds" % (race, len(bad)))


def any_way_of_going_finds_the_same():
    expected = outcomes("lost-update")
    explore("one", "lost-update", "--seeds", "100", "--jobs", "1")
    assert outcomes("one") == expected
    explore("parts", "lost-update", "--seeds", "30")
    taken = json.loads(explore("parts", "lost-update", "--seeds", "100", "--json").stdout)
    assert taken["taken_over"] == 30 and taken["runs"] == 100
    assert outcomes("parts") == expected
    with subprocess.Popen([DEJAVM, "explore", "-o", "killed", *MACHINE, "--append", "lost-update", *USUAL, "--seeds", "100"], stderr=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL) as search:
        while not os.path.exists("killed/outcomes.jsonl") or open("killed/outcomes.jsonl").read().count("\n") < 10:
            time.sleep(0.01)
        search.send_signal(signal.SIGTERM)
    with open("killed/outcomes.jsonl", "a") as file:
        file.write('{"seed": 99, "outco')  # as if the host had gone down
    explore("killed", "lost-update", "--seeds", "100")
    assert outcomes("killed") == expected
    first = explore("first", "lost-update", "--seeds", "100", "--first", "--jobs", "1")
    assert "1 bad" in first.stdout, first.stdout


def tests_may_be_commands_and_runs_begin_with_a_snapshot():
    options = ["--max-instructions", "5M", "--until-bad", "command:! grep -q 'lost update' \"$DEJAVM_CONSOLE\""]
    explore("command", "lost-update", "--seeds", "30", options=options)
    bad = [{seed for seed, line in outcomes(folder)[1].items() if line["outcome"] == "bad"} for folder in ["command", "lost-update"]]
    assert bad[0] == {seed for seed in bad[1] if seed < 30}
    run("run", *MACHINE, "--append", "deadlock", "--console", "none", "--snapshot-at", "3000:s.dvs")
    options = ["-o", "snapshot", "--snapshot", "s.dvs", "--max-instructions", "5M", "--seeds", "20"]
    judge = "snapshot:%s snapshot info --json $DEJAVM_SNAPSHOT > s.json && ! grep -q '\"instruction\": *5000000[,}]' s.json" % DEJAVM
    run("explore", *options, "--until-bad", judge, status=4)
    run("explore", "-o", "hang", *options[2:], "--until-bad", "hang", status=4)
    bad = [{seed for seed, line in outcomes(folder)[1].items() if line["outcome"] == "bad"} for folder in ["snapshot", "hang"]]
    assert bad[0] == bad[1], bad
    assert not [name for name in os.listdir("snapshot") if name.endswith(".dvs")]
    # What spins is ended by time, too, also when it is recorded.
    spinning = explore("time", "deadlock", "--first", options=["--max-time", "0.004", "--until-bad", "hang"])
    assert "not ended after 4000000 instructions" in spinning.stderr, spinning.stderr
    run("replay", "time/" + [name for name in os.listdir("time") if name.endswith(".dvt")][0])
    explore("none", "lost-update", "--seeds", "10", status=0, options=["--until-bad", "console:no such line"])
    assert sorted(os.listdir("none")) == ["outcomes.jsonl"]


def what_makes_no_sense_is_refused():
    refusals = [(["--until-bad", "luck"], "is no test of a run"), (["--until-bad", "console:("], "not a regular expression"),
                (["--until-bad", "hang:5"], "is no test of a run"), (["--until-bad", "hang", "--schedule", "file:x"], "nothing to explore")]
    for options, text in refusals:
        assert text in explore("refused", "deadlock", status=1, options=options).stderr
    assert not os.path.exists("refused")
    one = run("explore", "-o", "refused", "--kernel", GUEST, "--vcpus", "1", "--until-bad", "hang", status=1)
    assert "--vcpus" in one.stderr
    both = run("explore", "-o", "refused", "--snapshot", "s.dvs", "--vcpus", "2", "--until-bad", "hang", status=1)
    assert "excludes" in both.stderr and not os.path.exists("refused"), both.stderr
    own = run("explore", "-o", ".", "--snapshot", "s.dvs", "--until-bad", "hang", status=1)
    assert "that of the snapshot" in own.stderr, own.stderr
    other = explore("lost-update", "deadlock", status=1)
    assert "holds another search" in other.stderr
    with open("no-folder", "w") as file:
        file.write("mine")
    explore("no-folder", "deadlock", status=1)
    endless = explore("endless", "", "--seeds", "1", "--host-seconds", "1", status=0, options=["--until-bad", "panic", "--schedule", "random"])
    assert "no answer" not in endless.stderr  # 'which race?' and power-off
    run("explore", "-o", "slow", "--vcpus", "2", "--kernel", GUEST, "--append", "deadlock", "--until-bad", "panic", "--schedule", "random", "--slice", "1000",
        "--seeds", "1", "--first-seed", "97", "--host-seconds", "1")
    assert outcomes("slow")[1][97]["outcome"] == "unknown"


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        each_race_is_found()
        any_way_of_going_finds_the_same()
        tests_may_be_commands_and_runs_begin_with_a_snapshot()
        what_makes_no_sense_is_refused()


main()
