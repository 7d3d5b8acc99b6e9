"""What tests of whole systems share: running commands, and a guest's terminal to type at. In the current folder "log" has what dejavm says."""
import os, re, subprocess


def require(condition, what):
    if not condition:
        raise AssertionError(what)


def run(*arguments, status=0):
    done = subprocess.run([str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=3000)
    require(done.returncode == status, (arguments, done.returncode, done.stdout[-3000:]))
    return done.stdout


class Terminal:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open("log", "w"))
        self.seen = b""

    def wait_for(self, pattern):
        """What the guest has printed up to and with the pattern."""
        while not re.search(pattern, self.seen):
            more = os.read(self.process.stdout.fileno(), 65536)
            require(more, ("the guest has ended before", pattern, self.seen[-2000:], open("log").read()))
            self.seen += more
        found = re.search(pattern, self.seen)
        text, self.seen = self.seen[:found.end()], self.seen[found.end():]
        return text.decode(errors="replace")

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdout.read()
        return self.process.wait(timeout=1200)
