//! Sound without pictures; what the other rows do not have of codecs.

use super::{Absent, Remuxed, Row, SOUND};

pub(crate) const AUDIO: &[Row] = &[
    Row {
        name: "opus.ogg",
        steps: &["ffmpeg -i CLIP -vn -c:a libopus OUT"],
        codecs: ("", "opus"),
        ..SOUND
    },
    Row {
        name: "vorbis.ogg",
        steps: &["ffmpeg -i CLIP -vn -c:a libvorbis OUT"],
        codecs: ("", "vorbis"),
        ..SOUND
    },
    Row {
        name: "flac.ogg",
        steps: &["ffmpeg -i CLIP -vn -c:a flac OUT"],
        codecs: ("", "flac"),
        ..SOUND
    },
    Row {
        name: "sound.mp3",
        steps: &["ffmpeg -i CLIP -vn -c:a libmp3lame OUT"],
        codecs: ("", "mp3"),
        ..SOUND
    },
    Row {
        name: "sound.aac",
        steps: &["ffmpeg -i CLIP -vn -c:a aac OUT"],
        treated: (Absent, Remuxed),
        ..SOUND
    },
    Row {
        name: "pcm.wav",
        steps: &["ffmpeg -i CLIP -vn -c:a pcm_s16le OUT"],
        codecs: ("", "pcm"),
        ..SOUND
    },
    Row {
        name: "surround.wav",
        steps: &["ffmpeg -i CLIP -vn -c:a pcm_s24le -ac 6 -ar 44100 OUT"],
        codecs: ("", "pcm"),
        ..SOUND
    },
    Row {
        name: "low_rate.wav",
        steps: &["ffmpeg -i CLIP -vn -c:a pcm_s16le -ac 1 -ar 16000 OUT"],
        codecs: ("", "pcm"),
        ..SOUND
    },
    Row {
        name: "wma2.wma",
        steps: &["ffmpeg -i CLIP -vn -c:a wmav2 OUT"],
        codecs: ("", "wma2"),
        ..SOUND
    },
    Row {
        name: "aac_44100.mka",
        steps: &["ffmpeg -i CLIP -vn -c:a aac -ar 44100 OUT"],
        treated: (Absent, Remuxed),
        ..SOUND
    },
    Row {
        name: "adpcm_ms.wav",
        steps: &["ffmpeg -i CLIP -vn -c:a adpcm_ms OUT"],
        codecs: ("", "adpcm-ms"),
        ..SOUND
    },
    Row {
        name: "adpcm_ima.wav",
        steps: &["ffmpeg -i CLIP -vn -c:a adpcm_ima_wav OUT"],
        codecs: ("", "adpcm-ima"),
        ..SOUND
    },
    Row {
        name: "mulaw.wav",
        steps: &["ffmpeg -i CLIP -vn -c:a pcm_mulaw OUT"],
        codecs: ("", "mulaw"),
        ..SOUND
    },
];
