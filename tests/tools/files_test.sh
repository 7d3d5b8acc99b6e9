#!/bin/sh
# Nothing of the user's is lost: inputs are never outputs, existing files need --force, files that are being written are left alone,
# and output that could not be written is an error. Usage: files_test.sh DEJAVM
set -eu
dejavm=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bad() { echo "files_test: $*" >&2; cat err >&2; exit 1; }
# refused STATUS WORDS COMMAND...: the status, words in the message, and no file changed
refused() {
  status=$1 words=$2
  shift 2
  find . -type f ! -name err ! -name out ! -name sum.\* -exec md5sum {} + | sort > sum.before
  code=0
  timeout 60 "$dejavm" "$@" > out 2> err || code=$?
  [ $code = "$status" ] || bad "$*: status $code, not $status"
  grep -q "$words" err || bad "$*: no '$words' in the message"
  find . -type f ! -name err ! -name out ! -name sum.\* -exec md5sum {} + | sort > sum.after
  cmp -s sum.before sum.after || bad "$*: changed a file"
}

"$dejavm" record -o t.dvt --console none --snapshot-at 2M:s.dvs 2> err
ln t.dvt link
ln -s t.dvt symlink
echo precious > mine
cp "$dejavm" kernel

for name in t.dvt link symlink ./t.dvt; do
  refused 1 'the same file' replay --console "file:$name" t.dvt
  refused 1 'the same file' replay --force --console "file:$name" t.dvt
  refused 1 'the same file' trace devices "$name" -o t.dvt --force
done
refused 1 'the same file' restore s.dvs --console file:s.dvs --force
refused 1 'the same file' restore s.dvs --snapshot-at 3M:s.dvs --force
refused 1 'the same file' snapshot pack s.dvs -o s.dvs --force
refused 1 'the same file' symbols t.dvt -o t.dvt --force
refused 1 'the same file' record --kernel kernel -o kernel --force
refused 1 'the same file' run --kernel kernel --console file:kernel --force
refused 1 'the same file' record -o new --snapshot-at 1M:./new --force
refused 1 'the same file' record -o new --console file:new --force
[ ! -e new ] || bad "a refused command left a file"
refused 1 'exists' run --console file:mine
refused 1 'exists' replay --console file:mine t.dvt
refused 1 'exists' restore s.dvs --console file:mine
refused 1 'cannot open' run --console file:mine --force --kernel missing
refused 1 'cannot open' record -o new --console file:mine --force --kernel missing
refused 1 'neither an instruction' replay --console file:mine --force --from soon t.dvt
"$dejavm" run --console file:mine --force 2> err
grep -q 'powering off' mine || bad "--force did not replace the console's file"

# While it is recorded, a trace is nobody else's.
mkfifo keys
"$dejavm" record -o live.dvt --force --control sock --paused < keys > out.first 2> err.first & first=$!
exec 3> keys
for _ in $(seq 100); do [ -S sock ] && [ -e live.dvt ] && break; sleep 0.1; done
refused 1 'being written' record -o live.dvt --force --console none
refused 1 'being written' run --console file:live.dvt --force
refused 1 'being written' ctl sock checkpoint live.dvt --force
refused 1 'being written' snapshot pack s.dvs -o live.dvt --force
exec 3>&-
"$dejavm" ctl sock resume > out
wait $first || bad "the recording failed: $(cat err.first)"
"$dejavm" replay live.dvt > out

# What is reported is what is on the disk.
mkdir folder
"$dejavm" record -o folder/t.dvt --control sock --paused --console none 2> err & first=$!
for _ in $(seq 100); do [ -S sock ] && [ -e folder/t.dvt ] && break; sleep 0.1; done
rm -r folder
"$dejavm" ctl sock resume > out
code=0
wait $first || code=$?
[ $code = 1 ] && grep -q 'was removed' err || bad "a recording whose file was removed: status $code"
"$dejavm" record -o moved.dvt --control sock --paused --console none 2> err & first=$!
for _ in $(seq 100); do [ -S sock ] && [ -e moved.dvt ] && break; sleep 0.1; done
cp t.dvt other.dvt
mv other.dvt moved.dvt
"$dejavm" ctl sock resume > out
code=0
wait $first || code=$?
[ $code = 1 ] && grep -q 'was replaced' err || bad "a recording whose file was replaced: status $code"
cmp -s moved.dvt t.dvt || bad "the file that replaced it was changed"

# Lost output is an error.
lost() {
  code=0
  "$dejavm" "$@" > /dev/full 2> err || code=$?
  [ $code = 1 ] && grep -q 'No space left\|could be written' err || bad "$* > /dev/full: status $code"
}
lost run
lost record -o full.dvt
lost replay t.dvt
lost replay --json t.dvt
lost replay --devices-only t.dvt
lost --help
lost replay --help
lost --version
lost trace info t.dvt
lost trace dump t.dvt
lost snapshot info s.dvs
lost snapshot show s.dvs
lost snapshot verify s.dvs
lost device list
lost device show vatpic
lost query t.dvt irq-latency
refused 1 'No space left' run --console file:/dev/full
refused 1 'No space left' replay --console file:/dev/full t.dvt
