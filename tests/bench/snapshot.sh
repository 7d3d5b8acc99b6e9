#!/bin/sh
# Saving and restoring a 1 GiB guest of which some 600 MB are not zero: here, and by QEMU's migration to a file, in one run on one
# machine; prints ms and ratios. Usage: tests/bench/snapshot.sh [repetitions, default 5]
set -eu
. "$(dirname "$0")/prepare.sh"
exec python3 tests/bench/snapshot.py "$dejavm" build/guest "$work" "${1:-5}"
