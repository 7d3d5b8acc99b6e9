#!/bin/sh
# Going to places in a recorded Debian boot and one instruction back, in dejavm and, at a few places, in QEMU's recording of the same boot.
# Usage: tests/bench/seek.sh [PLACES, default 200] [SEED]
set -eu
. "$(dirname "$0")/prepare.sh"
$dejavm record -o $work/seek.dvt --force --console none --kernel build/guest/vmlinuz --initrd build/guest/initrd --append console=ttyS0
python3 tests/bench/seek.py $dejavm $work/seek.dvt "${1:-200}" "${2:-1}"

# QEMU goes back from a snapshot of the start, in an image that the machine does not use otherwise.
qemu="qemu-system-x86_64 -accel tcg -m 256 -display none -monitor none -no-reboot -kernel build/guest/vmlinuz -initrd build/guest/initrd -append console=ttyS0
  -drive file=$work/rr.qcow2,if=none,id=rr -net none"
rm -f $work/rr.qcow2
qemu-img create -q -f qcow2 $work/rr.qcow2 2G
timeout 300 $qemu -serial "file:$work/qemu.txt" -icount "shift=1,rr=record,rrfile=$work/rr.bin,rrsnapshot=init" || echo "QEMU: recording ended with status $?"
python3 tests/bench/seek_qemu.py "$qemu -serial null -icount shift=1,rr=replay,rrfile=$work/rr.bin,rrsnapshot=init" || echo "QEMU: no figures"
