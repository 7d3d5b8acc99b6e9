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

# The turns of a run, as a list of switches, are the same run; and so they are from a snapshot on.
bounded() {
  ended=0
  "$dejavm" "$@" --console none --max-instructions 700000 || ended=$?
  [ "$ended" = 4 ] || return "$ended"
}
short() { bounded record --memory 4M --kernel "$guest" --vcpus 4 --force "$@"; }
later() { bounded restore s.dvs --schedule "$1" --force record -o "$2"; }
for how in random:2 pct:4:1:2000000 round-robin; do
  short --slice 300 --schedule "$how" -o t.dvt --snapshot-at 450000:s.dvs 2> log
  "$dejavm" trace schedule t.dvt -o turns --force > listed
  short --schedule file:turns -o other.dvt 2> log
  "$dejavm" trace dump t.dvt > events
  "$dejavm" trace dump other.dvt | cmp - events
  later random:5 t.dvt 2> log
  "$dejavm" replay t.dvt > replayed
  expect "$(digest replayed)" "$(digest log)"
  "$dejavm" trace schedule t.dvt -o later --force >> listed
  later file:later other.dvt 2> log
  "$dejavm" trace dump t.dvt > events
  "$dejavm" trace dump other.dvt | cmp - events
done
grep -q '^turns: 0 switches, slices of 300' listed
echo "0 1 1" > turns
status=0
later file:turns other.dvt 2> log || status=$?
expect "$status" 1
grep -q 'did not come up' log
"$dejavm" replay other.dvt > replayed
{ echo "0 1 1"; echo "0 seven 1"; } > turns
refused() {
  status=0
  short --schedule file:turns -o none.dvt 2> log || status=$?
  expect "$status" 2
  grep -q "$1" log
  test ! -e none.dvt
}
refused 'turns: line 2: a switch is'
echo "0 1 4" > turns
refused 'turns: a switch names vCPU 4, and the machine has 4'
echo "slice 0" > turns
refused "turns: line 1: 'slice N'"

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
