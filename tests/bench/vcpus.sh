#!/bin/sh
# What several vCPUs cost: host CPU time per guest instruction of a Debian that works in parallel, with 1, 2, 4 and 8 of them, against one; and
# recording against running. Pairs are interleaved; the least of each counts. Usage: tests/bench/vcpus.sh [DEJAVM [DIR [ROUNDS]]]
# DIR: of tools/get-system with the packages of tests/tools/parallel_test.py
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dejavm=${1:-$root/build/release/tools/dejavm/dejavm} dir=${2:-$root/build/parallel} rounds=${3:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command="systemd.run=\"/bin/sh -c 'for n in 1 2 3 4; do (seq 1500000 | sha256sum) & done; wait; hackbench -g 2 -l 100; for n in 1 2 3 4; do seq 100000 | xz | wc -c & done; wait'\""
# NAME COMMAND...: one more time for NAME.
timed() {
  name=$1
  shift
  /usr/bin/time -f "%U %S" -o "$work/time" "$@" >/dev/null 2>"$work/said"
  instructions=$(sed -n 's/.*; \([0-9]*\) instructions.*/\1/p' "$work/said" | tail -n 1)
  awk -v name="$name" -v n="$instructions" '{ printf "%s %.4f %.0f\n", name, ($1 + $2) * 1e9 / n, n }' "$work/time" >>"$work/all"
}
machine() {
  vcpus=$1 mode=$2
  shift 2
  timed "$vcpus-$mode" "$dejavm" "$mode" "$@" --vcpus "$vcpus" --disk "$dir/debian.img,serial=SYSTEM" --memory 1G --console none --kernel "$dir/vmlinuz" \
    --append "root=/dev/nvme0n1p1 rw console=ttyS0 $command"
}
for round in $(seq "$rounds"); do
  for vcpus in 1 2 4 8; do machine "$vcpus" run; done
  machine 4 record -o "$work/t.dvt" --force
  echo "round $round of $rounds" >&2
done
awk '{ if (!($1 in least) || $2 < least[$1]) { least[$1] = $2; count[$1] = $3 } }
  END {
    for (n = 1; n <= 8; n *= 2) printf "%d vCPUs: %.3f ns of CPU an instruction, %.3f of one vCPU; %.2f G instructions\n", n, least[n "-run"], least[n "-run"] / least["1-run"], count[n "-run"] / 1e9
    printf "recording, 4 vCPUs: %.3f of running\n", least["4-record"] / least["4-run"]
  }' "$work/all"
