#!/usr/bin/env python3
"""How long it takes to go somewhere in a recorded Debian boot, and one instruction back from there, as gdb asks for it.
Usage: seek.py DEJAVM TRACE [PLACES, default 200] [SEED]. cold: the first reverse-step at a place; warm: the ten that follow."""
import random, re, subprocess, sys, time

dejavm, trace = sys.argv[1], sys.argv[2]
places, seed = int(sys.argv[3]) if len(sys.argv) > 3 else 200, int(sys.argv[4]) if len(sys.argv) > 4 else 1


class Gdb:
    def __init__(self, command):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.send("QStartNoAckMode")
        self.p.stdout.read(1)
        self.packet()

    def send(self, text):
        data = text.encode()
        self.p.stdin.write(b"$" + data + b"#%02x" % (sum(data) & 255))
        self.p.stdin.flush()

    def packet(self):
        while self.p.stdout.read(1) != b"$":
            pass
        out = bytearray()
        while (c := self.p.stdout.read(1)) != b"#":
            out += c
        self.p.stdout.read(2)
        return out.decode()

    def ask(self, text):
        begin = time.monotonic()
        self.send(text)
        answer = self.packet()
        return answer, time.monotonic() - begin

    def monitor(self, text):
        begin = time.monotonic()
        self.send("qRcmd," + text.encode().hex())
        said = ""
        while (answer := self.packet()) != "OK":
            said += bytes.fromhex(answer[1:]).decode()
        return said, time.monotonic() - begin


def show(name, times):
    times = sorted(times)
    at = lambda share: times[min(int(len(times) * share), len(times) - 1)] * 1000
    print("%-22s p50 %8.1f ms   p99 %8.1f ms   max %8.1f ms   (%d)" % (name, at(0.5), at(0.99), times[-1] * 1000, len(times)))


g = Gdb([dejavm, "debug", "--stdio", trace])
end = int(re.search(r"of \d+ to (\d+)", g.monitor("when")[0]).group(1))
choose = random.Random(seed)
seeks, cold, warm = [], [], []
for _ in range(places):
    at = choose.randrange(end // 50, end)
    said, seconds = g.monitor("goto %d" % at)
    assert said.startswith("instruction %d\n" % at), said
    seeks.append(seconds)
    for n in range(11):
        answer, seconds = g.ask("bs")
        assert answer.startswith("T05"), answer
        (warm if n else cold).append(seconds)
said = g.monitor("when")[0]
assert said.startswith("instruction %d\n" % (at - 11)), said
show("seek", seeks)
show("reverse-step, cold", cold)
show("reverse-step, warm", warm)
print(g.monitor("keyframes")[0].splitlines()[-1])
