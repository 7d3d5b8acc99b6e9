#!/bin/sh
# Loops of one kind each (arithmetic, memory, calls, system calls, page faults, context switches) in a Linux guest, under dejavm and QEMU.
# Usage: tests/bench/micro.sh [repetitions, default 3]
set -eu
cd "$(dirname "$0")/../.."
tools/install build guest bench
tools/get-guest build/guest
cmake --preset release >/dev/null
cmake --build --preset release --target dejavm micro_guest -- --quiet
exec /usr/bin/python3 tests/bench/micro.py build/release/tools/dejavm/dejavm build/guest build/release/tests/bench/micro_guest "${1:-3}"
