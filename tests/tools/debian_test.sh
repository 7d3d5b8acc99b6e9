#!/bin/sh
# An unmodified Debian kernel with a busybox workload: right answers, orderly power-off, two recordings of the same bytes, one of them interpreted, and
# a replay that is identical. Usage: debian_test.sh DEJAVM GUEST_DIR JUDGE; status 77 when there is no kernel.
set -eu
dejavm=$1 guest=$2 judge=$3
[ -s "$guest/vmlinuz" ] && [ -s "$guest/initrd" ] || { echo "skipped: no kernel in $guest (tools/get-guest)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; tail -n 20 "$work/console" >&2; exit 1; }

record() {
  trace=$1 console=$2
  shift 2
  "$dejavm" record -o "$trace" --console "file:$console" --kernel "$guest/vmlinuz" --initrd "$guest/initrd" --append console=ttyS0 --seed 7 "$@"
}
record "$work/a.dvt" "$work/console"
record "$work/b.dvt" "$work/again" --translate off --snapshot-at 3900000000:$work/c.dvs --snapshot-at 4400000000:$work/d.dvs --delta 2>"$work/b.log" &
other=$!
answer() { grep -aqF "$1" "$work/console" || fail "the guest did not print: $1"; }
answer "guest: md5 $(yes dejavm 2>/dev/null | head -c 20000000 | md5sum | cut -d' ' -f1)"
answer "guest: sha256 $(yes dejavm 2>/dev/null | head -c 20000000 | sha256sum | cut -d' ' -f1)"
answer "guest: sorted $(seq 1 20000 | awk '{ print ($1 * 7919) % 20011, $1 }' | LC_ALL=C sort -n | md5sum | cut -d' ' -f1)"
answer "[kthreadd]"
answer "Local timer interrupts"
answer "reboot: Power down"
if grep -aqE 'BUG|WARNING|Call Trace|Oops|unchecked MSR' "$work/console"; then fail "the kernel complains"; fi
"$dejavm" replay --translate-threshold 2 --console "file:$work/replayed" "$work/a.dvt"
cmp "$work/console" "$work/replayed" || fail "the replay printed something else"
wait $other
# The second recording was saved twice on its way; both go on to the same end, in another process that has the files alone.
digest=$(grep '^record:' "$work/b.log" | grep -oE 'digest [0-9a-f]{32}') || fail "no digest"
for snapshot in c d; do
  (cd / && "$dejavm" restore --digest --console none "$work/$snapshot.dvs" 2>&1) | grep -F "$digest" || fail "restored from $snapshot it ended otherwise"
done
cmp "$work/a.dvt" "$work/b.dvt" || fail "two recordings differ"
# At random places, single-stepping agrees with translated code.
"$judge" windows "$work/a.dvt" ${DEJAVM_WINDOWS:-15} ${DEJAVM_SEED:-1}
