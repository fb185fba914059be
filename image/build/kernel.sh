# shellcheck shell=bash disable=SC2154
# The initrd, and one file of it, the kernel and its command line, signed: $work/holdfast.efi; sourced by
# scripts/image. Bash.

make_kernel() {
    local builder=$work/builder root=$work/root release
    release=$(basename "$(echo "$root"/usr/lib/modules/*)")
    [ -d "$root/usr/lib/modules/$release/kernel" ] || die "there is not one kernel in the root: $release"
    mkdir -p "$builder/usr/lib/modules"
    mv "$root/usr/lib/modules/$release" "$builder/usr/lib/modules/"
    cp "$work/vmlinuz" "$builder/vmlinuz"
    make_initrd "$release"
    mv "$builder/usr/lib/modules/$release" "$root/usr/lib/modules/"

    cp "$root/usr/lib/os-release" "$builder/os-release"
    install -m 600 "$keys"/{db,pcr}.key "$keys"/db.crt "$keys"/pcr.pub.pem -t "$builder"
    # The unsigned one is what two builds have in common; a signature's bytes are not.
    ukify --output=/unsigned.efi
    sign /unsigned.efi /holdfast.efi
    sign /usr/lib/systemd/boot/efi/systemd-bootx64.efi /systemd-boot.efi
    make_enrolment
    mv "$builder"/{holdfast,systemd-boot}.efi "$work/"
    sha256sum <"$builder/unsigned.efi" | cut -d ' ' -f 1 >"$work/unsigned.sha256"
    rm -f "$builder"/{db,pcr}.key
}

make_initrd() {
    local builder=$work/builder dracut=(dracut --no-hostonly --reproducible --zstd --force --quiet
        --no-hostonly-cmdline --nofscks --kver "$1"
        --add 'systemd systemd-veritysetup systemd-pcrphase tpm2-tss dm'
        --omit 'plymouth network network-manager systemd-networkd nfs lvm mdraid btrfs multipath iscsi nbd resume shutdown bluetooth fido2 pkcs11 pcsc virtiofs memstrack biosdevname i18n terminfo kernel-network-modules url-lib ifcfg qemu-net lunmask modsign usrmount hwdb'
        --add-drivers 'dm-verity erofs nvme ahci sd_mod sdhci-pci sdhci-acpi mmc_block usb-storage uas xhci-pci ehci-pci virtio_pci virtio_blk virtio_scsi tpm_tis tpm_crb lz4 crc32c vmd'
        --install 'systemd-pcrextend /usr/lib/systemd/systemd-pcrextend')
    mkdir -p "$builder/usr/lib/dracut/no-conf" "$builder/var/tmp"
    make_devices "$builder"
    local result=0
    chroot "$builder" "${dracut[@]}" --conf /dev/null --confdir /usr/lib/dracut/no-conf /initrd >"$work/said" 2>&1 || result=$?
    [ $result = 0 ] && [ -s "$builder/initrd" ] || die "the initrd could not be made: $(tail -n 3 "$work/said")"
}

# Device nodes that programs want, as files would be in their place; nothing is mounted.
make_devices() {
    [ -c "$1/dev/null" ] || { rm -f "$1/dev/null"; mknod -m 666 "$1/dev/null" c 1 3; }
    [ -c "$1/dev/urandom" ] || { rm -f "$1/dev/urandom"; mknod -m 666 "$1/dev/urandom" c 1 9; }
    [ -c "$1/dev/zero" ] || { rm -f "$1/dev/zero"; mknod -m 666 "$1/dev/zero" c 1 5; }
}

ukify() {
    local release cmdline
    cmdline="roothash=$root_hash $(sed 's/#.*//; /^ *$/d' "$repo/image/cmdline" | paste -sd' ')"
    [ -z "$is_debug" ] || cmdline+=' systemd.debug_shell=ttyS0 systemd.journald.forward_to_console=0'
    release=$(basename "$(echo "$work/root"/usr/lib/modules/*)")
    chroot "$work/builder" ukify build --linux=/vmlinuz --initrd=/initrd --uname="$release" \
        --cmdline="$cmdline" --os-release=@/os-release \
        --stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub \
        --pcr-private-key=/pcr.key --pcr-public-key=/pcr.pub.pem \
        --phases='enter-initrd:leave-initrd enter-initrd:leave-initrd:sysinit enter-initrd:leave-initrd:sysinit:ready' \
        --pcr-banks=sha256 "$@" >"$work/said" 2>&1 ||
        die "the kernel image could not be made: $(tail -n 3 "$work/said")"
}

# sign IN OUT, both in the builder.
sign() {
    chroot "$work/builder" sbsign --key /db.key --cert /db.crt --output "$2" "$1" >"$work/said" 2>&1 ||
        die "$1 could not be signed: $(tail -n 1 "$work/said")"
}

# What systemd-boot enrols where the firmware is in setup mode: one owner's keys, and nobody else's.
make_enrolment() {
    local builder=$work/builder owner name signer
    owner=$(cat "$keys/owner")
    install -m 600 "$keys"/{PK,KEK}.key "$keys"/{PK,KEK}.crt -t "$builder"
    for name in PK KEK db; do
        case $name in PK | KEK) signer=PK ;; db) signer=KEK ;; esac
        chroot "$builder" cert-to-efi-sig-list -g "$owner" /$name.crt /$name.esl >"$work/said" 2>&1 &&
            chroot "$builder" sign-efi-sig-list -t "$(date -u -d @"$SOURCE_DATE_EPOCH" '+%Y-%m-%d %H:%M:%S')" -g "$owner" \
                -k /$signer.key -c /$signer.crt $name /$name.esl /$name.auth >"$work/said" 2>&1 ||
            die "the Secure Boot variable $name could not be made: $(tail -n 1 "$work/said")"
        mv "$builder/$name.auth" "$work/"
    done
    rm -f "$builder"/{PK,KEK}.key
}
