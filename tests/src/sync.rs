//! How far a film's picture and sound have moved against the recording it was made from.
//!
//! Both are decoded onto one clock and laid over each other; the shift at which they fit best is
//! how late the film is. So nothing that a container claims is taken for granted.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::media::ffmpeg;

/// Instants per second that are compared: 10 ms each.
const RATE_HZ: usize = 100;
/// Samples of sound per instant. Its loudness is compared, not its waves: those of a steady tone fit
/// at every period.
const SAMPLES: usize = 80;
/// Grey pixels per instant.
const PIXELS: usize = 32 * 18;
/// Most that is looked for, before and after, in instants.
const SHIFT_MAX: isize = 24;
/// How long a piece is compared, in instants.
const PIECE: usize = 300;
/// How far from the ends it lies, in instants: further than the largest shift.
const MARGIN: usize = 30;

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
    let decode = |path: &Path| -> Result<Vec<f64>> {
        let path = path.display().to_string();
        let filter = format!("aresample={}:async=1:first_pts=0", RATE_HZ * SAMPLES);
        let to = ["-ac", "1", "-f", "s16le", "pipe:1"];
        let bytes = ffmpeg(["-i", &path, "-vn", "-af", &filter].into_iter().chain(to))?;
        let loudness = |instant: &[u8]| {
            let samples =
                instant.chunks_exact(2).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])));
            (samples.map(|sample| sample * sample).sum::<f64>() / SAMPLES as f64).sqrt()
        };
        Ok(bytes.chunks_exact(2 * SAMPLES).map(loudness).collect())
    };
    let (source, film) = (decode(source)?, decode(film)?);
    both_ends(source.len(), film.len(), |at, ours_at| {
        let pairs = source[at..at + PIECE].iter().zip(&film[ours_at..]);
        pairs.map(|(a, b)| (a - b).powi(2)).sum()
    })
}

/// How much later the picture is.
///
/// # Errors
/// If one cannot be decoded or is shorter than what is compared.
pub fn of_picture(source: &Path, film: &Path) -> Result<Shift> {
    let decode = |path: &Path| {
        let path = path.display().to_string();
        let filter = format!("fps=fps={RATE_HZ}:start_time=0,scale=32:18,format=gray");
        ffmpeg(["-i", &path, "-an", "-vf", &filter, "-f", "rawvideo", "pipe:1"])
    };
    let (source, film) = (decode(source)?, decode(film)?);
    both_ends(source.len() / PIXELS, film.len() / PIXELS, |at, ours_at| {
        let theirs = &source[at * PIXELS..(at + PIECE) * PIXELS];
        let pairs = theirs.iter().zip(&film[ours_at * PIXELS..]);
        pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>() as f64
    })
}

fn both_ends(source: usize, film: usize, cost: impl Fn(usize, usize) -> f64) -> Result<Shift> {
    let end = source.min(film);
    ensure!(end >= PIECE + 2 * MARGIN, "too short to compare: {source} and {film} instants");
    let best_ms = |at: usize| {
        let costs: Vec<(isize, f64)> = (-SHIFT_MAX..=SHIFT_MAX)
            .map(|shift| (shift, cost(at, at.saturating_add_signed(shift))))
            .collect();
        let least = costs.iter().map(|(_, cost)| *cost).fold(f64::MAX, f64::min);
        let most = costs.iter().map(|(_, cost)| *cost).fold(f64::MIN, f64::max);
        // Where nothing moves, or nothing is heard, many shifts fit: then the smallest is believed.
        let enough = least + (most - least) * 0.01;
        let fits = costs.iter().filter(|(_, cost)| *cost <= enough);
        let shift = fits.map(|(shift, _)| *shift).min_by_key(|shift| shift.abs()).unwrap_or(0);
        shift as i64 * (1_000 / RATE_HZ as i64)
    };
    Ok(Shift { at_begin_ms: best_ms(MARGIN), at_end_ms: best_ms(end - MARGIN - PIECE) })
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
        assert!((sound.at_begin_ms - 120).abs() <= 10, "{sound:?}");
        assert!((sound.at_end_ms - 120).abs() <= 10, "{sound:?}");
    }
}
