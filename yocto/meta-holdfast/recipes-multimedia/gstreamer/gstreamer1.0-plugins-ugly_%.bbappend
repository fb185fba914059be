# x264 is what is wanted of these. FFmpeg has the decoders, under a licence that is accepted already.
PACKAGECONFIG:remove:holdfast-os = "a52dec mpeg2dec"
PACKAGECONFIG:append:holdfast-os = " x264"
