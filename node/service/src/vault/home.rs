//! Where a recording lies: on which volume.

use holdfast_core::names::VolumeId;
use holdfast_core::{Recording, RecordingId};

/// A recording, and the volume that has its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// Which recording.
    pub id: RecordingId,
    /// Its volume. Unknown only of recordings that an older node took in; they are looked for.
    pub volume: Option<VolumeId>,
}

impl From<&Recording> for Home {
    fn from(recording: &Recording) -> Self {
        Self { id: recording.id, volume: recording.volume }
    }
}

impl From<RecordingId> for Home {
    fn from(id: RecordingId) -> Self {
        Self { id, volume: None }
    }
}
