#!/usr/bin/env python3
"""A Debian that works: PostgreSQL, git, gcc, apt, fio, RAID1, xfs, btrfs and device-mapper on NVMe and virtio disks, recorded; replayed without
the images; its disks taken out of the trace and judged by e2fsck, xfs_repair and btrfs.
Usage: workbench_test.py DEJAVM DIR [run]     DIR: of tools/get-system with PACKAGES; status 77 without it; run: not recorded"""
import os, re, shutil, subprocess, sys, tempfile

from guest_terminal import Terminal, require, run

PACKAGES = "openssh-server postgresql git gcc libc6-dev mdadm xfsprogs btrfs-progs dmsetup dosfstools"
dejavm = os.path.abspath(sys.argv[1])
system = os.path.abspath(sys.argv[2])
os.environ["PATH"] += ":/sbin:/usr/sbin"

# What is typed at the prompt, and what its output has to have, as a regular expression.
SESSION = [
    ("systemctl --failed --no-legend | wc -l", r"^0\b"),
    ("systemctl is-active ssh postgresql@15-main", r"active\s+active"),
    ("lsblk -dno NAME,SIZE,DISC-MAX | sort", r"nvme0n1 +2G.*nvme1n1 +320M.*nvme2n1 +320M.*vda +320M.*vdb +320M"),
    # PostgreSQL: tables made, transactions, every index and page checked.
    ("su postgres -c 'createdb bench && pgbench -q -i -s 1 bench && pgbench -n -c 2 -t 100 bench' 2>&1", r"transactions actually processed: 200/200"),
    ("su postgres -c 'psql -c \"create extension amcheck\" bench && /usr/lib/postgresql/15/bin/pg_amcheck --heapallindexed bench && echo checked'", r"checked"),
    ("su postgres -c 'psql -Atc \"select count(*), sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts\" bench'", r"100000\|t"),
    # git, gcc, apt from a local file.
    ("cp -r /usr/share/perl5 tree && cd tree && git init -q . && git config user.email a@b && git config user.name c && git add -A && git commit -qm one && git gc -q && git fsck --full && git status --short | wc -l; cd ..; rm -r tree", r"^0\b"),
    (r"""printf '#include <stdio.h>\nint main(void) { long s = 0; for (long i = 0; i < 1000; ++i) s += i * i; printf("sum %%ld\\n", s); }\n' > a.c && gcc -O2 -g -o a a.c && ./a""", r"sum 332833500"),
    ("mkdir -p p/DEBIAN p/opt && cp a p/opt/a && printf 'Package: trial\\nVersion: 1\\nArchitecture: amd64\\nMaintainer: a <a@b>\\nDescription: d\\n' > p/DEBIAN/control && dpkg-deb -b p trial.deb >/dev/null && apt-get install -y -qq ./trial.deb </dev/null >/dev/null 2>&1; dpkg -s trial | grep Status; /opt/a", r"install ok installed\s+sum"),
    # File systems of others, and what trims them.
    ("mkfs.xfs -q -f /dev/nvme1n1 && mount /dev/nvme1n1 /mnt && cp -r /usr/share/perl5 /mnt/ && diff -r /usr/share/perl5 /mnt/perl5 && rm -r /mnt/perl5/Debconf && fstrim -v /mnt && umount /mnt && xfs_repair -n /dev/nvme1n1 >/dev/null 2>&1 && mount /dev/nvme1n1 /mnt && (cd /mnt && find . -type f | sort | xargs sha1sum | sha1sum) && umount /mnt", r"/mnt: .* trimmed.*[0-9a-f]{40}  -"),
    ("mkfs.btrfs -q -f /dev/vda && mount -o compress=zstd /dev/vda /mnt && cp -r /usr/share/perl5 /mnt/ && sync && btrfs scrub start -B /mnt | grep -i 'error summary' && umount /mnt && btrfs check /dev/vda 2>&1 | grep 'no error found'", r"no errors found[^$]*no error found"),
    # Device-mapper over two kinds of disks.
    ("modprobe dm-mod; printf '0 40960 linear /dev/nvme2n1 0\\n40960 40960 linear /dev/vdb 0\\n' | dmsetup create both && mkfs.vfat /dev/mapper/both >/dev/null && mount /dev/mapper/both /mnt && head -c 25000000 /dev/urandom > /mnt/f && sum=$(sha1sum < /mnt/f) && umount /mnt && mount /dev/mapper/both /mnt && [ \"$sum\" = \"$(sha1sum < /mnt/f)\" ] && umount /mnt && fsck.vfat -n /dev/mapper/both && dmsetup remove both && echo mapped", r"mapped"),
    # RAID1 over NVMe and virtio, of which the NVMe disk goes away under load.
    ("yes | mdadm --quiet --create /dev/md0 --level=1 --raid-devices=2 /dev/nvme2n1 /dev/vdb && mdadm --wait /dev/md0; mkfs.ext4 -q /dev/md0 && mount /dev/md0 /mnt && fio --name=r --directory=/mnt --size=16M --bs=16k --rw=randwrite --ioengine=psync --direct=1 --verify=crc32c --do_verify=0 --minimal >/dev/null & sleep 0.3; echo 1 > /sys/block/nvme2n1/device/device/remove; wait; grep -A1 md0 /proc/mdstat", r"\[_U\]|\[U_\]"),
    ("fio --name=r --directory=/mnt --size=16M --bs=16k --rw=randwrite --ioengine=psync --verify=crc32c --verify_only --minimal >/dev/null && umount /mnt && e2fsck -fn /dev/md0 >/dev/null 2>&1 && mdadm --stop --quiet /dev/md0 && echo survived", r"survived"),
    ("echo 1 > /sys/bus/pci/rescan; udevadm settle; sleep 1; mdadm --stop --scan 2>/dev/null; mdadm --zero-superblock /dev/nvme2n1 /dev/vdb; lsblk -dno NAME | grep -c nvme", r"^3\b"),
    # Many requests in flight, verified; what is refused is refused.
    ("for d in /dev/nvme2n1 /dev/vdb; do fio --name=q --filename=$d --size=8M --bsrange=512-64k --rw=randrw --ioengine=libaio --iodepth=32 --direct=1 --verify=crc32c --minimal >/dev/null && echo verified; done", r"verified.*verified"),
    ("nvme format /dev/nvme2n1 --force 2>&1 | tail -n1; nvme flush /dev/nvme2n1 && nvme write-zeroes /dev/nvme2n1 --start-block=0 --block-count=7 && nvme verify /dev/nvme2n1 -s 0 -c 7 && nvme dsm /dev/nvme2n1 -d -s 8 -b 8 && blkdiscard /dev/vdb && echo commands", r"(?i)invalid.*commands"),
    ("dmesg --level=emerg,alert,crit,err | grep -vE 'md/raid1|I/O error, dev nvme2n1|nvme2n1.*(remov|fail|error)|md0' ; echo errors-above", r"^\s*errors-above"),
]


def session(command):
    terminal = Terminal([dejavm] + command + ["debian.img,serial=SYSTEM", "--disk", "xfs.img", "--disk", "mirror.img", "--disk", "btrfs.img,if=virtio", "--disk",
                                   "other.img,if=virtio,block=512", "--memory", "1G"])
    terminal.log_in()
    failures = []
    for typed, expected in SESSION:
        output, seconds = terminal.ask(typed)
        good = re.search(expected, output, re.S | re.M)
        print(("ok   " if good else "FAIL ") + f"{seconds:5.0f} s  " + typed[:100], "" if good else "\n" + output[-1500:], flush=True)
        if not good:
            failures.append((typed, expected, output))
    terminal.type("systemctl poweroff")
    require(terminal.end() == 0, open("log").read())
    require(not failures, failures)
    return open("log").read()


def its_disks():
    for number, name in enumerate(["debian", "xfs", "mirror", "btrfs"]):
        run(dejavm, "disk", "extract", "t.dvt", "--disk", number, "--image", f"away/{name}.img", "-o", f"{name}.end")
    run("dd", "if=debian.end", "of=debian.p1", "bs=1M", "skip=1", "conv=sparse", "status=none")
    run("e2fsck", "-fn", "debian.p1")
    if shutil.which("xfs_repair"):
        run("xfs_repair", "-n", "-f", "xfs.end")
    if shutil.which("btrfs"):
        run("btrfs", "check", "btrfs.end")


def main():
    if not os.path.exists(system + "/debian.img"):
        print(f"skipped: there is no such system; to have one: tools/get-system build/workbench {PACKAGES}")
        return 77
    work = tempfile.mkdtemp(prefix="dejavm-workbench-", dir=os.environ.get("TMPDIR", "/tmp"))
    os.chdir(work)
    try:
        run("cp", "--sparse=always", system + "/debian.img", "debian.img")
        for name in "xfs", "mirror", "btrfs", "other":
            with open(name + ".img", "wb") as f:
                f.truncate(320 << 20)
        if sys.argv[3:] == ["run"]:
            session(["run"])
            return 0
        end = re.findall(r"digest ([0-9a-f]{32})", session(["record", "-o", "t.dvt"]))[-1]
        os.mkdir("away")
        for name in "debian", "xfs", "mirror", "btrfs", "other":
            os.rename(name + ".img", f"away/{name}.img")
        require(end in run(dejavm, "replay", "t.dvt"), "the replay ends differently")
        run(dejavm, "replay", "--devices-only", "t.dvt")
        its_disks()
        print(f"a Debian at work: recorded in {os.path.getsize('t.dvt')} bytes, replayed without the images, its disks judged")
    finally:
        os.chdir("/")
        shutil.rmtree(work)
    return 0


sys.exit(main())
