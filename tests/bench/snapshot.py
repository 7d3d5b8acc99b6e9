"""See snapshot.sh. Usage: snapshot.py DEJAVM GUEST_DIR WORK_DIR REPETITIONS"""
import json, os, socket, statistics, subprocess, sys, time

dejavm, guest, work, times = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3], int(sys.argv[4])
os.makedirs(work, exist_ok=True)
os.chdir(work)
KERNEL, INITRD, APPEND = guest + "/vmlinuz", guest + "/initrd", "console=ttyS0 fill=480"
results = {}


def note(name, seconds):
    results.setdefault(name, []).append(seconds * 1000)


def remove(*names):
    for n in names:
        if os.path.exists(n):
            os.unlink(n)


def until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.05)
    sys.exit("waited too long")


def filled(path):
    return lambda: os.path.exists(path) and b"guest: filled" in open(path, "rb").read()


class Qmp:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        for _ in range(20000):
            try:
                self.s.connect(path)
                break
            except OSError:
                time.sleep(0.0005)
        self.f = self.s.makefile("r")
        self.f.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.s.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.f.readline())
            if "return" in answer or "error" in answer:
                return answer.get("return", answer)


def qemu():
    base = ["qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-display", "none", "-monitor", "none", "-qmp", "unix:qmp,server=on,wait=off"]
    machine = base + ["-serial", "file:qemu.txt", "-kernel", KERNEL, "-initrd", INITRD, "-append", APPEND]
    remove("qemu.txt", "qmp")
    p = subprocess.Popen(machine)
    until(filled("qemu.txt"))
    q = Qmp("qmp")
    q("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    for _ in range(times):
        remove("qemu.state")
        begin = time.monotonic()
        q("stop")
        q("migrate", uri="exec:cat > qemu.state")
        while (state := q("query-migrate")).get("status") not in ("completed", "failed"):
            time.sleep(0.001)
        if state["status"] == "failed":
            sys.exit("QEMU's migration failed: %s" % state)
        saved = time.monotonic()
        note("qemu save (the guest stands still)", saved - begin)
        fd = os.open("qemu.state", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        note("qemu save, synced", time.monotonic() - begin)
        q("cont")
    p.kill()
    p.wait()
    for _ in range(times):
        remove("qmp")
        begin = time.monotonic()
        p = subprocess.Popen(machine + ["-incoming", "exec:cat qemu.state"])
        q = Qmp("qmp")
        while q("query-status").get("status") == "inmigrate":
            time.sleep(0.001)
        q("cont")  # it was standing still when it was saved
        if not q("query-status").get("running"):
            sys.exit("QEMU did not restore")
        note("qemu restore", time.monotonic() - begin)
        p.kill()
        p.wait()
    return os.stat("qemu.state").st_size


def ours():
    remove("console.txt", "sock")
    p = subprocess.Popen([dejavm, "run", "--memory", "1G", "--control", "sock", "--console", "file:console.txt", "--kernel", KERNEL, "--initrd", INITRD,
                          "--append", APPEND], stderr=subprocess.DEVNULL)
    until(filled("console.txt"))

    def ctl(*arguments):
        return json.loads(subprocess.run([dejavm, "ctl", "sock", arguments[0], "--json"] + list(arguments[1:]), capture_output=True, text=True, check=True).stdout)

    for i in range(times):
        begin = time.monotonic()
        a = ctl("checkpoint", "full.dvs", "--force")
        note("dejavm save, synced (the guest runs)", time.monotonic() - begin)
        note("dejavm pause", a["pause_ns"] / 1e9)
        time.sleep(0.5)
        begin = time.monotonic()
        d = ctl("checkpoint", "delta.dvs", "--delta", "--force")
        note("dejavm delta of %.1f MB" % (d["bytes"] / 1e6) if i == 0 else list(results)[-1], time.monotonic() - begin)
        note("dejavm delta's pause", d["pause_ns"] / 1e9)
    ctl("checkpoint", "full.dvs", "--force")
    at = json.loads(subprocess.run([dejavm, "snapshot", "info", "--json", "full.dvs"], capture_output=True, text=True).stdout)
    ctl("stop")
    p.wait()
    for _ in range(4 * times):
        begin = time.monotonic()
        subprocess.run([dejavm, "--version"], stdout=subprocess.DEVNULL)
        start = time.monotonic() - begin
        r = subprocess.run([dejavm, "restore", "full.dvs", "--json", "--console", "none", "--max-instructions", str(at["instruction"] + 1)], capture_output=True, text=True)
        note("dejavm restore to the first instruction", start + json.loads(r.stderr)["ready_seconds"])
        begin = time.monotonic()
        subprocess.run([dejavm, "snapshot", "verify", "full.dvs"], stdout=subprocess.DEVNULL, check=True)
        note("dejavm verify", time.monotonic() - begin)
    return os.stat("full.dvs").st_blocks * 512


size = ours()
theirs = qemu()
print("%.0f MB of content here, %.0f MB in QEMU's file" % (size / 1e6, theirs / 1e6))
for name, values in results.items():
    print("%-45s p50 %9.1f ms   (%.1f to %.1f)" % (name, statistics.median(values), min(values), max(values)))
p50 = {n: statistics.median(v) for n, v in results.items()}


def ratio(what, ours_name, qemu_name, aim):
    print("%-45s %.4f of QEMU's (aim: %s)" % (what, p50[ours_name] / p50[qemu_name], aim))


ratio("pause", "dejavm pause", "qemu save (the guest stands still)", "0.1")
ratio("save, synced", "dejavm save, synced (the guest runs)", "qemu save, synced", "1")
ratio("restore", "dejavm restore to the first instruction", "qemu restore", "0.05")
