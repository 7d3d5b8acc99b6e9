#!/bin/sh
# A Debian system (tools/get-system) from its own disk, from start to power-off at its login prompt, and fio's random reads: under QEMU (TCG, its NVMe
# and virtio) and under dejavm (run, record, replay), in one run on one machine; prints seconds and ratios, and what the disk costs in the
# trace. Absolute times on shared machines are noise, so compare ratios. Usage: tests/bench/disk.sh [repetitions, default 1]
set -eu
. "$(dirname "$0")/prepare.sh"
tools/get-system build/system
cp --sparse=always build/system/debian.img "$work/disk.img"
append="root=/dev/nvme0n1p1 rw console=ttyS0"
boot='systemd.run="/bin/true"'
fio='systemd.run="/usr/bin/fio --name=r --filename=/dev/nvme0n1 --readonly --rw=randread --bs=4k --iodepth=1 --direct=1 --ioengine=psync --size=256M --io_size=800M --minimal"'
qemu="qemu-system-x86_64 -accel tcg -m 512 -display none -monitor none -no-reboot -serial file:$work/qemu.txt -kernel build/system/vmlinuz"
nvme="-drive if=none,id=d,file=$work/disk.img,format=raw,snapshot=on -device nvme,drive=d,serial=S"
machine="--disk $work/disk.img --kernel build/system/vmlinuz --memory 512M --console none"

once() {
  name=$1
  shift
  begin=$(date +%s.%N)
  "$@" >"$work/$name.log" 2>&1 || { echo "$name failed:" >&2; tail -5 "$work/$name.log" >&2; exit 1; }
  end=$(date +%s.%N)
  awk -v n="$name" -v a="$begin" -v b="$end" 'BEGIN { printf "%s %.3f\n", n, b - a }' | tee -a "$work/times"
}
: > "$work/times"
i=0
while [ $i -lt "${1:-1}" ]; do
  once qemu-boot $qemu $nvme -append "$append $boot"
  once dejavm-run $dejavm run $machine --append "$append $boot"
  once dejavm-record $dejavm record --force -o "$work/boot.dvt" $machine --append "$append $boot"
  once dejavm-replay-1 $dejavm replay --jobs 1 "$work/boot.dvt"
  once dejavm-replay $dejavm replay "$work/boot.dvt"
  once qemu-fio $qemu $nvme -append "$append $fio"
  once dejavm-fio $dejavm run $machine --append "$append $fio"
  i=$((i + 1))
done
awk -v bytes="$(stat -c %s "$work/boot.dvt")" '
  { if (!($1 in best) || $2 < best[$1]) best[$1] = $2; if (!($1 in seen)) { order[++count] = $1; seen[$1] = 1 } }
  END {
    for (k = 1; k <= count; ++k) printf "%-16s %8.2f s\n", order[k], best[order[k]]
    printf "run / QEMU              %.2f\n", best["dejavm-run"] / best["qemu-boot"]
    printf "record / run            %.2f\n", best["dejavm-record"] / best["dejavm-run"]
    printf "replay / run            %.2f, in one part %.2f\n", best["dejavm-replay"] / best["dejavm-run"], best["dejavm-replay-1"] / best["dejavm-run"]
    printf "fio over a boot, QEMU / run %.2f\n", (best["qemu-fio"] - best["qemu-boot"]) / (best["dejavm-fio"] - best["dejavm-run"])
    printf "trace                   %.1f MB\n", bytes / 1e6
  }' "$work/times"
