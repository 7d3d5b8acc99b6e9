#!/usr/bin/env python3
"""Debian's gdb on recorded runs: breakpoints, watchpoints, steps and their reverses, and the digest at the end.
Usage: gdb_test.py DEJAVM [GUEST_DIR]; with a Debian guest there, its kernel's boot by the kernel's own symbols too."""
import hashlib, json, os, re, shutil, subprocess, sys, tempfile

dejavm = os.path.abspath(sys.argv[1])
guest = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else ""
if not shutil.which("gdb"):
    print("gdb_test: skipped, there is no gdb")
    sys.exit(77)


nightly = os.environ.get("DEJAVM_NIGHTLY")


def gdb(trace, commands, options=(), before=(), where=None):
    """Runs gdb in batch mode on a trace; its output, command by command, without what it says at the start."""
    script = ["set pagination off", "set confirm off", "set width 0", *before,
              "target remote " + (where or "| %s debug --stdio %s %s" % (dejavm, " ".join(options), trace))]
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


def perfetto(trace, console, least):
    """Perfetto's file: every exit is in it, in order of time, and the console as it was printed."""
    subprocess.run([dejavm, "trace", "export", trace, "--perfetto", "t.json", "--force"], check=True)
    with open("t.json") as f:
        events = json.load(f)["traceEvents"]
    times = [e["ts"] for e in events if e["ph"] != "M" and e.get("cat") != "console"]
    assert times == sorted(times) and len(times) > least, len(times)
    printed = [e["name"] for e in events if e.get("cat") == "console"]
    assert [l for l in console.replace("\r", "").split("\n") if l][-20:] == printed[-20:], printed[-3:]


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
    r = subprocess.run([dejavm, "replay", "--console", "stdio", "g.dvt"], check=True, capture_output=True, text=True)
    perfetto("g.dvt", r.stdout.split("replay: identical")[0], 1000)
    print("gdb on the built-in guest: breakpoints, watchpoints and steps, forwards and backwards; digest as recorded")


def firmware(image):
    """16- and 32-bit code: SeaBIOS from the reset vector on. Breakpoints are linear addresses."""
    subprocess.run([dejavm, "record", "-o", "f.dvt", "--force", "--console", "none", "--firmware", image, "--max-instructions", "30010"], capture_output=True, timeout=100)
    modes = set()
    for at in (0, 1, 5, 40, 1000, 5000, 20000, 30000):
        out = gdb("f.dvt", ["monitor when", "info registers linear_pc cr0 cs_base rip"], ["--at", str(at)])
        pc, cr0, base, rip = (int(find(r"\b%s\s+(0x[0-9a-f]+)" % n, out[1]), 16) for n in ("linear_pc", "cr0", "cs_base", "rip"))
        assert pc == (base + rip) & 0xffffffff, out
        modes.add(cr0 & 1)
        back = gdb("f.dvt", ["hbreak *%d" % pc, "reverse-continue", "monitor when"], ["--at", str(at + 1)])
        assert position(back[2]) == at and back[2].splitlines()[-1] == out[0].splitlines()[-1], (out, back)
    assert modes == {0, 1}, modes
    print("gdb on SeaBIOS: breakpoints in real and protected mode")


def live():
    """A running guest: stopped, changed, and let go on; and one that is recorded, which cannot be changed."""
    def start(*arguments):
        p = subprocess.Popen([dejavm, *arguments, "--gdb", "127.0.0.1:0", "--memory", "32M"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return p, find(r"target remote (\S+)", p.stderr.readline())

    p, where = start("run", "--console", "file:live.txt")
    out = gdb(None, ["stepi 1000", "monitor when", "hbreak *$pc", "continue", "set $rax = 0x1234", "info registers rax", "set *(int*)0x500000 = 77", "x/wd 0x500000", "monitor devices",
                     "delete", "monitor device vatpit", "detach"], where=where)
    assert position(out[1]) == 1000 and "0x1234" in out[5] and "77" in out[7] and "vatpit.channel[0].count" in out[10], out
    p.communicate(timeout=60)
    assert p.returncode in (0, 4), p.returncode  # RAX was changed
    p, where = start("record", "-o", "live.dvt", "--force", "--console", "file:live.txt")
    out = gdb(None, ["stepi 100", "watch *(long*)($rsp-8)", "continue", "monitor when", "delete", "detach"], where=where)
    assert "New value" in out[2], out
    said = p.communicate(timeout=60)
    assert p.returncode == 0, said
    digest = find(r"digest ([0-9a-f]{32})", said[1])
    again = subprocess.run([dejavm, "replay", "live.dvt"], capture_output=True, text=True, timeout=60)
    assert digest in again.stdout + again.stderr, (digest, again)
    p, where = start("run", "--console", "none")
    gdb(None, ["stepi", "kill"], where=where)
    assert p.wait(timeout=60) in (0, 1, 4)
    print("gdb on a live guest: stopped, changed, let go, killed; recorded under gdb, it replays")


def debian():
    """A kernel panic in Debian's kernel, found backwards; symbols from the guest's memory."""
    machine = ["--kernel", guest + "/vmlinuz", "--initrd", guest + "/initrd", "--keyframe-every", "500000000"]
    r = subprocess.run([dejavm, "record", "-o", "d.dvt", "--force", "--console", "file:console", *machine, "--append", "console=ttyS0 kallsyms crash panic=-1"],
                       capture_output=True, text=True, timeout=500)
    with open("console", errors="replace") as f:
        console = f.read()
    digest = find(r"digest ([0-9a-f]{32})", r.stderr)
    assert "sysrq triggered crash" in console, console[-2000:]

    # Every line of the kernel's own /proc/kallsyms.
    symbols = subprocess.run([dejavm, "symbols", "d.dvt"], check=True, capture_output=True).stdout
    assert hashlib.md5(symbols).hexdigest() == find(r"guest: kallsyms ([0-9a-f]{32})", console), symbols[:200]
    assert symbols.count(b"\n") == int(find(r"guest: symbols (\d+)", console)) > 50000
    subprocess.run([dejavm, "symbols", "d.dvt", "-o", "kernel.elf"], check=True, capture_output=True)
    early = subprocess.run([dejavm, "symbols", "d.dvt", "--at", "1M"], capture_output=True, text=True)
    assert early.returncode == 2 and "no VMCOREINFO" in early.stderr, early
    # A third reading of them: binutils'.
    listed = subprocess.run(["nm", "kernel.elf"], check=True, capture_output=True, text=True).stdout
    assert sorted(l.split(" ")[::2] for l in listed.splitlines()) == sorted(l.split(" ")[::2] for l in symbols.decode().splitlines())

    # From the end back to the panic, to who called it, and to the write that it came from.
    before = ["file kernel.elf"]
    out = gdb("d.dvt", ["hbreak panic", "reverse-continue", "backtrace", "monitor when", "hbreak sysrq_handle_crash", "reverse-continue", "backtrace", "monitor when",
                        "delete", "watch *(int*)&panic_cpu", "continue", "backtrace 3", "reverse-continue", "monitor when"], ["--at", "end"], before)
    assert "Breakpoint 1" in out[1] and " in panic ()" in out[1], out
    out_panic = out
    trace = re.findall(r"#\d+ .* in (\w+)[\w.]* \(\)", out[6])
    for name in ("sysrq_handle_crash", "__handle_sysrq", "write_sysrq_trigger", "proc_reg_write", "vfs_write", "ksys_write", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"):
        assert name in trace, (name, out[6])
    assert trace[0] == "sysrq_handle_crash" and trace.index("vfs_write") < trace.index("do_syscall_64"), trace
    assert "in sysrq_handle_crash" in out[7] and position(out[7]) < position(out[3]), out
    assert "New value" in out[10] and "in panic ()" in out[11], out
    assert position(out[13]) > position(out[7]), out

    # Steps to and fro, in the middle of the boot, and interrupts: through the handler's own first instruction.
    out = gdb("d.dvt", ["monitor when", "stepi 1000", "monitor when", "reverse-stepi 1000", "monitor when", "hbreak asm_sysvec_apic_timer_interrupt", "continue", "monitor when", "backtrace",
                        "reverse-stepi", "monitor when", "stepi", "reverse-continue", "monitor when"], ["--at", "1500M"], before)
    assert out[0] == out[4] and position(out[2]) == 1500001000, out
    assert " in asm_sysvec_apic_timer_interrupt ()" in out[6] and "in asm_sysvec_apic_timer_interrupt" in out[7], out
    # Back by one is before the interrupt came in; forward by one is after the handler's first instruction.
    assert "about to execute" not in out[10] and position(out[10]) == position(out[7]), (out[7], out[10])
    assert out[13] == out[7], (out[7], out[13])

    # The same without a debugger.
    def query(*arguments):
        return json.loads(subprocess.run([dejavm, "query", "d.dvt", *arguments, "--json"], check=True, capture_output=True, text=True).stdout)

    first = query("first-exec", "sysrq_handle_crash", *([] if nightly else ["--after", "3G"]))
    assert first["found"] and first["instruction"] == position(out_panic[7]) and first["symbol"] == "sysrq_handle_crash", first
    wrote = query("last-write", "panic_cpu", "--bytes", "4")
    assert wrote["instruction"] == position(out_panic[13]) and wrote["symbol"].startswith("panic+"), wrote
    if nightly:  # before it, only the decompressor did, at another address
        assert not query("last-write", "panic_cpu", "--bytes", "4", "--before", str(wrote["instruction"]))["found"]
    assert query("count-exec", "panic", "--after", "3G")["count"] == 1 and query("count-exec", "schedule", "--after", "3G")["count"] > 0
    assert not query("first-exec", "0xdeadbeef", "--after", "3G")["found"]
    touched = query("who-touched", "vrtc.0x71", "--limit", "3")
    assert touched["count"] > 10 and len(touched["first"]) == 3 and "rtc" in touched["first"][0]["symbol"], touched
    interrupts = {i["vector"]: i for i in query("irq-latency")}
    dumped = subprocess.run([dejavm, "trace", "dump", "d.dvt", "--kind", "interrupt"], check=True, capture_output=True, text=True).stdout
    assert sum(i["count"] for i in interrupts.values()) == dumped.count(": vector 0x"), interrupts
    assert all(i["min_ns"] <= i["median_ns"] <= i["p99_ns"] <= i["max_ns"] for i in interrupts.values()), interrupts

    if nightly:
        perfetto("d.dvt", console, 100000)

    # Nothing of this changed the run.
    end = gdb("d.dvt", ["monitor when"], ["--at", "end"])[0]
    assert digest in end, (digest, end)
    print("gdb on Debian's kernel: all of its own symbols; a panic found backwards; steps and interrupts, forwards and backwards; digest as recorded")


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    embedded()
    live()
    for image in ("/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/bios.bin"):
        if os.path.exists(image):
            firmware(image)
            break
    if guest and os.path.exists(guest + "/vmlinuz"):
        debian()
    else:
        print("gdb_test: no Debian kernel; that part is skipped")
