//! Reads the finished .mp4 back, as a player would, before anyone is told that it is done.
//!
//! The file is taken apart by GStreamer's own demuxer, which shares no code with the writer:
//! streams and codecs as planned, frames in it, one size, the length of the source, index first.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use holdfast_core::job::{MadeMp4, Treatment};

use crate::error::Error;
use crate::plan::{Plan, VideoPlan};
use crate::probe::{self, Scan};
use crate::source::Input;
use crate::watch::{Watch, ms};

/// How far the film's length may be from the recording's.
const LENGTH_NS_MAX: i64 = 100_000_000;

/// What was found, and remarks for people.
pub(crate) struct Verified {
    /// The facts.
    pub(crate) mp4: MadeMp4,
    /// Sentences for people.
    pub(crate) remarks: Vec<String>,
}

/// Checks a finished .mp4. `cut`: the recording could not be read or decoded to its end, so that
/// a shorter film is expected.
pub(crate) fn verify(
    file: File,
    source: &Scan,
    plan: &Plan,
    encoder: Option<&'static str>,
    cut: bool,
    watch: &mut Watch<'_>,
) -> Result<Verified, Error> {
    let wrong = |what: String| Error::Internal(format!("the finished .mp4 is wrong: {what}"));
    let input = Input::new(file)?;
    index_comes_first(&input.file, input.bytes).map_err(wrong)?;
    let made = probe::probe(&input, watch)
        .map_err(|e| if matches!(e, Error::Abandoned) { e } else { wrong(e.to_string()) })?;
    let mut remarks = Vec::new();
    let video = made.video.as_ref();
    if plan.video.is_some() {
        let v = video.ok_or_else(|| wrong("it has no video".into()))?;
        if v.codec.name != "h264" || v.sizes.len() != 1 {
            return Err(wrong(format!("its video is {} of {} sizes", v.codec.name, v.sizes.len())));
        }
    }
    if made.audio.as_ref().is_some_and(|a| a.codec.name != "aac") {
        return Err(wrong("its sound is not AAC".into()));
    }
    let want = source.duration_ns();
    let differs = made.duration_ns() + made.base_ns() - want;
    if differs.abs() > LENGTH_NS_MAX {
        if !cut || differs > 0 {
            return Err(wrong(format!(
                "it lasts {} ms, the recording {}",
                ms(made.duration_ns()),
                ms(want)
            )));
        }
        remarks.push(format!(
            "The film lasts {:.1} s of the recording's {:.1} s; the rest could not be decoded.",
            made.duration_ns() as f64 / 1e9,
            want as f64 / 1e9
        ));
    }
    let (width, height) = video.map_or((0, 0), |v| shown(v.sizes[0], v.par, v.rotation));
    let mp4 = MadeMp4 {
        bytes: input.bytes,
        duration_ms: ms(made.duration_ns() + made.base_ns()),
        video: match plan.video {
            Some(VideoPlan::Remux) => Treatment::Remuxed,
            Some(_) => Treatment::Converted,
            None => Treatment::Absent,
        },
        audio: if made.audio.is_some() {
            plan.audio.unwrap_or(Treatment::Absent)
        } else {
            Treatment::Absent
        },
        encoder: encoder.map(str::to_owned),
        width,
        height,
    };
    Ok(Verified { mp4, remarks })
}

fn shown((w, h): (u32, u32), par: (u32, u32), rotation: u16) -> (u32, u32) {
    let w = (u64::from(w) * u64::from(par.0.max(1)) / u64::from(par.1.max(1))) as u32;
    if rotation % 180 == 90 { (h, w) } else { (w, h) }
}

/// Walks the outermost boxes: `moov` before `mdat`, nothing beyond the end.
fn index_comes_first(file: &File, bytes: u64) -> Result<(), String> {
    let mut at = 0;
    let mut seen_moov = false;
    while at + 8 <= bytes {
        let mut head = [0u8; 16];
        let n = head.len().min((bytes - at) as usize);
        file.read_exact_at(&mut head[..n], at).map_err(|e| e.to_string())?;
        let word = |i: usize| {
            u64::from(u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]))
        };
        let size = if word(0) == 1 { word(8) << 32 | word(12) } else { word(0) };
        if size < 8 || size > bytes - at {
            return Err(format!("a box of {size} bytes at byte {at} of {bytes}"));
        }
        match &head[4..8] {
            b"moov" => seen_moov = true,
            b"mdat" if !seen_moov => return Err("the index does not come first".into()),
            b"mdat" => return Ok(()),
            _ => {}
        }
        at += size;
    }
    Err("it has no media data".into())
}
