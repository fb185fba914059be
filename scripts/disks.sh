# shellcheck shell=bash disable=SC2034
# Shared by the technicians' scripts beside it; sourced after lib.sh, never run. Bash.
#
# What a disk is, whether it may be touched, and FAT file systems on it. Nothing is mounted: files
# go in and out with mtools, so that the same works for disks, loop devices and plain files.

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
esp_type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
# What a FAT stick is called: HOLDFAST-SETUP does not fit, FAT labels have 11 characters at most.
# udev/92-holdfast-stick.rules makes them one.
setup_label=HF-SETUP

# What a person reads goes to standard error, so that --json has standard output to itself.
# Words are looked for in what other programs say.
export LC_ALL=C.UTF-8
note() { printf '%s\n' "$*" >&2; }

# need_programs PROGRAM:PACKAGE...: ends with what to install where one is missing.
need_programs() {
    local pair missing=()
    PATH=$PATH:/usr/sbin:/sbin
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} = 0 ] || die "programs are missing. Install them: apt-get install ${missing[*]}"
}

# A folder for secrets on the way, in memory unless TMPDIR says where; gone when the script ends.
make_scratch() {
    umask 077
    scratch=$(mktemp -d -p "${TMPDIR:-/dev/shm}" holdfast-XXXXXXXX 2>/dev/null) || scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
}

human() { numfmt --to=iec-i --suffix=B --format=%.1f "$1"; }

# $1 characters of Crockford's base32: no I, L, O, U, so that nobody misreads one. 5 bits each.
crockford() {
    local alphabet=0123456789ABCDEFGHJKMNPQRSTVWXYZ text='' byte
    for byte in $(od -An -v -tu1 -N "$1" /dev/urandom); do
        text+=${alphabet:byte % 32:1}
    done
    [ ${#text} = "$1" ] || die '/dev/urandom gave too little'
    printf '%s' "$text"
}

# Looks at a target: sets disk_path, disk_kind (file, disk, loop), disk_size, disk_name (what a person
# knows it by), disk_removable (1 or nothing). "look_at TARGET reading" takes one that is write-protected.
look_at() {
    [ -e "$1" ] || die "$1 does not exist. Removable disks that are there: flash --list"
    disk_path=$(readlink -f -- "$1") disk_removable=''
    if [ -f "$disk_path" ]; then
        disk_kind=file disk_size=$(stat -c %s "$disk_path") disk_name=$disk_path disk_removable=1
        [ -r "$disk_path" ] || die "$1 cannot be read: check who may"
        [ -w "$disk_path" ] || [ "${2:-}" = reading ] || die "$1 cannot be written: check who may"
        return
    fi
    [ -b "$disk_path" ] || die "$1 is neither a disk nor a file"
    local facts
    facts=$(lsblk -J -b -d -o PATH,SIZE,TYPE,RM,HOTPLUG,RO,MODEL,SERIAL,TRAN,LOG-SEC "$disk_path") ||
        die "$1: lsblk does not know it"
    fact() { jq -r ".blockdevices[0].\"$1\" // \"\" | tostring | gsub(\"^\\\\s+|\\\\s+$\"; \"\")" <<<"$facts"; }
    disk_kind=$(fact type) disk_size=$(fact size)
    [ "$(fact ro)" != true ] || [ "${2:-}" = reading ] ||
        die "$1 is write-protected: move the switch on its side, or use another"
    [ "$(fact log-sec)" = 512 ] || [ "${2:-}" = reading ] ||
        die "$1 has sectors of $(fact log-sec) bytes; the image is for disks with 512"
    disk_name=$(printf '%s %s' "$(fact model)" "$(fact serial)" | sed 's/^ *//; s/ *$//')
    if [ "$disk_kind" = loop ]; then
        disk_name=$(losetup -n -O BACK-FILE "$disk_path" | sed 's/^ *//')
    elif [ "$(fact rm)" = true ] || [ "$(fact hotplug)" = true ] || [ "$(fact tran)" = usb ]; then
        disk_removable=1
    fi
    [ -n "$disk_name" ] || disk_name=$disk_path
}

# Ends where anything on the target is in use: mounted, swapped to, mapped by another device.
refuse_in_use() {
    local user place device type
    if [ "$disk_kind" = file ]; then
        user=$(losetup -n -O NAME -j "$disk_path" | head -n 1)
        [ -z "$user" ] || die "$disk_path is attached as $user. Detach it first: losetup -d $user"
        return
    fi
    while IFS=$'\t' read -r device type place; do
        case $place in
            / | /boot | /boot/* | /efi | /usr | /var | /home | '[SWAP]')
                die "$disk_path is a disk that this machine runs from: $device is ${place/#\//mounted at \/}. Never it." ;;
            ?*) die "$disk_path is in use: $device is mounted at $place. Unmount it first: umount $device" ;;
        esac
        case $type in
            disk | loop | part | rom) ;;
            *) die "$disk_path is in use: $device ($type) lies on it. Close that first" ;;
        esac
    done < <(lsblk -J -o PATH,TYPE,MOUNTPOINTS "$disk_path" | jq -r '
        .. | objects | select(has("path")) | .path as $p | .type as $t
        | (.mountpoints // [null])[] | [$p, $t, . // ""] | @tsv')
    refuse_roots_disk
}

# A root file system that lsblk cannot place (overlay, an initrd's) still lies somewhere.
refuse_roots_disk() {
    local source
    for source in $(findmnt -rnvo SOURCE) $(awk 'NR > 1 { print $1 }' /proc/swaps); do
        [ -b "$source" ] || continue
        if lsblk -rnso PATH "$source" 2>/dev/null | grep -xF "$disk_path" >/dev/null; then
            die "$disk_path is in use: the mounted $source lies on it. Never it, while it is"
        fi
    done
}

# list_disks [all]: removable disks, one a line, for people.
list_disks() {
    local filter='select(.rm or .hotplug or .tran == "usb")'
    lsblk -J -b -d -o PATH,SIZE,TYPE,RM,HOTPLUG,RO,MODEL,SERIAL,TRAN | jq -r "
        .blockdevices[] | select(.type == \"disk\" and .size > 0) | $filter
        | [.path, .size, (.model // \"-\"), (.serial // \"-\")] | @tsv" |
        while IFS=$'\t' read -r path size model serial; do
            printf '%-14s %10s  %s  %s%s\n' "$path" "$(human "$size")" "$model" "$serial" \
                "$(lsblk -rno MOUNTPOINTS "$path" | grep . >/dev/null && echo '  (in use)')"
        done
}

# confirm_phrase WOULD PHRASE [GIVEN]: goes on only where the phrase was given or is typed.
confirm_phrase() {
    local typed=${3:-}
    note "$1"
    if [ -z "$typed" ] && [ -t 0 ]; then
        printf 'Type this to do it: %s\n> ' "$2" >&2
        read -r typed || true
    fi
    [ "$typed" = "$2" ] || die "nothing was changed. To do it, repeat with --confirm '$2'"
}

# Ends where the partition table of $1 or its backup is damaged; sfdisk says the latter only in words.
check_table() {
    local said
    said=$(sfdisk --verify "$1" 2>&1) || said+=' corrupt'
    [[ $said == *'No errors detected'* && $said != *corrupt* ]] ||
        die "the partition table of $1 is damaged: ${said//$'\n'/ }. Flash it again"
}

# find_fat TARGET: prints how mtools calls the ESP or the setup stick on it, FILE@@OFFSET.
find_fat() {
    local table start sector
    if table=$(sfdisk -J "$1" 2>/dev/null) &&
        [ "$(jq '.partitiontable.partitions // [] | length' <<<"$table")" -gt 0 ]; then
        sector=$(jq '.partitiontable.sectorsize // 512' <<<"$table")
        start=$(jq -r --arg type "$esp_type" \
            'first(.partitiontable.partitions[] | select(.type == $type) | .start) // ""' <<<"$table")
        if [ -n "$start" ]; then
            printf '%s@@%s' "$1" $((start * sector))
            return
        fi
        for start in $(jq '.partitiontable.partitions[].start' <<<"$table"); do
            if is_setup_fat "$1@@$((start * sector))"; then
                printf '%s@@%s' "$1" $((start * sector))
                return
            fi
        done
    elif is_setup_fat "$1@@0"; then
        printf '%s@@0' "$1"
        return
    fi
    die "$1 has neither an ESP nor a FAT file system with the label $setup_label. \
Flash it, or give a stick its label: mlabel -i PARTITION ::$setup_label"
}

is_setup_fat() {
    [[ "$(mlabel -s -i "$1" :: 2>/dev/null)" =~ label\ is\ $setup_label\ *$ ]]
}
