//! AVI, FLV, WMV, MPEG streams, Ogg.

use super::{Converted, Misread, PLAIN, Remuxed, Row};

pub(crate) const OLD: &[Row] = &[
    Row {
        name: "mpeg4_mp3.avi",
        steps: &["ffmpeg -i CLIP -c:v mpeg4 -q:v 3 -bf 2 -c:a libmp3lame OUT"],
        codecs: ("mpeg4", "mp3"),
        misread: Misread::Times,
        ..PLAIN
    },
    Row {
        name: "mjpeg_pcm.avi",
        steps: &["ffmpeg -i CLIP -pix_fmt yuvj420p -c:v mjpeg -q:v 3 -c:a pcm_s16le OUT"],
        codecs: ("mjpeg", "pcm"),
        ..PLAIN
    },
    Row {
        name: "h264_aac.flv",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a aac OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "h264_mp3.flv",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a libmp3lame -ar 44100 OUT"],
        codecs: ("h264", "mp3"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "wmv2_wma2.wmv",
        steps: &["ffmpeg -i CLIP -c:v wmv2 -q:v 3 -c:a wmav2 OUT"],
        codecs: ("wmv2", "wma2"),
        ..PLAIN
    },
    Row {
        name: "wmv1_wma1.asf",
        steps: &["ffmpeg -i CLIP -c:v wmv1 -q:v 3 -c:a wmav1 OUT"],
        codecs: ("wmv1", "wma1"),
        ..PLAIN
    },
    Row {
        name: "h264_aac.ts",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a aac OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "h264_ac3.m2ts",
        steps: &[
            "ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a ac3 -mpegts_m2ts_mode 1 -f mpegts OUT",
        ],
        codecs: ("h264", "ac3"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "hevc_aac.ts",
        steps: &[
            "ffmpeg -i CLIP -c:v libx265 -preset ultrafast -x265-params log-level=0 -c:a aac OUT",
        ],
        codecs: ("h265", "aac"),
        treated: (Converted, Remuxed),
        ..PLAIN
    },
    Row {
        name: "mpeg2_mp2.ts",
        steps: &["ffmpeg -i CLIP -c:v mpeg2video -q:v 3 -bf 2 -c:a mp2 OUT"],
        codecs: ("mpeg2", "mp2"),
        ..PLAIN
    },
    Row {
        name: "mpeg2_mp2.mpg",
        steps: &["ffmpeg -i CLIP -c:v mpeg2video -q:v 3 -bf 2 -c:a mp2 -f vob OUT"],
        codecs: ("mpeg2", "mp2"),
        ..PLAIN
    },
    Row {
        name: "vp8_opus.ogv",
        steps: &[
            "ffmpeg -i CLIP -c:v libvpx -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus -f ogg OUT",
        ],
        codecs: ("vp8", "opus"),
        ..PLAIN
    },
];
