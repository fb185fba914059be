//! The snapshot: one frame, upright: the first that shows something, or the one that shows at a time.
//!
//! Cameras begin with black or grey. A frame is blank while its brightness hardly varies. If all
//! are blank, the one that varies most is taken: a film of a white wall has a snapshot too.

use std::fs::File;

use holdfast_core::job::{MadePicture, SNAPSHOT_NAME};
use holdfast_core::transform::{Moment, SnapshotTransform};

use crate::error::Error;
use crate::pictures::{Frame, Rgb};

/// Standard deviation of the brightness below which a picture is blank.
const BLANK_BELOW: f64 = 8.0;

/// The time that a setting names, in a recording whose picture begins and ends at these times; `None`
/// for the first frame that shows something.
pub(crate) fn time(at: Moment, first_ns: i64, end_ns: i64) -> Option<i64> {
    match at {
        Moment::First => None,
        Moment::Seconds(s) => Some(((s * 1e9) as i64).clamp(first_ns, end_ns.max(first_ns))),
        Moment::Percent(p) => {
            let way = (end_ns - first_ns) as f64 * f64::from(p) / 100.0;
            Some(first_ns + way as i64)
        }
    }
}

/// Chooses the snapshot while frames go by in showing order.
#[derive(Debug)]
pub(crate) struct Snapshot {
    at_ns: Option<i64>,
    max_width: u32,
    quality: u8,
    rotation: u16,
    best: Option<(f64, Rgb)>,
    before: Option<Frame>,
    found: bool,
}

impl Snapshot {
    /// The frame that shows at a time, or the first that shows something.
    pub(crate) fn new(at_ns: Option<i64>, want: &SnapshotTransform, rotation: u16) -> Self {
        Self {
            at_ns,
            max_width: want.max_width.unwrap_or(u32::MAX),
            quality: want.quality,
            rotation,
            best: None,
            before: None,
            found: false,
        }
    }

    /// Whether more frames are needed, whatever their time.
    pub(crate) fn is_searching(&self) -> bool {
        !self.found && self.at_ns.is_none()
    }

    /// Looks at one frame.
    pub(crate) fn offer(&mut self, frame: &Frame) -> Result<(), Error> {
        if self.found {
            return Ok(());
        }
        if let Some(at) = self.at_ns {
            if frame.pts_ns > at {
                let shown = self.before.take().unwrap_or_else(|| frame.clone());
                self.best = Some((0.0, self.picture(&shown)?));
                self.found = true;
            } else {
                self.before = Some(frame.clone());
            }
            return Ok(());
        }
        let (_, spread) = frame.rgb(64, 36)?.brightness();
        self.found = spread >= BLANK_BELOW;
        let better = self.best.as_ref().is_none_or(|(b, _)| spread > b * 1.2 + 0.2);
        if self.found || better {
            self.best = Some((spread, self.picture(frame)?));
        }
        Ok(())
    }

    fn picture(&self, frame: &Frame) -> Result<Rgb, Error> {
        let (w, h) = frame.shown_size();
        let lying = self.rotation % 180 == 90;
        let across = if lying { h } else { w };
        if across <= self.max_width {
            return frame.rgb(w, h);
        }
        let (most, across) = (u64::from(self.max_width), u64::from(across));
        let scaled = |side: u32| ((u64::from(side) * most + across / 2) / across).max(1) as u32;
        frame.filling(scaled(w), scaled(h))
    }

    /// Writes the snapshot; `None` if there was no frame at all.
    pub(crate) fn write(mut self, file: &File) -> Result<Option<MadePicture>, Error> {
        if let Some(last) = self.before.take().filter(|_| !self.found) {
            self.best = Some((0.0, self.picture(&last)?));
        }
        let (rotation, quality) = (self.rotation, self.quality);
        self.best
            .map(|(_, p)| p.rotated(rotation).write_jpeg(file, quality, SNAPSHOT_NAME))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_lie_within_the_recording() {
        const S: i64 = 1_000_000_000;
        assert_eq!(time(Moment::First, S, 9 * S), None);
        assert_eq!(time(Moment::Seconds(2.5), S, 9 * S), Some(5 * S / 2));
        assert_eq!(time(Moment::Seconds(0.0), S, 9 * S), Some(S));
        assert_eq!(time(Moment::Seconds(1e6), S, 9 * S), Some(9 * S));
        assert_eq!(time(Moment::Percent(50.0), S, 9 * S), Some(5 * S));
        // Damaged times: an end before the beginning.
        assert_eq!(time(Moment::Seconds(2.0), S, 0), Some(S));
    }
}
