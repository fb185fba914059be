FILESEXTRAPATHS:prepend:holdfast-os := "${THISDIR}/linux-yocto:"

SRC_URI:append:holdfast-os = " \
    file://holdfast-crypt.cfg \
    file://holdfast-jail.cfg \
    file://holdfast-media.cfg \
    file://holdfast-root.cfg \
    file://holdfast-tpm.cfg \
"
