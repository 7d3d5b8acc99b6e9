#!/usr/bin/env python3
"""Reads a trace by FORMAT.md alone, with cbor2 and the zstd program, and compares its events with our reader's.

What kinds of events there are, and of what they consist, it takes from that text's table.

Usage: second_reader.py PROGRAM FORMAT.md OLD, where PROGRAM FILE writes a trace to FILE and prints its events, and OLD is the same
trace as version 1 of the format had it.
Exits with 77 (skipped) when cbor2 or zstd is missing.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

try:
    import cbor2
except ImportError:
    print("skipped: python3-cbor2 is not installed")
    sys.exit(77)
if not shutil.which("zstd"):
    print("skipped: zstd is not installed")
    sys.exit(77)

KINDS = {1: "header", 2: "memory", 3: "snapshot", 4: "events", 5: "end", 6: "index", 7: "blocks"}
MASK = (1 << 64) - 1


def varint(data, pos):
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, pos


def unzigzag(v):
    return v >> 1 if v % 2 == 0 else -(v >> 1) - 1


def version_of(data):
    version, zero = struct.unpack("<II", data[8:16])
    assert data[:8] == b"\x89DJVT\r\n\x1a" and version in (1, 2) and zero == 0
    return version


def frames(data):
    pos, number, heads = 16, 0, b""
    while len(data) - pos > 16:
        head = data[pos:pos + 64]
        magic, kind, packed, zero, seq, stored, raw, count, events, first, last = struct.unpack("<4sBBHIIIIQQQ", head[:48])
        assert magic == b"DJVF" and zero == 0 and seq == number, (pos, magic)
        payload = data[pos + 64:pos + 64 + stored]
        if packed:
            payload = subprocess.run(["zstd", "-dc"], input=payload, stdout=subprocess.PIPE, check=True).stdout
        assert len(payload) == raw
        if KINDS[kind] == "index":
            assert payload == heads and count == number
            assert data[pos + 64 + stored:] == struct.pack("<Q", pos) + b"\x89DJVE\r\n\x1a", "trailer"
            return
        heads += head
        yield KINDS[kind], count, events, payload
        pos += 64 + stored
        number += 1
    raise AssertionError("no index")


def canonical(data):
    value = cbor2.loads(data)
    assert cbor2.dumps(value, canonical=True) == data, "not the canonical form that cbor2 writes"
    return value


def event_kinds(format_md):
    """The table of FORMAT.md: kind -> (name, [(operand, form)])."""
    kinds = {}
    for line in open(format_md, encoding="utf-8"):
        row = re.fullmatch(r"\| (\d+) \| `(\w+)` \| (exit|input|time|place|dma) \| (?:yes|no) \| (.*) \| .* \|\n", line)
        if row:
            kinds[int(row[1])] = (row[2], re.findall(r"`(\w+)` ([a-z ]+)", row[4]))
    return kinds


class Batch:
    def __init__(self, data, version):
        self.data, self.version, self.pos = data, version, 0
        self.vcpu, self.retired, self.last, self.base = 0, {}, {}, 0

    def byte(self):
        self.pos += 1
        return self.data[self.pos - 1]

    def number(self):
        value, self.pos = varint(self.data, self.pos)
        return value

    def take(self, length):
        self.pos += length
        assert self.pos <= len(self.data)
        return self.data[self.pos - length:self.pos]

    def operand(self, form, kind, tag, at, before):
        if form == "size":
            return (tag >> 4 & 7) + 1
        if form == "flag":
            return tag >> 7
        if form == "last":
            if not tag >> 7:
                self.last[kind] = (self.last.get(kind, 0) + unzigzag(self.number())) & MASK
            return self.last.get(kind, 0)
        if form == "number":
            return self.number()
        if form == "number if flag":
            return self.number() if tag >> 7 else 0
        if form == "successor":
            return (self.number() - 1) & MASK
        if form == "bytes":
            return self.take(self.number()).hex()
        if form == "bytes if flag":
            return self.take(before).hex() if tag >> 7 else ""
        if form == "word":
            return int.from_bytes(self.take(8), "little")
        if form == "time":
            return (at + self.base + unzigzag(self.number())) & MASK
        if form == "later":
            time = before + self.number()
            self.base = time - at
            return time
        assert form == "due", form
        return (before + self.number() - 1) & MASK if self.data[self.pos] else (self.number() - 1) & MASK

    def event(self, kinds):
        tag = self.byte()
        if tag == 0x0F:
            self.vcpu = self.number()
            tag = self.byte()
        kind = self.number() if tag & 15 == 14 and self.version > 1 else tag & 15
        name, operands = kinds[kind]
        which = self.vcpu if self.version == 1 else "the machine"
        at = self.retired[which] = self.retired.get(which, 0) + self.number()
        text, before = f"{name} {self.vcpu} {at}", 0
        for operand, form in operands:
            before = self.operand(form, kind, tag, at, before)
            text += f" {operand}={before}"
        return text


def check(data, event_rows, expected):
    got, pages, kinds = [], 0, []
    for kind, count, before, payload in frames(data):
        kinds.append(kind)
        if kind == "header":
            header = canonical(payload)
            assert header["config"]["seed"] == 42 and header["append"] == "console=ttyS0", header
            assert header["schemas"][0][0] == "sample" and header["schemas"][0][2][0] == ["count", "unsigned", 4, 0, "ticks", 1, []]
        elif kind == "memory":
            pages += count
        elif kind == "snapshot":
            snapshot = canonical(payload)
            assert snapshot["pages"] == pages and before == len(got), snapshot
            assert snapshot["chunks"][0]["payload"]["level"] == -5 and snapshot["chunks"][0]["payload"]["fifo"] == b"\1\2\3\4"
            pages = 0
        elif kind == "events":
            assert before == len(got)
            batch = Batch(payload, version_of(data))
            got += [batch.event(event_rows) for _ in range(count)]
            assert batch.pos == len(payload)
        elif kind == "end":
            end = canonical(payload)
            assert end["end"] == 3 and end["instructions"] == 62 and end["detail"] == "asked to", end
    assert kinds == ["header", "memory", "snapshot", "events", "memory", "snapshot", "events", "end"], kinds
    assert got == expected, "\n".join(f"{a!r} | {b!r}" for a, b in zip(got, expected) if a != b)
    print(f"version {version_of(data)}: {len(got)} events agree")


def main():
    program, format_md, old = sys.argv[1:]
    event_rows = event_kinds(format_md)
    assert len(event_rows) >= 15, event_rows
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sample")
        expected = subprocess.run([program, path], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
        for one, version in ((path, 2), (old, 1)):
            with open(one, "rb") as file:
                data = file.read()
            assert version_of(data) == version
            check(data, event_rows, [e for e in expected if version > 1 or not e.startswith("dma_read")])


main()
