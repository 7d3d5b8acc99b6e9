#!/bin/sh
# Guests of several vCPUs on the hardware engine: each on its thread, recorded, their devices verified from the log alone; and by the
# deterministic schedule in exact mode. (From one engine to another: kvm_test.)
# Usage: vcpus_engines_test.sh DEJAVM SMP_GUEST RESET_ROM INSTRUCTIONS, the latter of exact mode
set -eu
dejavm=$1 guest=$2 rom=$3 n=$4
. "$(dirname "$0")/lab_folder.sh"
cd "$out"
right() { [ "$(cat console)" = "$1" ] || { echo "the guest says '$(cat console)', expected '$1'"; cat log; exit 1; }; }
machine() { "$dejavm" "$@" --memory 4M --console file:console --force 2>log; }

# 1. All at once.
for vcpus in 3 4 8; do
  machine record --engine kvm --vcpus $vcpus --kernel "$guest" --max-time 600s -o $vcpus.dvt || { cat log console; exit 1; }
  right AXFHNBGSLKPQCVI
  "$dejavm" replay --devices-only $vcpus.dvt
done
status=0
"$dejavm" replay 3.dvt 2>refused || status=$?
[ $status = 1 ] || { echo "replay of vCPUs that ran at once: status $status"; exit 1; }
grep -q "3.dvt: its 3 vCPUs ran at once on KVM" refused

# 2. A reset takes place at one time for the guest and for who reads the log, also where time passes by itself.
for how in "deterministic --vcpus 2 --keyframe-every 500" "kvm --keyframe-every 5000000" "kvm --vcpus 2 --keyframe-every 5000000"; do
  # shellcheck disable=SC2086
  machine record --engine $how --firmware "$rom" -o reset.dvt || { cat log; exit 1; }
  right 12
  "$dejavm" replay --devices-only reset.dvt
done

# 3. By the deterministic schedule: a trace of each engine replays on the other.
for how in "--slice 97" "--slice 50000 --schedule random:3"; do
  for engine in deterministic kvm-step; do
    # shellcheck disable=SC2086
    machine record --engine $engine --vcpus 4 $how --kernel "$guest" --max-instructions "$n" --keyframe-every $((n / 4)) -o $engine.dvt || [ $? = 4 ]
  done
  "$dejavm" replay --engine kvm-step deterministic.dvt
  "$dejavm" replay --engine deterministic kvm-step.dvt
done
echo "vcpus_engines_test: right, and the same where it has to be"
