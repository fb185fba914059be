//! How far a film's picture and sound have moved against the recording it was made from.
//!
//! Both are decoded onto one clock and laid over each other; the shift at which they fit best is
//! how late the film is. So nothing that a container claims is taken for granted.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::media::ffmpeg;

/// Samples of sound per second that are compared.
const SOUND_HZ: usize = 4_000;
/// Pictures per second that are compared, each one of `PICTURE` grey pixels.
const PICTURE_HZ: usize = 100;
const PICTURE: usize = 32 * 18;
/// Most that is looked for, in milliseconds, before and after.
const SHIFT_MS_MAX: i64 = 240;
/// How long a piece is compared, in milliseconds.
const PIECE_MS: usize = 3_000;
/// How far from the ends it lies, in milliseconds: further than the largest shift.
const MARGIN_MS: usize = 300;

/// How many milliseconds later than in the source something is in the film, at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// In the first seconds.
    pub at_begin_ms: i64,
    /// In the last seconds.
    pub at_end_ms: i64,
}

/// How much later the sound is.
///
/// # Errors
/// If one cannot be decoded or is shorter than what is compared.
pub fn of_sound(source: &Path, film: &Path) -> Result<Shift> {
    let decode = |path: &Path| -> Result<Vec<f32>> {
        let path = path.display().to_string();
        let filter = format!("aresample={SOUND_HZ}:async=1:first_pts=0");
        let bytes =
            ffmpeg(["-i", &path, "-vn", "-af", &filter, "-ac", "1", "-f", "s16le", "pipe:1"])?;
        Ok(bytes.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]]))).collect())
    };
    let (source, film) = (decode(source)?, decode(film)?);
    both_ends(source.len(), film.len(), SOUND_HZ, |at, length, shift| {
        let theirs = &source[at..at + length];
        let ours = &film[at.checked_add_signed(shift)?..];
        Some(-theirs.iter().zip(ours).map(|(a, b)| f64::from(a * b)).sum::<f64>())
    })
}

/// How much later the picture is.
///
/// # Errors
/// If one cannot be decoded or is shorter than what is compared.
pub fn of_picture(source: &Path, film: &Path) -> Result<Shift> {
    let decode = |path: &Path| {
        let path = path.display().to_string();
        let filter = format!("fps=fps={PICTURE_HZ}:start_time=0,scale=32:18,format=gray");
        ffmpeg(["-i", &path, "-an", "-vf", &filter, "-f", "rawvideo", "pipe:1"])
    };
    let (source, film) = (decode(source)?, decode(film)?);
    let (theirs, ours) = (source.len() / PICTURE, film.len() / PICTURE);
    both_ends(theirs, ours, PICTURE_HZ, |at, length, shift| {
        let theirs = &source[at * PICTURE..(at + length) * PICTURE];
        let ours = &film[at.checked_add_signed(shift)? * PICTURE..];
        let differences = theirs.iter().zip(ours).map(|(a, b)| u64::from(a.abs_diff(*b)));
        Some(differences.sum::<u64>() as f64)
    })
}

fn both_ends(
    source: usize,
    film: usize,
    rate_hz: usize,
    cost: impl Fn(usize, usize, isize) -> Option<f64>,
) -> Result<Shift> {
    let samples = |ms: usize| ms * rate_hz / 1_000;
    let (piece, margin, end) = (samples(PIECE_MS), samples(MARGIN_MS), source.min(film));
    ensure!(end >= piece + 2 * margin, "too short to compare: {source} and {film} samples");
    let best = |at: usize| {
        let step = (rate_hz / 1_000).max(1);
        let ms_per_sample = 1_000 / rate_hz.min(1_000);
        let range = SHIFT_MS_MAX / ms_per_sample as i64;
        let costs: Vec<(i64, f64)> = (-range..=range)
            .filter_map(|shift| Some((shift, cost(at, piece, shift as isize * step as isize)?)))
            .collect();
        let least = costs.iter().map(|(_, cost)| *cost).fold(f64::MAX, f64::min);
        let most = costs.iter().map(|(_, cost)| *cost).fold(f64::MIN, f64::max);
        // Where a picture stands still many shifts fit: then the smallest is believed.
        let enough = least + (most - least) * 0.01;
        let fits = costs.iter().filter(|(_, cost)| *cost <= enough);
        fits.map(|(shift, _)| shift * ms_per_sample as i64).min_by_key(|shift| shift.abs())
    };
    let (begin, end) = (best(margin), best(end - margin - piece));
    Ok(Shift { at_begin_ms: begin.unwrap_or(i64::MAX), at_end_ms: end.unwrap_or(i64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_whose_sound_is_late_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let (good, late) = (dir.path().join("good.mkv"), dir.path().join("late.mkv"));
        let (g, l) = (good.display().to_string(), late.display().to_string());
        let film = "testsrc2=size=320x180:rate=25:duration=8";
        let beeps = "aevalsrc='sin(2000*t)*lt(mod(t,0.7),0.1)':duration=8:sample_rate=48000";
        ffmpeg([
            "-f", "lavfi", "-i", film, "-f", "lavfi", "-i", beeps, "-c:v", "libx264", "-c:a",
            "flac", &g,
        ])
        .unwrap();
        ffmpeg([
            "-i",
            &g,
            "-itsoffset",
            "0.12",
            "-i",
            &g,
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c",
            "copy",
            &l,
        ])
        .unwrap();
        let still = Shift { at_begin_ms: 0, at_end_ms: 0 };
        assert_eq!(of_picture(&good, &late).unwrap(), still);
        assert_eq!(of_sound(&good, &good).unwrap(), still);
        let sound = of_sound(&good, &late).unwrap();
        assert!((sound.at_begin_ms - 120).abs() <= 2, "{sound:?}");
        assert!((sound.at_end_ms - 120).abs() <= 2, "{sound:?}");
    }
}
