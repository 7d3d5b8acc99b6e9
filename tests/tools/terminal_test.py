#!/usr/bin/env python3
"""A person at a terminal: what is typed reaches the guest and is replayed without one; Ctrl-A x ends the run.
Usage: terminal_test.py DEJAVM"""
import os, pty, re, select, subprocess, sys, tempfile, termios, time, tty

dejavm = sys.argv[1]


def session(arguments, typed):
    """Types at once, so that nothing depends on how fast the machine is; returns the output and the exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        tty.setraw(0, termios.TCSANOW)
        os.execv(dejavm, [dejavm] + arguments)
    os.write(fd, typed)
    output, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([fd], [], [], 1)[0]:
            try:
                piece = os.read(fd, 4096)
            except OSError:
                break
            if not piece:
                break
            output += piece
    return output, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


with tempfile.TemporaryDirectory() as work:
    trace = os.path.join(work, "t.dvt")
    output, status = session(["record", "-o", trace], b"xyzzy\x01\x01")
    assert status == 0 and b"xyzzy" in output and b"powering off" in output, (status, output)
    replayed = subprocess.run([dejavm, "replay", "--console", "stdio", trace], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert replayed.returncode == 0 and b"xyzzy\x01" in replayed.stdout, replayed
    assert b"replay: identical" in replayed.stdout, replayed

    trace = os.path.join(work, "u.dvt")
    output, status = session(["record", "-o", trace], b"\x01x")
    assert status == 0 and b"stopped by the user" in output and b"powering off" not in output, (status, output)
    replayed = subprocess.run([dejavm, "replay", trace], capture_output=True, timeout=60)
    assert replayed.returncode == 0 and re.search(rb"replay: identical, \d+ exits", replayed.stdout), replayed
print("typed, ended and replayed")
