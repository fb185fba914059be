# shellcheck shell=bash disable=SC2154
# `rescue export`; sourced by rescue. Bash.
#
# The target is LUKS2 with ext4. Its label ends in "-new" until the file system is made: only with the whole
# label it is one that an export goes on with. Once it is, nothing on it is made anew without a phrase.

export_label=holdfast-export
# LUKS2's header, the journal, and what ext4 needs for itself.
export_fixed_bytes=$((48 << 20))
journal_mib=16

export_recordings() {
    local volume shown=() uuids=() all=() needs target_given=$1
    sweep
    take_target "$target_given"
    read_recovery_key
    for volume in $(volumes); do
        [ "$volume" != state ] || continue
        judge_volume "$volume"
        if is_usable "$volume" && open_volume "$volume"; then
            shown+=(--volume "$volume=$(place_of "$volume")")
            uuids+=("$(fact_of "$volume" .uuid)")
        else
            note "volume $volume stays closed: $problem"
            closed+=("$(jq -n -c --arg volume "$volume" --arg why "the volume stays closed: $problem" '{volume: $volume, why: $why}')")
        fi
    done
    [ ${#shown[@]} -gt 0 ] || die "no volume with recordings could be opened: see above. \`scripts/rescue status $box_given\` says \
how their headers are; restore-header may mend one"
    [ -z "$is_all" ] || all=(--all)
    python3 -B "$scripts/recordings.py" plan ${all[@]+"${all[@]}"} --out "$scratch/found.json" "${shown[@]}"
    printf '%s\n' ${closed[@]+"${closed[@]}"} | jq -s --slurpfile found "$scratch/found.json" \
        '. as $closed | $found[0] | .not_copied += $closed' >"$scratch/plan.json"
    [ "$(jq '.recordings | length' "$scratch/plan.json")" -gt 0 ] || [ -n "$is_resumed" ] || {
        say_left "$scratch/plan.json"
        die "there is nothing to copy: $(left_out "$scratch/plan.json")"
    }
    needs=$(($(jq .bytes "$scratch/plan.json") * 101 / 100 + export_fixed_bytes))
    [ "$target_bytes" -ge "$needs" ] || die "$target_given is too small: it has $target_bytes bytes ($(human "$target_bytes")), \
the recordings need $needs ($(human "$needs")). Nothing was changed"
    prepare_target
    jq -n --arg serial "$(box_serial)" --args '{serial: $serial, volumes: $ARGS.positional}' "${uuids[@]}" >"$scratch/box.json"
    same_box
    copy_recordings "${shown[@]}"
}

closed=()

# take_target TARGET: sets target_path, target_kind, target_bytes, target_name, target_removable, is_resumed.
take_target() {
    local box_back target_back
    look_at "$1"
    target_path=$disk_path target_kind=$disk_kind target_bytes=$disk_size target_name=$disk_name target_removable=$disk_removable
    box_back=$box_path target_back=$target_path
    [ "$box_kind" != loop ] || box_back=$(losetup -n -O BACK-FILE "$box_path" | sed 's/^ *//')
    [ "$target_kind" != loop ] || target_back=$(losetup -n -O BACK-FILE "$target_path" | sed 's/^ *//')
    if [ "$target_back" -ef "$box_back" ] || [ "$target_path" -ef "$box_path" ] ||
        { [ -b "$box_path" ] && [ "$(stat -c %F:%t:%T "$target_path")" = "$(stat -c %F:%t:%T "$box_path")" ]; } ||
        { [ "$target_kind" != file ] && lsblk -rnso PATH "$target_path" | grep -xF "$box_path" >/dev/null; }; then
        die "$1 is the box's own disk: name another to export to"
    fi
    case $target_kind in
        file | disk | loop) ;;
        *) die "$1 is a $target_kind, not a whole disk: $(lsblk -rnso PATH "$target_path" | tail -n 1)?" ;;
    esac
    exec {target_lock}<"$target_path"
    flock -n "$target_lock" || die "$1 is being used by another program (rescue, flash, udev): wait for it"
    target_mapped=$(mapped_name target) target_place=$(place_of target)
    refuse_in_use
    if [ -z "$target_removable" ] && [ -z "$is_fixed_fine" ]; then
        die "$1 ($target_name, $(human "$target_bytes")) is not removable. If it is the right one: --force-fixed"
    fi
    is_resumed=''
    [ "$target_bytes" -ge $export_fixed_bytes ] || die "$1 is too small: it has $target_bytes bytes ($(human "$target_bytes"))"
    dd if="$target_path" of="$scratch/target.head" bs=1M count=16 conv=sparse status=none
    python3 -B "$scripts/luks.py" "$scratch/target.head" >"$scratch/target.json"
    [ "$(fact_of target .label)" != $export_label ] || is_resumed=1
    rm "$scratch/target.head"
}

# Opens the target, which is made where it is none yet; mounts it at target_place.
prepare_target() {
    local would wanted device held count
    count=$(jq -r '"\(.recordings | length) recordings, \(.files) files"' "$scratch/plan.json")
    if [ -n "$is_dry" ]; then
        if [ -n "$is_resumed" ]; then
            note "Dry run, nothing was changed. $target_path has an export already; it would go on with it: $count in all."
        else
            note "Dry run, nothing was changed. Everything on $target_path would be lost, and $count copied there."
            note "It would want --confirm '$(target_phrase)'"
        fi
        say_left "$scratch/plan.json"
        exit
    fi
    if [ -n "$is_resumed" ]; then
        note "$target_path has an export already: going on with it"
        own_passphrase old
    else
        held=$(blkid -c /dev/null -p -o value -s TYPE "$target_path" 2>/dev/null) || true
        [ "$target_kind" = file ] ||
            held=$(lsblk -rno LABEL,PARTLABEL,FSTYPE "$target_path" 2>/dev/null | grep '[^ ]' | tr '\n' ';' | head -c 300 || true)
        would="Everything on $target_path ($target_name, $(human "$target_bytes")) is lost. $count go there, encrypted."
        [ -z "$held" ] || would+=" It holds now: $held"
        wanted=$(target_phrase)
        confirm_phrase "$would" "$wanted" "$phrase"
        if [ -n "$is_own$passphrase_file" ]; then own_passphrase new; else make_key; fi
    fi
    # cryptsetup would wait for the lock on a file, which is ours.
    device=$target_path
    if [ "$target_kind" = file ]; then
        device=$(loop_of "$target_path")
        opened+=("loop $device")
    fi
    [ -n "$is_resumed" ] || make_target "$device"
    cryptsetup open --key-file "$scratch/new" "$device" "$target_mapped" 2>"$scratch/said" ||
        die "$target_path does not open with this passphrase: $(tail -n 1 "$scratch/said")"
    if [ "$target_kind" = file ]; then
        # From here on it goes with its last user; its name may be another's then.
        losetup -d "$device"
        unset 'opened[-1]'
    fi
    opened+=("map $target_mapped")
    if [ -z "$is_resumed" ]; then
        mkfs.ext4 -q -m 0 -b 4096 -i 131072 -J size=$journal_mib -L $export_label "/dev/mapper/$target_mapped" 2>"$scratch/said" ||
            die "ext4 could not be made on $target_path: $(tail -n 1 "$scratch/said")"
        sync "/dev/mapper/$target_mapped"
        cryptsetup config --label $export_label "$device" 2>"$scratch/said" || die "$target_path: $(tail -n 1 "$scratch/said")"
    else
        e2fsck -p "/dev/mapper/$target_mapped" >"$scratch/said" 2>&1 || [ $? -le 1 ] ||
            die "the file system of $target_path is damaged: $(tail -n 1 "$scratch/said"). Use another target"
    fi
    mkdir -p -m 700 "$mounts" "$target_place"
    mount -t ext4 -o nodev,nosuid,noexec,noatime "/dev/mapper/$target_mapped" "$target_place" 2>"$scratch/said" ||
        die "$target_path cannot be mounted: $(tail -n 1 "$scratch/said")"
    opened+=("mount $target_place")
    release "$target_mapped"
}

target_phrase() {
    if [ -n "$target_removable" ]; then printf 'erase %s' "$target_path"; else printf 'erase fixed disk %s' "$target_name"; fi
}

# make_target DEVICE. A key that was made has 256 bits of randomness, a person's passphrase has to be slow to try.
make_target() {
    local cost=(--pbkdf-memory 262144 --pbkdf-parallel 2 --iter-time 3000)
    [ -z "$is_random" ] || cost=(--pbkdf-memory 65536 --pbkdf-parallel 1 --pbkdf-force-iterations 4)
    wipefs -qa "$1" 2>"$scratch/said" || die "$target_path cannot be written: $(tail -n 1 "$scratch/said")"
    [ "$target_kind" = file ] || blockdev --rereadpt "$target_path" 2>/dev/null || true
    cryptsetup luksFormat --batch-mode --type luks2 --cipher aes-xts-plain64 --key-size 512 --pbkdf argon2id "${cost[@]}" \
        --label $export_label-new --key-file "$scratch/new" "$1" 2>"$scratch/said" ||
        die "$target_path could not be encrypted: $(tail -n 1 "$scratch/said")"
}

# An export goes on with the volumes that it began with. Disks of one version have the same GUID, so they say nothing.
same_box() {
    if [ -e "$target_place/box.json" ]; then
        jq -e --slurpfile box "$scratch/box.json" '.volumes - (.volumes - $box[0].volumes) | length > 0' \
            "$target_place/box.json" >/dev/null 2>&1 ||
            die "$target_path has the recordings of another box ($(jq -r .serial "$target_place/box.json" 2>/dev/null)). \
Use another target"
        return
    fi
    cp "$scratch/box.json" "$target_place/box.json.part"
    sync "$target_place/box.json.part"
    mv "$target_place/box.json.part" "$target_place/box.json"
    sync -f "$target_place"
}

copy_recordings() {
    local result=0
    # It ends when this script does, even by SIGKILL.
    setpriv --pdeathsig KILL python3 -B "$scripts/recordings.py" copy --plan "$scratch/plan.json" --box "$scratch/box.json" \
        --target "$target_place" "$@" >"$scratch/result.json" &
    child=$!
    wait "$child" || result=$?
    [ $result = 0 ] || die "the export is not finished. Run the same command again: it goes on where it was"
    sync -f "$target_place"
    if [ -n "$is_json" ]; then
        jq --arg disk "$box_path" --arg target "$target_path" '{disk: $disk, target: $target} + .' "$scratch/result.json"
    fi
    note "$(jq -r '"Copied and verified: \(.files_copied) files (\(.files_there) were there already), \(.recordings) recordings. "' \
        "$scratch/result.json")$(left_out "$scratch/result.json")"
    note "The index is index.csv and index.json on it. It opens with: cryptsetup open $target_path export && mount -o ro /dev/mapper/export /mnt"
    say_left "$scratch/result.json"
    [ "$(jq '(.not_copied + .not_as_noted) | length' "$scratch/result.json")" = 0 ] || exit 2
}

left_out() {
    jq -r '.left_out | "Not wanted: \(.delivered // 0) delivered, \(.ended // 0) deleted or garbage, \(.nothing_left // 0) without files."' "$1"
}

# What could not be copied, by reason; the first ones by name.
say_left() {
    jq -r '(.not_copied // [] | group_by(.why)[] | "NOT COPIED, \(length): \(.[0].why)",
            (.[:10][] | select(.id) | "  \(.volume) \(.id)\(if .file then "/" + .file else "" end)"),
            (if length > 10 then "  and \(length - 10) more: see index.csv" else empty end)),
        (.not_as_noted // [] | .[] | "DAMAGED: \(.id)/\(.file) is not what its manifest says. It was copied as it is")' "$1" >&2
}
