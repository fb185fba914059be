# shellcheck shell=bash disable=SC2154
# `rescue status`; sourced by rescue. Bash.

status() {
    local volume has_key=false
    if read_recovery_key optional; then has_key=true; fi
    {
        about_disk
        for volume in $(volumes); do
            judge_volume "$volume"
            about_volume "$volume" $has_key
        done
    } >"$scratch/parts.json"
    backups=[]
    if [ $has_key = true ] && [ -n "$is_root" ]; then look_for_backups; fi
    jq -s --argjson backups "$backups" --argjson has_key $has_key \
        '.[0] + {key_given: $has_key, volumes: .[1:], header_backups: $backups}' "$scratch/parts.json" \
        >"$scratch/status.json" 2>"$scratch/said" || die "what was found makes no sense: $(cat "$scratch/said")"
    if [ -n "$is_json" ]; then cat "$scratch/status.json"; else say_status; fi
}

about_disk() {
    local table=whole said fat boot='' serial=''
    said=$(sfdisk --verify "$box_path" 2>&1) || said+=' corrupt'
    [[ $said == *'No errors detected'* && $said != *corrupt* ]] || table="damaged: ${said//$'\n'/ }"
    if fat=$(find_fat "$box_path" 2>/dev/null); then
        serial=$(mtype -i "$fat" ::/label.json 2>/dev/null | jq -r '.serial // ""' 2>/dev/null) || serial=''
        boot=$(mdir -b -i "$fat" ::/EFI/Linux 2>/dev/null | sed -n 's,^::/EFI/Linux/\(.*\.efi\)$,\1,pI') || boot=''
    fi
    parts . | jq --arg disk "$box_path" --argjson bytes "$box_bytes" --arg table "$table" --arg serial "$serial" --arg boot "$boot" \
        --arg state "$state_part" --arg data "$data_prefix" '
        def role: if (.type | ascii_upcase) == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" then "esp"
            elif .name == $state then "state" elif (.name | startswith($data)) then "recordings"
            elif .name == "_empty" then "empty slot" elif (.name | test("^holdfast_.*_verity$")) then "verity"
            elif (.name | startswith("holdfast_")) then "root" else "not ours" end;
        {disk: $disk, bytes: $bytes, serial: (if $serial == "" then null else $serial end), partition_table: $table,
         partitions: map({number, name, bytes, role: role}),
         slots: (map(select(role == "root")) | map({version: (.name | ltrimstr("holdfast_")), partition: .number})),
         boot: ($boot | split("\n") | map(select(. != "") | {file: .} + (capture(
            "^holdfast_(?<version>[^+]+?)(\\+(?<left>[0-9]+)(-(?<done>[0-9]+))?)?\\.efi$"; "i") // {version: null, left: null, done: null}
            | {version, tries_left: (if .left then (.left | tonumber) else null end),
               tries_done: (if .done then (.done | tonumber) else null end)})))}'
}

# about_volume VOLUME HAS_KEY
about_volume() {
    local opens=null slot=null found
    if [ "$2" = true ] && is_usable "$1"; then
        opens=false
        if found=$(opened_slot "$scratch/$1.head" "$scratch/recovery"); then opens=true slot=${found:-null}; fi
    fi
    jq --arg name "$1" --arg header "$(header_of "$1")" --argjson opens $opens --argjson slot "$slot" \
        --argjson start "$part_start" --argjson bytes "$part_bytes" \
        '{name: $name, header: $header, start: $start, bytes: $bytes, uuid: .uuid, label: .label, slots: (.slots // []),
          not_ours: .not_ours, is_reencrypting: (.is_reencrypting // false), recovery_key_opens: $opens, opened_slot: $slot}' "$scratch/$1.json"
}

# Sets backups: what /var has, as JSON.
look_for_backups() {
    local file name uuid
    sweep
    if ! find_part "$state_part" || ! is_usable state || ! open_volume state; then
        note "note: the header backups in /var cannot be seen: ${problem:-there is no $state_part}"
        return
    fi
    for file in "$(place_of state)"/lib/holdfast-volume/*.luks2; do
        [ -f "$file" ] || continue
        name=${file##*/} name=${name%.luks2}
        uuid=${name#*.} name=${name%%.*}
        python3 -B "$scripts/luks.py" "$file" | jq --arg volume "$name" --arg uuid "$uuid" --arg made "$(date -u -r "$file" +%FT%TZ)" \
            '{volume: $volume, of: $uuid, made: $made,
              is_whole: (.copies == ["whole", "whole"] and .uuid == $uuid and (.is_cut_off | not) and .not_ours == null)}'
    done >"$scratch/backups.json"
    backups=$(jq -s -c . "$scratch/backups.json")
}

say_status() {
    jq -r '
        def size: if . < 1073741824 then "\(. / 1048576 | round) MiB" else "\(. / 107374182.4 | round / 10) GiB" end;
        "\(.disk), \(.bytes | size), serial \(.serial // "not known")",
        "partition table: \(.partition_table)",
        (.partitions[] | "  \(.number)  \(.name + " " * ([28 - (.name | length), 0] | max))  \(.bytes | size)  \(.role)"),
        "versions: \([.slots[].version] | if . == [] then "none" else join(", ") end)",
        (.boot[] | "  \(.file): " + if .version == null then "not ours" elif .tries_left == null then "no counter"
            elif .tries_left == 0 then "given up after \(.tries_done // 0) tries" else "\(.tries_left) tries left" end),
        (.volumes[] | "volume \(.name): header \(.header)"
            + (if .not_ours then "; it \(.not_ours)" else "" end) + (if .is_reencrypting then "; in the middle of a re-encryption" else "" end),
            (if .slots != [] then "  key slots: \([.slots[] | "\(.number) \(.purpose)"] | join(", "))" else empty end),
            (if .recovery_key_opens == true then "  the recovery key opens it, by slot \(.opened_slot)"
             elif .recovery_key_opens == false then "  the recovery key does NOT open it" else empty end)),
        (.header_backups[] | "header backup of \(.volume) (\(.of)), of \(.made): \(if .is_whole then "whole" else "DAMAGED" end)"),
        (if .key_given then empty else "Without the recovery key it cannot be said what opens, and which header backups there are." end)
        ' "$scratch/status.json"
    local volume
    for volume in $(volumes); do
        case $(header_of "$volume") in
            whole) ;;
            *copy*) note "volume $volume: one copy of its header is enough. The box mends the other at its next start; export works as it is" ;;
            both*) note "volume $volume: scripts/rescue restore-header $box_given $volume" ;;
            none*) note "volume $volume: if it was in use before: scripts/rescue restore-header $box_given $volume" ;;
        esac
    done
}
