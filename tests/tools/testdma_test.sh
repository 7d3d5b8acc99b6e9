#!/bin/sh
# Bus masters, as a guest sees them: run, recorded, replayed whole, in parts and by devices alone, saved in the middle and restored.
# Usage: testdma_test.sh DEJAVM GUEST
set -eu
dejavm=$1 guest=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
expect() { [ "$1" = "$2" ] || { echo "testdma_test: expected '$2', found '$1'" >&2; exit 1; }; }
digest() { grep -o 'digest [0-9a-f]*' "$1" | tail -n 1; }

record() { "$dejavm" record --memory 4M --test-device --kernel "$guest" "$@"; }
record -o t.dvt --console file:out --keyframe-every 4000 --snapshot-at 13000:s.dvs 2> log
expect "$(cat out)" FSCERWI
for translate in on off; do
  record -o other.dvt --force --console none --keyframe-every 4000 --translate "$translate" --translate-threshold 1 2> /dev/null
  cmp t.dvt other.dvt
done
"$dejavm" replay t.dvt --jobs 1 > replayed
"$dejavm" replay t.dvt --jobs 2 > in_parts
expect "$(digest replayed)" "$(digest log)"
expect "$(digest in_parts)" "$(digest log)"
"$dejavm" replay --devices-only t.dvt > devices
"$dejavm" trace devices t.dvt -o small.dvt > /dev/null
"$dejavm" replay --devices-only small.dvt > small
expect "$(cut -d: -f2 small)" "$(cut -d: -f2 devices)"
# Each read is in the log, refused ones too.
expect "$("$dejavm" trace dump t.dvt --kind dma_read | grep -c 'address 0x20')" 24
expect "$("$dejavm" trace dump t.dvt --kind dma_read | grep -c 'refused')" 2
expect "$("$dejavm" trace dump t.dvt --kind dma_read --json --limit 1 | grep -c '"size":256')" 1
"$dejavm" restore s.dvs --console file:rest --digest 2> restored
expect "$(digest restored)" "$(digest log)"
echo "testdma_test: the same in all of them"
