#!/usr/bin/env python3
"""The control socket: every request, what each leads to, and clients that mean no good.
Usage: control_test.py DEJAVM HALTING_GUEST [GUEST_DIR]; with a Debian guest there, also suspended at its shell and resumed elsewhere."""
import json, os, pty, re, select, shutil, signal, socket, subprocess, sys, tempfile, time

dejavm = os.path.abspath(sys.argv[1])
halting = os.path.abspath(sys.argv[2])
guest = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else ""


def require(condition, what):
    if not condition:
        raise AssertionError(what)


def ctl(*arguments, status=0):
    r = subprocess.run([dejavm, "ctl"] + list(arguments), capture_output=True, text=True, timeout=60)
    require(r.returncode == status, (arguments, r))
    return r.stdout + r.stderr


class Client:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(30)
        self.s.connect(path)
        self.f = self.s.makefile("rb")

    def line(self):
        return json.loads(self.f.readline() or "null")

    def ask(self, text):
        self.s.sendall(text if isinstance(text, bytes) else json.dumps(text).encode() + b"\n")
        return self.line()


def wait_for(path):
    for _ in range(1200):
        try:
            Client(path)
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody answers at " + path)


def start(arguments):
    return subprocess.Popen([dejavm] + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def digest_of(text):
    return re.search(r"digest ([0-9a-f]{32})", text).group(1)


def requests_and_enemies():
    plain = subprocess.run([dejavm, "run", "--digest", "--console", "none"], capture_output=True, text=True).stderr
    end = digest_of(plain)
    machine = start(["run", "--digest", "--console", "none", "--control", "sock", "--paused"])
    wait_for("sock")
    require(os.stat("sock").st_mode & 0o777 == 0o600, "mode of the socket")
    require("paused at instruction 0" in ctl("sock", "status"), "paused")

    # Every line is answered, whatever it is.
    c = Client("sock")
    require(c.line() == {"dejavm": "control", "version": 1, "pid": machine.pid}, "greeting")
    for bad in (b"\n", b"hello\n", b"[1,2]\n", b"\xff\xfe\x00\n", b"{\n", b"[" * 60000 + b"\n", b'{"command":1}\n', b'{"command":"fly"}\n',
                b'{"command":"checkpoint"}\n', b'{"command":"pause","file":"x"}\n', b'{"command":"status","extra":1}\n',
                b'{"command":"checkpoint","file":"a\\u0000b"}\n', b'{"command":"checkpoint","file":"no/such/folder/x"}\n',
                b'{"command":"checkpoint","file":"/dev/null"}\n', b'{"command":"record-stop"}\n',
                b'{"command":"status","command":"stop"}\n', b'{"command":"checkpoint","file":"x","file":"y"}\n'):
        a = c.ask(bad)
        require(a and a["ok"] is False and a["error"], (bad[:40], a))
    a = c.ask({"command": "status", "id": {"mine": 7}})
    require(a["ok"] and a["id"] == {"mine": 7} and a["state"] == "paused", a)
    a = c.ask(b"x" * 200000)
    require(a["ok"] is False, "an endless line is refused")
    try:
        require(c.f.readline() == b"", "and its sender sent away")
    except ConnectionResetError:
        pass
    half = Client("sock")
    half.s.sendall(b'{"command":"sta')  # and nothing more
    deaf = Client("sock")
    try:
        deaf.s.settimeout(2)
        for _ in range(20000):
            deaf.s.sendall(b'{"command":"status"}\n' * 20)
    except OSError:
        pass  # sent away, or its buffer is full
    crowd = []
    for _ in range(1000):
        try:
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            s.connect("sock")
            crowd.append(s)
        except OSError:
            time.sleep(0.002)
    require("paused" in ctl("sock", "status"), "it answers through the crowd")
    for s in crowd:
        s.close()

    # Who has shut down only its sending side gets its answer; what the gone have asked for, and is not begun, is dropped.
    c = Client("sock")
    c.line()
    c.s.sendall(b'{"command":"pause","id":5}\n')
    c.s.shutdown(socket.SHUT_WR)
    require(c.line()["id"] == 5, "an answer after the end of the requests")
    c = Client("sock")
    c.line()
    c.s.sendall(b"".join(b'{"command":"checkpoint","file":"gone%d.dvs"}\n' % n for n in range(60)))
    c.s.close()
    c.f.close()
    require("paused" in ctl("sock", "status"), "it goes on")
    ctl("sock", "pause")
    require(len([f for f in os.listdir(".") if f.startswith("gone")]) < 60, "requests of the gone are dropped")
    many = [Client("sock") for _ in range(6)]
    for c in many:
        c.line()
        c.s.sendall(b'{"command":"pause"}\n' * 64)
    for c in many:
        for _ in range(64):
            a = c.line()
            require(a["ok"] or "too many" in a["error"], a)

    out = ctl("sock", "checkpoint", "a.dvs")
    require("a.dvs at instruction 0, digest" in out, out)
    require("exists" in ctl("sock", "checkpoint", "a.dvs", status=1), "an existing file is refused")
    ctl("sock", "checkpoint", "a.dvs", "--force", "--delta")
    ctl("sock", "record", "start", "t.dvt")
    ctl("sock", "resume")
    out, _ = machine.communicate(timeout=60)
    require(machine.returncode == 0 and digest_of(out) == end, (machine.returncode, out, end))
    require(not os.path.exists("sock"), "the socket is gone")
    out = subprocess.run([dejavm, "replay", "t.dvt"], capture_output=True, text=True).stdout
    require(digest_of(out) == end, out)

    # Suspended, and gone on from the file alone; stopped; a socket that a killed machine left is no obstacle.
    machine = start(["run", "--console", "none", "--control", "sock", "--paused"])
    wait_for("sock")
    ctl("sock", "suspend", "b.dvs")
    out, _ = machine.communicate(timeout=60)
    require(machine.returncode == 0 and "suspended to" in out, out)
    out = subprocess.run([dejavm, "restore", "--digest", "--console", "none", os.path.abspath("b.dvs")], cwd="/", capture_output=True, text=True).stderr
    require(digest_of(out) == end, out)
    for number, recorded in ((signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGTERM, False)):
        name = "signal%d%d.dvt" % (number, recorded)
        machine = start((["record", "-o", name] if recorded else ["run"]) + ["--console", "none", "--control", "sock", "--paused"])
        wait_for("sock")
        busy = Client("sock")
        busy.line()
        busy.s.sendall(b'{"command":"pause"}\n' * 60)
        machine.send_signal(number)
        out, _ = machine.communicate(timeout=60)
        require(machine.returncode == 0 and "stopped by the user" in out, (number, machine.returncode, out))
        if recorded:
            require(subprocess.run([dejavm, "replay", name], capture_output=True).returncode == 0, name)
    machine = start(["run", "--console", "none", "--control", "sock", "--paused"])
    wait_for("sock")
    machine.kill()
    machine.wait()
    machine = start(["run", "--console", "none", "--control", "sock", "--paused"])
    wait_for("sock")
    second = subprocess.run([dejavm, "run", "--console", "none", "--control", "sock"], capture_output=True, text=True)
    require(second.returncode == 1 and "another machine" in second.stderr, second)
    ctl("sock", "stop")
    require(machine.wait(60) == 0, "stopped")
    require("cannot reach" in ctl("sock", "status", status=1), "nobody is there")


def halted():
    """A guest that halts for good while its timer ticks: status tells how far it is, requests are carried out, nothing else takes its trace."""
    shutil.copy(halting, "kernel.elf")
    os.link("kernel.elf", "link.elf")
    recorder = ["record", "-o", "halted.dvt", "--force", "--console", "none", "--memory", "4M", "--kernel", "kernel.elf"]
    machine = start(recorder + ["--control", "sock"])
    wait_for("sock")
    deadline = time.monotonic() + 60
    times = []
    while len(set(times)) < 3:
        require(time.monotonic() < deadline, times)
        status = json.loads(ctl("sock", "status", "--json"))
        require(status["state"] == "running" and status["instruction"] < 100, status)
        times.append(status["now_ns"])
    require(times == sorted(times), times)
    for _ in range(20):
        ctl("sock", "pause")
        require("paused" in ctl("sock", "status"), "paused once that is answered")
        ctl("sock", "resume")
        require("running" in ctl("sock", "status"), "running once that is answered")
    ctl("sock", "checkpoint", "halted.dvs")
    require("being written" in ctl("sock", "checkpoint", "halted.dvt", "--force", status=1), "the trace")
    for taken in ("kernel.elf", "link.elf"):
        require("are the same file" in ctl("sock", "checkpoint", taken, "--force", status=1), taken)
    second = subprocess.run([dejavm] + recorder, capture_output=True, text=True, timeout=60)
    require(second.returncode == 1 and "halted.dvt" in second.stderr, second)
    ctl("sock", "stop")
    out, _ = machine.communicate(timeout=60)
    require(machine.returncode == 0 and "stopped by the user" in out, (machine.returncode, out))
    require(subprocess.run([dejavm, "replay", "halted.dvt"], capture_output=True, timeout=120).returncode == 0, "the trace is the first one's, and whole")
    machine = start(["restore", "halted.dvs", "--console", "none", "--control", "sock", "--paused"])
    wait_for("sock")
    require("are the same file" in ctl("sock", "record", "start", "halted.dvs", "--force", status=1), "what it came from")
    ctl("sock", "stop")
    require(machine.wait(60) == 0, "stopped")


class Terminal:
    def __init__(self, arguments, cwd):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execv(dejavm, [dejavm] + arguments)

    def until(self, text, seconds=120):
        deadline = time.monotonic() + seconds
        while text not in self.output:
            require(time.monotonic() < deadline, (text, self.output[-2000:]))
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.output += os.read(self.fd, 4096)
                except OSError:
                    require(text in self.output, (text, self.output[-2000:]))

    def type(self, text):
        os.write(self.fd, text)

    def end(self):
        while True:
            try:
                piece = os.read(self.fd, 4096)
            except OSError:
                break
            if not piece:
                break
            self.output += piece
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def at_the_shell():
    here = os.getcwd()
    t = Terminal(["run", "--kernel", guest + "/vmlinuz", "--initrd", guest + "/initrd", "--append", "console=ttyS0 shell", "--control", here + "/shell"], here)
    t.until(b"# ")
    t.type(b"kept=$((6*7)); echo have-$kept\n")
    t.until(b"have-42")
    require("running" in ctl("shell", "status"), "running")
    ctl("shell", "checkpoint", "c.dvs")
    ctl("shell", "pause")
    require("paused" in ctl("shell", "status"), "paused")
    ctl("shell", "resume")
    ctl("shell", "record", "start", "r.dvt")
    t.type(b"echo again-$kept\n")
    t.until(b"again-42")
    ctl("shell", "record", "stop")
    ctl("shell", "suspend", "d.dvs", "--delta")
    require(t.end() == 0, t.output[-500:])
    out = subprocess.run([dejavm, "replay", "--console", "stdio", "r.dvt"], capture_output=True, text=True, timeout=120)
    require(out.returncode == 0 and "again-42" in out.stdout and "identical" in out.stdout, out)
    subprocess.run([dejavm, "snapshot", "merge", "d.dvs", "-o", "e.dvs"], check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as alone:
        os.rename("e.dvs", alone + "/e.dvs")
        t = Terminal(["restore", "e.dvs", "--control", here + "/again"], alone)
        wait_for(here + "/again")
        # Its first checkpoint may be a delta of the file that it came from.
        answer = json.loads(ctl(here + "/again", "checkpoint", alone + "/f.dvs", "--delta", "--json"))
        require(answer["delta"] and "with 1 before it" in subprocess.run([dejavm, "snapshot", "verify", alone + "/f.dvs"], capture_output=True, text=True).stdout, answer)
        t.type(b"echo still-$kept; poweroff -f\n")
        require(t.end() == 0 and b"still-42" in t.output, t.output[-500:])
        # A file that turns out to be damaged ends the run, though nobody asked it to end.
        with open(alone + "/e.dvs", "r+b") as f:
            f.seek(-5, os.SEEK_END)
            f.write(b"x")
        t = Terminal(["restore", "e.dvs"], alone)
        require(t.end() == 2 and b"is damaged" in t.output, t.output[-500:])


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    requests_and_enemies()
    halted()
    if os.path.exists(guest + "/vmlinuz"):
        at_the_shell()
        print("suspended at the shell and resumed")
print("the control socket does what it should")
