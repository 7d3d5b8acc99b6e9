#!/bin/sh
# Saving and restoring a 1 GiB guest of which some 600 MB are not zero: here, and by QEMU's migration to a file, in one run on one
# machine; prints ms and ratios. Usage: tests/bench/snapshot.sh [repetitions, default 5]
set -eu
cd "$(dirname "$0")/../.."
tools/install build guest bench
tools/get-guest build/guest
cmake --preset release >/dev/null
cmake --build --preset release --target dejavm -- --quiet
exec python3 tests/bench/snapshot.py build/release/tools/dejavm/dejavm build/guest build/bench "${1:-5}"
