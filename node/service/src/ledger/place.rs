//! Where a ledger lies, and what writes it there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError};
use tokio::sync::mpsc;

use super::writer::{self, Op};
use super::{LedgerError, Shared, before};
use crate::held::once_let_go;
#[cfg(test)]
use crate::simulation::disk::LedgerFile;

/// Where a ledger lies.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In a file; a thread of its own writes it.
    File(PathBuf),
    /// On the disk of the simulation, whose one thread writes it too.
    #[cfg(test)]
    Simulated(LedgerFile),
}

impl Place {
    /// Its path; for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            #[cfg(test)]
            Self::Simulated(_) => Path::new("ledger"),
        }
    }

    /// Empties what a rebuild left half-made, or makes an empty one.
    pub(super) fn empty(&self) -> Result<(), LedgerError> {
        let emptied = match self {
            Self::File(path) => std::fs::File::create(path).map(drop),
            #[cfg(test)]
            Self::Simulated(file) => file.empty(),
        };
        emptied.map_err(|error| self.cannot_open(&error))
    }

    pub(super) fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        match self {
            Self::File(path) => {
                let is_new = !path.exists();
                let is_held = |error: &_| matches!(error, DatabaseError::DatabaseAlreadyOpen);
                let database = once_let_go(|| builder.create(path), is_held)?;
                if let Some(folder) = path.parent().filter(|_| is_new) {
                    // Or a power cut takes its name, and the node finds a vault without a ledger.
                    std::fs::File::open(folder).and_then(|folder| folder.sync_all())?;
                }
                Ok(database)
            }
            #[cfg(test)]
            Self::Simulated(file) => builder.create_with_backend(file.clone()),
        }
    }

    /// Keeps a copy of it, which is of this version and not open.
    pub(super) fn keep(&self, version: u64) -> std::io::Result<()> {
        match self {
            Self::File(path) => before::keep(path, version),
            // Its programs are all the same.
            #[cfg(test)]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Puts the copy of a version in its place; says where it lies now, or why it cannot.
    pub(super) fn put_back(&self, known: u64, newer: u64) -> Result<PathBuf, String> {
        match self {
            Self::File(path) => before::put_back(path, known, newer),
            #[cfg(test)]
            Self::Simulated(_) => Err("the simulation keeps none".into()),
        }
    }

    pub(super) fn start_writer(
        &self,
        shared: Arc<Shared>,
        ops: mpsc::Receiver<Op>,
    ) -> Result<(), LedgerError> {
        match self {
            Self::File(_) => {
                let thread = std::thread::Builder::new().name("ledger".into());
                let started = thread.spawn(move || writer::run(&shared, ops));
                started.map(drop).map_err(|error| self.cannot_open(&error))
            }
            #[cfg(test)]
            Self::Simulated(_) => {
                drop(tokio::spawn(writer::run_in_between(shared, ops)));
                Ok(())
            }
        }
    }

    fn cannot_open(&self, error: &std::io::Error) -> LedgerError {
        LedgerError::Open { path: self.path().into(), reason: error.to_string() }
    }
}
