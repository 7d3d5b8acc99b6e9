#!/bin/sh
# Loops of one kind each (arithmetic, memory, calls, system calls, page faults, context switches) in a Linux guest, under dejavm and QEMU.
# Usage: tests/bench/micro.sh [repetitions, default 3]
set -eu
targets=micro_guest
. "$(dirname "$0")/prepare.sh"
exec /usr/bin/python3 tests/bench/micro.py "$dejavm" build/guest build/release/tests/bench/micro_guest "${1:-3}"
