//! Times that vary, are missing, jump, begin below zero, end early.

use super::{Absent, Converted, Misread, PLAIN, Remuxed, Row};

pub(crate) const TIMES: &[Row] = &[
    Row {
        name: "variable_rate.webm",
        steps: &[
            "ffmpeg -i CLIP -vf select=not(eq(mod(n\\,5)\\,3)) -vsync vfr -c:v libvpx -b:v 2M \
             -deadline realtime -cpu-used 8 -c:a libopus OUT",
        ],
        codecs: ("vp8", "opus"),
        ..PLAIN
    },
    Row {
        name: "variable_rate.mp4",
        steps: &[
            "ffmpeg -i CLIP -vf select=not(eq(mod(n\\,5)\\,3)) -vsync vfr -c:v libx264 -preset veryfast \
             -bf 3 -c:a aac OUT",
        ],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "a_lost_connection.webm",
        steps: &[
            "ffmpeg -i CLIP -vf select=not(between(t\\,0.8\\,1.25)) -vsync vfr -c:v libvpx -b:v 2M \
             -deadline realtime -cpu-used 8 -c:a libopus A.webm",
            "ffmpeg -i A.webm -c copy -bsf:a noise=drop=between(pts\\,800\\,1250) OUT",
        ],
        codecs: ("vp8", "opus"),
        remarks: &["Sound was missing in 1 place"],
        ..PLAIN
    },
    // A sound card that is 0.3 % slow: there are fewer samples than their times say, 63 ms at the end.
    Row {
        name: "slow_sound_card.webm",
        steps: &[
            "ffmpeg -stream_loop 6 -i CLIP -vf scale=128:96 -af asetrate=48144,aresample=48000 -c:v libvpx \
             -b:v 1M -deadline realtime -cpu-used 8 -c:a libopus A.webm",
            "ffmpeg -i A.webm -c copy -bsf:a setts=ts=TS*1.003 OUT",
        ],
        codecs: ("vp8", "opus"),
        seconds: 21.0,
        size: (128, 96),
        events: 21,
        misread: Misread::Sound,
        ..PLAIN
    },
    // One that is 0.3 % fast: there are more samples than their times say, 225 ms at the end. Taken over they would
    // end so much too late.
    Row {
        name: "fast_sound_card.mkv",
        steps: &[
            "ffmpeg -stream_loop 24 -i CLIP -vf scale=128:96 -af asetrate=47856,aresample=48000 -c:v libx264 \
             -preset veryfast -c:a aac A.mkv",
            "ffmpeg -i A.mkv -c copy -bsf:a setts=ts=TS*0.997 OUT",
        ],
        codecs: ("h264", "aac"),
        treated: (Remuxed, Converted),
        seconds: 75.0,
        size: (128, 96),
        events: 75,
        misread: Misread::Squeezed,
        remarks: &["The sound's own times overlap"],
        ..PLAIN
    },
    Row {
        name: "times_jump_ahead.mkv",
        steps: &[
            "ffmpeg -i CLIP -c:v libx264 -preset veryfast -g 25 -bf 0 -c:a libopus A.mkv",
            "ffmpeg -i A.mkv -c copy -bsf:v setts=ts=TS+gte(TS\\,1200)*2000 \
             -bsf:a setts=ts=TS+gte(TS\\,1200)*2000 OUT",
        ],
        codecs: ("h264", "opus"),
        treated: (Remuxed, Converted),
        seconds: 5.0,
        remarks: &["Sound was missing in 1 place"],
        ..PLAIN
    },
    Row {
        name: "times_begin_late.mkv",
        steps: &[
            "ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -c:a libopus -output_ts_offset 4000 OUT",
        ],
        codecs: ("h264", "opus"),
        treated: (Remuxed, Converted),
        ..PLAIN
    },
    Row {
        name: "clock_runs_over.ts",
        steps: &[
            "ffmpeg -i CLIP -c:v libx264 -preset veryfast -bf 3 -g 25 -c:a aac -output_ts_offset 95442.3 OUT",
        ],
        treated: (Remuxed, Remuxed),
        ..PLAIN
    },
    Row {
        name: "size_changes.ts",
        steps: &[
            "ffmpeg -t 1.2 -i CLIP -an -c:v libx264 -preset veryfast -bf 0 -muxdelay 0 A.ts",
            "ffmpeg -ss 1.2 -i CLIP -an -vf scale=128:96 -c:v libx264 -preset veryfast -crf 12 -bf 0 \
             -muxdelay 0 -output_ts_offset 1.2 B.ts",
            "join OUT A.ts B.ts",
        ],
        codecs: ("h264", ""),
        treated: (Converted, Absent),
        remarks: &["no sound", "size changes"],
        filter: "scale=256:192",
        ..PLAIN
    },
    Row {
        name: "clock_begins_anew.ts",
        steps: &[
            "ffmpeg -t 1.2 -i CLIP -c:v libx264 -preset veryfast -bf 0 -an -muxdelay 0 -output_ts_offset 20 A.ts",
            "ffmpeg -ss 1.2 -i CLIP -c:v libx264 -preset veryfast -bf 0 -an -muxdelay 0 B.ts",
            "join OUT A.ts B.ts",
        ],
        codecs: ("h264", ""),
        treated: (Remuxed, Absent),
        remarks: &["no sound"],
        misread: Misread::Times,
        ..PLAIN
    },
];
