# What browsers record pictures in: VP8 and VP9.
PACKAGECONFIG:append:holdfast-os = " vpx"
