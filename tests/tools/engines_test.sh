#!/bin/sh
# Traces from one engine on the other, and lockstep: where there is a KVM.
# Usage: engines_test.sh DEJAVM INSTRUCTIONS AVX_GUEST
set -eu
dejavm=$1 n=$2 avx=$3
. "$(dirname "$0")/lab_folder.sh"
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
"$dejavm" lockstep --cpu dejavm-v2 --memory 4M --kernel "$avx" --instructions $((n / 4))
# 4. A guest at work changes its engine and is recorded from there; the hardware is refused while it is.
ctl() { "$dejavm" ctl sock "$@"; }
"$dejavm" run --engine kvm --memory 32M --console file:switched.txt --control sock --paused 2>run.err & machine=$!
n=0; until ctl status >status 2>/dev/null; do n=$((n + 1)); [ $n -lt 600 ] || { cat run.err; exit 1; }; sleep 0.1; done
until grep -q tick switched.txt; do
  { ctl resume && ctl pause; } >/dev/null 2>&1 || break
done
if ctl engine deterministic; then
  ctl record start switched.dvt
  if ctl engine kvm 2>refused; then echo "the engine changed under a recording"; exit 1; fi
  grep -q record refused
  ctl resume
  wait $machine || { cat run.err; exit 1; }
  # A slow host misses ticks; the sums go on one after the other all the same.
  grep -o "sum .*" first.txt >sums
  grep -o "sum .*" switched.txt >switched.sums
  count=$(cat sums switched.sums | wc -l)
  head -n $((count / 4)) sums >sums.head
  head -n $((count / 4)) switched.sums | cmp - sums.head
  "$dejavm" replay switched.dvt
else
  echo "engines_test: the guest had ended before its engine could be changed; skipped"
fi

# 5. Disks: what devices read and wrote in a run at full speed is the same when it is run again to the log, without the images.
disks=$(dirname "$avx")/disk_guest.elf
truncate -s 256K n.img v.img
for disk in n v; do printf "%512s" "" | tr ' ' "$(echo $disk | tr nv NV)" | dd of=$disk.img bs=512 seek=3 conv=notrunc status=none; done
"$dejavm" record --engine kvm --memory 4M --console file:disks.txt -o disks.dvt --kernel "$disks" --disk n.img --disk v.img,if=virtio 2>disks.err || { cat disks.err; exit 1; }
[ "$(cat disks.txt)" = QRWZEVTXYUM ] || { echo "the guest of disks says: $(cat disks.txt)"; exit 1; }
rm n.img v.img
"$dejavm" replay --devices-only disks.dvt
"$dejavm" replay disks.dvt
