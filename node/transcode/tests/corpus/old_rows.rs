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
    // Never twice the same, because ffmpeg passes over packets that say that nothing has changed.
    Row {
        name: "theora_vorbis.ogv",
        steps: &[
            "ffmpeg -i CLIP -vf eq=brightness=-0.03*mod(n\\,2):eval=frame -c:v libtheora -q:v 8 -c:a libvorbis OUT",
        ],
        codecs: ("theora", "vorbis"),
        ..PLAIN
    },
    Row {
        name: "theora_vorbis.mkv",
        steps: &[
            "ffmpeg -i CLIP -vf eq=brightness=-0.03*mod(n\\,2):eval=frame -c:v libtheora -q:v 8 -c:a libvorbis OUT",
        ],
        codecs: ("theora", "vorbis"),
        ..PLAIN
    },
    Row {
        name: "msmpeg4v3_pcm.avi",
        steps: &["ffmpeg -i CLIP -c:v msmpeg4 -q:v 3 -c:a pcm_s16le OUT"],
        codecs: ("msmpeg4v3", "pcm"),
        ..PLAIN
    },
    Row {
        name: "divx3_adpcm.avi",
        steps: &["ffmpeg -i CLIP -c:v msmpeg4 -q:v 3 -vtag DIV3 -c:a adpcm_ms OUT"],
        codecs: ("msmpeg4v3", "adpcm-ms"),
        ..PLAIN
    },
    Row {
        name: "msmpeg4v2_adpcm.avi",
        steps: &["ffmpeg -i CLIP -c:v msmpeg4v2 -q:v 3 -c:a adpcm_ms OUT"],
        codecs: ("msmpeg4v2", "adpcm-ms"),
        ..PLAIN
    },
    Row {
        name: "xvid_pcm.avi",
        steps: &["ffmpeg -i CLIP -c:v libxvid -q:v 3 -c:a pcm_s16le OUT"],
        codecs: ("mpeg4", "pcm"),
        ..PLAIN
    },
    Row {
        name: "divx5_adpcm.avi",
        steps: &["ffmpeg -i CLIP -c:v mpeg4 -q:v 3 -vtag DX50 -c:a adpcm_ima_wav OUT"],
        codecs: ("mpeg4", "adpcm-ima"),
        ..PLAIN
    },
    Row {
        name: "mjpeg_mulaw.avi",
        steps: &["ffmpeg -i CLIP -pix_fmt yuvj420p -c:v mjpeg -q:v 3 -c:a pcm_mulaw OUT"],
        codecs: ("mjpeg", "mulaw"),
        ..PLAIN
    },
    Row {
        name: "msmpeg4v3_wma2.asf",
        steps: &["ffmpeg -i CLIP -c:v msmpeg4 -q:v 3 -c:a wmav2 OUT"],
        codecs: ("msmpeg4v3", "wma2"),
        ..PLAIN
    },
    Row {
        name: "mpeg1_mp2.mpg",
        steps: &["ffmpeg -i CLIP -c:v mpeg1video -q:v 3 -bf 2 -c:a mp2 OUT"],
        codecs: ("mpeg2", "mp2"),
        ..PLAIN
    },
    Row {
        name: "mpeg1_mp2.ts",
        steps: &["ffmpeg -i CLIP -c:v mpeg1video -q:v 3 -bf 2 -c:a mp2 OUT"],
        codecs: ("mpeg2", "mp2"),
        ..PLAIN
    },
    Row {
        name: "flv1_mp3.flv",
        steps: &["ffmpeg -i CLIP -c:v flv -q:v 3 -c:a libmp3lame -ar 44100 OUT"],
        codecs: ("flv1", "mp3"),
        ..PLAIN
    },
    Row {
        name: "flv1_speex.flv",
        steps: &["ffmpeg -i CLIP -c:v flv -q:v 3 -c:a libspeex -ar 16000 -ac 1 OUT"],
        codecs: ("flv1", "speex"),
        ..PLAIN
    },
];
