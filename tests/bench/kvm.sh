#!/bin/sh
# Exits per second on this machine's KVM, in one run: a bare loop around KVM_RUN, the same port writes through our board, and recorded.
# Times are the medians; ratios are medians of each repetition's own, whose three runs follow each other: noise that lasts meets all three.
# Usage: tests/bench/kvm.sh [EXITS, default 200000] [repetitions, default 9]; without a whole KVM: tools/kvm-lab --icount tests/bench/kvm.sh 100000 1
set -eu
cd "$(dirname "$0")/../.."
exits=${1:-200000} repetitions=${2:-9}
dejavm=build/release/tools/dejavm/dejavm bare=build/release/tests/bench/kvm_bare
[ -x $dejavm ] && [ -x $bare ] || { echo "tests/bench/kvm.sh: build first: cmake --preset release && cmake --build --preset release" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/guest.S" <<EOF
        .code32
        .globl _start
        .balign 4
        .long 0x1badb002, 0, -0x1badb002
_start: mov \$$exits, %ecx
1:      out %al, \$0x80
        dec %ecx
        jnz 1b
        mov \$0, %eax
        out %eax, \$0xf4
1:      hlt
        jmp 1b
EOF
gcc -m32 -nostdlib -static -Wl,-N,--no-warn-rwx-segments,-Ttext=0x100000,--build-id=none -o "$work/guest" "$work/guest.S"
rate() { sed -n 's/.*"seconds":\([0-9.e-]*\).*/\1/p' "$work/json" | awk -v n="$exits" '{ printf "%.0f\n", n / $1 }'; }
one() { "$dejavm" "$@" --engine kvm --kernel "$work/guest" --memory 16M --console none --debug-exit --json 2>"$work/json" >/dev/null || true; rate; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { paste -d' ' "$1" "$2" | awk '{ print $1 / $2 }' | median; }
i=0
while [ $i -lt "$repetitions" ]; do
  $bare "$exits" >>"$work/bare"
  one run >>"$work/run"
  one record -o "$work/t.dvt" --force >>"$work/record"
  i=$((i + 1))
done
printf '%-20s %9d exits/s\n%-20s %9d exits/s  %.2f x the bare loop'"'"'s time\n%-20s %9d exits/s  %.2f x the time without recording\n' \
  'bare loop' "$(median <"$work/bare")" 'through the board' "$(median <"$work/run")" "$(ratio "$work/bare" "$work/run")" \
  'recorded' "$(median <"$work/record")" "$(ratio "$work/run" "$work/record")"
