# Encoders and decoders on hardware (VA-API, V4L2's stateless ones), AV1 in software, and AAC.
PACKAGECONFIG:append:holdfast-os = " aom v4l2codecs va voaacenc"
