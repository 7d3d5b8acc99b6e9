#!/bin/sh
# The command line as its user meets it: outputs, exit statuses, messages. Usage: cli_test.sh DEJAVM SOURCE_DIR
set -u
dejavm=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); sed 's/^/    /' out err 2>/dev/null | head -n 12; }

# expect STATUS PATTERN ARGUMENTS...: the status, and a pattern that standard output or error has.
expect() {
  status=$1 pattern=$2
  shift 2
  timeout 120 "$dejavm" "$@" >out 2>err </dev/null
  got=$?
  [ $got = "$status" ] || { fail "dejavm $*: status $got, expected $status"; return; }
  cat out err | grep -aqE -e "$pattern" || fail "dejavm $*: nothing matches '$pattern'"
}
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# --- the main job on the guest that is built in ---
expect 0 'powered off' run --console file:console
same console "$source/tests/guests/default_guest.txt"
expect 0 'powered off.*digest' record -o a.dvt --console none
expect 0 'powered off.*digest' record -o b.dvt --console none
same a.dvt b.dvt
expect 0 '^replay: identical, [0-9]+ exits, [0-9]+ instructions, digest [0-9a-f]{32}$' replay a.dvt
expect 0 '' replay --console file:console a.dvt
same console "$source/tests/guests/default_guest.txt"
expect 0 '"identical":true' replay --json a.dvt
expect 0 '"end":"powered off"' record -o j.dvt --console none --json
expect 0 'digest' record -o seed.dvt --console none --start-time 2026-11-25T12:00:00+01:00
expect 0 '2026-11-25 11:00:00' replay --console stdio seed.dvt
expect 4 'limit of instructions' run --console none --max-instructions 1000
expect 4 'limit' record -o limit.dvt --console none --max-instructions 1234567
expect 0 'identical, [0-9]+ exits, 1234567 instructions' replay limit.dvt

# --- typed characters reach the guest, are logged, and replay without a terminal ---
printf 'hello' | timeout 60 "$dejavm" record -o typed.dvt >console 2>err || fail "record with typed input"
grep -aq hello console || fail "the guest did not echo what was typed"
expect 0 'hello' replay --console stdio typed.dvt

# --- wrong usage and host errors: one message, status 1 ---
expect 1 'required' nothing
expect 1 'subcommand' 
expect 1 'unknown|not expected' run --frobnicate
expect 1 'missing.*No such file' run --kernel missing
expect 1 'not a kernel' run --kernel "$source/README.md"
expect 1 'empty' run --kernel /dev/null
expect 1 'open|read' run --kernel /
expect 1 'memory of 0 bytes' run --memory 0
expect 1 'memory' run --memory 2048T
expect 1 'not a size' run --memory 12Q
expect 1 'not a time' run --start-time yesterday
expect 1 'not a console' run --console nowhere
expect 1 'takes no initrd' run --initrd /bin/true
expect 1 'exists|force' record -o a.dvt --console none
expect 1 'No such file' record -o no/such/dir.dvt --console none
expect 1 'No such file' replay missing.dvt
[ -e no ] && fail "a failed recording left something behind"
mkdir full
if mount -t tmpfs -o size=4k none full 2>/dev/null; then
  expect 1 'full/t.dvt.*No space left' record -o full/t.dvt --console none
  umount full
else
  echo "skipped: a full disk (no right to mount)"
fi

# --- bad files: status 2; a log that was changed: 2 or 3, and the place is named ---
expect 2 'not a|trace' replay "$source/README.md"
: >empty.dvt
expect 2 'empty.dvt' replay empty.dvt
size=$(stat -c %s a.dvt)
for part in 10 50 90; do
  head -c $((size * part / 100)) a.dvt >cut.dvt
  expect 2 'cut.dvt' replay cut.dvt
done
flip() {  # byte N of a.dvt, one bit
  cp a.dvt flipped.dvt
  byte=$(od -An -tu1 -j "$1" -N 1 a.dvt | tr -d ' ')
  printf "$(printf '\\%03o' $((byte ^ 1)))" | dd of=flipped.dvt bs=1 seek="$1" conv=notrunc 2>/dev/null
}
for part in 1 20 40 60 80 99; do
  at=$((size * part / 100))
  flip $at
  timeout 60 "$dejavm" replay flipped.dvt >out 2>err
  got=$?
  [ $got = 2 ] || [ $got = 3 ] || fail "a bit flipped at $at: status $got"
  grep -q 'flipped.dvt' err || fail "a bit flipped at $at: the message names no file"
done

# --- a killed recorder leaves what it had ---
if [ -s "$source/build/guest/vmlinuz" ]; then
  "$dejavm" record -o killed.dvt --console none --kernel "$source/build/guest/vmlinuz" >/dev/null 2>&1 &
  recorder=$!
  sleep 1
  kill -9 $recorder
  wait $recorder 2>/dev/null
  expect 2 'identical as far as the trace goes' replay killed.dvt
else
  echo "skipped: a killed recorder (no kernel in build/guest)"
fi

[ $failures = 0 ] && echo "all of the command line is as documented"
exit $failures
