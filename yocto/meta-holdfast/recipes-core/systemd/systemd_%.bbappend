# Opens its disks by the TPM, makes them at the first boot, updates itself, and counts boots.
PACKAGECONFIG:append:class-target:holdfast-os = " \
    bzip2 \
    cryptsetup \
    cryptsetup-plugins \
    efi \
    gcrypt \
    importd \
    journal-upload \
    openssl \
    repart \
    sysupdate \
    tpm2 \
    xz \
    zlib \
"
PACKAGECONFIG[sysupdate] = "-Dsysupdate=enabled,-Dsysupdate=disabled"
