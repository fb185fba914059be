# shellcheck shell=bash disable=SC2034,SC2154
# Opening the volumes of a box for reading; sourced by rescue. Bash.
#
# A volume lies on a loop device that cannot be written, whatever lies on that. What was opened goes away by
# itself when this script does, even by SIGKILL: the mounts lie in a namespace of its own, and the devices are
# told to close after their last user. Only `open` leaves them.

opened=()

# loop_of FILE OPTION...: a loop device that goes once nobody uses it.
loop_of() {
    local file=$1
    shift
    losetup -f --show "$@" "$file" 2>"$scratch/said" ||
        die "no loop device for $file: $(tail -n 1 "$scratch/said"). Is the kernel's module loop there?"
}

mapped_name() { printf 'holdfast-rescue-%s-%s' "$box_id" "$1"; }
place_of() { printf '%s/%s/%s' "$mounts" "$box_id" "$1"; }
is_open() { findmnt -rn "$(place_of "$1")" >/dev/null; }

# What an earlier run left that was ended between two steps. Ends where the disk is in use.
sweep() {
    local volume name device
    for volume in $(volumes); do
        if is_open "$volume"; then
            die "$box_given is open for looking at $mounts/$box_id. Close it first: scripts/rescue close $box_given"
        fi
    done
    for name in $(dmsetup ls 2>/dev/null | awk '{ print $1 }' | grep -F "holdfast-rescue-$box_id-" | sort -r); do
        dmsetup remove --retry "$name" 2>"$scratch/said" ||
            die "$box_given is in use by another rescue: $(tail -n 1 "$scratch/said"). Wait for it"
    done
    for device in $(losetup -l -n -O NAME,BACK-FILE | awk -v file="$box_path" '{ n = $1; sub(/^[^ ]+ +/, "") } $0 == file { print n }'); do
        # One of its own is read-only, and begins at a partition.
        if [ "$(losetup -n -O RO "$device" | tr -d ' ')" = 1 ]; then losetup -d "$device" || true; fi
    done
    disk_path=$box_path disk_kind=$box_kind
    refuse_in_use
}

# open_volume VOLUME: mounts it at place_of; sets problem and fails where it cannot be.
open_volume() {
    local loop name=$1 place mapped device
    find_part "$(part_of "$name")"
    mapped=$(mapped_name "$name") place=$(place_of "$name") device=/dev/mapper/$mapped
    loop=$(loop_of "$box_path" -r -o "$part_start" --sizelimit "$part_bytes") || exit 1
    if ! unlock "$loop" "$mapped" --readonly --key-file "$scratch/recovery"; then
        problem="the recovery key does not open it: $(tail -n 1 "$scratch/said")"
        return 1
    fi
    mount_readonly "$name" "$device" "$place" || return 1
    opened+=("mount $place")
    release "$mapped"
}

# unlock LOOP MAPPED OPTION...: a loop device that is detached while it is used goes with its last user.
unlock() {
    local loop=$1 mapped=$2 result=0
    shift 2
    cryptsetup open "$@" "$loop" "$mapped" 2>"$scratch/said" || result=$?
    losetup -d "$loop" 2>/dev/null || true
    [ $result = 0 ] || return 1
    opened+=("map $mapped")
}

# release MAPPED: it closes by itself, after its last user.
release() {
    [ "$verb" = open ] || dmsetup remove --deferred "$1" 2>/dev/null || true
}

# mount_readonly VOLUME DEVICE PLACE: without a journal that has to be replayed the file system is mounted as
# it is. With one, after a power cut, what was written last is only there: it is replayed into memory.
mount_readonly() {
    local device=$2 options=ro,noload kind
    kind=$(blkid -c /dev/null -p -o value -s TYPE "$device" 2>/dev/null) || true
    if [ "$kind" != ext4 ]; then
        problem="it opens, and has ${kind:-nothing that is known} in it instead of ext4"
        return 1
    fi
    if dumpe2fs -h "$device" 2>/dev/null | grep '^Filesystem features:.*needs_recovery' >/dev/null; then
        if stack "$1" "$device"; then
            device=/dev/mapper/$(mapped_name "$1")-replayed options=ro
        else
            note "note: volume $1 was not closed in an orderly way, and its journal cannot be replayed here: \
$(tail -n 1 "$scratch/said"). What was written last may be missing"
        fi
    fi
    mkdir -p -m 700 "$mounts" "$3"
    if ! mount -t ext4 -o "$options,nodev,nosuid,noexec,nosymfollow" "$device" "$3" 2>"$scratch/said"; then
        problem="it opens, and its file system cannot be mounted: $(tail -n 1 "$scratch/said"). \
\`e2fsck\` on a copy of the disk may mend it"
        return 1
    fi
    [ "$device" = "$2" ] || release "${device##*/}"
}

# A writable device over a read-only one, whose changes are in memory.
stack() {
    local sectors mapped loop result=0
    mapped=$(mapped_name "$1")-replayed
    truncate -s 2G "$scratch/$1.changes"
    loop=$(loop_of "$scratch/$1.changes") || exit 1
    rm -f "$scratch/$1.changes"
    sectors=$(blockdev --getsz "$2")
    dmsetup create "$mapped" --table "0 $sectors snapshot $2 $loop N 8" 2>"$scratch/said" || result=$?
    losetup -d "$loop" 2>/dev/null || true
    [ $result = 0 ] || return 1
    opened+=("map $mapped")
}

# Closes what was opened, the last first.
close_all() {
    local at what name
    for ((at = ${#opened[@]} - 1; at >= 0; at--)); do
        read -r what name <<<"${opened[at]}"
        case $what in
            mount) umount "$name" 2>/dev/null || true; rmdir "$name" 2>/dev/null || true ;;
            map) dmsetup remove --retry "$name" 2>/dev/null || true ;;
            loop) losetup -d "$name" 2>/dev/null || true ;;
        esac
    done
    opened=()
    rmdir "$mounts/${box_id:-}" "$mounts" 2>/dev/null || true
}

open_for_looking() {
    local volume places=() failed=()
    sweep
    for volume in $(volumes); do judge_volume "$volume"; done
    if [ -n "$is_dry" ]; then
        note "Dry run, nothing was changed. These would be mounted read-only below $mounts/$box_id: $(volumes | paste -sd' ')"
        return
    fi
    read_recovery_key
    for volume in $(volumes); do
        if is_usable "$volume" && open_volume "$volume"; then
            places+=("$(place_of "$volume")")
        else
            failed+=("$volume")
            note "volume $volume stays closed: $problem"
        fi
    done
    [ ${#places[@]} -gt 0 ] || die "no volume of $box_given could be opened"
    opened=()
    if [ -n "$is_json" ]; then
        jq -n --arg disk "$box_path" --args '{disk: $disk, open: $ARGS.positional}' "${places[@]}"
    else
        note "Open, read-only: ${places[*]}. Afterwards: scripts/rescue close $box_given"
    fi
    [ ${#failed[@]} = 0 ] || exit 1
}

close_looked() {
    local place name device closed=0
    for place in "$mounts/$box_id"/*; do
        [ -d "$place" ] || continue
        if findmnt -rn "$place" >/dev/null; then
            umount "$place" 2>"$scratch/said" || die "$place is in use: $(tail -n 1 "$scratch/said"). Leave it and try again"
            closed=$((closed + 1))
        fi
        rmdir "$place"
    done
    sweep
    rmdir "$mounts/$box_id" "$mounts" 2>/dev/null || true
    if [ -n "$is_json" ]; then
        jq -n --arg disk "$box_path" --argjson closed $closed '{disk: $disk, closed: $closed}'
    else
        note "Closed: $closed volumes of $box_given. It can be taken off."
    fi
}
