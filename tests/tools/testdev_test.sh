#!/bin/sh
# The test device, as a guest sees it: run, recorded, replayed whole and by devices alone, saved in the middle and restored; and a guest
# without it finds nothing there. Usage: testdev_test.sh DEJAVM GUEST
set -eu
dejavm=$1 guest=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
expect() { [ "$1" = "$2" ] || { echo "testdev_test: expected '$2', found '$1'" >&2; exit 1; }; }

"$dejavm" record -o "$work/t.dvt" --memory 4M --test-device --kernel "$guest" --console "file:$work/out" --snapshot-at 60000:"$work/s.dvs" 2> "$work/log"
expect "$(cat "$work/out")" BWDMI
"$dejavm" replay "$work/t.dvt" > "$work/replay"
"$dejavm" replay --devices-only "$work/t.dvt" > /dev/null
"$dejavm" snapshot verify "$work/s.dvs" > /dev/null
expect "$("$dejavm" snapshot show "$work/s.dvs" pctestdev | grep -c echo)" 1
"$dejavm" restore "$work/s.dvs" --console "file:$work/rest" --digest 2> "$work/restored"
expect "$(cat "$work/rest")" MI
digest() { grep -o 'digest [0-9a-f]*' "$1" | tail -n 1; }
expect "$(digest "$work/restored")" "$(digest "$work/log")"

"$dejavm" run --memory 4M --kernel "$guest" --console "file:$work/without" 2> /dev/null
expect "$(cat "$work/without")" bwdmi
