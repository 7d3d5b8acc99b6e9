#!/bin/sh
# A Debian kernel whose root is an ext4 image on an NVMe disk: run, recorded, replayed with the image gone, by devices alone too; the image
# stays as it was. Usage: disk_test.sh DEJAVM GUEST_DIR; status 77 without a guest or mkfs.ext4.
set -eu
dejavm=$1 guest=$2
mkfs=$(command -v mkfs.ext4 || echo /sbin/mkfs.ext4)
[ -s "$guest/vmlinuz" ] && [ -x "$mkfs" ] || { echo "skipped: no Debian kernel, or no mkfs.ext4"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "disk_test: $*" >&2; exit 1; }

mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/root/tmp"
cp "$guest/busybox" "$work/root/bin/"
ln -s busybox "$work/root/bin/sh"
cat > "$work/root/init" <<'EOF'
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "size $(cat /sys/block/nvme0n1/size) serial $(cat /sys/block/nvme0n1/device/serial)"
dd if=/dev/urandom of=/tmp/b bs=64k count=32 2>/dev/null
cp /tmp/b /tmp/c
sync
echo 3 > /proc/sys/vm/drop_caches
cmp /tmp/b /tmp/c && echo "as written"
rm /tmp/b
fstrim /
mount -o remount,ro /
poweroff -f
EOF
chmod +x "$work/root/init"
truncate -s 24M "$work/disk.img"
"$mkfs" -q -F -U 00000000-0000-4000-8000-000000000001 -d "$work/root" "$work/disk.img"
before=$(md5sum < "$work/disk.img")

boot="--disk $work/disk.img,serial=TESTED --memory 128M --kernel $guest/vmlinuz"
append="console=ttyS0 root=/dev/nvme0n1 rw init=/init cryptomgr.notests"
# shellcheck disable=SC2086
"$dejavm" record -o "$work/t.dvt" --console "file:$work/out" $boot --append "$append" 2> "$work/log" || fail "record: $(cat "$work/log")"
grep -q "size 49152 serial TESTED" "$work/out" || fail "the disk is not as it should be: $(tail -5 "$work/out")"
grep -q "as written" "$work/out" || fail "what was written is not read: $(tail -5 "$work/out")"
grep -q "powered off" "$work/log" || fail "$(cat "$work/log")"
! grep -E "nvme.*(error|timeout|reset)|I/O error|EXT4-fs error" "$work/out" || fail "errors in the guest's log"
[ "$(md5sum < "$work/disk.img")" = "$before" ] || fail "the image has changed"

# Saved in the middle, with its image and without: it goes on to the same end.
end=$(sed -n 's/.*digest \([0-9a-f]\{32\}\).*/\1/p' "$work/log")
length=$("$dejavm" trace info --json "$work/t.dvt" | sed -n 's/.*"instructions":\([0-9]*\).*/\1/p')
middle=$((length * 4 / 5))
later=$((length * 9 / 10))
restored() { # what, arguments of restore
  what=$1
  shift
  "$dejavm" restore --console none --digest "$@" 2> "$work/restored" || fail "$what: $(cat "$work/restored")"
  grep -q "digest $end" "$work/restored" || fail "$what ends differently: $(cat "$work/restored"); recorded $end"
}
# shellcheck disable=SC2086
"$dejavm" run --console none $boot --append "$append" --delta --snapshot-at "$middle:$work/inside.dvs" --snapshot-at "$later:$work/delta.dvs" 2> "$work/log" || fail "$(cat "$work/log")"
# shellcheck disable=SC2086
"$dejavm" run --console none $boot --append "$append" --external-base --snapshot-at "$middle:$work/outside.dvs" 2> "$work/log" || fail "$(cat "$work/log")"
[ "$(md5sum < "$work/disk.img")" = "$before" ] || fail "the image has changed"
mv "$work/disk.img" "$work/moved.img"
restored "a snapshot with its image" --verify "$work/inside.dvs"
restored "a delta" "$work/delta.dvs"
restored "a snapshot and an image beside it" --bind "disk0=$work/moved.img" "$work/outside.dvs"
! "$dejavm" restore --console none "$work/outside.dvs" 2> "$work/log" || fail "restored without its image"
grep -q "outside.dvs: disk 0 starts from 'disk.img' of 25165824 bytes with hash .*--bind disk0=PATH" "$work/log" || fail "$(cat "$work/log")"
cp "$work/moved.img" "$work/other.img"
printf x | dd of="$work/other.img" bs=1 seek=1234567 conv=notrunc 2> /dev/null
! "$dejavm" restore --console none --bind "disk0=$work/other.img" "$work/outside.dvs" 2> "$work/log" || fail "another image is taken"
grep -q "other.img: an image with hash" "$work/log" || fail "$(cat "$work/log")"
! "$dejavm" restore --console none --bind "disk1=$work/moved.img" "$work/outside.dvs" 2> "$work/log" || fail "an image for no disk is taken"
grep -q "there is no disk 1" "$work/log" || fail "$(cat "$work/log")"
"$dejavm" snapshot merge "$work/delta.dvs" -o "$work/merged.dvs" > "$work/log" || fail "merge: $(cat "$work/log")"
restored "a merged snapshot" "$work/merged.dvs"
"$dejavm" snapshot pack "$work/inside.dvs" -o "$work/packed" > "$work/log" || fail "pack: $(cat "$work/log")"
"$dejavm" snapshot unpack "$work/packed" -o "$work/unpacked.dvs" > "$work/log" || fail "unpack: $(cat "$work/log")"
cmp "$work/inside.dvs" "$work/unpacked.dvs" || fail "unpacked, it is another"
"$dejavm" snapshot merge "$work/outside.dvs" -o "$work/still.dvs" > "$work/log" || fail "merge without the image: $(cat "$work/log")"
grep -q "disk.img" "$work/still.dvs" || fail "the image's name is lost"
# Out of a trace, with what the recording has read of the image.
"$dejavm" snapshot extract "$work/t.dvt" --at "$middle" -o "$work/extracted.dvs" > "$work/log" || fail "extract: $(cat "$work/log")"
restored "a snapshot out of a trace" "$work/extracted.dvs"

# The disk as it was, out of the trace and out of snapshots: a whole file system, with what the guest has made.
debugfs=$(command -v debugfs || echo /sbin/debugfs) fsck=$(command -v e2fsck || echo /sbin/e2fsck)
disk() { "$dejavm" disk "$@" > "$work/log" 2>&1 || fail "disk $1: $(cat "$work/log")"; }
disk extract "$work/t.dvt" --image "$work/moved.img" -o "$work/end.img"
"$fsck" -fn "$work/end.img" > "$work/log" 2>&1 || fail "the disk at the end is damaged: $(cat "$work/log")"
"$debugfs" -R "stat /tmp/c" "$work/end.img" 2>&1 | grep -q "Size: 2097152" || fail "the guest's file is not on its disk"
disk extract "$work/t.dvt" --image "$work/moved.img" --at begin -o "$work/begin.img"
cmp "$work/begin.img" "$work/moved.img" || fail "at the beginning the disk is not its image"
disk extract "$work/t.dvt" --image "$work/moved.img" --at "$middle" -o "$work/middle.img"
disk extract "$work/inside.dvs" -o "$work/inside.img"
disk extract "$work/outside.dvs" --image "$work/moved.img" -o "$work/outside.img"
cmp "$work/inside.img" "$work/middle.img" || fail "a snapshot's disk is not the trace's"
cmp "$work/outside.img" "$work/middle.img" || fail "a disk on an image outside is not the trace's"
! "$dejavm" disk extract "$work/t.dvt" -o "$work/none.img" 2> "$work/log" || fail "what nobody knows is extracted"
grep -q "only the image tells" "$work/log" || fail "$(cat "$work/log")"
disk extract "$work/t.dvt" --partial -o "$work/partial.img"
grep -q "unknown and zeros" "$work/log" || fail "$(cat "$work/log")"
! "$dejavm" disk extract "$work/t.dvt" --image "$work/other.img" -o "$work/none.img" 2> "$work/log" || fail "another image is taken"
! "$dejavm" disk extract "$work/t.dvt" --image "$work/moved.img" -o "$work/moved.img" --force 2> "$work/log" || fail "the image is overwritten"
[ "$(md5sum < "$work/moved.img")" = "$before" ] || fail "the image has changed"
[ ! -e "$work/none.img" ] || fail "a refused image is written"
disk diff "$work/inside.dvs" "$work/t.dvt" --other-at "$middle" --image "$work/moved.img"
grep -q "^0 bytes in 0 places differ" "$work/log" || fail "the same disk differs: $(cat "$work/log")"
disk diff --json "$work/begin.img" "$work/end.img"
cp "$work/log" "$work/by_images"
disk diff --json "$work/t.dvt" "$work/t.dvt" --at begin --image "$work/moved.img"
cmp "$work/log" "$work/by_images" || fail "a trace's disk differs otherwise than the images of it"
disk diff --files "$work/t.dvt" "$work/t.dvt" --at begin --image "$work/moved.img"
grep -q "^added    /tmp/c (0 to 2097152 bytes)" "$work/log" && grep -q "^changed  /tmp (" "$work/log" || fail "other files differ: $(head -20 "$work/log")"
! grep -qE "^[a-z]+ +/(init|bin/busybox|tmp/b) " "$work/log" || fail "files differ that do not: $(grep -E "^[a-z]+ +/(init|bin/busybox|tmp/b) " "$work/log")"
/sbin/debugfs -R "dump /tmp/c $work/c" "$work/end.img" 2> /dev/null
"$dejavm" disk read "$work/t.dvt" /tmp/c --image "$work/moved.img" > "$work/c.read"
cmp "$work/c" "$work/c.read" || fail "a file of the disk is read otherwise than by debugfs"
disk list "$work/end.img"
cut -d/ -f2- "$work/log" | sort > "$work/listed"
mkdir "$work/dumped"
/sbin/debugfs -R "rdump / $work/dumped" "$work/end.img" > /dev/null 2>&1
(cd "$work/dumped" && find . -mindepth 1 | cut -c3- | sort) > "$work/found"
cmp "$work/listed" "$work/found" || fail "other files are listed than debugfs finds"
disk diff "$work/moved.img" "$work/other.img"
grep -q "^byte 0x12d000, 4096 bytes" "$work/log" || fail "$(cat "$work/log")"

rm "$work"/*.img
"$dejavm" replay "$work/t.dvt" > "$work/whole" || fail "replay: $(cat "$work/whole")"
"$dejavm" replay --jobs 1 "$work/t.dvt" > "$work/one" || fail "replay in one part: $(cat "$work/one")"
"$dejavm" replay --devices-only "$work/t.dvt" > "$work/devices" || fail "devices alone: $(cat "$work/devices")"
cmp "$work/whole" "$work/one"
grep -q identical "$work/whole" || fail "$(cat "$work/whole")"
# shellcheck disable=SC2086
! "$dejavm" run $boot 2> "$work/log" || fail "a missing image is taken"
grep -q "disk.img: No such file" "$work/log" || fail "$(cat "$work/log")"
echo "a root on NVMe: recorded, replayed without its image"
