//! The snapshot: the first frame that shows something, in full size, upright.
//!
//! Cameras begin with black or grey. A frame is blank while its brightness hardly varies. If all
//! are blank, the one that varies most is taken: a film of a white wall has a snapshot too.

use std::fs::File;

use holdfast_core::job::{MadePicture, SNAPSHOT_NAME};

use crate::error::Error;
use crate::pictures::{Frame, Rgb};

const QUALITY: u8 = 88;
/// Standard deviation of the brightness below which a picture is blank.
const BLANK_BELOW: f64 = 8.0;

/// Chooses the snapshot while frames go by in showing order.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    best: Option<(f64, Rgb)>,
    found: bool,
}

impl Snapshot {
    /// Whether a frame was found and no more are needed.
    pub(crate) fn is_found(&self) -> bool {
        self.found
    }

    /// Looks at one frame.
    pub(crate) fn offer(&mut self, frame: &Frame) -> Result<(), Error> {
        if self.found {
            return Ok(());
        }
        let (_, spread) = frame.rgb(64, 36)?.brightness();
        self.found = spread >= BLANK_BELOW;
        let better = self.best.as_ref().is_none_or(|(b, _)| spread > b * 1.2 + 0.2);
        if self.found || better {
            let (w, h) = frame.shown_size();
            self.best = Some((spread, frame.rgb(w, h)?));
        }
        Ok(())
    }

    /// Writes the snapshot; `None` if there was no frame at all.
    pub(crate) fn write(self, rotation: u16, file: &File) -> Result<Option<MadePicture>, Error> {
        self.best
            .map(|(_, p)| p.rotated(rotation).write_jpeg(file, QUALITY, SNAPSHOT_NAME))
            .transpose()
    }
}
