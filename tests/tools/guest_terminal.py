"""What tests of whole systems share: running commands, and a guest's terminal to type at. In the current folder "log" has what dejavm says."""
import os, re, subprocess, time


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

    def log_in(self):
        """As root, to a shell that shows nothing but what its commands print."""
        self.wait_for(rb"debian login: ")
        self.type("root")
        self.wait_for(rb"root@debian:~# ")
        self.type("stty -echo; PS1=; bind 'set enable-bracketed-paste off'; export LC_ALL=C; cd /var/tmp; set +m; echo no-''echo")
        self.wait_for(rb"no-echo\r\n")
        self.asked = 0

    def ask(self, line):
        """What these commands print, and how many seconds of this host they took."""
        self.asked += 1
        self.type(f"{line}; echo; echo end-''of-{self.asked}-")
        begun = time.time()
        output = self.wait_for(b"end-of-%d-\r\n" % self.asked)
        return output.replace("\r", "").replace(f"end-of-{self.asked}-", "").strip(), time.time() - begun

    def end(self):
        self.process.stdout.read()
        return self.process.wait(timeout=1200)
