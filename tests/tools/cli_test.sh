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
expect 0 '' replay --force --console file:console a.dvt
same console "$source/tests/guests/default_guest.txt"
expect 0 '"identical":true' replay --json a.dvt
expect 0 '"end":"powered off"' record -o j.dvt --console none --json
expect 0 'digest' record -o seed.dvt --console none --start-time 2026-11-25T12:00:00+01:00
expect 0 '2026-11-25 11:00:00' replay --console stdio seed.dvt
# --- wrong usage says what was wrong, what was likely meant, and where the help is ---
expect 1 'record +run a guest and write a trace'
expect 1 "unknown command 'recrod'; did you mean 'record'" recrod -o x
expect 1 "unknown command 'verfy'; did you mean 'verify'" snapshot verfy x
expect 1 "Try 'dejavm snapshot --help'" snapshot verfy x
expect 1 "unknown option '--kernl'; did you mean '--kernel'" record --kernl x -o y
expect 1 "Try 'dejavm record --help'" record --kernl x -o y
expect 1 "Try 'dejavm restore record --help'" restore s record
expect 0 'restore s.dvs record -o t.dvt' restore --help
expect 1 'neither an instruction' replay --from soon a.dvt
expect 0 '^replay: identical' replay --from 1M a.dvt

expect 4 'limit of instructions' run --console none --max-instructions 1000
expect 4 'of time was reached; [0-9]+ inst' run --console none --max-time 0.01
expect 4 'of time was reached' record -o timed.dvt --console none --max-time 0.01
expect 0 '^replay: identical' replay timed.dvt
expect 0 'powered off' run --console none --max-time 2h
expect 1 'not a length of time' run --max-time soon
expect 1 'not a length of time' run --max-time 0
expect 4 'limit' record -o limit.dvt --console none --max-instructions 1234567
expect 0 'identical, [0-9]+ exits, 1234567 instructions' replay limit.dvt

# --- typed characters reach the guest, are logged, and replay without a terminal ---
printf 'hello' | timeout 60 "$dejavm" record -o typed.dvt >console 2>err || fail "record with typed input"
grep -aq hello console || fail "the guest did not echo what was typed"
expect 0 'hello' replay --console stdio typed.dvt

# --- snapshots: saved on the way, gone on from, looked into ---
expect 0 'a.dvs at instruction 5000000, digest' run --console none --digest --snapshot-at 5000000:a.dvs --snapshot-at 9000000:b.dvs --snapshot-at 9000000:c.dvs --delta
end=$(grep -oE '^run:.*digest [0-9a-f]{32}' err | grep -oE '[0-9a-f]{32}')
[ -n "$end" ] || fail "no digest at the end"
for s in a b c; do expect 0 "digest $end" restore --digest --console none $s.dvs; done
expect 0 "digest $end" restore --bind console=bound --console none --verify --digest b.dvs
expect 0 "digest $end, .* bytes in again.dvt" restore --console none a.dvs record -o again.dvt
expect 0 "digest $end" replay again.dvt
expect 0 'changes since a.dvs' snapshot info b.dvs
expect 0 '"instruction":9000000' snapshot info --json b.dvs
expect 0 'channel\[0\].reload = 11932 \(0x2e9c\) ticks' snapshot show b.dvs vatpit
expect 0 '"vatpit":\{"channel":\[\{"armed":true' snapshot show --json b.dvs vatpit
expect 0 'vcpu.retired: 5000000 .* -> 9000000' snapshot diff a.dvs b.dvs
expect 0 '^0 fields and 0 pages differ' snapshot diff b.dvs c.dvs
expect 0 'whole, digest .* with 1 before it' snapshot verify b.dvs
expect 0 'm.dvs: digest' snapshot merge b.dvs -o m.dvs
expect 0 '^0 fields and 0 pages differ' snapshot diff b.dvs m.dvs
expect 0 'u.dvs: digest' snapshot upgrade b.dvs -o u.dvs
same m.dvs u.dvs
expect 0 'm.zst: [0-9]+ bytes' snapshot pack m.dvs -o m.zst
expect 0 'n.dvs: [0-9]+ bytes' snapshot unpack m.zst -o n.dvs
same m.dvs n.dvs
expect 0 'x.dvs: digest' snapshot extract a.dvt --at 9000000 -o x.dvs
expect 0 '^0 fields and 0 pages differ' snapshot diff x.dvs m.dvs
head -c 3000 m.zst >cut.zst
expect 2 'cut off' snapshot unpack cut.zst -o no.dvs
(cat m.zst; echo more) >long.zst
expect 2 'bytes after|damaged' snapshot unpack long.zst -o no.dvs
expect 2 'not a packed snapshot' snapshot unpack a.dvt -o no.dvs
[ ! -e no.dvs ] || fail "something was left of a failed unpacking"
expect 2 'not a dejavm snapshot' restore a.dvt
echo "no snapshot" | zstd -q > text.zst
expect 2 'what is packed there is no snapshot' snapshot unpack text.zst -o no.dvs
[ ! -e no.dvs ] || fail "a refused unpack left a file"
expect 2 'is packed; .dejavm snapshot unpack' snapshot info m.zst
head -c 20000 m.dvs >cut.dvs
expect 2 'cut off' restore cut.dvs
cp m.dvs bad.dvs
printf x | dd of=bad.dvs bs=1 seek=$(($(wc -c <bad.dvs) - 5)) conv=notrunc 2>/dev/null
expect 2 'memory from .* is damaged' snapshot verify bad.dvs
expect 2 'memory from .* is damaged' restore --console none bad.dvs
expect 1 'exists' snapshot merge b.dvs -o m.dvs
expect 1 'no chunk' snapshot show b.dvs nothing
expect 1 'not reached' run --console none --snapshot-at 99999999999:never.dvs
expect 1 'exists' run --console none --snapshot-at 5:a.dvs
expect 1 'INSTRUCTION:FILE' run --snapshot-at here
expect 1 'console' restore a.dvs --bind disk=x
rm -f a.dvs
expect 2 'not in its folder' restore b.dvs

# --- traces: looked into, entered anywhere ---
expect 0 'powered off' record -o k.dvt --console none --keyframe-every 4000000 --keyframe-at 1234567
expect 0 'keyframes    5' trace info k.dvt
expect 0 '"keyframes":\[.*"instruction":1234567' trace info --json k.dvt
expect 0 '^ +0 uart16550 io_write' trace dump k.dvt --limit 1
expect 0 'vlapic +interrupt vcpu 0 at [0-9]+: vector 0x20 +\| rip 0x[0-9a-f]+: fa +cli' trace dump k.dvt --kind interrupt --code --limit 1
expect 0 '"device":"vatpit"' trace dump k.dvt --device vatpit --json
expect 0 'io_write' trace tail k.dvt --limit 3
expect 0 "identical.*digest $end" replay k.dvt --from k3
expect 0 "identical.*digest $end" replay k.dvt --from 5000000
expect 0 'identical, [0-9]+ exits, 6000000 instructions' replay k.dvt --from k1 --until 6000000
expect 0 'devices identical, 1337 exits' replay --devices-only k.dvt
expect 0 '"identical":true' replay --devices-only --json k.dvt
expect 1 'no kind' trace dump k.dvt --kind nothing
expect 1 'neither' replay k.dvt --from kx
expect 1 'there is no keyframe 9' replay k.dvt --from k9
expect 2 'm.zst' trace info m.zst

# --- devices by themselves ---
expect 0 'vatpit +version 1' device list
expect 0 'vatpit.channel\[3\].reload unsigned 4 bytes ticks' device show vatpit
printf 'write 0x43 1 0x34\nwrite 0x40 1 10\nwrite 0x40 1 0 # ten\nwait 9000\n' >script
expect 0 '8381 lines none' device run vatpit script --vcd lines.vcd
grep -q '#8381' lines.vcd || fail "no change at 8381 ns in the dump"
echo 'frobnicate 1' >script
expect 2 'line 1.*nothing that vatpit can be asked' device run vatpit script
expect 1 'no device' device show nothing

# --- wrong usage and host errors: one message, status 1 ---
expect 1 "unknown command 'nothing'" nothing
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

# --- the golden gate: any file that changes fails it, and the report says which ---
cp -r "$source/golden-snapshots" golden
expect 0 'all [0-9]+ goldens are as they were' golden check golden --junit golden.xml
grep -q 'failures="0"' golden.xml || fail "the JUnit file has failures"
flip() { # FILE OFFSET: one bit
  byte=$(od -An -t u1 -j "$2" -N 1 "$1" | tr -d ' ')
  printf "$(printf '\\%03o' $((byte ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
for file in devices/vatpit/vatpit.none devices/vatpit/busy-1.script devices/vatpit/v1/busy-1.json devices/vatpit/v1/busy-1.state machines/builtin-start.dvs.zst machines/builtin-late.json traces/builtin.dvt traces/debian-devices.dvt traces/builtin.json; do
  [ -f "golden/$file" ] || { echo new > "golden/$file"; expect 3 "$file: is not in the manifest" golden check golden; rm "golden/$file"; continue; }
  cp "golden/$file" kept
  flip "golden/$file" $(($(stat -c %s "golden/$file") * 2 / 3))
  expect 3 "$file: its digest was" golden check golden
  cp kept "golden/$file"
done
flip golden/manifest.json 300
"$dejavm" golden check golden >/dev/null 2>&1 && fail "a damaged manifest passes"
cp "$source/golden-snapshots/manifest.json" golden/manifest.json
expect 0 'nothing to change' golden update golden
sed -i 's/^wait .*/wait 1/' golden/devices/vatpit/busy-1.script
expect 3 "field 'now_ns': the script led to" golden check golden
expect 3 'nothing was written; --yes writes them' golden update golden
expect 0 "devices/vatpit/v1/busy-1.state" golden update golden --yes
expect 0 'all [0-9]+ goldens' golden check golden
expect 1 'cannot open' golden check nowhere
expect 1 'subcommand is required' golden
expect 0 'events, [0-9]+ bytes' trace devices a.dvt -o part.dvt
expect 0 'devices identical' replay --devices-only part.dvt
expect 2 'without memory; only .replay --devices-only. can read it' replay part.dvt
expect 1 'exists' trace devices a.dvt -o part.dvt

# --- traces of version 1 are read and replayed, and written anew they are the same recording ---
old=$source/golden-snapshots/traces/builtin.dvt
expect 0 '1367 events' trace upgrade "$old" -o upgraded.dvt
[ "$(head -c 9 "$old" | tail -c 1 | od -An -tu1)" -eq 1 ] || fail "the golden trace is no longer of version 1"
[ "$(head -c 9 upgraded.dvt | tail -c 1 | od -An -tu1)" -eq 2 ] || fail "an upgraded trace has version 2"
"$dejavm" trace dump "$old" > old.txt
"$dejavm" trace dump upgraded.dvt > new.txt
same old.txt new.txt
expect 0 'identical, 1337 exits' replay upgraded.dvt
expect 0 'identical, 1337 exits' replay "$old"
expect 1 'exists' trace upgrade "$old" -o upgraded.dvt

# --- a killed recorder leaves what it had ---
if [ -s "$source/build/guest/vmlinuz" ]; then
  "$dejavm" record -o killed.dvt --console none --kernel "$source/build/guest/vmlinuz" >/dev/null 2>&1 &
  recorder=$!
  # Killed once something is in the file, however slow the machine is.
  for _ in $(seq 600); do
    [ "$(stat -c %s killed.dvt 2>/dev/null || echo 0)" -ge 15000000 ] && break
    sleep 0.1
  done
  kill -9 $recorder
  wait $recorder 2>/dev/null
  expect 2 'identical as far as the trace goes' replay killed.dvt
else
  echo "skipped: a killed recorder (no kernel in build/guest)"
fi

[ $failures = 0 ] && echo "all of the command line is as documented"
exit $failures
