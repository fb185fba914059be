SUMMARY = "Takes in video recordings and never loses, leaks or keeps one too long"
DESCRIPTION = "The node, the helper that opens its encrypted volumes, and the transcoder"
SECTION = "multimedia"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"
CVE_PRODUCT = "holdfast"

DEPENDS = "clang-native cryptsetup gstreamer1.0 gstreamer1.0-plugins-base"

require holdfast-crates.inc
# The tree itself, as it is checked out; BitBake sums its files, so that a change is built.
# tests is a member of the workspace, and Cargo wants to see its manifest.
SRC_URI += "\
    file://Cargo.lock;subdir=${BP} \
    file://Cargo.toml;subdir=${BP} \
    file://LICENSE;subdir=${BP} \
    file://node;subdir=${BP} \
    file://tests/Cargo.toml;subdir=${BP} \
    file://tests/src;subdir=${BP} \
    file://udev;subdir=${BP} \
"

# This layer lies in the tree of the sources. A copy of it elsewhere says where they are.
HOLDFAST_TREE ?= "${THISDIR}/../../../.."
FILESEXTRAPATHS:prepend := "${HOLDFAST_TREE}:"

# Before styhead everything was unpacked into WORKDIR itself.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}/${BP}"

inherit cargo features_check pkgconfig useradd

# Paths of one tree: programs are called by /usr/bin and /usr/sbin.
REQUIRED_DISTRO_FEATURES = "systemd usrmerge"

# The root is read-only, so that systemd-sysusers comes too late there: the same as its files say.
USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "\
    --system --no-create-home --home-dir / --shell /sbin/nologin --user-group holdfast; \
    --system --no-create-home --home-dir / --shell /sbin/nologin --user-group holdfast-setup; \
    --system --no-create-home --home-dir / --shell /sbin/nologin --user-group holdfast-transcode \
"

CARGO_BUILD_FLAGS += "--bins -p holdfast -p holdfast-volume -p holdfast-transcode"

# libcryptsetup's bindings are made while it is built, by libclang.
export LIBCLANG_PATH = "${STAGING_LIBDIR_NATIVE}"
export BINDGEN_EXTRA_CLANG_ARGS = "--target=${TARGET_SYS} --sysroot=${STAGING_DIR_HOST}"

# Not for a box unless somebody enables it: it asks a key server of the site (docs/volumes.md).
HOLDFAST_DISABLED_UNITS ?= "holdfast-volume-site.socket"

# The workspace has more programs than belong on a box, and units by the folder.
do_install() {
    for program in holdfast holdfast-volume holdfast-transcode; do
        install -D -m 0755 "${B}/target/${CARGO_TARGET_SUBDIR}/$program" "${D}${bindir}/$program"
    done

    install -d "${D}${systemd_system_unitdir}" "${D}${systemd_unitdir}/system-preset"
    preset="${D}${systemd_unitdir}/system-preset/50-holdfast.preset"
    echo "# Written while this was built, from the units' own [Install]." > "$preset"
    for file in "${S}"/node/*/systemd/*; do
        name=$(basename "$file")
        case "$name" in
        *.sysusers)
            install -D -m 0644 "$file" "${D}${nonarch_libdir}/sysusers.d/${name%.sysusers}.conf"
            ;;
        *.tmpfiles)
            install -D -m 0644 "$file" "${D}${nonarch_libdir}/tmpfiles.d/${name%.tmpfiles}.conf"
            ;;
        *.service | *.socket | *.target | *.timer | *.path | *.mount)
            install -m 0644 "$file" "${D}${systemd_system_unitdir}/$name"
            if grep -q "^\[Install\]" "$file"; then
                case " ${HOLDFAST_DISABLED_UNITS} " in
                *" $name "*) printf '%s\n' "disable $name" >> "$preset" ;;
                *) printf '%s\n' "enable $name" >> "$preset" ;;
                esac
            fi
            ;;
        *.d)
            for part in "$file"/*; do
                install -D -m 0644 "$part" "${D}${systemd_system_unitdir}/$name/$(basename "$part")"
            done
            ;;
        *)
            bbfatal "$file is of a kind that this recipe does not install"
            ;;
        esac
    done

    for file in "${S}"/udev/*.rules; do
        install -D -m 0644 "$file" "${D}${nonarch_base_libdir}/udev/rules.d/$(basename "$file")"
    done
    for file in "${S}"/udev/*.hwdb; do
        install -D -m 0644 "$file" "${D}${nonarch_base_libdir}/udev/hwdb.d/$(basename "$file")"
    done
}

PACKAGE_BEFORE_PN = "${PN}-volume ${PN}-transcode"

FILES:${PN} += "\
    ${nonarch_base_libdir}/udev \
    ${nonarch_libdir}/sysusers.d \
    ${nonarch_libdir}/tmpfiles.d \
    ${systemd_system_unitdir} \
    ${systemd_unitdir}/system-preset \
"
FILES:${PN}-volume += "\
    ${bindir}/holdfast-volume \
    ${nonarch_base_libdir}/udev/rules.d/*-holdfast-volume.rules \
    ${nonarch_libdir}/tmpfiles.d/holdfast-volume.conf \
    ${systemd_system_unitdir}/holdfast-volume* \
"
FILES:${PN}-transcode += "\
    ${bindir}/holdfast-transcode \
    ${nonarch_base_libdir}/udev/rules.d/*-holdfast-transcode.rules \
    ${nonarch_libdir}/sysusers.d/holdfast-transcode.conf \
    ${systemd_system_unitdir}/holdfast-transcode* \
"
# The three are one release: they speak to each other in ways that change together.
RDEPENDS:${PN} = "${PN}-transcode (= ${EXTENDPKGV}) ${PN}-volume (= ${EXTENDPKGV}) ca-certificates util-linux-nsenter"
RDEPENDS:${PN}-volume = "e2fsprogs-mke2fs systemd systemd-extra-utils"
RDEPENDS:${PN}-transcode = "\
    gstreamer1.0-libav \
    gstreamer1.0-plugins-bad-meta \
    gstreamer1.0-plugins-base-meta \
    gstreamer1.0-plugins-good-meta \
    gstreamer1.0-plugins-ugly-meta \
"
RRECOMMENDS:${PN}-volume = "kernel-module-dm-crypt kernel-module-dm-integrity kernel-module-dm-mod"
