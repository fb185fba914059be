# What browsers record sound in.
PACKAGECONFIG:append:holdfast-os = " opus"
