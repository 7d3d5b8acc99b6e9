"""Programs of this host as a guest: an initial RAM disk that holds busybox, the programs with what they are linked to, and a first
process that is a shell script. Appended to the guest's own (tools/get-guest), of which it replaces /init."""
import os, re, stat, subprocess

FIRST = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/tmp LC_ALL=C.UTF-8
%s
poweroff -f
"""


def libraries(path):
    """The dynamic linker and libraries of a program, with the names by which they are looked for."""
    said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return [m for m in re.findall(r"(/\S+) \(0x", said)]


def tree_of(files, folders=()):
    """{place in the guest: place on the host}, of {place in the guest: place on the host} and whole folders, at the same place."""
    out = {}
    for folder in folders:
        for base, _, names in os.walk(folder):
            if "__pycache__" in base or base.endswith("/test") or base.endswith("/tests"):
                continue
            for n in names:
                out[os.path.join(base, n)] = os.path.join(base, n)
    out.update(files)
    for there, here in list(out.items()):
        if os.access(here, os.X_OK) or ".so" in here:
            for l in libraries(here):
                out[l] = os.path.realpath(l)
    return out


def write_cpio(path, entries):
    """entries: (name, mode, content)"""
    with open(path, "wb") as f:
        def put(number, name, mode, content):
            head = [number, mode, 0, 0, 1, 946684800, len(content), 0, 0, 0, 0, len(name) + 1, 0]
            f.write(b"070701" + b"".join(b"%08x" % h for h in head) + name.encode() + b"\0")
            f.write(b"\0" * (-f.tell() % 4))
            f.write(content)
            f.write(b"\0" * (-f.tell() % 4))
        for number, (name, mode, content) in enumerate(entries):
            put(number + 1, name, mode, content)
        put(0, "TRAILER!!!", 0, b"")


def user_guest(path, initrd, script, files, folders=()):
    """Writes the initial RAM disk of a guest that runs `script`. initrd: the one that tools/get-guest makes."""
    tree = tree_of(files, folders)
    made, entries = set(), [("init", 0o100755, (FIRST % script).encode())]
    for there in sorted(tree):
        parts = there.strip("/").split("/")
        for n in range(1, len(parts)):
            folder = "/".join(parts[:n])
            if folder not in made:
                made.add(folder)
                entries.append((folder, 0o040755, b""))
        mode = stat.S_IMODE(os.stat(tree[there]).st_mode)
        entries.append(("/".join(parts), 0o100000 | mode, open(tree[there], "rb").read()))
    write_cpio(path + ".part", entries)
    with open(path, "wb") as out:
        for piece in (initrd, path + ".part"):
            data = open(piece, "rb").read()
            out.write(data + b"\0" * (-len(data) % 512))
    os.remove(path + ".part")
