#!/bin/sh
# The quickstart workload under QEMU (TCG, counted, record, replay) and under dejavm (interpreted, run, record, replay in one part and in
# as many as there are processors), in one run on one machine; prints seconds, instructions per second and ratios. Absolute times on shared machines are noise, so compare
# ratios. Usage: tests/bench/boot.sh [repetitions, default 1]
set -eu
. "$(dirname "$0")/prepare.sh"
guest="-kernel build/guest/vmlinuz -initrd build/guest/initrd -append console=ttyS0"
qemu="qemu-system-x86_64 -accel tcg -m 256 -display none -monitor none -no-reboot -serial file:$work/qemu.txt $guest"
machine="--kernel build/guest/vmlinuz --initrd build/guest/initrd --append console=ttyS0 --memory 256M --console none"
replayed=$work/qemu.replay

# once NAME COMMAND...: runs it, appends "NAME seconds" to the results.
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
  once qemu-tcg $qemu
  once qemu-icount $qemu -icount shift=1,sleep=off
  once qemu-record $qemu -icount shift=1,rr=record,rrfile="$replayed"
  once qemu-replay $qemu -icount shift=1,rr=replay,rrfile="$replayed"
  once dejavm-interp $dejavm run --translate off $machine
  once dejavm-run $dejavm run $machine
  once dejavm-record $dejavm record --force -o "$work/boot.dvt" $machine
  once dejavm-replay-1 $dejavm replay --jobs 1 "$work/boot.dvt"
  once dejavm-replay $dejavm replay "$work/boot.dvt"
  i=$((i + 1))
done
instructions=$(sed -n 's/.* \([0-9][0-9]*\) instructions, digest.*/\1/p' "$work/dejavm-replay.log")
awk -v n="$instructions" -v qlog="$(stat -c %s "$replayed")" -v dlog="$(stat -c %s "$work/boot.dvt")" '
  { if (!($1 in best) || $2 < best[$1]) best[$1] = $2; if (!($1 in seen)) { order[++count] = $1; seen[$1] = 1 } }
  END {
    for (k = 1; k <= count; ++k) {
      name = order[k]
      printf "%-16s %8.2f s", name, best[name]
      if (name ~ /^dejavm/) printf "  %7.1f M instructions/s", n / best[name] / 1e6
      printf "\n"
    }
    printf "QEMU plain / run        %.2f\n", best["qemu-tcg"] / best["dejavm-run"]
    printf "QEMU plain / record     %.2f\n", best["qemu-tcg"] / best["dejavm-record"]
    printf "interpreter / run       %.2f\n", best["dejavm-interp"] / best["dejavm-run"]
    printf "record / run            %.2f\n", best["dejavm-record"] / best["dejavm-run"]
    printf "replay / run            %.2f, in one part %.2f\n", best["dejavm-replay"] / best["dejavm-run"], best["dejavm-replay-1"] / best["dejavm-run"]
    printf "replay / QEMU replay    %.3f, in one part %.3f\n", best["dejavm-replay"] / best["qemu-replay"], best["dejavm-replay-1"] / best["qemu-replay"]
    printf "record / QEMU record    %.2f\n", best["dejavm-record"] / best["qemu-record"]
    printf "trace / QEMU log        %.2f (%.1f MB / %.1f MB)\n", dlog / qlog, dlog / 1e6, qlog / 1e6
  }' "$work/times"
