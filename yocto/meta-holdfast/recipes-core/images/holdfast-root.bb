SUMMARY = "The root of the appliance: read-only, checked by dm-verity"
DESCRIPTION = "The content of a slot; holdfast-image makes a disk of it, together with the kernel"
SECTION = "base"
LICENSE = "Apache-2.0"

inherit core-image

# erofs, its hash tree and their names come of dm-verity-img, for which see conf/distro/holdfast-os.conf.
IMAGE_FSTYPES = ""
IMAGE_FEATURES = "read-only-rootfs"
IMAGE_LINGUAS = ""

# The kernel is outside, in the unified image that is measured; its modules are in here.
IMAGE_INSTALL = "\
    kernel-modules \
    packagegroup-core-boot \
    packagegroup-holdfast \
    systemd-boot \
"
PACKAGE_EXCLUDE = "kernel-image-*"
