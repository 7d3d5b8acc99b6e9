#!/usr/bin/env python3
"""A whole Debian system with systemd on its own disk: boot, a session at its login prompt, power-off, all recorded; replayed without the
disk's image; its disk taken out of the trace and judged by e2fsck and SQLite; saved at random moments and gone on from each to one end.
Usage: system_test.py DEJAVM SYSTEM_DIR [SEED [MOMENTS]]     SYSTEM_DIR: of tools/get-system; status 77 without it"""
import os, random, re, shutil, sqlite3, subprocess, sys, tempfile

from guest_terminal import Terminal, require, run

dejavm = os.path.abspath(sys.argv[1])
system = os.path.abspath(sys.argv[2])
seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
moments = int(sys.argv[4]) if len(sys.argv) > 4 else 20
os.environ["PATH"] += ":/sbin:/usr/sbin"

SESSION = [
    "nvme list | grep -q 'SYSTEM.*512' && nvme smart-log /dev/nvme0 | grep -q 'percentage_used.*: 0%' && nvme error-log /dev/nvme0 >/dev/null",
    "lspci -nn | grep -q 'Non-Volatile memory controller' && ! lspci -vvv 2>&1 | grep -iE 'unknown|error|!!!'",
    "! dmesg | grep -iE \"can't claim|acpi.*(error|warning)|nvme.*(error|timeout)|firmware bug\"",
    "sqlite3 /root/t.db 'create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)"
    " insert into t select i, hex(randomblob(50)) from n; pragma integrity_check;'",
    "fio --name=v --filename=/root/v --size=8M --bs=16k --rw=randwrite --verify=crc32c --do_verify=1 --ioengine=psync --minimal"
    " > /root/fio.out && echo verified",
    "sha256sum /root/t.db /root/v > /root/sums && sync && cat /root/sums",
]


def digest_of(text):
    return re.findall(r"digest ([0-9a-f]{32})", text)[-1]


def machine(append="", image="debian.img"):
    return ["--disk", image + ",serial=SYSTEM", "--memory", "512M", "--kernel", system + "/vmlinuz",
            "--append", "root=/dev/nvme0n1p1 rw console=ttyS0 " + append]


def partition(image):
    """The file system within, as a file of its own: e2fsck forgets an offset when it has recovered a journal."""
    run("dd", "if=" + image, "of=" + image + ".p1", "bs=1M", "skip=1", "conv=sparse", "status=none")
    return image + ".p1"


def a_session():
    """As a PC boots it: firmware, GRUB, its own kernel and initrd; with a reset in between."""
    terminal = Terminal([dejavm, "record", "-o", "t.dvt", "debian.img,serial=SYSTEM", "--memory", "512M"])
    for again in (False, True):
        terminal.wait_for(rb"SeaBIOS")
        terminal.wait_for(rb"GNU GRUB")
        terminal.wait_for(rb"debian login: ")
        terminal.type("root")
        terminal.wait_for(rb"root@debian:~# ")
        if not again:
            terminal.type("systemctl reboot")
    output = ""
    for command in SESSION:
        terminal.type(command + "; echo status=$?.")
        output += terminal.wait_for(rb"status=\d+\.")
        require(output.endswith("status=0."), output)
        terminal.wait_for(rb"root@debian:~# ")
    terminal.type("systemctl poweroff")
    require(terminal.end() == 0, open("log").read())
    log = open("log").read()
    require("the guest powered off" in log, log)
    require("ok" in output and "verified" in output, output)
    return digest_of(log), output


def replayed(end):
    for jobs in (["--jobs", "1"], []):
        out = run(dejavm, "replay", *jobs, "t.dvt")
        require("identical" in out and digest_of(out) == end, out)
    out = run(dejavm, "replay", "--devices-only", "t.dvt")
    require("devices identical" in out, out)


def its_disk(output):
    run(dejavm, "disk", "extract", "t.dvt", "--image", "moved.img", "-o", "end.img")
    files = partition("end.img")
    run("e2fsck", "-fn", files)
    run("debugfs", "-R", "dump /root/t.db t.db", files)
    run("debugfs", "-R", "dump /root/v v", files)
    for line in run("sha256sum", "t.db", "v").splitlines():
        require(line.split()[0] in output, ("the disk has another", line, output))
    database = sqlite3.connect("t.db")
    require(database.execute("pragma integrity_check").fetchall() == [("ok",)], "SQLite finds the database damaged")
    require(database.execute("select count(*), sum(a) from t").fetchone() == (5000, 12502500), "rows are missing")
    # Power lost at any moment: the journal brings the file system back.
    last = int(re.search(r'"instructions": ?(\d+)', run(dejavm, "trace", "info", "--json", "t.dvt")).group(1))
    for at in sorted(random.Random(seed).randrange(last // 3, last) for _ in range(3)):
        run(dejavm, "disk", "extract", "t.dvt", "--image", "moved.img", "--at", at, "-o", "then.img", "--force")
        files = partition("then.img")
        done = subprocess.run(["e2fsck", "-fp", files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        require(done.returncode in (0, 1), (at, done.stdout))
        run("e2fsck", "-fn", files)


def saved_at_moments():
    command = "systemd.run=\"/bin/sh -c 'for i in 1 2 3; do dd if=/dev/urandom of=/root/f$$i bs=64k count=20; sync; done; md5sum /root/f*'\""
    out = run(dejavm, "run", "--digest", "--console", "none", "--json", *machine(command))
    end, length = re.search(r'"digest": ?"([0-9a-f]+)"', out).group(1), int(re.search(r'"instructions": ?(\d+)', out).group(1))
    require("powered-off" in out or "power" in out, out)
    at = sorted(random.Random(seed).sample(range(1, length), moments))
    snapshots = [word for n, instruction in enumerate(at) for word in ("--snapshot-at", f"{instruction}:s{n}.dvs")]
    out = run(dejavm, "run", "--digest", "--console", "none", "--delta", *snapshots, *machine(command))
    require(digest_of(out) == end, (out, end))
    os.rename("debian.img", "moved.img")
    for n in range(moments):
        out = run(dejavm, "restore", "--digest", "--console", "none", f"s{n}.dvs")
        require(digest_of(out) == end, (n, at[n], out, end))
    os.rename("moved.img", "debian.img")
    return length


def main():
    if not os.path.exists(system + "/debian.img"):
        print("skipped: there is no Debian system; to have one: tools/get-system build/system")
        return 77
    work = tempfile.mkdtemp(prefix="dejavm-system-", dir=os.environ.get("TMPDIR", "/tmp"))
    os.chdir(work)
    try:
        run("cp", "--sparse=always", system + "/debian.img", "debian.img")
        before = run("md5sum", "debian.img")
        length = saved_at_moments()
        end, output = a_session()
        require(run("md5sum", "debian.img") == before, "the image has changed")
        os.rename("debian.img", "moved.img")
        replayed(end)
        its_disk(output)
        print(f"Debian on its disk: a session recorded in {os.path.getsize('t.dvt')} bytes and replayed without the image, its disk judged; "
              f"{moments} snapshots of {length} instructions lead to one end")
    finally:
        os.chdir("/")
        shutil.rmtree(work)
    return 0


sys.exit(main())
