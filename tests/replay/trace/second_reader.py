#!/usr/bin/env python3
"""Reads a trace by FORMAT.md alone, with cbor2 and the zstd program, and compares its events with our reader's.

Usage: second_reader.py PROGRAM, where PROGRAM FILE writes a trace to FILE and prints its events.
Exits with 77 (skipped) when cbor2 or zstd is missing.
"""
import os
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

KINDS = {1: "header", 2: "memory", 3: "snapshot", 4: "events", 5: "end", 6: "index"}
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


def frames(data):
    assert data[:8] == b"\x89DJVT\r\n\x1a" and struct.unpack("<II", data[8:16]) == (1, 0)
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


def events(data, count):
    pos, vcpu, retired, ports, gpas, base = 0, 0, {}, [0, 0], [0, 0], 0
    names = "io_read io_write mmio_read mmio_write msr_read msr_write cr8_read cr8_write cpuid interrupt console stop idle control place".split()
    for _ in range(count):
        tag = data[pos]
        pos += 1
        if tag == 0x0F:
            vcpu, pos = varint(data, pos)
            tag = data[pos]
            pos += 1
        kind, flag = tag & 15, tag >> 7
        delta, pos = varint(data, pos)
        at = retired[vcpu] = retired.get(vcpu, 0) + delta
        text = f"{names[kind]} vcpu {vcpu} at {at}"
        if kind < 4:
            last = (ports, gpas)[kind // 2]
            if not flag:
                delta, pos = varint(data, pos)
                last[kind % 2] = (last[kind % 2] + unzigzag(delta)) & MASK
            value, pos = varint(data, pos)
            text += f": {('port', 'address')[kind // 2]} {last[kind % 2]:#x} size {(tag >> 4 & 7) + 1} {('->', '<-')[kind % 2]} {value:#x}"
        elif kind < 6:
            index, pos = varint(data, pos)
            value = 0
            if flag or kind == 5:
                value, pos = varint(data, pos)
            text += f": msr {index:#x} {('->', '<-')[kind - 4]} {value:#x}" + ("" if flag else " #GP")
        elif kind < 8:
            value, pos = varint(data, pos)
            text += f": {('->', '<-')[kind - 6]} {value:#x}"
        elif kind == 8:
            v = []
            for _ in range(8):
                one, pos = varint(data, pos)
                v.append(one)
            text += ": leaf {:#x} subleaf {:#x} cr4 {:#x} xcr0 {:#x} -> {:#x} {:#x} {:#x} {:#x}".format(*v)
        elif kind == 9:
            value, pos = varint(data, pos)
            text += f": vector {value - 1:#x}" if value else ": no vector"
        elif kind in (10, 13):
            length, pos = varint(data, pos)
            shown = "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in data[pos:pos + length])
            text += f": {shown}"
            pos += length
        elif kind == 12:
            delta, pos = varint(data, pos)
            now = (at + base + unzigzag(delta)) & MASK
            skip, pos = varint(data, pos)
            rest, pos = varint(data, pos)
            to = now + skip
            base = to - at
            text += f": now {now} ns next {'never' if rest == 0 else str(to + rest - 1) + ' ns'} -> {to} ns"
        elif kind == 14:
            rip, pos = varint(data, pos)
            text += f": rip {rip:#x} registers {int.from_bytes(data[pos:pos + 8], 'little'):016x}" + (" nmi" if flag else "")
            pos += 8
        yield text
    assert pos == len(data)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sample")
        expected = subprocess.run([sys.argv[1], path], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
        with open(path, "rb") as file:
            data = file.read()
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
            got += events(payload, count)
        elif kind == "end":
            end = canonical(payload)
            assert end["end"] == 3 and end["instructions"] == 62 and end["detail"] == "asked to", end
    assert kinds == ["header", "memory", "snapshot", "events", "memory", "snapshot", "events", "end"], kinds
    assert got == expected, "\n".join(f"{a!r} | {b!r}" for a, b in zip(got, expected) if a != b)
    print(f"{len(got)} events agree")


main()
