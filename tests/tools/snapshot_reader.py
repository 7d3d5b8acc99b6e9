#!/usr/bin/env python3
"""Snapshots as others read them: by FORMAT.md alone (struct, cbor2, xxhash), by readelf, and by gdb.

Usage: snapshot_reader.py DEJAVM [ARGUMENTS OF dejavm run...] Exits with 77 (skipped) when something is missing.
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
    import xxhash
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
for tool in ("readelf", "gdb"):
    if not shutil.which(tool):
        print("skipped: no", tool)
        sys.exit(77)

PAGE = 4096
MASK128 = (1 << 128) - 1


def require(condition, what):
    if not condition:
        print("FAILED:", what)
        sys.exit(1)


def xxh(data, seed=0):
    return xxhash.xxh3_128_intdigest(data, seed)


def pad(n, to):
    return (n + to - 1) // to * to


class Snapshot:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "rb")
        head = self.file.read(64)
        require(head[:7] == b"\x7fELF\x02\x01\x01", "ELF64, little-endian")
        kind, machine, _, _, phoff, _, _, _, phentsize, phnum = struct.unpack_from("<HHIQQQIHHH", head, 16)
        require((kind, machine, phoff, phentsize) == (4, 62, 64, 56), "a core file for x86-64")
        self.headers = [struct.unpack("<IIQQQQQQ", self.file.read(56)) for _ in range(phnum)]
        require(self.headers[0][0] == 4, "notes come first")
        offset, length = self.headers[0][2], self.headers[0][5]
        self.file.seek(0)
        front = self.file.read(pad(offset + length, PAGE))
        self.chunks, self.notes = [], []
        at = offset
        while at < offset + length:
            name_len, desc_len, note_type = struct.unpack_from("<III", front, at)
            start = at
            name = front[at + 12:at + 12 + name_len - 1].decode()
            desc_at = at + 12 + pad(name_len, 4)
            desc = front[desc_at:desc_at + desc_len]
            at = desc_at + pad(desc_len, 4)
            if name != "DEJAVM":
                self.notes.append((name, note_type, desc))
                continue
            require(note_type == 0x444A564D, "type of a chunk")
            size, version, critical, label, instance, zero = struct.unpack_from("<IHBBII", desc, 0)
            require(zero == 0 and desc_len == 32 + label + size, "form of a chunk")
            require(xxh(desc[:16] + bytes(16) + desc[32:]) == int.from_bytes(desc[16:32], "big"), "hash of a chunk")
            payload = desc[32 + label:]
            value = cbor2.loads(payload)
            require(cbor2.dumps(value, canonical=True) == payload, "canonical CBOR")
            self.chunks.append((desc[32:32 + label].decode(), instance, version, payload, value))
        by_name = {name: value for name, instance, _, _, value in self.chunks if instance == 0}
        self.about, self.config, self.memory = (by_name["file." + n] for n in ("snapshot", "config", "memory"))
        self.blocks_of_zeros = next(version for name, _, version, _, _ in self.chunks if name == "file.memory") == 1
        self.vcpu = by_name["vcpu"]
        for gpa, size, _ in self.memory["extents"]:
            if gpa >= 1 << 52: continue
            flags = [h[1] for h in self.headers if h[0] == 1 and h[4] == gpa and h[6] == size and h[3] in (gpa, gpa + (1 << 48))]
            require(7 in flags, "a PT_LOAD of an extent, with every right")
        require(self.chunks[-1][0] == "file.seal", "the seal is last")
        require(xxh(front[:start]) == int.from_bytes(by_name["file.seal"], "big"), "the seal")
        state = [c for c in self.chunks if not c[0].startswith("file.")]
        listed = bytearray([0x80 + len(state) + 1])
        for name, instance, _, payload, _ in state:
            listed += b"\x83" + cbor2.dumps(name) + cbor2.dumps(instance) + payload
        listed += cbor2.dumps(self.about["memory"])
        require(xxh(bytes(listed)) == int.from_bytes(self.about["digest"], "big"), "the digest")

    def pages(self):
        for gpa, length, offset in self.memory["extents"]:
            for at in range(0, length, PAGE):
                data = bytes(PAGE)
                if offset:
                    self.file.seek(offset + at)
                    data = self.file.read(PAGE)
                yield (gpa + at) // PAGE, data, offset != 0

    def check_blocks(self):
        sums = {}
        for index, data, has_content in self.pages():
            if self.blocks_of_zeros or has_content:
                sums.setdefault(index // 512, 0)
            if any(data):
                sums[index // 512] = (sums[index // 512] + xxh(data, index)) & MASK128
        require([[b, s.to_bytes(16, "big")] for b, s in sums.items()] == self.memory["blocks"], "the blocks' sums")

    def physical(self, gpa, size):
        for start, length, offset in self.memory["extents"]:
            if start <= gpa and gpa + size <= start + length:
                self.file.seek(offset + gpa - start)
                return self.file.read(size)
        return None

    def linear(self, address):
        """The physical address by the page tables, 4 levels."""
        table = self.vcpu["cr3"] & 0x000FFFFFFFFFF000
        for shift in (39, 30, 21, 12):
            raw = self.physical(table + (address >> shift & 511) * 8, 8)
            if raw is None:
                return None
            entry = int.from_bytes(raw, "little")
            if not entry & 1:
                return None
            if shift == 12 or (shift < 39 and entry & 0x80):
                return (entry & 0x000FFFFFFFFFF000 & -(1 << shift)) | (address & ((1 << shift) - 1))
            table = entry & 0x000FFFFFFFFFF000


def memory_sum(chain):
    pages = {}
    for snapshot in chain:
        pages.update((i, xxh(d, i) if any(d) else 0) for i, d, _ in snapshot.pages())
    return sum(pages.values()) & MASK128


def check_readelf(path):
    out = subprocess.run(["readelf", "-lnW", path], capture_output=True, text=True)
    require(out.returncode == 0 and "arning" not in out.stdout + out.stderr and not out.stderr, "readelf: " + out.stderr[:300])


def check_gdb(s):
    v = s.vcpu
    names = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] + ["r%d" % i for i in range(8, 16)]
    expected = dict(zip(names, v["gpr"]))
    expected.update(rip=v["rip"], eflags=v["rflags"], cs=v["segment"][1]["selector"], ss=v["segment"][2]["selector"])
    commands = ["-ex", "core-file " + s.path]
    for r in expected:
        commands += ["-ex", 'printf "%s=%%lx\\n", $%s' % (r, r)]
    for i in range(16):
        commands += ["-ex", 'printf "xmm%d=%%lx,%%lx\\n", $xmm%d.v2_int64[0], $xmm%d.v2_int64[1]' % (i, i, i)]
    addresses = {v["rip"], v["gpr"][4], v["idtr"]["base"], v["gdtr"]["base"]}
    for kind, _, offset, linear, physical, _, length, _ in s.headers[1:]:
        addresses |= {linear, linear + length // 2 & ~7, linear + length - 8}
    addresses = sorted(a for a in addresses if a < 1 << 47 or a >> 47 == (1 << 17) - 1)[:200]
    mapped = {a: s.linear(a) for a in addresses}
    for a in addresses:
        commands += ["-ex", 'printf "m%x=%%lx\\n", *(unsigned long*)0x%x' % (a, a)]
    out = subprocess.run(["gdb", "-batch", "-nx", "-ex", "set architecture i386:x86-64"] + commands, capture_output=True, text=True)
    got = dict(re.findall(r"^(\w+)=([0-9a-f,]+)$", out.stdout, re.M))
    for r, value in expected.items():
        require(got.get(r) == "%x" % value, "gdb: %s is %s, not %x\n%s" % (r, got.get(r), value, out.stderr[:500]))
    for i in range(16):
        require(got.get("xmm%d" % i) == "%x,%x" % tuple(v["fpu"]["xmm"][i]["q"]), "gdb: xmm%d" % i)
    checked = 0
    for a in addresses:
        if mapped[a] is None or a % PAGE > PAGE - 8:
            continue
        data = s.physical(mapped[a], 8)
        if data is None:
            continue
        value = "%x" % int.from_bytes(data, "little")
        require(got.get("m%x" % a) == value, "gdb: memory at %x is %s, not %s\n%s" % (a, got.get("m%x" % a), value, out.stderr[:500]))
        checked += 1
    require(checked > 3, "gdb read too little: %d" % checked)
    return checked


def main():
    dejavm, arguments = os.path.abspath(sys.argv[1]), sys.argv[2:]
    at = 9_000_000
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        if arguments and arguments[0].isdigit():
            at = int(arguments.pop(0))
        run = [dejavm, "run", "--console", "none", "--delta", "--max-instructions", str(at + 2_000_000)] + arguments
        if not arguments:
            run += ["--memory", "16M"]
        for name, where in (("a", at), ("b", at + 1_000_000), ("c", at + 1_500_000)):
            run += ["--snapshot-at", "%d:%s" % (where, name)]
        subprocess.run(run, check=False, stderr=subprocess.DEVNULL)
        chain = [Snapshot(n) for n in "abc"]
        for i, s in enumerate(chain):
            s.check_blocks()
            check_readelf(s.path)
            require(memory_sum(chain[:i + 1]) == int.from_bytes(s.about["memory"], "big"), "the memory sum of " + s.path)
        require(chain[2].about["parent"] == {"name": "b", "digest": chain[1].about["digest"]}, "the parent")
        checked = check_gdb(chain[0])
        print("%d chunks, %d program headers; gdb read %d words at linear addresses" % (len(chain[0].chunks), len(chain[0].headers), checked))


main()
