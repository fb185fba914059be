//! How a recording that comes in is laid out: in parts that can be read without those before them.

use std::fs::File;
use std::sync::Arc;

use crate::clusters::Clusters;
use crate::container::Container;
use crate::error::Error;
use crate::fragments::Fragments;
use crate::source::Input;

/// The parts found so far.
#[derive(Debug)]
pub(crate) enum Layout {
    /// Of Matroska.
    Clusters(Clusters),
    /// Of an .mp4.
    Fragments(Fragments),
}

impl Layout {
    /// Of a recording of which nothing was seen; `None` for containers without such parts.
    pub(crate) fn of(container: Container) -> Option<Self> {
        match container {
            Container::Matroska => Some(Self::Clusters(Clusters::default())),
            Container::Quicktime => Some(Self::Fragments(Fragments::default())),
            _ => None,
        }
    }

    /// Walks on through the file's first `until` bytes.
    pub(crate) fn walk(&mut self, file: &File, until: u64) {
        match self {
            Self::Clusters(clusters) => clusters.walk(file, until),
            Self::Fragments(fragments) => fragments.walk(file, until),
        }
    }

    /// Why it cannot be read while it comes in, where that is so.
    pub(crate) fn refused(&self) -> Option<&str> {
        match self {
            Self::Clusters(_) => None,
            Self::Fragments(fragments) => fragments.refused(),
        }
    }

    /// Whether the demuxer waits for a track of which there was nothing yet.
    pub(crate) fn misses_a_track(&self) -> bool {
        match self {
            Self::Clusters(_) => false,
            Self::Fragments(fragments) => fragments.misses_a_track(),
        }
    }

    /// How much of a file of which so much was walked through can be read as if it were all.
    pub(crate) fn whole(&self, until: u64) -> u64 {
        match self {
            Self::Clusters(_) => until,
            Self::Fragments(fragments) => fragments.whole(),
        }
    }

    /// Whether a file of so many bytes ends where it should.
    pub(crate) fn ends_at(&self, bytes: u64) -> bool {
        match self {
            Self::Clusters(clusters) => clusters.ends_at(bytes),
            Self::Fragments(fragments) => fragments.ends_at(bytes),
        }
    }

    /// Opens what lies in these parts of a file of `bytes` bytes, each pair from one to another, and no
    /// more than is needed for it.
    pub(crate) fn open(
        &self,
        file: &File,
        pairs: &[(u64, u64)],
        bytes: u64,
    ) -> Result<Arc<Input>, Error> {
        match self {
            Self::Clusters(clusters) => Input::parts(file, bytes, clusters.parts(pairs, bytes)),
            Self::Fragments(fragments) => {
                Input::skipping(file, bytes, fragments.skipped(pairs, bytes))
            }
        }
    }
}
