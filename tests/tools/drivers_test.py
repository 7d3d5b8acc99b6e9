#!/usr/bin/env python3
"""Linux's drivers agree with the device models, and with each other, in every way to boot.

Usage: drivers_test.py DEJAVM GUEST_DIR [quick]. Each set of kernel parameters is recorded, replayed, and its output read:
calibrations (PIT, HPET or PM timer against the time stamp counter) within 100 ppm of 1 GHz; five minutes of sleep by the clock source
in use within 100 ppm of the time stamp counter; the real-time clock right to the second; /proc/interrupts as many as are logged.
"""
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile

PPM = 100
START = datetime.datetime(2000, 1, 1)
SETS = [  # parameters; what else their output must have
    ("", r"IO-APIC +4-edge +ttyS0"),
    ("noapic", r"XT-PIC +ttyS0"),
    ("nolapic", r"XT-PIC +timer"),
    ("hpet=disable", r"drivers: clocksource \S+ of (?!.*hpet)"),
    ("acpi=off", r"drivers: clocksource"),
    ("notsc", r"drivers: clocksource"),
    ("clocksource=acpi_pm", r"drivers: clocksource acpi_pm"),
    ("clocksource=hpet", r"drivers: clocksource hpet"),
    ("nox2apic", r"IO-APIC +4-edge +ttyS0"),
]
QUICK = {"", "noapic", "acpi=off"}


def ppm(value, expected):
    return abs(value / expected - 1) * 1e6


def interrupts_agree(dejavm, trace, output):
    """The counts that the guest prints lie between those logged at the first character of the table and at its end."""
    dump = subprocess.run([dejavm, "trace", "dump", "--json", "--kind", "io_write", "--kind", "interrupt", trace], capture_output=True, text=True, check=True).stdout
    text, counts, count = [], [], 0
    for line in dump.splitlines():
        event = json.loads(line)
        if event["kind"] == "interrupt":
            count += 1
        elif event["address"] == "0x3f8":
            text.append(chr(int(event["value"], 16) & 0xFF))
            counts.append(count)
    sent = "".join(text)
    begin, end = sent.rindex("drivers: interrupts"), sent.rindex("drivers: end")
    printed = sum(int(m.group(1)) for m in re.finditer(r"^ *(?:\d+|LOC|IWI|SPU): +(\d+)", output, re.M))
    if not counts[begin] <= printed <= counts[end]:
        return [f"/proc/interrupts has {printed}; the log {counts[begin]} before it and {counts[end]} after it"]
    return []


def check(dejavm, guest, parameters, wanted):
    problems, told = [], []
    with tempfile.TemporaryDirectory() as work:
        trace, console = os.path.join(work, "t.dvt"), os.path.join(work, "console")
        machine = ["--kernel", f"{guest}/vmlinuz", "--initrd", f"{guest}/initrd", "--append", f"console=ttyS0 drivers {parameters}".strip()]
        recorded = subprocess.run([dejavm, "record", "-o", trace, "--console", f"file:{console}", *machine], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
        if recorded.returncode or not re.search("powered off|reset", recorded.stderr):
            return [f"status {recorded.returncode}: {recorded.stderr[-300:]}"], ""
        replayed = subprocess.run([dejavm, "replay", trace], capture_output=True, text=True, timeout=900)
        if replayed.returncode:
            problems.append(f"replay: status {replayed.returncode}: {replayed.stderr[-300:]}")
        with open(console, errors="replace") as f:
            output = f.read().replace("\r", "")
        if not re.search(wanted, output):
            problems.append(f"nothing matches {wanted}")
        for what, mhz in re.findall(r"tsc: (Detected|Refined TSC clocksource calibration:) ([\d.]+) MHz", output):
            off = ppm(float(mhz), 1000)
            told.append(f"{what.split()[0].lower()} {mhz} MHz")
            if off > PPM:
                problems.append(f"{what} {mhz} MHz: {off:.0f} ppm")
        marks = [(float(a), float(b)) for a, b in re.findall(r"\[ *([\d.]+)\] drivers: mark ([\d.]+)", output)]
        if len(marks) != 2:
            problems.append(f"{len(marks)} marks")
        else:
            by_tsc, by_clock = marks[1][0] - marks[0][0], marks[1][1] - marks[0][1]
            off = ppm(by_clock, by_tsc)
            told.append(f"sleep {by_clock:.2f} s in {by_tsc:.6f} s")
            # /proc/uptime has hundredths of a second, and both ends are cut off.
            if off > PPM + 0.02 / by_tsc * 1e6 or not 299.9 < by_clock < 301:
                problems.append(f"a sleep of {by_clock} s took {by_tsc} s")
        clocks = re.findall(r"drivers: hwclock (\w+ +\w+ +\d+ [\d:]+ \d+)", output)
        if len(clocks) != 2:
            problems.append("hwclock cannot read the clock: " + "; ".join(re.findall(r"drivers: hwclock .*", output)))
        elif len(marks) == 2:
            for text, (at, _) in zip(clocks, marks):
                shown = datetime.datetime.strptime(re.sub(" +", " ", text), "%a %b %d %H:%M:%S %Y")
                if abs((shown - START).total_seconds() - at) > 1.5:
                    problems.append(f"hwclock shows {shown} {at} s after the start")
        problems += interrupts_agree(dejavm, trace, output)
    return problems, ", ".join(told)


def main():
    dejavm, guest = sys.argv[1:3]
    if not os.path.exists(f"{guest}/vmlinuz"):
        print(f"skipped: no kernel in {guest}")
        return 77
    failed = 0
    for parameters, wanted in SETS:
        if "quick" in sys.argv[3:] and parameters not in QUICK:
            continue
        problems, told = check(dejavm, guest, parameters, wanted)
        failed += bool(problems)
        print(f"{parameters or 'as it is':<20} {'ok' if not problems else 'FAILED'}  {told}", flush=True)
        for p in problems:
            print(f"    {p}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
