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

rm "$work/disk.img"
"$dejavm" replay "$work/t.dvt" > "$work/whole" || fail "replay: $(cat "$work/whole")"
"$dejavm" replay --jobs 1 "$work/t.dvt" > "$work/one" || fail "replay in one part: $(cat "$work/one")"
"$dejavm" replay --devices-only "$work/t.dvt" > "$work/devices" || fail "devices alone: $(cat "$work/devices")"
cmp "$work/whole" "$work/one"
grep -q identical "$work/whole" || fail "$(cat "$work/whole")"
# shellcheck disable=SC2086
! "$dejavm" run $boot 2> "$work/log" || fail "a missing image is taken"
grep -q "disk.img: No such file" "$work/log" || fail "$(cat "$work/log")"
echo "a root on NVMe: recorded, replayed without its image"
