# shellcheck shell=bash disable=SC2154
# Debian's packages, unpacked: what the appliance has ($work/root) and what builds it
# ($work/builder); sourced by scripts/image. Bash.

image_suite=trixie

# list FILE: the packages that it names, with commas.
list() { sed 's/#.*//; /^ *$/d' "$@" | paste -sd,; }

# Where this machine's own packages come from, with the suite of the image.
make_sources() {
    local site
    apt-get indextargets --format '$(SITE)|$(CODENAME)|$(COMPONENT)' 'Created-By: Packages' | sort -u |
        while IFS='|' read -r site codename component; do
            [ "$component" = main ] || continue
            case $codename in
                bookworm | trixie) suite=$image_suite ;;
                bookworm-updates | trixie-updates) suite=$image_suite-updates ;;
                bookworm-security | trixie-security) suite=$image_suite-security ;;
                *) continue ;;
            esac
            echo "deb $site $suite main non-free-firmware"
        done | sort -u >"$work/sources.list"
    grep -q " $image_suite main" "$work/sources.list" ||
        die "apt on this machine has no Debian mirror: sources with main of bookworm or trixie are needed"
}

# bootstrap TAR LIST...: the users of image/users come first, so that their numbers are the same in all
# versions: files on volumes belong to numbers.
bootstrap() {
    local tar=$1
    shift
    mmdebstrap --quiet --format=tar --mode=root --variant=minbase --components=main,non-free-firmware \
        --include="$(list "$@")" --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --essential-hook="sed 's/#.*//' '$repo/image/users' | while read -r name number home; do
            [ -n \"\$name\" ] || continue
            printf '%s:x:%s:\n' \"\$name\" \"\$number\" >>\"\$1/etc/group\"
            [ \"\$home\" = - ] || printf '%s:x:%s:%s::%s:/usr/sbin/nologin\n' \"\$name\" \"\$number\" \"\$number\" \"\$home\" >>\"\$1/etc/passwd\"
        done" \
        "$image_suite" "$tar.new" "$work/sources.list" >&2 ||
        die 'the packages could not be unpacked; what mmdebstrap says is above'
    mv "$tar.new" "$tar"
}

make_roots() {
    make_sources
    local folder=${roots_kept:-$work} wanted
    mkdir -p "$folder"
    wanted=$(cat "$work/sources.list" "$repo"/image/{packages,builder-packages,users} "${BASH_SOURCE[0]}" |
        sha256sum | cut -d ' ' -f 1)
    if [ "$(cat "$folder/made-of" 2>/dev/null)" != "$wanted" ]; then
        rm -f "$folder/made-of"
        bootstrap "$folder/root.tar" "$repo/image/packages"
        bootstrap "$folder/builder.tar" "$repo/image/builder-packages"
        echo "$wanted" >"$folder/made-of"
    fi
    local root
    for root in root builder; do
        mkdir "$work/$root"
        tar -C "$work/$root" --numeric-owner --xattrs --xattrs-include='*' -xpf "$folder/$root.tar"
    done
}
