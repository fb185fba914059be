# shellcheck shell=bash disable=SC2154
# `flash --verify`; sourced by flash. Bash.
#
# All of the image but the ESP is compared byte by byte; the ESP file by file, since it has the
# provisioning beside what the image brought.

# copy_files FILE@@OFFSET FOLDER
copy_files() {
    mkdir -p "$2"
    mcopy -s -n -Q -i "$1" '::*' "$2/" </dev/null >/dev/null 2>"$scratch/said" ||
        die "the ESP of $target cannot be read: $(head -n 1 "$scratch/said"). Flash it again"
}

verify() {
    local esp_end said name
    blocks verify --image "$image" --bmap "$bmap" --table "$scratch/table.json" --target "$disk_path" || exit 1
    check_table "$disk_path"
    [ "$(sfdisk -J "$disk_path" | parts)" = "$(parts <"$scratch/table.json")" ] ||
        die "the partitions of $target are not those of the image. Flash it again, or it has started already"
    esp_end=$(jq -r --arg type "$esp_type" '(.partitiontable.sectorsize // 512) *
        first(.partitiontable.partitions[] | select(.type == $type) | .start + .size)' "$scratch/table.json")
    blocks head --image "$image" --bmap "$bmap" --out "$scratch/esp" --bytes "$esp_end" >/dev/null
    copy_files "$scratch/esp@@$esp_start" "$scratch/is"
    copy_files "$disk_path@@$esp_start" "$scratch/has"
    rm -f "$scratch/esp"
    for name in holdfast.toml provision.toml label.json page.crt page.key outcome.json outcome.txt secrets; do
        [ -e "$scratch/is/$name" ] || rm -rf "${scratch:?}/has/$name"
    done
    said=$(diff -rq "$scratch/is" "$scratch/has" | sed "s,$scratch/is,image,g; s,$scratch/has,disk,g") ||
        die "the ESP of $target is not the image's: $said. Flash it again"
    note "Verified: $target is Holdfast $version."
    if [ -n "$is_json" ]; then
        jq -n --arg target "$target" --arg image "$image" --arg version "$version" \
            '{target: $target, image: $image, version: $version, verified: true}'
    fi
}

parts() { jq -c '[.partitiontable.id, [.partitiontable.partitions[] | [.start, .size, .type, .uuid, .name, .attrs]]]'; }
