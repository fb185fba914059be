//! The filmstrip's WebVTT: which part of it shows which time, for players.
//!
//! One cue for each tile, without a hole from the beginning to the end of the recording; its text is
//! the strip's name with a media fragment (`#xywh=`, W3C Media Fragments 1.0, 4.2.2).

use std::fmt::Write as _;

/// A tile: from when, until when (in nanoseconds), and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cue {
    /// Its first moment.
    pub(crate) from_ns: i64,
    /// The first moment behind it.
    pub(crate) until_ns: i64,
    /// Left, top, width and height in pixels.
    pub(crate) place: [u32; 4],
}

/// The whole file.
pub(crate) fn text(link: &str, cues: &[Cue]) -> String {
    let link = escaped(link);
    let mut out = String::from("WEBVTT\n");
    for cue in cues.iter().filter(|cue| milliseconds(cue.until_ns) > milliseconds(cue.from_ns)) {
        let [x, y, w, h] = cue.place;
        let (from, until) = (clock(cue.from_ns), clock(cue.until_ns));
        // Writing to a string does not fail.
        let _ = write!(out, "\n{from} --> {until}\n{link}#xywh={x},{y},{w},{h}\n");
    }
    out
}

fn milliseconds(ns: i64) -> i64 {
    (ns.max(0) + 500_000) / 1_000_000
}

fn clock(ns: i64) -> String {
    let ms = milliseconds(ns);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}", ms % 1000)
}

/// A file's name as a relative address.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_name_time_and_place() {
        let cue = |from: i64, until: i64, x| Cue {
            from_ns: from * 1_000_000,
            until_ns: until * 1_000_000,
            place: [x, 0, 160, 90],
        };
        let cues = [cue(0, 1500, 0), cue(1500, 3_723_004, 160), cue(5, 5, 320)];
        assert_eq!(
            text("a b_filmstrip.jpg", &cues),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na%20b_filmstrip.jpg#xywh=0,0,160,90\n\n\
             00:00:01.500 --> 01:02:03.004\na%20b_filmstrip.jpg#xywh=160,0,160,90\n"
        );
    }
}
