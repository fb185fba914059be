SUMMARY = "Where the appliance keeps its state, and how it is updated"
DESCRIPTION = "Partitions made at the first boot, what opens them, and the slots of an update"
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/files/common-licenses/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI = "\
    file://crypttab \
    file://repart.d/50-state.conf \
    file://repart.d/60-data0.conf \
    file://sysupdate.d/10-verity.conf \
    file://sysupdate.d/20-root.conf \
    file://sysupdate.d/30-kernel.conf \
    file://var.mount \
"
# Before styhead everything was unpacked into WORKDIR itself.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

inherit allarch features_check

REQUIRED_DISTRO_FEATURES = "systemd tpm2 usrmerge"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 "${S}/crypttab" "${D}${sysconfdir}/crypttab"
    for folder in repart.d sysupdate.d; do
        for file in "${S}/$folder"/*.conf; do
            install -D -m 0644 "$file" "${D}${nonarch_libdir}/$folder/$(basename "$file")"
        done
    done
    install -D -m 0644 "${S}/var.mount" "${D}${systemd_system_unitdir}/var.mount"
    install -d "${D}${systemd_system_unitdir}/local-fs.target.requires"
    ln -s ../var.mount "${D}${systemd_system_unitdir}/local-fs.target.requires/var.mount"
}

FILES:${PN} += "${nonarch_libdir} ${systemd_system_unitdir}"
