//! WebM and Matroska.

use super::{Converted, PLAIN, Remuxed, Row};

pub(crate) const WEBM: &[Row] = &[
    Row {
        name: "vp8_opus.webm",
        steps: &[
            "ffmpeg -i CLIP -c:v libvpx -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus OUT",
        ],
        codecs: ("vp8", "opus"),
        ..PLAIN
    },
    Row {
        name: "vp8_vorbis.webm",
        steps: &[
            "ffmpeg -i CLIP -c:v libvpx -b:v 2M -deadline realtime -cpu-used 8 -c:a libvorbis OUT",
        ],
        codecs: ("vp8", "vorbis"),
        ..PLAIN
    },
    Row {
        name: "vp9_opus.webm",
        steps: &[
            "ffmpeg -i CLIP -c:v libvpx-vp9 -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus OUT",
        ],
        codecs: ("vp9", "opus"),
        ..PLAIN
    },
    Row {
        name: "vp9_ten_bit.webm",
        steps: &[
            "ffmpeg -i CLIP -pix_fmt yuv420p10le -c:v libvpx-vp9 -b:v 2M -deadline realtime -cpu-used 8 \
             -c:a libopus OUT",
        ],
        codecs: ("vp9", "opus"),
        ..PLAIN
    },
    Row {
        name: "av1_opus.webm",
        steps: &[
            "ffmpeg -i CLIP -c:v libaom-av1 -usage realtime -cpu-used 8 -crf 25 -c:a libopus OUT",
        ],
        codecs: ("av1", "opus"),
        ..PLAIN
    },
    Row {
        name: "h264_vorbis.mkv",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a libvorbis OUT"],
        codecs: ("h264", "vorbis"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "h264_pcm.mkv",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a pcm_s16le OUT"],
        codecs: ("h264", "pcm"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "h264_aac_by_mkvmerge.mkv",
        steps: &[
            "ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a aac A.mp4",
            "mkvmerge -q -o OUT A.mp4",
        ],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "h264_opus_by_mkvmerge.mkv",
        steps: &[
            "ffmpeg -i CLIP -an -c:v libx264 -preset veryfast -bf 3 A.mp4",
            "ffmpeg -i CLIP -vn -c:a libopus B.ogg",
            "mkvmerge -q -o OUT A.mp4 B.ogg",
        ],
        codecs: ("h264", "opus"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "h264_four_two_two.mkv",
        steps: &["ffmpeg -i CLIP -pix_fmt yuv422p -c:v libx264 -preset veryfast -c:a aac OUT"],
        treated: (Converted, Remuxed),
        ..PLAIN
    },
    Row {
        name: "hevc_flac.mkv",
        steps: &[
            "ffmpeg -i CLIP -c:v libx265 -preset ultrafast -x265-params log-level=0 -c:a flac OUT",
        ],
        codecs: ("h265", "flac"),
        ..PLAIN
    },
    Row {
        name: "hevc_surround.mkv",
        steps: &[
            "ffmpeg -i CLIP -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params log-level=0 \
             -c:a ac3 -ac 6 OUT",
        ],
        codecs: ("h265", "ac3"),
        ..PLAIN
    },
    Row {
        name: "no_duration.webm",
        steps: &[
            "ffmpeg -i CLIP -c:v libvpx -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus -f webm -live 1 OUT",
        ],
        codecs: ("vp8", "opus"),
        ..PLAIN
    },
    Row {
        name: "odd_size.webm",
        steps: &[
            "ffmpeg -i CLIP -vf crop=255:191:0:0 -c:v libvpx -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus OUT",
        ],
        codecs: ("vp8", "opus"),
        size: (254, 190),
        filter: "scale=254:190",
        ..PLAIN
    },
    Row {
        name: "wide_pixels.webm",
        steps: &[
            "ffmpeg -i CLIP -vf setsar=4/3 -c:v libvpx-vp9 -b:v 2M -deadline realtime -cpu-used 8 \
             -c:a libopus OUT",
        ],
        codecs: ("vp9", "opus"),
        size: (340, 192),
        filter: "scale=340:192",
        ..PLAIN
    },
    Row {
        name: "eac3.mkv",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a eac3 OUT"],
        codecs: ("h264", "eac3"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "size_changes.webm",
        steps: &[
            "ffmpeg -t 1.2 -i CLIP -c:v libvpx -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus A.webm",
            "ffmpeg -ss 1.2 -i CLIP -vf scale=128:96 -c:v libvpx -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus B.webm",
            "list A.txt A.webm B.webm",
            "ffmpeg -f concat -safe 0 -i A.txt -c copy OUT",
        ],
        codecs: ("vp8", "opus"),
        remarks: &["size changes"],
        filter: "scale=256:192",
        ..PLAIN
    },
];
