//! MP4, MOV and 3GP.

use super::{Absent, Converted, PLAIN, Remuxed, Row, SOUND};

pub(crate) const MP4: &[Row] = &[
    Row {
        name: "avc1_aac.mp4",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a aac OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "avc1_aac_by_mp4box.mp4",
        steps: &[
            "ffmpeg -i CLIP -an -c:v libx264 -preset veryfast -bf 3 A.h264",
            "ffmpeg -i CLIP -vn -c:a aac B.aac",
            "MP4Box -quiet -add A.h264:fps=25 -add B.aac -new OUT",
        ],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "avc3_aac.mp4",
        steps: &[
            "ffmpeg -i CLIP -an -c:v libx264 -preset veryfast -bf 3 -x264-params repeat-headers=1:keyint=25 A.h264",
            "ffmpeg -i CLIP -vn -c:a aac B.aac",
            "MP4Box -quiet -add A.h264:fps=25:xps_inband -add B.aac -new OUT",
        ],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "hvc1_aac.mp4",
        steps: &[
            "ffmpeg -i CLIP -f yuv4mpegpipe -pix_fmt yuv420p A.y4m",
            "ffmpeg -i CLIP -vn -c:a aac B.aac",
            "x265 --y4m --preset ultrafast --log-level none --input A.y4m -o A.hevc",
            "MP4Box -quiet -add A.hevc:fps=25 -add B.aac -new OUT",
        ],
        codecs: ("h265", "aac"),
        treated: (Converted, Remuxed),
        ..PLAIN
    },
    Row {
        name: "hev1_ten_bit.mp4",
        steps: &[
            "ffmpeg -i CLIP -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params log-level=0 \
             -tag:v hev1 -c:a aac OUT",
        ],
        codecs: ("h265", "aac"),
        treated: (Converted, Remuxed),
        ..PLAIN
    },
    Row {
        name: "av1_opus.mp4",
        steps: &[
            "ffmpeg -i CLIP -c:v libaom-av1 -usage realtime -cpu-used 8 -crf 25 -c:a libopus OUT",
        ],
        codecs: ("av1", "opus"),
        ..PLAIN
    },
    Row {
        name: "vp9_opus.mp4",
        steps: &[
            "ffmpeg -i CLIP -c:v libvpx-vp9 -b:v 2M -deadline realtime -cpu-used 8 -c:a libopus OUT",
        ],
        codecs: ("vp9", "opus"),
        ..PLAIN
    },
    Row {
        name: "mpeg4_mp3.mp4",
        steps: &["ffmpeg -i CLIP -c:v mpeg4 -q:v 3 -bf 2 -c:a libmp3lame OUT"],
        codecs: ("mpeg4", "mp3"),
        ..PLAIN
    },
    Row {
        name: "fragmented.mp4",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 0 -g 25 -c:a aac \
             -movflags frag_keyframe+empty_moov+default_base_moof OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "fragmented_late_edits.mp4",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -g 25 -c:a aac \
             -movflags frag_keyframe+delay_moov OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "negative_offsets.mp4",
        steps: &[
            "ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a aac -movflags negative_cts_offsets OUT",
        ],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "sound_begins_late.mp4",
        steps: &[
            "ffmpeg -i CLIP -itsoffset 0.3 -i CLIP -map 0:v -map 1:a -c:v libx264 -preset veryfast \
             -af atrim=0.3,asetpts=PTS-0.3/TB -c:a aac OUT",
        ],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "begins_between_key_frames.mp4",
        steps: &[
            "ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a aac A.mp4",
            "ffmpeg -ss 0.52 -i A.mp4 -c copy OUT",
        ],
        treated: (Remuxed, Remuxed),
        seconds: 2.48,
        events: 2,
        ..PLAIN
    },
    Row {
        name: "hevc_begins_between_key_frames.mp4",
        steps: &[
            "ffmpeg -i CLIP -c:v libx265 -preset ultrafast -x265-params log-level=0 -tag:v hvc1 -c:a aac A.mp4",
            "ffmpeg -ss 0.52 -i A.mp4 -c copy OUT",
        ],
        codecs: ("h265", "aac"),
        treated: (Converted, Remuxed),
        seconds: 2.48,
        events: 2,
        ..PLAIN
    },
    Row {
        name: "short_sound.mp4",
        steps: &[
            "ffmpeg -i CLIP -t 0.5 -i CLIP -map 0:v -map 1:a -c:v libx264 -preset veryfast -c:a aac OUT",
        ],
        treated: (Remuxed, Remuxed),
        events: 0,
        ..PLAIN
    },
    Row {
        name: "wide_pixels.mp4",
        steps: &["ffmpeg -i CLIP -vf setsar=4/3 -c:v libx264 -preset veryfast -c:a aac OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "surround.mp4",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a aac -ac 6 OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "held_sideways.mov",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a aac A.mov", "held A.mov OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "hevc_held_sideways.mov",
        steps: &[
            "ffmpeg -i CLIP -c:v libx265 -preset ultrafast -x265-params log-level=0 -tag:v hvc1 -c:a aac A.mov",
            "held A.mov OUT",
        ],
        codecs: ("h265", "aac"),
        treated: (Converted, Remuxed),
        ..PLAIN
    },
    Row {
        name: "h264_pcm.mov",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a pcm_s16le OUT"],
        codecs: ("h264", "pcm"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "mjpeg_pcm.mov",
        steps: &["ffmpeg -i CLIP -pix_fmt yuvj420p -c:v mjpeg -q:v 3 -c:a pcm_s24be OUT"],
        codecs: ("mjpeg", "pcm"),
        ..PLAIN
    },
    Row {
        name: "h264_alac.mov",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a alac OUT"],
        codecs: ("h264", "alac"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "alac.m4a",
        steps: &["ffmpeg -i CLIP -vn -c:a alac OUT"],
        codecs: ("", "alac"),
        ..SOUND
    },
    Row {
        name: "aac.m4a",
        steps: &["ffmpeg -i CLIP -vn -c:a aac OUT"],
        treated: (Absent, Remuxed),
        ..SOUND
    },
    Row {
        name: "h264_aac.3gp",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a aac -ac 1 OUT"],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "h263_aac.3gp",
        steps: &["ffmpeg -i CLIP -vf scale=176:144 -c:v h263 -q:v 3 -c:a aac -ac 1 OUT"],
        codecs: ("h263", "aac"),
        treated: (Converted, Remuxed),
        // Its pixels are 12:11.
        size: (192, 144),
        filter: "scale=192:144",
        ..PLAIN
    },
    // Phones of twenty years ago. Of AMR only GStreamer has encoders here.
    Row {
        name: "h263_amr.3gp",
        steps: &[
            "ffmpeg -i CLIP -vn -ac 1 -ar 8000 A.wav",
            "gst-launch-1.0 -q filesrc location=A.wav ! wavparse ! audioconvert ! amrnbenc ! 3gppmux ! filesink location=B.3gp",
            "ffmpeg -i CLIP -i B.3gp -map 0:v -map 1:a -vf scale=176:144 -c:v h263 -q:v 3 -c:a copy OUT",
        ],
        codecs: ("h263", "amr"),
        // Its pixels are 12:11.
        size: (192, 144),
        filter: "scale=192:144",
        ..PLAIN
    },
    Row {
        name: "h264_amr_wb.3gp",
        steps: &[
            "ffmpeg -i CLIP -vn -ac 1 -ar 16000 A.wav",
            "gst-launch-1.0 -q filesrc location=A.wav ! wavparse ! audioconvert ! voamrwbenc ! 3gppmux ! filesink location=B.3gp",
            "ffmpeg -i CLIP -i B.3gp -map 0:v -map 1:a -c:v libx264 -preset veryfast -c:a copy OUT",
        ],
        codecs: ("h264", "amr-wb"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "mpeg4_aac.3gp",
        steps: &["ffmpeg -i CLIP -c:v mpeg4 -q:v 3 -c:a aac -ac 1 OUT"],
        codecs: ("mpeg4", "aac"),
        treated: (Converted, Remuxed),
        ..PLAIN
    },
    Row {
        name: "prores_pcm.mov",
        steps: &["ffmpeg -i CLIP -pix_fmt yuv422p10le -c:v prores_ks -c:a pcm_s24le OUT"],
        codecs: ("prores", "pcm"),
        ..PLAIN
    },
    Row {
        name: "mjpeg_mulaw.mov",
        steps: &["ffmpeg -i CLIP -pix_fmt yuvj420p -c:v mjpeg -q:v 3 -c:a pcm_mulaw OUT"],
        codecs: ("mjpeg", "mulaw"),
        ..PLAIN
    },
    Row {
        name: "h264_alaw.mov",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a pcm_alaw OUT"],
        codecs: ("h264", "alaw"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "h264_adpcm.mov",
        steps: &["ffmpeg -i CLIP -c:v libx264 -preset veryfast -c:a adpcm_ima_qt OUT"],
        codecs: ("h264", "adpcm-ima-qt"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
];
