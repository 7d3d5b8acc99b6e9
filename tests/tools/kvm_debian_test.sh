#!/bin/sh
# Debian's kernel with its workload on the hardware engine, recorded: right answers, power-off, its devices verified from the log.
# Usage: kvm_debian_test.sh DEJAVM GUEST_DIR [TRACE]
# With TRACE, a second recording goes there, of a guest that reads neither the TSC nor random numbers: `dejavm replay` runs it again.
set -eu
dejavm=$1 guest=$2 trace=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/console
machine="--engine kvm --kernel $guest/vmlinuz --initrd $guest/initrd --keyframe-every 0"
right() {
  expect "md5 of 20 MB" "$(yes dejavm 2>/dev/null | head -c 20000000 | md5sum | cut -d' ' -f1)"
  expect "sha256 of 20 MB" "$(yes dejavm 2>/dev/null | head -c 20000000 | sha256sum | cut -d' ' -f1)"
  expect "20000 lines sorted" "$(seq 1 20000 | awk '{ print ($1 * 7919) % 20011, $1 }' | LC_ALL=C sort -n | md5sum | cut -d' ' -f1)"
}
expect() { grep -aq "$2" "$out" || { echo "$1: expected $2"; tail -n 30 "$out"; exit 1; }; }
"$dejavm" record $machine --append "console=ttyS0" --console "file:$out" -o "$work/t.dvt" || { tail -n 30 "$out"; exit 1; }
right
"$dejavm" replay --devices-only "$work/t.dvt"
if [ -n "$trace" ]; then
  rm -f "$trace"
  "$dejavm" record $machine --append "console=ttyS0 nokaslr" --cpu-without tsc,rdrand,rdseed --console "file:$out" -o "$trace" || { tail -n 30 "$out"; exit 1; }
  right
fi
echo "Debian's kernel on KVM: right answers, power-off, devices verified"
