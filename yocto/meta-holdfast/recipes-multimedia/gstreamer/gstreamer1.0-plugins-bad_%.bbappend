# Encoders and decoders on hardware: VA-API, and V4L2's stateless ones (Arm).
PACKAGECONFIG:append:holdfast-os = " v4l2codecs va"
