# shellcheck shell=bash disable=SC2154
# The disk and the parts of an update, in $work/out; sourced by scripts/image. Bash.

# Sizes for good: an update has to fit into the slots of the first version that a box was flashed with.
esp_mib=512 verity_mib=32 root_mib=1536
root_type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709
verity_type=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5
esp_type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b

make_esp() {
    local esp=$work/esp file
    truncate -s "${esp_mib}M" "$esp"
    mkfs.vfat -F 32 -n ESP -i "$(uuid_of "esp $version" | cut -c 1-8)" --invariant "$esp" >/dev/null
    export MTOOLS_SKIP_CHECK=1
    mkdir -p "$work/files/EFI/BOOT" "$work/files/EFI/Linux" "$work/files/EFI/systemd" "$work/files/loader/keys/auto"
    cp "$work/systemd-boot.efi" "$work/files/EFI/BOOT/BOOTX64.EFI"
    cp "$work/systemd-boot.efi" "$work/files/EFI/systemd/systemd-bootx64.efi"
    # Without a counter: nothing on a disk from the factory is on trial.
    cp "$work/holdfast.efi" "$work/files/EFI/Linux/$name.efi"
    cp "$work"/{PK,KEK,db}.auth "$work/files/loader/keys/auto/"
    # No menu, no editor, and keys only where the firmware asks for some (setup mode).
    printf 'timeout 0\neditor no\nauto-entries no\nauto-firmware no\nsecure-boot-enroll force\n' >"$work/files/loader/loader.conf"
    printf 'type1\n' >"$work/files/loader/entries.srel"
    find "$work/files" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$work/files" && find . -mindepth 1 | LC_ALL=C sort | while read -r file; do
        if [ -d "$file" ]; then mmd -i "$esp" "::$file"; else mcopy -m -i "$esp" "$file" "::$file"; fi
    done)
}

make_disk() {
    local disk=$work/disk root_uuid verity_uuid at part
    root_uuid=$(hash_uuid "${root_hash:0:32}") verity_uuid=$(hash_uuid "${root_hash:32:32}")
    [ "$(stat -c %s "$work/root.erofs")" -le $((root_mib << 20)) ] ||
        die "the root has $(stat -c %s "$work/root.erofs") bytes, more than its slot of $root_mib MiB"
    make_esp
    truncate -s "$((esp_mib + 2 * (verity_mib + root_mib) + 2))M" "$disk"
    # The attribute is "read-only", for the slots.
    sfdisk -q "$disk" <<END2
label: gpt
label-id: $(uuid_of "disk $version")
first-lba: 2048
size=${esp_mib}MiB, type=$esp_type, name=ESP, uuid=$(uuid_of 'esp')
size=${verity_mib}MiB, type=$verity_type, name=${name}_verity, uuid=$verity_uuid, attrs="GUID:60"
size=${root_mib}MiB, type=$root_type, name=$name, uuid=$root_uuid, attrs="GUID:60"
size=${verity_mib}MiB, type=$verity_type, name=_empty, uuid=$(uuid_of 'verity b'), attrs="GUID:60"
size=${root_mib}MiB, type=$root_type, name=_empty, uuid=$(uuid_of 'root b'), attrs="GUID:60"
END2
    at=1
    for part in esp root.verity root.erofs; do
        dd if="$work/$part" of="$disk" bs=1M seek=$at conv=notrunc,sparse status=none
        case $part in esp) at=$((at + esp_mib)) ;; root.verity) at=$((at + verity_mib)) ;; esac
    done
    mkdir "$work/out"
    bmaptool -q create -o "$work/out/$name.raw.bmap" "$disk"
    zstd -q -T0 -8 "$disk" -o "$work/out/$name.raw.zst"
    rm "$disk"
    # What an update is made of; partitions are named by the root's hash there too.
    mv "$work/root.erofs" "$work/out/${name}_$root_uuid.root"
    mv "$work/root.verity" "$work/out/${name}_$verity_uuid.verity"
    mv "$work/holdfast.efi" "$work/out/$name.efi"
}
