#!/usr/bin/env python3
"""A person at a terminal: what is typed reaches the guest and is replayed without one; Ctrl-A x ends the run.
Usage: terminal_test.py DEJAVM"""
import os, pty, re, select, signal, struct, subprocess, sys, tempfile, termios, time, tty

dejavm = sys.argv[1]
# A Multiboot image that spins for ever.
FLAGS, LOAD = 0x10000, 0x100000
SPIN = struct.pack("<8I", 0x1BADB002, FLAGS, -(0x1BADB002 + FLAGS) & 0xFFFFFFFF, LOAD, LOAD, 0, 0, LOAD + 32) + b"\xeb\xfe"


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

# What a guest that echoes is typed appears on its terminal as it is; shown again, it makes the terminal answer nothing. What it has
# switched is switched back when the run is ended.
QUESTION, SCREEN = b"\x1b[6n", b"\x1b[?1049h"


def at_a_terminal(arguments, act=lambda fd, pid: None):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(dejavm, [dejavm] + arguments)
    act(fd, pid)
    output, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and select.select([fd], [], [], 30)[0]:
        try:
            piece = os.read(fd, 4096)
        except OSError:
            break
        output += piece
    return output, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_raw(fd):
    return not termios.tcgetattr(fd)[3] & termios.ICANON


def wait_until(what, describe):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, describe
        time.sleep(0.02)


def stop_and_go_on(fd, pid):
    wait_until(lambda: is_raw(fd), "raw at the start")
    os.kill(pid, signal.SIGTSTP)
    os.waitpid(pid, os.WUNTRACED)
    assert not is_raw(fd), "a stopped run leaves the terminal as it was"
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_raw(fd), "raw again")
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    mode = termios.tcgetattr(fd)
    mode[3] |= termios.ICANON
    termios.tcsetattr(fd, termios.TCSANOW, mode)  # as a shell does
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_raw(fd), "raw again after SIGSTOP")
    os.write(fd, b"\x01x")


with tempfile.TemporaryDirectory() as work:
    trace = os.path.join(work, "t.dvt")
    output, status = session(["record", "-o", trace], QUESTION + SCREEN + b"\x1b[31m")
    assert status == 0 and QUESTION in output and SCREEN in output, (status, output)
    assert output.index(b"\x1b[?1049l") > output.index(SCREEN), output
    output, status = at_a_terminal(["replay", "--console", "stdio", trace])
    assert status == 0 and QUESTION not in output and SCREEN in output and b"\x1b[?1049l" in output, (status, output)
    kernel = os.path.join(work, "spin")
    open(kernel, "wb").write(SPIN)
    output, status = at_a_terminal(["run", "--kernel", kernel], stop_and_go_on)
    assert status == 0 and b"stopped by the user" in output, (status, output)
print("typed, ended and replayed")
