# shellcheck shell=bash disable=SC2034,SC2154
# What is on the disk of a box, without a key; sourced by rescue. Bash.

state_part=holdfast-state
data_prefix=holdfast.
# What is read of a partition to judge its header: where both copies and the keys lie.
header_bytes=$((16 << 20))
header_bytes_max=$((160 << 20))
# Where volumes are mounted, and what they are called by the device mapper.
mounts=/run/holdfast-rescue

# take_disk DISK: sets box_path, box_kind, box_id, box_table. Nobody else rescues from it meanwhile.
take_disk() {
    look_at "$1" reading
    box_given=$1 box_path=$disk_path box_kind=$disk_kind box_bytes=$disk_size
    case $box_kind in
        file | disk | loop) ;;
        *) die "$1 is a $box_kind, not a whole disk: $(lsblk -rnso PATH "$box_path" | tail -n 1)?" ;;
    esac
    box_id=$(tr -c 'A-Za-z0-9.\n' _ <<<"${box_path##*/}")
    [ -r "$box_path" ] || die "$1 cannot be read: run this as root"
    exec {box_lock}<"$box_path"
    flock -n "$box_lock" || die "$1 is being used by another program (rescue, flash, udev): wait for it"
    box_table=$(sfdisk -J "$box_path" 2>/dev/null) ||
        die "$1 has no partition table that can be read. If it is the box's disk, it is damaged: \
\`sfdisk --verify $1\` says how, and its backup lies at the end of the disk (\`gdisk\`, r, b)"
    [ "$(parts 'length')" -gt 0 ] || die "$1 has no partitions: it is no disk of a box, or was never started"
}

# parts FILTER: jq on the partitions, as bytes.
parts() {
    jq -r '(.partitiontable.sectorsize // 512) as $s | [.partitiontable.partitions // [] | to_entries[] | .value + {
        number: (.key + 1), name: (.value.name // ""), start: (.value.start * $s), bytes: (.value.size * $s)}] | '"$1" \
        <<<"$box_table"
}

# Sets part_start and part_bytes of the partition with this name; there has to be one.
find_part() {
    local found
    found=$(parts ".[] | select(.name == \"$1\") | \"\(.start) \(.bytes)\"")
    [ -n "$found" ] || return 1
    [ "$(wc -l <<<"$found")" = 1 ] ||
        die "$box_given has several partitions named $1. Nobody knows which is meant: rename the wrong one (sfdisk --part-label)"
    read -r part_start part_bytes <<<"$found"
}

# The names of its volumes: state, and those with recordings.
volumes() {
    parts ".[].name | select(. == \"$state_part\" or startswith(\"$data_prefix\")) |
        if . == \"$state_part\" then \"state\" else ltrimstr(\"$data_prefix\") end" |
        grep -xE '[a-z0-9]{1,16}' | sort -u || true
}

part_of() { if [ "$1" = state ]; then echo "$state_part"; else echo "$data_prefix$1"; fi; }

# judge_volume VOLUME: its header, copied to $scratch/VOLUME.head, and what that is: $scratch/VOLUME.json. The
# disk itself is not given to cryptsetup, which writes to what it reads.
judge_volume() {
    local wanted=$header_bytes
    [[ $1 =~ ^[a-z0-9]{1,16}$ ]] || die "$1 is no name of a volume: 1 to 16 of a-z and 0-9, such as data0"
    find_part "$(part_of "$1")" || die "$box_given has no volume $1. It has: $(volumes | paste -sd' ')"
    copy_head "$1" "$wanted"
    wanted=$(jq -r ".header_bytes // $header_bytes" "$scratch/$1.json")
    if [ "$wanted" -gt $header_bytes ]; then
        [ "$wanted" -le $header_bytes_max ] || die "volume $1: its header takes $wanted bytes, more than is believed"
        copy_head "$1" "$wanted"
    fi
}

copy_head() {
    [ "$2" -le "$part_bytes" ] || die "volume $1 has $part_bytes bytes: that is no volume"
    dd if="$box_path" of="$scratch/$1.head" bs=1M iflag=skip_bytes,count_bytes conv=sparse status=none \
        skip="$part_start" count="$2" 2>"$scratch/said" ||
        die "volume $1: its header cannot be read: $(tail -n 1 "$scratch/said"). The disk is dying: copy it with ddrescue first"
    truncate -s "$2" "$scratch/$1.head"
    python3 -B "$scripts/luks.py" "$scratch/$1.head" >"$scratch/$1.json"
}

fact_of() { jq -r "$2" "$scratch/$1.json"; }

# In words: whole, damaged, none.
header_of() {
    fact_of "$1" 'if .kind == "luks1" then "LUKS1, which is not of a box"
        elif .kind == "none" then "none: it was wiped, or never made"
        elif .copies == ["whole", "whole"] then "whole"
        elif .copies == ["damaged", "whole"] then "first copy damaged, second whole"
        elif .copies == ["whole", "damaged"] then "first copy whole, second damaged"
        else "both copies damaged" end'
}

# is_usable VOLUME: whether it can be opened as it is; sets problem.
is_usable() {
    problem=$(fact_of "$1" 'if .kind != "luks2" or .uuid == null then "its header is gone"
        elif .not_ours != null then "its header is not as a box makes it: it \(.not_ours)" else "" end')
    [ -z "$problem" ]
}

# What says which box it is: its serial, from the label on the ESP.
box_serial() {
    local fat
    fat=$(find_fat "$box_path" 2>/dev/null) || return 0
    mtype -i "$fat" ::/label.json 2>/dev/null | jq -r '.serial // ""' 2>/dev/null || true
}
