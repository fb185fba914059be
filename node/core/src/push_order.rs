//! Rule 5: the order of a push, and when it counts.

use serde::{Deserialize, Serialize};

use crate::recording::{FileKind, Policy, Recording};

/// When a destination's push counts as successful.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Success {
    /// When its main file is up, whatever the others did.
    #[default]
    Main,
    /// When every enabled file is up.
    All,
}

/// Kinds in the order in which they are pushed.
///
/// The main file is the `.mp4`, or the raw file where no `.mp4` is made; then the raw file, the
/// snapshot, the filmstrip and its WebVTT file.
pub const ORDER: [FileKind; 5] = [
    FileKind::Main,
    FileKind::Raw,
    FileKind::Snapshot,
    FileKind::Filmstrip,
    FileKind::FilmstripVtt,
];

/// Which kind is the main file under this policy.
#[must_use]
pub fn main_kind(policy: &Policy) -> FileKind {
    if policy.outputs.mp4 { FileKind::Main } else { FileKind::Raw }
}

/// Whether a destination is to get files of this kind.
#[must_use]
pub fn is_enabled(policy: &Policy, kind: FileKind) -> bool {
    match kind {
        FileKind::Main => policy.outputs.mp4,
        FileKind::Raw => policy.push_raw || !policy.outputs.mp4,
        FileKind::Snapshot => policy.outputs.snapshot,
        FileKind::Filmstrip | FileKind::FilmstripVtt => policy.outputs.filmstrip,
    }
}

/// What one destination has still to get, in order.
#[must_use]
pub fn pending_at(recording: &Recording, destination: &str) -> Vec<FileKind> {
    ORDER
        .into_iter()
        .filter(|kind| is_enabled(&recording.policy, *kind))
        .filter(|kind| {
            recording
                .file(*kind)
                .is_some_and(|file| file.is_local() && !file.is_pushed_to(destination))
        })
        .collect()
}

/// What all destinations have still to get: destination by destination, each in order.
#[must_use]
pub fn pending(recording: &Recording) -> Vec<(String, FileKind)> {
    recording
        .policy
        .destinations
        .iter()
        .flat_map(|to| pending_at(recording, to).into_iter().map(move |kind| (to.clone(), kind)))
        .collect()
}

/// Whether one destination's push counts as successful.
#[must_use]
pub fn is_successful(recording: &Recording, destination: &str) -> bool {
    let main = main_kind(&recording.policy);
    let main_is_up = recording.file(main).is_some_and(|file| file.is_pushed_to(destination));
    match recording.policy.success {
        Success::Main => main_is_up,
        Success::All => main_is_up && pending_at(recording, destination).is_empty(),
    }
}

/// Whether one destination has all that was made for it. A file that is gone here without having been
/// pushed there is still missing there.
#[must_use]
pub fn has_all(recording: &Recording, destination: &str) -> bool {
    let is_there =
        |kind: FileKind| recording.file(kind).is_none_or(|file| file.is_pushed_to(destination));
    ORDER.into_iter().filter(|kind| is_enabled(&recording.policy, *kind)).all(is_there)
}

/// Whether every destination's push counts as successful.
#[must_use]
pub fn all_successful(recording: &Recording) -> bool {
    recording.policy.destinations.iter().all(|to| is_successful(recording, to))
}
