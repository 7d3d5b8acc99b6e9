#!/bin/sh
# Several vCPUs and a guest that tries what they do to each other: with other numbers of them, slices down to one instruction, recorded and
# replayed in every way, saved at many moments and restored; the same in all of them. Usage: smp_guest_test.sh DEJAVM GUEST [QEMU]
# QEMU: also what QEMU makes of it (which takes the first of several for the lowest priority, and has no x2APIC here)
set -eu
dejavm=$1 guest=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
expect() { [ "$1" = "$2" ] || { echo "smp_guest_test: expected '$2', found '$1'" >&2; exit 1; }; }
digest() { grep -o 'digest [0-9a-f]*' "$1" | tail -n 1; }

machine() { "$dejavm" "$@" --memory 4M --kernel "$guest" --max-instructions 400000000; }
if [ -n "${3:-}" ]; then
  for vcpus in 3 4 8; do
    timeout 20 "$3" -m 64 -smp "$vcpus" -display none -no-reboot -serial file:qemu -monitor none -kernel "$guest" || true
    expect "$(grep -o 'AXF.*' qemu)" AXFHNBGSLKpCVI
  done
fi
for how in "3 50000" "4 1" "4 2" "4 7" "5 1000" "8 50000"; do
  machine run --vcpus "${how% *}" --slice "${how#* }" --console file:out --force 2> log
  expect "$(cat out)" AXFHNBGSLKPQCVI
  grep -q "powered off" log
done

for how in random random:7 pct:1 pct:3 pct:5:9:1000000; do
  machine run --vcpus 4 --schedule "$how" --console file:out --force 2> log
  expect "$(cat out)" AXFHNBGSLKPQCVI
done

for slice in 3 977 "977 --schedule random:2" "200 --schedule pct:4:1:2000000"; do
  record="record --vcpus 4 --slice $slice --keyframe-every 300000 --console none --force"
  # shellcheck disable=SC2086
  machine $record -o t.dvt 2> log
  for translate in on off; do
    # shellcheck disable=SC2086
    machine $record -o other.dvt --translate "$translate" --translate-threshold 1 2> /dev/null
    cmp t.dvt other.dvt
  done
  for how in "--jobs 1" "--jobs 2" "--from 700000"; do
    # shellcheck disable=SC2086
    "$dejavm" replay t.dvt $how > replayed
    expect "$(digest replayed)" "$(digest log)"
  done
  "$dejavm" replay --devices-only t.dvt > devices
  "$dejavm" trace devices t.dvt -o small.dvt > /dev/null
  "$dejavm" replay --devices-only small.dvt > small
  expect "$(cut -d: -f2 small)" "$(cut -d: -f2 devices)"
  rm small.dvt
  last=$(sed -n 's/.*; \([0-9]*\) instructions.*/\1/p' log | tail -n 1)
  moments=""
  for n in 1 2 3 4 5 6 7; do
    moments="$moments --snapshot-at $((last * n / 8 + n)):$n.dvs"
  done
  # shellcheck disable=SC2086
  machine run --vcpus 4 --slice $slice --console none $moments 2> /dev/null
  for n in 1 2 3 4 5 6 7; do
    "$dejavm" restore "$n.dvs" --console none --digest --verify 2> restored
    expect "$(digest restored)" "$(digest log)"
    rm "$n.dvs"
  done
done
echo "smp_guest_test: the same in all of them"
