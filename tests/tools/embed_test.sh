#!/bin/sh
# embed_test.sh BUILD SOURCE: another program's model, built on the installed library, under the golden gate.
set -eu
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "embed_test: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/installed" --component library > "$work/log" || { cat "$work/log"; fail "install"; }
cmake -S "$source/tests/embed" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/installed" > "$work/log" 2>&1 || { cat "$work/log"; fail "configure"; }
cmake --build "$work/build" > "$work/log" 2>&1 || { cat "$work/log"; fail "build"; }
gate=$work/build/gate
cp -r "$source/tests/embed/goldens" "$work/goldens"

"$gate" check "$work/goldens" --junit "$work/junit.xml" > "$work/out" || { cat "$work/out"; fail "its goldens differ"; }
grep -q 'tests="4" failures="0"' "$work/junit.xml" || fail "JUnit: $(cat "$work/junit.xml")"
"$gate" update "$work/goldens" | grep -q "nothing to change" || fail "an update without a change"

# A changed default: the reset state that the script starts from.
sed 's/period_ms = 1000/period_ms = 2000/' "$source/tests/embed/watchdog.h" > "$work/watchdog.h"
grep -q 'period_ms = 2000' "$work/watchdog.h"
mkdir "$work/changed"
cp "$source/tests/embed/gate.cc" "$source/tests/embed/CMakeLists.txt" "$work/watchdog.h" "$work/changed"
cmake -S "$work/changed" -B "$work/build2" -DCMAKE_PREFIX_PATH="$work/installed" > "$work/log" 2>&1
cmake --build "$work/build2" > "$work/log" 2>&1 || { cat "$work/log"; fail "build"; }
status=0
"$work/build2/gate" check "$work/goldens" > "$work/out" || status=$?
[ "$status" -eq 3 ] || { cat "$work/out"; fail "status $status for a changed default"; }
grep -q "field 'period_ms'" "$work/out" || { cat "$work/out"; fail "the field has no name"; }
echo "embed_test: a foreign model is under the gate"
