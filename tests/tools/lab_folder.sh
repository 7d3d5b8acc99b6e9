# For tests that run in tools/kvm-lab too, to be sourced: $out, a folder that is thrown away at the end. In the lab the traces of a failure are
# kept where they outlive it. The process $machine, if there is one, ends with the test.
out=$(mktemp -d)
machine= lab=$(cd "$(dirname "$0")/../.." && pwd)/build/kvm-lab/out
finish() {
  status=$?
  [ -z "$machine" ] || kill "$machine" 2>/dev/null || :
  if [ $status != 0 ] && [ -w "$lab" ]; then cp "$out"/*.dvt "$lab" 2>/dev/null && echo "$(basename "$0"): its traces are in build/kvm-lab/out"; fi
  rm -rf "$out"
}
trap finish EXIT
