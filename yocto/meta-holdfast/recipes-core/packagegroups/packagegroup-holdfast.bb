SUMMARY = "What an appliance of Holdfast has beside a system that boots"
DESCRIPTION = "The programs, what encodes and decodes on hardware, what opens disks and updates"
SECTION = "base"

inherit packagegroup

# The drivers of Intel's hardware are in meta-intel, those of NVIDIA's in meta-tegra; this layer needs neither.
RDEPENDS:${PN} = "\
    cryptsetup \
    e2fsprogs-mke2fs \
    holdfast \
    holdfast-appliance \
    holdfast-transcode \
    holdfast-volume \
    libtss2-tcti-device \
    libva \
    systemd-container \
    systemd-crypt \
    systemd-extra-utils \
    tpm2-tools \
    tzdata \
"

# Scarthgap's GStreamer 1.22 has gstreamer1.0-vaapi beside `va` of plugins-bad; wrynose's 1.28 has `va` alone.
RDEPENDS:${PN}:append = "${@bb.utils.contains('LAYERSERIES_CORENAMES', 'scarthgap', ' gstreamer1.0-vaapi', '', d)}"
