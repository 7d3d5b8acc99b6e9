#!/bin/sh
# Two builds of dejavm (another compiler, another optimisation level) record the same guest to the same bytes, and each
# replays what the other recorded. Usage: two_builds.sh DEJAVM_A DEJAVM_B [machine options...]
set -eu
a=$1 b=$2
shift 2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
record() {  # status 4 is a limit that was asked for
  "$1" record --console none -o "$2" $3 2>"$dir/log" || [ $? = 4 ] || { cat "$dir/log" >&2; exit 1; }
}
record "$a" "$dir/a.dvt" "$*"
record "$b" "$dir/b.dvt" "$*"
cmp "$dir/a.dvt" "$dir/b.dvt" || { echo "two_builds: the recordings differ" >&2; exit 3; }
digest() { sed -n 's/.*digest //p'; }
ra=$("$a" replay "$dir/b.dvt" 2>/dev/null)
rb=$("$b" replay "$dir/a.dvt" 2>/dev/null)
echo "$ra"
[ "$(echo "$ra" | digest)" = "$(echo "$rb" | digest)" ] || { echo "two_builds: digests differ: $ra / $rb" >&2; exit 3; }
