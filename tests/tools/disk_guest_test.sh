#!/bin/sh
# Two disks, NVMe and virtio, and a guest with drivers of its own: run, recorded, replayed whole, in parts and by devices alone without the
# images, saved in the middle and restored; the disks taken out are as the guest has left them. Usage: disk_guest_test.sh DEJAVM GUEST
set -eu
dejavm=$1 guest=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
expect() { [ "$1" = "$2" ] || { echo "disk_guest_test: expected '$2', found '$1'" >&2; exit 1; }; }
digest() { grep -o 'digest [0-9a-f]*' "$1" | tail -n 1; }

# IMAGE BLOCK CHARACTER: fills a block.
put() { head -c 512 /dev/zero | tr '\0' "$3" | dd of="$1" bs=512 seek="$2" conv=notrunc status=none; }
truncate -s 256K n.img v.img
put n.img 3 N
put v.img 3 V
cp n.img n.expected
cp v.img v.expected
put n.expected 130 V
put v.expected 130 N

record() { "$dejavm" record --memory 4M --kernel "$guest" --disk n.img --disk v.img,if=virtio "$@"; }
record -o t.dvt --console file:out --keyframe-every 20000 --snapshot-at 100000:s.dvs 2> log
expect "$(cat out)" QRWZEVTXYUM
for translate in on off; do
  record -o other.dvt --force --console none --keyframe-every 20000 --translate "$translate" --translate-threshold 1 2> /dev/null
  cmp t.dvt other.dvt
done
mkdir away
mv n.img v.img away
"$dejavm" replay t.dvt --jobs 1 > replayed
"$dejavm" replay t.dvt --jobs 2 > in_parts
expect "$(digest replayed)" "$(digest log)"
expect "$(digest in_parts)" "$(digest log)"
"$dejavm" replay --devices-only t.dvt > devices
"$dejavm" trace devices t.dvt -o small.dvt > /dev/null
"$dejavm" replay --devices-only small.dvt > small
expect "$(cut -d: -f2 small)" "$(cut -d: -f2 devices)"
"$dejavm" restore s.dvs --console file:rest --digest 2> restored
expect "$(digest restored)" "$(digest log)"
for disk in 0:n 1:v; do
  name=${disk#*:}
  "$dejavm" disk extract t.dvt --disk "${disk%:*}" --image "away/$name.img" -o "$name.end" > /dev/null
  cmp "$name.end" "$name.expected"
done
requests() { "$dejavm" query t.dvt disk-requests --disk "$1" | awk '/ disk[01] / { printf "%s:%s:%s ", $5, $6, $7 }'; }
expect "$(requests 0)" "read:3:512 write:5:512 read:5:512 zero:5:512 read:5:512 read:3:512 write:130:512 flush:0:0 "
expect "$(requests 1)" "read:3:512 write:5:512 read:5:512 zero:5:512 read:5:512 write:130:512 read:3:512 "
# A disk of a terabyte costs what is in it.
truncate -s 1T huge.img
put huge.img 3 N
cp away/v.img v.img
huge="--memory 4M --kernel $guest --console none --disk huge.img --disk v.img,if=virtio"
# shellcheck disable=SC2086
"$dejavm" record -o huge.dvt --snapshot-at 100000:huge.dvs $huge 2> log
# shellcheck disable=SC2086
"$dejavm" run --delta --snapshot-at 60000:first.dvs --snapshot-at 100000:second.dvs $huge 2> /dev/null
rm huge.img v.img
expect "$(find . -name '*.dvs' -size +9M)" ""
"$dejavm" replay huge.dvt > replayed
expect "$(digest replayed)" "$(digest log)"
for snapshot in huge.dvs second.dvs; do
  "$dejavm" snapshot verify "$snapshot" > /dev/null
  "$dejavm" restore "$snapshot" --console none --digest --verify 2> restored
  expect "$(digest restored)" "$(digest log)"
done
"$dejavm" snapshot merge second.dvs -o merged.dvs > /dev/null
"$dejavm" snapshot pack merged.dvs -o packed > /dev/null
"$dejavm" snapshot unpack packed -o unpacked.dvs > /dev/null
cmp merged.dvs unpacked.dvs
"$dejavm" disk extract unpacked.dvs -o then.img > /dev/null
expect "$(stat -c %s then.img)" 1099511627776
dd if=then.img bs=512 skip=5 count=1 status=none | cmp - /dev/zero 2>&1 | grep -q "EOF on -"

# The hash of a large image is kept for as long as the image does not change.
export XDG_CACHE_HOME="$work/cache"
kept=$XDG_CACHE_HOME/dejavm/image-hashes
truncate -s 1G large.img
put large.img 3 N
hash() {
  "$dejavm" record -o hash.dvt --force --console none --memory 4M --kernel "$guest" --disk large.img --max-instructions 1000 2> /dev/null || [ $? = 4 ]
  "$dejavm" trace info --json hash.dvt | sed -n 's/.*"image_hash":"\([0-9a-f]*\)".*/\1/p'
}
touch -d '1 hour' large.img
hash > /dev/null
[ ! -e "$kept" ] || { echo "disk_guest_test: the hash of a file that has just changed is kept" >&2; exit 1; }
touch -d '1 hour ago' large.img
sleep 2.5
true_hash=$(hash)
expect "$(cut -d' ' -f8 "$kept")" "$true_hash"
other=0123456789abcdef0123456789abcdef
sed -i "s/$true_hash/$other/" "$kept"
expect "$(hash)" "$other"
printf x | dd of=large.img bs=1 seek=5000 conv=notrunc status=none
changed=$(hash)
case $changed in "$other" | "$true_hash" | "") echo "disk_guest_test: the hash of the changed image is '$changed'" >&2; exit 1 ;; esac
echo "disk_guest_test: the same in all of them"
