SUMMARY = "Finds the root by its hash and opens it"
DESCRIPTION = "systemd, as in the root; systemd-veritysetup does the work"
SECTION = "base"
LICENSE = "Apache-2.0"

inherit image

PACKAGE_INSTALL = "\
    base-passwd \
    cryptsetup \
    kmod \
    libtss2-tcti-device \
    os-release-initrd \
    systemd \
    systemd-crypt \
    systemd-initramfs \
    udev \
    util-linux-mount \
"
PACKAGE_EXCLUDE = "kernel-image-*"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""
IMAGE_NAME_SUFFIX = ""
IMAGE_FSTYPES = "${INITRAMFS_FSTYPES}"
INITRAMFS_MAXSIZE = "350000"
