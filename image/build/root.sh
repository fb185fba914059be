# shellcheck shell=bash disable=SC2154
# Makes $work/root into the appliance's, and an erofs with its dm-verity tree of it: $work/root.erofs,
# $work/root.verity, and $root_hash; sourced by scripts/image. Bash.

# The units of the repository, as each says itself where it goes.
install_units() {
    local root=$1 file unit part
    for file in "$repo"/node/*/systemd/*; do
        unit=${file##*/}
        case $unit in
            *.sysusers) install -D -m 644 "$file" "$root/usr/lib/sysusers.d/${unit%.sysusers}.conf" ;;
            *.tmpfiles) install -D -m 644 "$file" "$root/usr/lib/tmpfiles.d/${unit%.tmpfiles}.conf" ;;
            *.service | *.socket | *.target | *.timer | *.path | *.mount)
                install -D -m 644 "$file" "$root/usr/lib/systemd/system/$unit" ;;
            *.d)
                for part in "$file"/*; do
                    install -D -m 644 "$part" "$root/usr/lib/systemd/system/$unit/${part##*/}"
                done ;;
            *) die "$file is of a kind that images do not have" ;;
        esac
    done
    for file in "$repo"/udev/*.rules; do
        install -D -m 644 "$file" "$root/usr/lib/udev/rules.d/${file##*/}"
    done
    for file in "$repo"/udev/*.hwdb; do
        install -D -m 644 "$file" "$root/usr/lib/udev/hwdb.d/${file##*/}"
    done
    # From outside: inside it would want /proc, and nothing is mounted. It writes down from where it read, so that is a folder
    # whose name is as long everywhere, and then made the same.
    local place
    place=$(mktemp -d /tmp/hwdb-XXXXXXXXXX)
    mkdir -p "$place/usr/lib/udev"
    ln -s usr/lib "$place/lib"
    cp -a "$root/usr/lib/udev/hwdb.d" "$place/usr/lib/udev/"
    systemd-hwdb --root="$place" --usr update >"$work/said" 2>&1 || die "systemd-hwdb update: $(tail -n 3 "$work/said")"
    LC_ALL=C sed -i "s|$place|/tmp/hwdb-holdfast-0|g" "$place/usr/lib/udev/hwdb.bin"
    install -m 444 "$place/usr/lib/udev/hwdb.bin" "$root/usr/lib/udev/hwdb.bin"
    rm -rf "$place"
}

make_root() {
    local root=$work/root program
    for program in holdfast holdfast-volume holdfast-transcode; do
        install -m 755 "$programs/$program" "$root/usr/bin/$program"
    done
    cp -L "$root"/boot/vmlinuz-* "$work/vmlinuz"
    # What the bill of materials is made of; the appliance itself has no package manager.
    dpkg-query --admindir "$root/var/lib/dpkg" -W \
        -f '${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' |
        sed -n 's/^ii \t//p' >"$work/packages.tsv"
    find "$root/usr/share/doc" -name copyright -printf '%P\0' | sort -z |
        tar -C "$root/usr/share/doc" --null -T - --sort=name --owner=0 --group=0 --numeric-owner \
            --mtime=@"$SOURCE_DATE_EPOCH" -chf "$work/licences.tar"

    cp -a --no-preserve=ownership "$repo/image/root/." "$root/"
    install_units "$root"
    settle "$root"
    take_away "$root"
    check_root "$root"
    make_erofs "$root"
}

# settle ROOT: what depends on this build, and what a first start would otherwise do.
settle() {
    local root=$1
    cat >"$root/usr/lib/os-release" <<END2
ID=holdfast
ID_LIKE=debian
NAME="Holdfast"
PRETTY_NAME="Holdfast $version${is_debug:+ DEBUG}"
VERSION_ID=$version
IMAGE_ID=holdfast${is_debug:+-debug}
IMAGE_VERSION=$version
END2
    echo holdfast >"$root/etc/hostname"
    printf '127.0.0.1 localhost holdfast\n::1 localhost holdfast\n' >"$root/etc/hosts"
    # Made anew in memory at each start, from what the board's firmware says: see image/cmdline.
    : >"$root/etc/machine-id"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    rm -f "$root/etc/mtab" "$root/etc/localtime"
    ln -s ../proc/self/mounts "$root/etc/mtab"
    ln -s /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
    mkdir -p "$root"/{efi,srv/holdfast/data{0..7},etc/holdfast/volume-keys}
    chmod 700 "$root/etc/holdfast/volume-keys"
    install -m 644 "$keys/pcr.pub.pem" "$root/etc/holdfast/pcr.pem"
    install -m 644 "$keys/update.pub.pem" "$root/etc/holdfast/update.pub.pem"
    local name
    for name in gpg pgp; do
        install -m 644 "$keys/update.pgp" "$root/usr/lib/systemd/import-pubring.$name"
    done
    # Where updates come from, and how old they may be.
    local file url=${update_url%/}
    for file in "$root"/usr/lib/sysupdate.*.d/*; do
        sed -i "s|@FLOOR@|$floor|; s|@UPDATE_URL@|${url:-https://updates.invalid}|" "$file"
    done
    [ -z "$ca" ] || cat "$ca" >>"$root/etc/ssl/certs/ca-certificates.crt"
    [ -n "$update_url" ] || rm -f "$root/usr/lib/systemd/system/holdfast-update.timer"

    mkdir -p "$root/usr/lib/systemd/system-preset"
    rm -f "$root"/usr/lib/systemd/system-preset/* "$root"/etc/systemd/system-preset/* 2>/dev/null || true
    find "$root/etc/systemd/system" -mindepth 1 \( -type l -o -name '*.wants' -o -name '*.requires' \) -depth -exec rm -rf {} +
    {
        cat "$repo/image/units.preset"
        # Off until somebody has a key server: docs/volumes.md.
        echo 'disable holdfast-volume-site.socket'
        (cd "$root/usr/lib/systemd/system" && grep -d skip -l '^\[Install\]' holdfast* run-holdfast* var.mount) | sed 's/^/enable /'
        echo 'disable *'
    } >"$root/usr/lib/systemd/system-preset/00-holdfast.preset"
    chroot "$root" systemctl preset-all >"$work/said" 2>&1 || die "systemctl preset-all: $(tail -n 3 "$work/said")"
    chroot "$root" systemd-sysusers
    chroot "$root" ldconfig
    if [ -n "$is_debug" ]; then
        chroot "$root" systemctl enable debug-shell.service 2>/dev/null
    fi
}

# take_away ROOT: what an appliance does not need, and nobody should find there.
take_away() {
    local root=$1
    chroot "$root" passwd -q -l root
    # Package management, and Perl, which nothing else here is written in.
    rm -rf "$root"/var/lib/{dpkg,apt} "$root"/etc/{apt,dpkg,debconf.conf,cron*,logrotate.d,skel,init.d,rc*.d} \
        "$root"/usr/{bin,sbin}/{apt*,dpkg*,debconf*,deb-systemd*,perl*,update-alternatives,start-stop-daemon} \
        "$root"/usr/lib/{apt,dpkg} "$root"/usr/share/{perl*,debconf,dpkg,apt} "$root"/usr/lib/x86_64-linux-gnu/perl* \
        "$root/usr/libexec/dpkg"
    # Ways in: logins, consoles, other users' rights.
    rm -f "$root"/usr/{bin,sbin}/{login,su,passwd,chsh,chfn,newgrp,gpasswd,sulogin,agetty,getty,chage,expiry,runuser,sg,unix_chkpwd,run0,systemd-run} \
        "$root"/usr/lib/systemd/system/{getty,serial-getty,console-getty,container-getty,autovt}@.service \
        "$root"/usr/lib/systemd/system/console-getty.service
    rm -f "$root"/usr/lib/systemd/system-generators/systemd-{getty,gpt-auto,import,rc-local,run,ssh,sysv,system-update,hibernate-resume,integritysetup}-generator
    if [ -z "$is_debug" ]; then
        rm -f "$root"/usr/lib/systemd/system/debug-shell.service "$root"/usr/lib/systemd/system-generators/systemd-debug-generator
    fi
    # Has file capabilities, for a clock that is not used here.
    rm -f "$root"/usr/lib/x86_64-linux-gnu/gstreamer1.0/gstreamer-1.0/gst-ptp-helper
    find "$root" -xdev -type f -perm /6000 -exec chmod u-s,g-s {} +
    # Documentation; what is beside the disk has the licences.
    rm -rf "$root"/usr/share/{doc,man,info,locale,lintian,bug,bash-completion,zsh,fish,common-licenses,doc-base,menu,pixmaps,icons,applications,gtk-doc,gir-1.0} \
        "$root"/usr/lib/python3* "$root"/usr/share/python3 "$root"/usr/include
    rm -rf "$root"/usr/share/{sounds,themes,fonts/truetype,X11,gstreamer-1.0/encoding-profiles} "$root"/usr/lib/udev/hwdb.d \
        "$root"/usr/lib/firmware/{rtw8*,rtl8192*,rtl87*,rtlwifi,rtl_bt,intel/ish,intel/avs,intel/sof*} \
        "$root"/usr/lib/modules/*/kernel/{sound,drivers/net/wireless,drivers/bluetooth,drivers/media/{usb,dvb-*,pci,radio,rc,tuners},drivers/isdn,drivers/gpu/drm/nouveau}
    say "$(python3 "$repo/image/build/shrink.py" "$root" "$repo/node/transcode/src/jail/plugins.rs")"
    depmod -b "$root" "$(basename "$(echo "$root"/usr/lib/modules/*)")"
    # The kernel and what started with it are in the unified kernel image.
    rm -rf "$root"/boot "$root"/{vmlinuz,initrd.img}* "$root"/usr/lib/systemd/boot
    mkdir "$root/boot"
    rm -rf "$root"/{tmp,run,proc,sys,dev,var,root,home,media,mnt,opt}
    mkdir "$root"/{tmp,run,proc,sys,dev,var,root,home,mnt}
    chmod 1777 "$root/tmp"
    chmod 700 "$root/root"
    rm -f "$root"/etc/{passwd,group,shadow,gshadow}- "$root/etc/.pwd.lock" "$root"/etc/ld.so.cache.* "$root/.dockerenv"
    find "$root" -xdev -name '*.pyc' -delete
}

# check_root ROOT: what would otherwise be noticed at a customer's.
check_root() {
    local root=$1 unknown name
    unknown=$(awk -F: '$3 >= 100 && $3 != 65534 { print $1, $3 }' "$root/etc/passwd" "$root/etc/group" | sort -u |
        grep -vxFf <(sed 's/#.*//' "$repo/image/users" | awk 'NF { print $1, $2 }') |
        awk '$2 < 800 || $2 > 899' || true)
    [ -z "$unknown" ] || say "note: users without a fixed number (fine while none of their files lie on a volume): ${unknown//$'\n'/, }"
    for name in holdfast holdfast-setup holdfast-transcode _chrony; do
        grep -q "^$name:x:8[0-9][0-9]:" "$root/etc/passwd" || die "the root has no user $name with a number of image/users"
    done
}

make_erofs() {
    local root=$1 uuid
    # Every byte of it follows from the tree: no time of today, no random salt.
    find "$root" -xdev -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    uuid=$(uuid_of "root $version")
    erofs=(mkfs.erofs --quiet -zlz4hc,9 -T "$SOURCE_DATE_EPOCH" -U "$uuid" -L root)
    mv "$root" "$work/builder/root-tree"
    chroot "$work/builder" "${erofs[@]}" /root.erofs /root-tree >&2
    mv "$work/builder/root-tree" "$root"
    mv "$work/builder/root.erofs" "$work/root.erofs"
    chroot_verity "$(uuid_of "verity $version")"
    say "root: $(du -sm "$root" | cut -f 1) MB, compressed $(($(stat -c %s "$work/root.erofs") / 1000000)) MB"
}

# chroot_verity UUID: this machine's own veritysetup, which may be older, makes the same tree.
chroot_verity() {
    local salt said
    salt=$(printf '%s' "salt $version" | sha256sum | cut -d ' ' -f 1)
    said=$(veritysetup format --uuid "$1" --salt "$salt" "$work/root.erofs" "$work/root.verity")
    root_hash=$(sed -n 's/^Root hash:[[:space:]]*//p' <<<"$said")
    [[ $root_hash =~ ^[0-9a-f]{64}$ ]] || die "veritysetup gave no root hash: $said"
}

# uuid_of TEXT: the same for the same text.
uuid_of() {
    printf 'holdfast %s' "$1" | sha256sum | sed 's/\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-4\3-8\4-\5/'
}

# Halves of the root hash name its partitions, so that the kernel's command line names them by it.
hash_uuid() { sed 's/\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)\(.\{12\}\)/\1-\2-\3-\4-\5/' <<<"$1"; }
