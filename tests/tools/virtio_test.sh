#!/bin/sh
# Debian's virtio drivers on our devices: an entropy device, and an ext4 image on a virtio disk beside an NVMe one, with MSI-X and with INTA, recorded, replayed with
# the images gone, by devices alone too, saved in the middle. Usage: virtio_test.sh DEJAVM GUEST_DIR; status 77 without modules or mkfs.ext4.
set -eu
dejavm=$1 guest=$2
mkfs=$(command -v mkfs.ext4 || echo /sbin/mkfs.ext4)
[ -s "$guest/modules/17-virtio-rng.ko" ] && [ -x "$mkfs" ] || { echo "skipped: no modules of a Debian kernel, or no mkfs.ext4"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "virtio_test: $*" >&2; exit 1; }

mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/root/mnt"
cp "$guest/busybox" "$work/root/bin/"
cp -r "$guest/modules" "$work/root/"
ln -s busybox "$work/root/bin/sh"
cat > "$work/root/init" <<'EOF'
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod $module || echo "$module is not loaded"; done
echo "size $(cat /sys/block/vda/size) serial $(cat /sys/block/vda/serial) features $(cat /sys/block/vda/device/features)"
mount -t ext4 /dev/vda /mnt
dd if=/dev/urandom of=/mnt/b bs=64k count=32 2>/dev/null
cp /mnt/b /mnt/c
sync
echo 3 > /proc/sys/vm/drop_caches
cmp /mnt/b /mnt/c && echo "as written"
rm /mnt/b
fstrim /mnt && echo trimmed
umount /mnt
dd if=/dev/vda of=/dev/nvme0n1 bs=1M oflag=direct 2>/dev/null && cmp /dev/vda /dev/nvme0n1 && echo "copied to the other"
grep virtio /proc/interrupts
echo 3 > /proc/sys/vm/drop_caches
sh -c 'echo reader: $$; exec dd if=/dev/nvme0n1 of=/dev/null bs=4096 count=1 skip=9 2>/dev/null'
echo "entropy by $(cat /sys/class/misc/hw_random/rng_current): $(head -c 64 /dev/hwrng | wc -c) bytes"
echo "statistics of vda: $(cat /sys/block/vda/stat)"
echo "statistics of nvme: $(cat /sys/block/nvme0n1/stat)"
poweroff -f
EOF
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio --quiet -o -H newc) > "$work/initrd"
truncate -s 24M "$work/disk.img" "$work/other.img"
"$mkfs" -q -F "$work/disk.img"
before=$(md5sum < "$work/disk.img")

for interrupts in "" pci=nomsi; do
  rm -f "$work"/t.dvt "$work"/s.dvs "$work"/out
  boot="--disk $work/disk.img,if=virtio,serial=TESTED --disk $work/other.img --rng --memory 128M --kernel $guest/vmlinuz --initrd $work/initrd"
  # shellcheck disable=SC2086
  "$dejavm" record -o "$work/t.dvt" --snapshot-at "900000000:$work/s.dvs" --console "file:$work/out" $boot --append "console=ttyS0 cryptomgr.notests $interrupts" 2> "$work/log" ||
    fail "record: $(cat "$work/log")"
  grep -q "size 49152 serial TESTED features 011000100111111000000000000011001010" "$work/out" || fail "the disk is not as it should be: $(tail -5 "$work/out")"
  for line in "as written" trimmed "copied to the other" "entropy by virtio_rng.0: 64 bytes"; do grep -q "$line" "$work/out" || fail "not '$line': $(tail -9 "$work/out")"; done
  case "$interrupts" in
    "") grep -q "MSI.*virtio1-req" "$work/out" || fail "no MSI-X: $(tail -5 "$work/out")" ;;
    *) grep -q "IO-APIC.*virtio1" "$work/out" || fail "no INTA: $(tail -5 "$work/out")" ;;
  esac
  ! grep -E "nvme.*(error|timeout|reset)|I/O error|EXT4-fs error|is not loaded" "$work/out" || fail "errors in the guest's log"
  [ "$(md5sum < "$work/disk.img")" = "$before" ] || fail "the image has changed"
  mv "$work/disk.img" "$work/moved.img"
  mv "$work/other.img" "$work/moved-too.img"
  "$dejavm" replay "$work/t.dvt" > "$work/whole" || fail "replay: $(cat "$work/whole")"
  "$dejavm" replay --devices-only "$work/t.dvt" > "$work/devices" || fail "devices alone: $(cat "$work/devices")"
  "$dejavm" restore --digest --console none "$work/s.dvs" 2> "$work/restored" || fail "restore: $(cat "$work/restored")"
  end=$(sed -n 's/.*digest \([0-9a-f]\{32\}\).*/\1/p' "$work/whole")
  grep -q "digest $end" "$work/restored" || fail "from the snapshot it ends differently: $(cat "$work/restored")"
  # What was asked for, by Linux's own counts (which call an empty flush a write) and by who it says it was.
  pid=$(sed -n "s/^reader: \([0-9]*\).*/\1/p" "$work/out")
  "$dejavm" query "$work/t.dvt" disk-requests --disk 1 --limit 100000 > "$work/requests" || fail "query: $(cat "$work/requests")"
  grep -Eq "disk1 read +72 +[0-9]+  dd \($pid\)  in nvme_" "$work/requests" || fail "dd ($pid) has not read block 72: $(grep "dd (" "$work/requests" | tail -3; grep " 72 " "$work/requests")"
  for disk in 0:vda 1:nvme; do
    number=${disk%%:*} name=${disk#*:}
    "$dejavm" query "$work/t.dvt" disk-requests --disk "$number" --limit 0 > "$work/requests" || fail "query: $(cat "$work/requests")"
    tr -d '\r' < "$work/out" | sed -n "s/^statistics of $name: *//p" | awk '{ print "^" $1 " read, " $3 * 512 " bytes"; print " write, " $7 * 512 " bytes"; if ($16) print "^" $16 " flush,"; if ($12) print "^" $12 " discard, " $14 * 512 " bytes" }' > "$work/counts"
    [ -s "$work/counts" ] || fail "no counts of $name"
    while read -r line; do grep -q -- "$line" "$work/requests" || fail "Linux counts of $name: $line; the query: $(tail -6 "$work/requests")"; done < "$work/counts"
  done
  mv "$work/moved.img" "$work/disk.img"
  mv "$work/moved-too.img" "$work/other.img"
done
echo "a virtio disk beside an NVMe one: recorded, replayed without their images, gone on from a snapshot"
