#!/bin/sh
# A guest of several vCPUs on the hardware engine: each on its thread, recorded, its devices verified from the log alone, handed to the
# deterministic engine in the middle and taken back; and by the deterministic schedule in exact mode.
# Usage: vcpus_engines_test.sh DEJAVM SMP_GUEST INSTRUCTIONS, the latter of exact mode
set -eu
dejavm=$1 guest=$2 n=$3
out=$(mktemp -d)
machine= lab=$(cd "$(dirname "$0")/../.." && pwd)/build/kvm-lab/out
finish() {
  status=$?
  kill $machine 2>/dev/null || :
  if [ $status != 0 ] && [ -w "$lab" ]; then cp "$out"/*.dvt "$lab" 2>/dev/null && echo "vcpus_engines_test: its traces are in build/kvm-lab/out"; fi
  rm -rf "$out"
}
trap finish EXIT
cd "$out"
right() { [ "$(cat "$1")" = AXFHNBGSLKPQCVI ] || { echo "$2: the guest says '$(cat "$1")'"; cat log; exit 1; }; }
machine() { "$dejavm" "$@" --memory 4M --kernel "$guest"; }

# 1. All at once.
for vcpus in 3 4 8; do
  machine record --engine kvm --vcpus $vcpus --max-time 600s --console file:console -o $vcpus.dvt --force 2>log || { cat log console; exit 1; }
  right console "$vcpus vCPUs"
  "$dejavm" replay --devices-only $vcpus.dvt
done
status=0
"$dejavm" replay 3.dvt 2>refused || status=$?
[ $status = 1 ] || { echo "replay of vCPUs that ran at once: status $status"; exit 1; }
grep -q "3.dvt: its 3 vCPUs ran at once on KVM" refused

# 2. By the deterministic schedule: a trace of each engine replays on the other.
for how in "--slice 97" "--slice 50000 --schedule random:3"; do
  for engine in deterministic kvm-step; do
    # shellcheck disable=SC2086
    machine record --engine $engine --vcpus 4 $how --console none --max-instructions "$n" --keyframe-every $((n / 4)) -o $engine.dvt --force 2>log || [ $? = 4 ]
  done
  "$dejavm" replay --engine kvm-step deterministic.dvt
  "$dejavm" replay --engine deterministic kvm-step.dvt
done

# 3. From one engine to another in the middle, and to its end.
machine run --vcpus 4 --console file:begin --snapshot-at 400000:s.dvs --max-instructions 400000 2>log || [ $? = 4 ]
"$dejavm" restore s.dvs --engine kvm --console file:end 2>log || { cat log; exit 1; }
cat begin end >console
right console "from the deterministic engine to KVM"
machine run --engine kvm --vcpus 4 --console file:begin --force --snapshot-at 100000:k.dvs 2>log || { cat log; exit 1; }
right begin "4 vCPUs, saved on the way"
"$dejavm" restore k.dvs --console file:end --force 2>log || { cat log; exit 1; }
case AXFHNBGSLKPQCVI in *"$(cat end)") ;; *) echo "from KVM to the deterministic engine: the guest says '$(cat end)'"; exit 1 ;; esac
grep -q "powered off" log
echo "vcpus_engines_test: right, and the same where it has to be"
