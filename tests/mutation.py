#!/usr/bin/env python3
"""Faults made by hand, one at a time, in a copy of the device models; each must be killed by some test.

Usage: mutation.py [SOURCE] [--only WORD] [--list]. Prints a line for each fault: what, and the test that saw it. Status 1 if one
lives. Uses ccache if there is one; about ten seconds a fault.

mutation.py [SOURCE] --random N [--seed S] [--only WORD] [--skip N]: instead, N faults by chance in devices, replay and vmm (random_faults.py), which the fast
tests of tools/check are to kill. Prints each that lives, with its line before and after: a test is missing, or it is none, or it only makes
something slower. --skip passes over the first of them, which were judged before. Status 0 all the same: which of these it is people decide. Some twenty seconds a fault.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import random_faults

FAULTS = [
    # file, what stands there, what the fault makes of it, what it is
    ("vatpic.cc", "if (value & Ocw3::kEnableSmm) c.special_mask = value & Ocw3::kSetSmm;", "if (value & Ocw3::kSetSmm) c.special_mask = value & Ocw3::kEnableSmm;", "OCW3: ESMM and SMM swapped"),
    ("vatpic.cc", "const unsigned n = (c.lowest + i) & 7;\n    const bool again", "const unsigned n = (c.lowest + i - 1) & 7;\n    const bool again", "priorities begin one input early"),
    ("vatpic.cc", "constexpr uint8_t kElcrWritable[2] = {0xf8, 0xde};", "constexpr uint8_t kElcrWritable[2] = {0xf8, 0xdf};", "ELCR of IRQ8 can be set"),
    ("vatpic.cc", "constexpr unsigned kDefault = 7;", "constexpr unsigned kDefault = 0;", "a spurious interrupt is IRQ0"),
    ("vatpic.cc", "(c.icw4 & Icw4::kFullyNestedSpecial) && is_slave_input", "is_slave_input", "special fully nested mode always"),
    ("vatpic.cc", "  if (which == kSlave) set_input(s.chip[kMaster], kCascade, false);", "  (void)s, (void)which;", "the slave's INT does not drop at an acknowledge"),
    ("vatpic.cc", "    if (rotate) c.lowest = static_cast<uint8_t>(level);", "    if (!rotate) c.lowest = static_cast<uint8_t>(level);", "set priority without R"),
    ("vatpic.cc", "  c.imr = 0;\n", "", "ICW1 does not clear IMR"),
    ("vatpit.cc", "const bool first = c.reload == 0;", "const bool first = true;", "a new count restarts modes 2 and 3 at once"),
    ("vatpit.cc", "c.count / 2 + (c.odd && c.out)", "c.count / 2 + (c.odd && !c.out)", "mode 3: an odd count gives the low half one more"),
    ("vatpit.cc", "  if (c.count_latched) return;  // held until it is read", "", "a second latch command overwrites the first"),
    ("vatpit.cc", "return m > 5 ? m - 4 : m;", "return m > 5 ? m - 5 : m;", "modes 6 and 7 are read as 1 and 2"),
    ("vatpit.cc", "n / 100 % 10 << 8", "n / 100 % 10 << 7", "BCD hundreds in the wrong place"),
    ("vatpit.cc", "      if (!(value & ReadBack::kNotStatus)) latch_status(s.channel[i]);", "      if (!(value & ReadBack::kNotCount)) latch_status(s.channel[i]);", "read-back latches the status with the count"),
    ("vatpit.cc", "c.out = c.out || mode.low_gate_raises_out;", "c.out = c.out || (mode.low_gate_raises_out && mode_number(c) == 2);", "mode 3: OUT stays low when the gate falls"),
    ("vatpit.h", 'field("low_byte", &Channel::low_byte)', 'field("low_byte", &Channel::low_byte).range(0, 127)', "a field with too narrow a range"),
    ("vhpet.cc", "(t.comparator - counter - 1) & width_mask(t)", "(t.comparator - counter) & width_mask(t)", "a match comes a tick late"),
    ("vhpet.cc", "  t.config &= static_cast<uint16_t>(~Vhpet::kValueSet);\n", "", "VAL_SET stays after its write"),
    ("vhpet.cc", "if (n != 0) config &= ~uint64_t{Vhpet::kPeriodic};", "if (n == 2) config &= ~uint64_t{Vhpet::kPeriodic};", "timer 1 can be periodic"),
    ("vhpet.cc", "case kStatus: s.status &= static_cast<uint8_t>(~(value & mask)); return;", "case kStatus: s.status = static_cast<uint8_t>(merge(s.status, value, mask) & 7); return;", "the interrupt status is written, not cleared"),
    ("vhpet.cc", "n == 0 ? Vhpet::kLegacyIrq0 : Vhpet::kLegacyIrq8", "n == 1 ? Vhpet::kLegacyIrq0 : Vhpet::kLegacyIrq8", "legacy replacement swaps its timers"),
    ("vhpet.cc", "  s.counter += ticks;", "  s.counter += ticks & 0xffffffff;", "more than 2^32 ticks at once are lost"),
    ("vioapic.cc", "    evaluate_level(s, pin);\n  }\n}", "  }\n}", "a level that is still asserted is not sent again at EOI"),
    ("vioapic.cc", "if (!is_level(entry)) entry &= ~uint64_t{Vioapic::kRemoteIrr};", "", "remote IRR survives a change to edge"),
    ("vioapic.cc", "else if (rise && !(entry & kMasked)) request(s, input);", "else if (level && !(entry & kMasked)) request(s, input);", "an edge pin sends at each set_line"),
    ("vioapic.cc", "value >> kIdShift & 0xf;", "value >> kIdShift & 0x1f;", "an id of five bits"),
    ("vioapic.cc", "(Vioapic::kPins - 1) << 16", "Vioapic::kPins << 16", "the version register counts one entry more"),
    ("vlapic_interrupt.cc", "(vector >> 4) > (processor_priority(s) >> 4)", "(vector >> 4) >= (processor_priority(s) >> 4)", "an equal priority class interrupts"),
    ("vlapic_interrupt.cc", "  if (!(s.svr & Svr::kNoEoiBroadcast)) send(", "  send(", "EOI broadcasts are not suppressed"),
    ("vlapic_interrupt.cc", "if (vector < 16) return log_error(s, Esr::kReceiveIllegalVector);", "if (vector < 15) return log_error(s, Esr::kReceiveIllegalVector);", "vector 15 is legal"),
    ("vlapic_interrupt.cc", "destination >> 4 == ldr >> 4 && (destination & ldr & 0xf)", "(destination & ldr & 0xf)", "cluster model: any cluster"),
    ("vlapic_timer.cc", "s.timer_expiry_ns = add(now, period - late % period);", "s.timer_expiry_ns = add(now, period);", "a periodic timer drifts by how late it is looked at"),
    ("vlapic_timer.cc", "(((s.divide >> 1 & 4) + (s.divide & 3) + 1) & 7)", "((s.divide >> 1 & 4) + (s.divide & 3) + 1)", "divide by 1 divides by 256"),
    ("vlapic.cc", "  if (was_x2 && on && !x2) return false;", "", "x2APIC to xAPIC is allowed"),
    ("vlapic.cc", "    case kEoi: case kEsr: return value == 0;", "    case kEoi: case kEsr: return true;", "x2APIC: a nonzero EOI is no #GP"),
    ("vlapic.cc", "  for (uint32_t& lvt : s.lvt) lvt |= Lvt::kMasked;\n", "", "a software-disabled APIC keeps its LVT unmasked"),
    ("vpmtmr.cc", "return s.extended ? 31 : 23;", "return s.extended ? 31 : 24;", "TMR_STS at bit 24"),
    ("vpmtmr.cc", "if (level && !(s.inputs & mask))", "if (level)", "a button that is held sets its status again"),
    ("vpmtmr.cc", "s.status = static_cast<uint16_t>(s.status & ~(unsigned{value} << (8 * offset)));", "s.status = static_cast<uint16_t>(s.status & ~unsigned{value});", "the status's high byte clears the low one"),
    ("vrtc.cc", "(year % 100 != 0 || year % 400 == 0)", "(year % 100 != 0)", "2000 is no leap year"),
    ("vrtc.cc", "return encode(s, (hour + 11) % 12 + 1) | (hour >= 12 ? kPm : 0);", "return encode(s, (hour + 11) % 12 + 1) | (hour > 12 ? kPm : 0);", "noon is AM"),
    ("vrtc.cc", "value &= static_cast<uint8_t>(~RegB::kUie);  // SET", "value &= static_cast<uint8_t>(~RegB::kAie);  // SET", "SET clears AIE, not UIE"),
    ("vrtc.cc", "(rate <= 2 ? rate + 6 : rate - 1)", "(rate <= 1 ? rate + 6 : rate - 1)", "periodic rate 2 is not that of 9"),
    ("vrtc.cc", "      s.cmos[kC] = 0;\n      return", "      return", "reading register C does not clear it"),
    ("vrtc.cc", "constexpr uint64_t kUipTicks = 8;", "constexpr uint64_t kUipTicks = 7;", "UIP comes 213 us before the update"),
    ("uart16550.cc", "constexpr uint8_t kLevels[] = {1, 4, 8, 14};", "constexpr uint8_t kLevels[] = {1, 4, 8, 16};", "a trigger level of 16"),
    ("uart16550.cc", "if (after & Msr::kRi) deltas &=", "if (before & Msr::kRi) deltas &=", "TERI at the leading edge"),
    ("uart16550.cc", "if (!(s.fcr & Fcr::kEnable)) s.rx[0] = byte;", "s.rx[0] = byte;", "an overrun replaces the oldest byte of the FIFO"),
    ("uart16550.cc", "    case kIer: return dlab ? s.dlm : s.ier;", "    case kIer: return s.ier;", "DLM cannot be read"),
    ("uart16550.cc", "  if (!indicated) restart_timeout(s, now_ns);", "  restart_timeout(s, now_ns);", "a byte that arrives ends an indicated timeout"),
    ("uart16550.cc", "  start_shifting(s, end, pop_front(s.thr, s.thr_len));", "  start_shifting(s, s.now_ns + 1, pop_front(s.thr, s.thr_len));", "a gap between two characters"),
]

COMPILER = "does not compile"  # then it says nothing of the tests

TESTS = [  # what kills a fault, the fastest first
    ("features", "tests/devices/devices_test"),
    ("reference model", "tests/properties/properties_test"),
    ("conformance", "tests/conformance/conformance_test"),
    ("goldens", "tests/replay/state/replay_golden_test"),
]


def run(args, **more):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=900, **more)


def option(name, otherwise):
    arguments = sys.argv[1:]
    return arguments[arguments.index(name) + 1] if name in arguments else otherwise


def with_line(path, number, line):
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    lines[number - 1] = line
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))


NATIVE = "tests/vmm/soft/native"  # random instructions against the host's processor: slow, and the best judge of the engine


def near(tree, name):
    """The folders of the tests that are most likely to see a fault in this source: those that mirror its own, or the nearest above."""
    folder = os.path.join("tests", os.path.dirname(name))
    while not os.path.exists(os.path.join(tree, folder, "CMakeLists.txt")):
        folder = os.path.dirname(folder)
    if folder == "tests/devices":
        return [folder, "tests/properties", "tests/conformance"]
    return [folder, NATIVE] if name.startswith("vmm/soft/") else [folder]


def judge_folder(build, environment, folder):
    if run(["cmake", "--build", build, "--target", folder + "/all" if folder else "all"], env=environment).returncode:
        return COMPILER
    labels = [] if folder == NATIVE else ["-LE", "slow"]
    try:
        done = run(["ctest", "--test-dir", os.path.join(build, folder), *labels, "-j2", "--stop-on-failure", "--timeout", "60"], env=environment)
    except subprocess.TimeoutExpired:
        return "time"
    failed = re.findall(r"Test +#\d+: (\S+) \.*\*\*\*(?!Skipped)", done.stdout)
    return None if done.returncode == 0 else (failed or ["status %d" % done.returncode])[0]


def judge_by_fast_tests(build, environment, folders=()):
    """What sees the fault: first these folders' tests are asked, then all."""
    for folder in [*folders, ""]:
        by = judge_folder(build, environment, folder)
        if by is not None:
            return by
    return None


def random_main(source, count, seed, only):
    work = tempfile.mkdtemp(prefix="dejavm-mutation-")
    tree, build = os.path.join(work, "tree"), os.path.join(work, "build")
    shutil.copytree(source, tree, ignore=shutil.ignore_patterns("build", ".git"))
    environment = dict(os.environ, RC_PARAMS="seed=1", CCACHE_BASEDIR=work, CCACHE_NOHASHDIR="1")
    configured = run(["cmake", "-S", tree, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1"], env=environment)
    before = COMPILER if configured.returncode else judge_by_fast_tests(build, environment)
    if before is not None:
        print(f"mutation: without a fault, {before}")
        return 1
    killed = lives = 0
    for name, number, old, new in random_faults.make(tree, seed, count, only)[int(option("--skip", 0)):]:
        path = os.path.join(tree, name)
        with_line(path, number, new)
        by = judge_by_fast_tests(build, environment, near(tree, name))
        with_line(path, number, old)
        killed += by not in (None, COMPILER)
        lives += by is None
        print(f"{name}:{number:<5} {by or 'LIVES'}", flush=True)
        if by is None:
            print(f"    - {old.strip()}\n    + {new.strip()}", flush=True)
    shutil.rmtree(work)
    print(f"{killed} of {killed + lives} faults by chance killed, {lives} live (seed {seed})")
    return 0


def main():
    arguments = sys.argv[1:]
    if "--random" in arguments:
        here = os.path.dirname(os.path.abspath(__file__))
        source = arguments[0] if arguments[0] != "--random" and not arguments[0].startswith("-") else os.path.join(here, "..")
        return random_main(os.path.abspath(source), int(option("--random", 20)), int(option("--seed", 1)), option("--only", ""))
    only = option("--only", "")
    source = os.path.abspath(next((a for a in arguments if not a.startswith("-") and a != only), os.path.join(os.path.dirname(__file__), "..")))
    faults = [f for f in FAULTS if (only in f[0] or only in f[3])]
    if "--list" in arguments:
        for name, _, _, what in faults:
            print(f"{name:<24} {what}")
        return 0
    work = tempfile.mkdtemp(prefix="dejavm-mutation-")
    tree, build = os.path.join(work, "tree"), os.path.join(work, "build")
    shutil.copytree(source, tree, ignore=shutil.ignore_patterns("build", ".git"))
    environment = dict(os.environ, RC_PARAMS="seed=1 max_success=3000", CCACHE_BASEDIR=work)
    configured = run(["cmake", "-S", tree, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1"], env=environment)
    targets = ["devices_test", "properties_test", "conformance_test", "replay_golden_test"]
    if configured.returncode or run(["cmake", "--build", build, "--target"] + targets, env=environment).returncode:
        print("mutation: the sources do not build", configured.stdout[-2000:])
        return 1

    def killer():
        built = run(["cmake", "--build", build, "--target"] + targets, env=environment)
        if built.returncode:
            return COMPILER
        for what, program in TESTS:
            done = run([os.path.join(build, program)], cwd=tree, env=environment)
            if done.returncode:
                failed = [line.split("] ", 1)[1].split(",")[0].split(" (")[0] for line in done.stdout.splitlines() if line.startswith("[  FAILED  ] ") and "." in line]
                return f"{what}: {(failed or ['status %d' % done.returncode])[0]}"
        return None

    if (before := killer()) is not None:
        print(f"mutation: without a fault, {before}")
        return 1
    alive = 0
    for name, old, new, what in faults:
        path = os.path.join(tree, "devices", name)
        with open(path) as f:
            text = f.read()
        # White space is of no account: the sources are laid out by a program.
        places = list(re.finditer(r"\s+".join(re.escape(word) for word in old.split()), text))
        if len(places) != 1:
            print(f"mutation: {name}: {len(places)} places for: {what}")
            alive += 1
            continue
        with open(path, "w") as f:
            f.write(text[:places[0].start()] + new + text[places[0].end():])
        by = killer()
        with open(path, "w") as f:
            f.write(text)
        alive += by in (None, COMPILER)
        print(f"{name:<24} {what:<70} {by or 'LIVES'}", flush=True)
    shutil.rmtree(work)
    print(f"{len(faults) - alive} of {len(faults)} faults killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
