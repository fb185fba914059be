//! The filmstrip: small pictures at even distances in one row, upright.
//!
//! The tile for a time is the frame that shows at that time. Times are known beforehand, because
//! the recording was read to its end; frames go by in showing order; one frame is kept back.
//! [`Wanted`] says which packets have to be decoded for it where the film itself is not decoded.

use std::fs::File;

use holdfast_core::job::{FILMSTRIP_NAME, MadePicture};

use crate::error::Error;
use crate::pictures::{Frame, Rgb};

/// Tiles in a filmstrip.
pub(crate) const TILES: usize = 10;
/// Width of a tile in pixels.
pub(crate) const TILE_WIDTH: u32 = 160;
const TILE_HEIGHT_MAX: u32 = 640;
const QUALITY: u8 = 82;

/// The times of the tiles: the middles of equal parts.
pub(crate) fn times(first_ns: i64, end_ns: i64) -> Vec<i64> {
    let span = (end_ns - first_ns).max(0);
    let part =
        |i: i64| first_ns + (i128::from(span) * i128::from(2 * i + 1) / (2 * TILES as i128)) as i64;
    (0..TILES as i64).map(part).collect()
}

/// Collects tiles.
#[derive(Debug)]
pub(crate) struct Filmstrip {
    times: Vec<i64>,
    tiles: Vec<Rgb>,
    tile: Option<(u32, u32)>,
    rotation: u16,
    before: Option<Frame>,
}

impl Filmstrip {
    /// For tiles at these times.
    pub(crate) fn new(times: Vec<i64>, rotation: u16) -> Self {
        Self { times, tiles: Vec::new(), tile: None, rotation, before: None }
    }

    /// Looks at one frame.
    pub(crate) fn offer(&mut self, frame: &Frame) -> Result<(), Error> {
        let due = |s: &Self| s.times.get(s.tiles.len()).is_some_and(|&t| t < frame.pts_ns);
        if due(self) {
            let shown = self.before.take().unwrap_or_else(|| frame.clone());
            let tile = self.picture(&shown)?;
            while due(self) {
                self.tiles.push(tile.clone());
            }
        }
        if self.tiles.len() < self.times.len() {
            self.before = Some(frame.clone());
        }
        Ok(())
    }

    fn picture(&mut self, frame: &Frame) -> Result<Rgb, Error> {
        let (w, h) = self.tile_size(frame.shown_size());
        let (w, h) = if self.rotation % 180 == 90 { (h, w) } else { (w, h) };
        Ok(frame.rgb(w, h)?.rotated(self.rotation))
    }

    /// Size of every tile, by the shape of the first.
    fn tile_size(&mut self, (w, h): (u32, u32)) -> (u32, u32) {
        let (w, h) = if self.rotation % 180 == 90 { (h, w) } else { (w, h) };
        *self.tile.get_or_insert_with(|| {
            let height =
                (u64::from(TILE_WIDTH) * u64::from(h) + u64::from(w) / 2) / u64::from(w.max(1));
            (TILE_WIDTH, (height as u32).clamp(2, TILE_HEIGHT_MAX))
        })
    }

    /// Composes and writes the strip; `None` if there was no frame at all.
    pub(crate) fn write(mut self, file: &File) -> Result<Option<MadePicture>, Error> {
        if let Some(last) = self.before.take() {
            let tile = self.picture(&last)?;
            self.tiles.resize(self.times.len(), tile);
        }
        let Some((w, h)) = self.tile else { return Ok(None) };
        let mut strip = Rgb::black(w * self.times.len() as u32, h);
        for (i, tile) in (0u32..).zip(&self.tiles) {
            strip.paste(tile, i * w);
        }
        strip.write_jpeg(file, QUALITY, FILMSTRIP_NAME).map(Some)
    }
}

/// Which packets to decode so that every tile's frame comes out.
#[derive(Debug)]
pub(crate) struct Wanted {
    times: Vec<i64>,
    keyframes: Vec<i64>,
    open: bool,
    until: i64,
}

/// Frames come in another order than they are shown: so much longer to decode behind a tile's time.
const REORDER_NS: i64 = 1_000_000_000;

impl Wanted {
    /// For tiles at these times in a film with these key frames.
    pub(crate) fn new(times: Vec<i64>, mut keyframes: Vec<i64>) -> Self {
        keyframes.sort_unstable();
        Self { times, keyframes, open: true, until: i64::MAX }
    }

    /// Whether this packet is needed. To be asked for every packet in file order.
    pub(crate) fn needs(&mut self, pts_ns: i64, key: bool) -> bool {
        if key {
            let next = self.keyframes.partition_point(|&k| k <= pts_ns);
            let next = self.keyframes.get(next).copied().unwrap_or(i64::MAX);
            let last = self.times.iter().copied().filter(|t| (pts_ns..next).contains(t)).max();
            // Before the first key frame's time nothing can be shown: its tile is that frame.
            let early = self.keyframes.first() == Some(&pts_ns);
            self.open = last.is_some() || early;
            self.until = last.unwrap_or(pts_ns).saturating_add(REORDER_NS);
        }
        self.open && pts_ns <= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_in_the_middles_of_equal_parts() {
        let t = times(1000, 21_000);
        assert_eq!((t.len(), t[0], t[9]), (TILES, 2000, 20_000));
        assert_eq!(times(5, 5), vec![5; TILES]);
    }

    #[test]
    fn only_groups_with_a_tile_are_decoded() {
        const S: i64 = 1_000_000_000;
        let keys: Vec<i64> = (0..60).map(|i| i * 10 * S).collect();
        let mut wanted = Wanted::new(times(0, 600 * S), keys.clone());
        let mut decoded = 0;
        for i in 0..600 {
            decoded += i64::from(wanted.needs(i * S, keys.contains(&(i * S))));
        }
        // Ten tiles at 30 s + i * 60 s, each on a key frame, with the second behind it.
        assert!((20..=25).contains(&decoded), "{decoded}");
    }

    #[test]
    fn without_key_frames_all_is_decoded() {
        let mut wanted = Wanted::new(times(0, 1000), vec![]);
        assert!((0..100).all(|i| wanted.needs(i * 10, false)));
    }
}
