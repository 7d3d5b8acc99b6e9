#!/bin/sh
# QEMU prints what the built-in guest prints here. Usage: qemu_guest.sh WRITE_GUEST AVX_GUEST (the program that writes the guest's
# ELF; the guest that uses AVX; beside it is the one of the test device)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" > "$work/guest"
timeout 120 qemu-system-x86_64 -accel tcg -m 256 -display none -monitor none -no-reboot \
  -rtc base=2000-01-01T00:00:00,clock=vm -serial "file:$work/serial" -kernel "$work/guest"
# QEMU's firmware runs first, and the clock with it.
plain() { tr -d '\r' < "$1" | sed 's/date 2000-01-01 00:00:..$/date/'; }
plain "$work/serial" > "$work/qemu"
plain "$(dirname "$0")/../guests/default_guest.txt" > "$work/ours"
diff "$work/qemu" "$work/ours"
timeout 10 qemu-system-x86_64 -accel tcg -cpu max -m 16 -display none -monitor none -no-reboot -serial "file:$work/avx" -kernel "$2" || [ $? = 124 ]
[ "$(cat "$work/avx")" = 45d45ef5 ]
timeout 10 qemu-system-x86_64 -accel tcg -device pc-testdev -m 16 -display none -monitor none -no-reboot -serial "file:$work/testdev" \
  -kernel "$(dirname "$2")/testdev_guest.elf" || [ $? = 124 ]
[ "$(cat "$work/testdev")" = BWDMI ]
echo "the same"
