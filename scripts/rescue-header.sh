# shellcheck shell=bash disable=SC2154
# `rescue restore-header`; sourced by rescue. Bash.
#
# What holdfast-volume refuses is refused here (node/volume/src/backup.rs, volume/rotate.rs), and two things
# more: a backup that the recovery key does not open, and one under which the volume shows no file system.

restore_header() {
    local volume=$1 uuid keeps would wanted lost loop bytes
    sweep
    [ -w "$box_path" ] || die "$box_given cannot be written: is it write-protected?"
    [ "$box_kind" = file ] || [ "$(blockdev --getro "$box_path")" = 0 ] || die "$box_given is write-protected"
    judge_volume "$volume"
    read_recovery_key
    find_backup "$volume"
    check_backup "$volume"
    uuid=$(fact_of backup .uuid) bytes=$(fact_of backup .header_bytes)
    find_part "$(part_of "$volume")"
    lost=$(held_beside "$uuid")
    keeps=${keep:-$PWD/holdfast-$volume.$uuid.before}
    [ ! -e "$keeps" ] || die "$keeps is there already, from an earlier time: move it, or name another with --keep"
    would="The header of volume $volume of $box_given (now: $(header_of "$volume")) is replaced by $backup_from. The recovery \
key opens that backup, and the volume shows its file system under it. Keys that were retired since it was made \
open the volume again. What is there now is kept in $keeps."
    wanted="restore $volume $uuid"
    if [ -n "$lost" ]; then
        would+=" It holds $lost, which is lost."
        wanted+=" and lose $lost"
    fi
    if [ -n "$is_dry" ]; then
        note "Dry run, nothing was changed. $would"
        note "It would want --confirm '$wanted'"
        return
    fi
    confirm_phrase "$would" "$wanted" "$phrase"
    keep_replaced "$keeps" "$bytes"
    loop=$(loop_of "$box_path" -o "$part_start" --sizelimit "$part_bytes") || exit 1
    if ! cryptsetup luksHeaderRestore --batch-mode --header-backup-file "$scratch/backup" "$loop" 2>"$scratch/said"; then
        losetup -d "$loop"
        die "the header of $volume could not be put back: $(tail -n 1 "$scratch/said"). What was there is in $keeps"
    fi
    sync -f "$box_path" 2>/dev/null || true
    blockdev --flushbufs "$loop"
    losetup -d "$loop"
    [ "$box_kind" = file ] || blockdev --flushbufs "$box_path"
    check_restored "$volume" "$keeps"
    if [ -n "$is_json" ]; then
        jq -n --arg disk "$box_path" --arg volume "$volume" --arg uuid "$uuid" --arg from "$backup_from" --arg kept "$keeps" \
            '{disk: $disk, volume: $volume, uuid: $uuid, from: $from, replaced_kept_in: $kept, verified: true}'
    else
        note "Put back and verified: the recovery key opens volume $volume. What was there before is in $keeps: destroy it \
once the box works, since keys that are retired now may open it"
    fi
}

# Copies the backup to $scratch/backup; sets backup_from.
find_backup() {
    local volume=$1 uuid found=()
    if [ -n "$file" ]; then
        [ -f "$file" ] || die "$file does not exist"
        backup_from=$file
        copy_backup "$file"
        return
    fi
    [ "$volume" != state ] || die "no backup of the header of /var is kept on the disk. Name an exported one with --file"
    judge_volume state
    is_usable state || die "the kept backups lie in /var, which does not open: $problem. Name an exported one with --file"
    open_volume state || die "the kept backups lie in /var, which does not open: $problem. Name an exported one with --file"
    uuid=$(fact_of "$volume" '.uuid // "*"')
    # shellcheck disable=SC2206
    found=("$(place_of state)/lib/holdfast-volume/$volume."$uuid.luks2)
    [ -f "${found[0]}" ] || die "/var has no header backup of volume $volume (${uuid/#\*/whatever its UUID}). Name an exported one with --file"
    [ ${#found[@]} = 1 ] || die "/var has ${#found[@]} header backups of $volume, and the disk does not say which is its own: \
${found[*]##*/}. Look at them with scripts/rescue open, and name one with --file"
    if [ -e "${found[0]%.luks2}.erasing" ]; then
        die "volume $volume was being erased when the box stopped. What is left is not put together again"
    fi
    backup_from="the backup that is kept in /var, of $(date -u -r "${found[0]}" +%F)"
    copy_backup "${found[0]}"
}

copy_backup() {
    [ "$(stat -Lc %s "$1")" -le $header_bytes_max ] || die "$1 has $(stat -Lc %s "$1") bytes: that is no header backup"
    cp --sparse=always "$1" "$scratch/backup" 2>"$scratch/said" || die "$1 cannot be read: $(tail -n 1 "$scratch/said")"
    chmod 600 "$scratch/backup"
    python3 -B "$scripts/luks.py" "$scratch/backup" >"$scratch/backup.json"
}

check_backup() {
    local volume=$1 uuid of
    [ "$(fact_of backup '.copies == ["whole", "whole"]')" = true ] || die "$backup_from is no whole header backup: $(header_of backup)"
    [ "$(fact_of backup .is_cut_off)" = false ] || die "$backup_from is cut off: it needs $(fact_of backup .header_bytes) bytes"
    [ "$(fact_of backup .not_ours)" = null ] || die "$backup_from is no header as a box makes it: it $(fact_of backup .not_ours)"
    of=$(fact_of backup .uuid) uuid=$(fact_of "$volume" '.uuid // ""')
    [ -z "$uuid" ] || [ "$uuid" = "$of" ] ||
        die "$backup_from is the backup of another volume: $of, not $uuid. Nothing was changed"
    if [ "$(fact_of "$volume" '.is_reencrypting // false')" = true ]; then
        die "volume $volume is in the middle of a re-encryption, and its header is whole: any backup would lose what has \
the new volume key. Nothing was changed"
    fi
    opened_slot "$scratch/backup" "$scratch/recovery" >/dev/null ||
        die "the recovery key does not open $backup_from. Nothing was changed"
    shows_file_system "$volume" --header "$scratch/backup" ||
        die "$backup_from opens, but $problem: it is another volume's, or of before the volume's key was changed \
(\`reencrypt\`), or the disk was erased. Nothing was changed"
}

# shows_file_system VOLUME OPTION...: whether what lies behind the header is ext4 under its key.
shows_file_system() {
    local volume=$1 loop mapped kind
    shift
    find_part "$(part_of "$volume")"
    mapped=$(mapped_name "$volume") loop=$(loop_of "$box_path" -r -o "$part_start" --sizelimit "$part_bytes") || exit 1
    if ! unlock "$loop" "$mapped" --readonly --key-file "$scratch/recovery" "$@"; then
        problem="the volume does not: $(tail -n 1 "$scratch/said")"
        return 1
    fi
    kind=$(blkid -c /dev/null -p -o value -s TYPE "/dev/mapper/$mapped" 2>/dev/null) || true
    dmsetup remove --retry "$mapped" 2>/dev/null || true
    problem="what is behind it is ${kind:-noise}, no ext4"
    [ "$kind" = ext4 ]
}

# What the partition shows beside the header with this UUID, in words.
held_beside() {
    local loop shown
    loop=$(loop_of "$box_path" -r -o "$part_start" --sizelimit "$part_bytes") || exit 1
    shown=$(blkid -c /dev/null -p -o export "$loop" 2>/dev/null) || true
    losetup -d "$loop"
    awk -F = -v uuid="$1" '{ v[$1] = $2 } END {
        if (v["TYPE"] == "" || (v["TYPE"] == "crypto_LUKS" && v["UUID"] == uuid)) exit
        if (v["TYPE"] == "crypto_LUKS") { print "volume " v["UUID"]; exit }
        printf "%s%s\n", v["TYPE"], v["LABEL"] == "" ? "" : " \"" v["LABEL"] "\"" }' <<<"$shown"
}

# keep_replaced FILE BYTES
keep_replaced() {
    (umask 077 && dd if="$box_path" of="$1" bs=1M iflag=skip_bytes,count_bytes skip="$part_start" count="$2" \
        conv=fsync,excl status=none) 2>"$scratch/said" ||
        die "$1 could not be written: $(tail -n 1 "$scratch/said"). Nothing was changed. Name another place with --keep"
}

check_restored() {
    local volume=$1
    judge_volume "$volume"
    if ! cmp -s "$scratch/$volume.head" "$scratch/backup" || ! opened_slot "$scratch/$volume.head" "$scratch/recovery" >/dev/null ||
        ! shows_file_system "$volume"; then
        die "the header of $volume does not read back as it was written: the disk is bad. What was there is in $2"
    fi
}
