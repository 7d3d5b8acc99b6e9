# What the benchmarks begin with, sourced: all that is installed and built, in the project's root. Sets `dejavm`, and `work`, a folder.
cd "$(dirname "$0")/../.."
tools/install build guest bench
tools/get-guest build/guest
cmake --preset release >/dev/null
cmake --build --preset release --target dejavm ${targets:-} -- --quiet
dejavm=build/release/tools/dejavm/dejavm
work=build/bench
mkdir -p "$work"
