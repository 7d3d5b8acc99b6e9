#!/bin/sh
# Debian's kernel with its workload on the hardware engine: right answers, power-off.
# Usage: kvm_debian_test.sh DEJAVM GUEST_DIR
set -eu
dejavm=$1 guest=$2
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$dejavm" run --engine kvm --kernel "$guest/vmlinuz" --initrd "$guest/initrd" --append "console=ttyS0" --console "file:$out" || { tail -n 30 "$out"; exit 1; }
expect() { grep -aq "$2" "$out" || { echo "$1: expected $2"; tail -n 30 "$out"; exit 1; }; }
expect "md5 of 20 MB" "$(yes dejavm 2>/dev/null | head -c 20000000 | md5sum | cut -d' ' -f1)"
expect "sha256 of 20 MB" "$(yes dejavm 2>/dev/null | head -c 20000000 | sha256sum | cut -d' ' -f1)"
expect "20000 lines sorted" "$(seq 1 20000 | awk '{ print ($1 * 7919) % 20011, $1 }' | LC_ALL=C sort -n | md5sum | cut -d' ' -f1)"
echo "Debian's kernel on KVM: right answers, power-off"
