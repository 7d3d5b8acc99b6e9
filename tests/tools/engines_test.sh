#!/bin/sh
# Traces from one engine on the other, and lockstep: where there is a KVM.
# Usage: engines_test.sh DEJAVM INSTRUCTIONS
set -eu
dejavm=$1 n=$2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$out"
# 1. Exact mode: a trace of each replays on the other, keyframes' memory included.
for engine in deterministic kvm-step; do
  "$dejavm" record --engine $engine --memory 32M --console none --max-instructions "$n" --keyframe-every $((n / 4)) -o $engine.dvt 2>$engine.err || [ $? = 4 ]
done
"$dejavm" replay --engine kvm-step deterministic.dvt
"$dejavm" replay --engine deterministic kvm-step.dvt
"$dejavm" replay kvm-step.dvt >/dev/null
# 2. A run at full speed: its devices from the log alone, and its guest run again to the log, from the start and from a keyframe.
"$dejavm" record --engine kvm --memory 32M --console file:first.txt -o kvm.dvt 2>kvm.err || { cat kvm.err; exit 1; }
"$dejavm" replay --devices-only kvm.dvt
"$dejavm" replay --console file:again.txt kvm.dvt
cmp first.txt again.txt
# 3. The processor judges the deterministic engine.
"$dejavm" lockstep --memory 32M --instructions "$n"
