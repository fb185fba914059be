SUMMARY = "A disk of the appliance: the ESP and two slots"
DESCRIPTION = "The unified kernel image names the root by its hash, and the disk has its partitions"
SECTION = "base"
LICENSE = "Apache-2.0"

inherit image

# What is on the disk comes of other images; this one's own root stays empty and is thrown away.
PACKAGE_INSTALL = ""
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""
IMAGE_FSTYPES = "wic.zst wic.bmap"
WKS_FILE = "holdfast.wks.in"

DEPENDS += "python3-pefile-native systemd-boot-native"

HOLDFAST_VERSION ?= "0.1.0"
# From wrynose on wic's sources have an underscore in their names.
HOLDFAST_WIC_SEPARATOR = "${@bb.utils.contains('LAYERSERIES_CORENAMES', 'scarthgap', '-', '_', d)}"
HOLDFAST_ROOT_TYPE:x86-64 = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
HOLDFAST_VERITY_TYPE:x86-64 = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"
HOLDFAST_ROOT_TYPE:aarch64 = "b921b045-1df0-41c3-af44-4c6f280d3fae"
HOLDFAST_VERITY_TYPE:aarch64 = "df3300ce-d69f-4c92-978c-9bfb0f38d820"

# A PEM key and certificate for Secure Boot. Without them the unified kernel image is unsigned.
HOLDFAST_SB_KEY ?= ""
HOLDFAST_SB_CERT ?= ""

HOLDFAST_UKI = "holdfast_${HOLDFAST_VERSION}.efi"
HOLDFAST_CMDLINE ?= "ro quiet panic=10"
IMAGE_EFI_BOOT_FILES = "${HOLDFAST_UKI};EFI/Linux/${HOLDFAST_UKI}"

# What dm-verity-img found out when it made the root's hash tree: a task's data has it from here on.
holdfast_verity[doc] = "Reads the root's hash and the names of its partitions"
python holdfast_verity() {
    folder = d.getVar("STAGING_VERITY_DIR") or d.expand("${TMPDIR}/work-shared/${MACHINE}/dm-verity")
    path = os.path.join(folder, "holdfast-root.erofs.verity.env")
    found = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            key, _, value = line.strip().partition("=")
            found[key] = value
    for key, name in (
        ("ROOT_HASH", "HOLDFAST_ROOT_HASH"),
        ("ROOT_UUID", "HOLDFAST_ROOT_UUID"),
        ("RHASH_UUID", "HOLDFAST_VERITY_UUID"),
    ):
        if not found.get(key):
            bb.fatal("%s has no %s" % (path, key))
        d.setVar(name, found[key])
}

do_holdfast_uki[doc] = "Makes one file of the kernel, its command line and the initramfs"
python do_holdfast_uki() {
    deployed = d.getVar("DEPLOY_DIR_IMAGE")
    command = [
        "ukify", "build",
        "--efi-arch", d.getVar("EFI_ARCH"),
        "--stub", d.expand("${DEPLOY_DIR_IMAGE}/linux${EFI_ARCH}.efi.stub"),
        "--linux", d.expand("${DEPLOY_DIR_IMAGE}/${KERNEL_IMAGETYPE}"),
        "--initrd", d.expand("${DEPLOY_DIR_IMAGE}/holdfast-initramfs-${MACHINE}.%s"
                             % d.getVar("INITRAMFS_FSTYPES").split()[0]),
        "--cmdline", d.expand("roothash=${HOLDFAST_ROOT_HASH} ${HOLDFAST_CMDLINE}"),
        "--os-release", d.expand("ID=holdfast\nVERSION_ID=${HOLDFAST_VERSION}\nPRETTY_NAME=Holdfast ${HOLDFAST_VERSION}\n"),
        "--output", os.path.join(deployed, d.getVar("HOLDFAST_UKI")),
    ]
    if d.getVar("HOLDFAST_SB_KEY"):
        command += [
            "--secureboot-private-key", d.getVar("HOLDFAST_SB_KEY"),
            "--secureboot-certificate", d.getVar("HOLDFAST_SB_CERT"),
        ]
    bb.process.run(command)
}
do_holdfast_uki[prefuncs] += "holdfast_verity"
do_holdfast_uki[depends] += "\
    holdfast-initramfs:do_image_complete \
    holdfast-root:do_image_complete \
    python3-pefile-native:do_populate_sysroot \
    systemd-boot:do_deploy \
    systemd-boot-native:do_populate_sysroot \
    virtual/kernel:do_deploy \
"
do_holdfast_uki[nostamp] = "1"
addtask holdfast_uki after do_rootfs before do_image_wic

do_write_wks_template[prefuncs] += "holdfast_verity"
do_write_wks_template[depends] += "holdfast-root:do_image_complete"
do_image_wic[depends] += "holdfast-root:do_image_complete"
