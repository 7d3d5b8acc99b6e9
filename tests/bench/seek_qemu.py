#!/usr/bin/env python3
"""QEMU's reverse-step on its own recording. Usage: seek_qemu.py "QEMU COMMAND LINE"; each step has two minutes."""
import json, os, socket, subprocess, sys, tempfile, time

folder = tempfile.mkdtemp()
qmp_path, gdb_path = folder + "/qmp", folder + "/gdb"
p = subprocess.Popen(sys.argv[1].split() + ["-S", "-qmp", "unix:%s,server=on,wait=off" % qmp_path, "-chardev", "socket,path=%s,server=on,wait=off,id=g" % gdb_path, "-gdb", "chardev:g"])


def connect(path):
    for _ in range(200):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            s.settimeout(120)
            return s
        except OSError:
            time.sleep(0.1)
    sys.exit("QEMU: nobody answers")


def gdb_packet(s, text, until):
    data = text.encode()
    s.sendall(b"$" + data + b"#%02x" % (sum(data) & 255))
    return answer(s, until)


def answer(s, until):
    got = b""
    while until not in got:
        piece = s.recv(4096)
        if not piece:
            raise OSError("gdb's connection is closed")
        got += piece
        s.sendall(b"+")
    return got[got.index(until):]


def drain(s):
    """What gdb would have been told meanwhile."""
    s.settimeout(0.5)
    try:
        while s.recv(4096):
            s.sendall(b"+")
    except TimeoutError:
        pass
    s.settimeout(120)


try:
    qmp, gdb = connect(qmp_path), connect(gdb_path)
    f = qmp.makefile("rw")
    f.readline()

    def ask(**command):
        f.write(json.dumps(command) + "\n")
        f.flush()
        while True:
            answer = json.loads(f.readline())
            if "return" in answer or "error" in answer:
                return answer

    ask(execute="qmp_capabilities")
    gdb_packet(gdb, "qSupported", b"#")
    for place in (200_000_000, 1_000_000_000, 2_000_000_000):
        begin = time.monotonic()
        print("QEMU seek to %d:" % place, ask(execute="replay-seek", arguments={"icount": place}), "%.1f s" % (time.monotonic() - begin))
        while ask(execute="query-replay")["return"]["icount"] < place and time.monotonic() - begin < 120:
            time.sleep(0.2)
        print("  there after %.1f s" % (time.monotonic() - begin))
        drain(gdb)
        begin = time.monotonic()
        gdb.sendall(b"$bs#d5")
        stands = place
        while (stands >= place or ask(execute="query-status")["return"]["running"]) and time.monotonic() - begin < 120:
            time.sleep(0.05)
            stands = ask(execute="query-replay")["return"]["icount"]
        print("  reverse-step: from %d to %d after %.1f s" % (place, stands, time.monotonic() - begin))
        drain(gdb)
except (OSError, ValueError) as e:
    sys.exit("QEMU: %s" % (e or "no answer within two minutes"))
finally:
    p.kill()
