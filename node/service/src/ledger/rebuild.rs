//! A new ledger from the vault alone (contract 2).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use holdfast_core::Lane;
use holdfast_core::names::VolumeId;
use holdfast_core::recording::{Event, Recording, step};
use jiff::Timestamp;
use redb::ReadableDatabase;

use super::place::Place;
use super::{LedgerError, schema, store, writer};
use crate::audit::{AuditLog, Carried};
use crate::config::Config;
use crate::nodekey::{KeyError, NodeKey};
use crate::vault::{Vault, VaultError, Volume};
use crate::volumes::known;

/// What a rebuild found.
#[derive(Debug)]
pub struct RebuildReport {
    /// Where the ledger that was there is kept.
    pub kept_aside: Option<PathBuf>,
    /// Recordings entered.
    pub recordings: usize,
    /// What became of the audit log.
    pub audit: Carried,
    /// Folders that could not be understood, with the reason. They count as of unknown status.
    pub damaged: Vec<String>,
}

/// Why a ledger could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The vault cannot be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The new ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The node's key, which signs the audit log, cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The old ledger cannot be put aside.
    #[error("cannot put {path} aside: {source}")]
    Aside {
        /// The old ledger.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Puts the ledger aside and makes a new one from the folders in the vault. The node must not run.
///
/// The audit log is in no folder: it is taken over from the old ledger, as far as that can be read.
///
/// # Errors
/// [`RebuildError`]; the old ledger is then still there, under its own name or its new one.
pub fn rebuild(config: &Config, now: Timestamp) -> Result<RebuildReport, RebuildError> {
    let path = super::path(config);
    let vault = Vault::of(&config.vault, config.node.profile)?
        .with_erasure(&config.vault.means(&config.node, now))?;
    // Whole under another name first: a node that finds half a ledger would take the rest for unknown.
    let new = path.with_extension("redb.new");
    let audit = AuditLog::new(&NodeKey::load_or_make(&config.node.state_path)?)?;
    let old = old(&path)?;
    let carrying = (&audit, old.as_ref());
    let mut report = from_vault(&vault, &Place::File(new.clone()), carrying, now)?;
    drop(old);
    report.kept_aside = put_aside(&path, now)?;
    rename(&new, &path)?;
    Ok(report)
}

/// Makes a new ledger there from the folders in the vault, with the audit log of an old one.
///
/// # Errors
/// [`RebuildError`]; what is there is then worthless.
pub(crate) fn from_vault(
    vault: &Vault,
    place: &Place,
    carrying: (&AuditLog, Option<&redb::Database>),
    now: Timestamp,
) -> Result<RebuildReport, RebuildError> {
    let (mut recordings, mut damaged) = (Vec::new(), Vec::new());
    for (id, manifest) in vault.manifests()? {
        match manifest {
            Ok(recording) if recording.id == id => match vault.with_length(recording) {
                Ok(recording) => recordings.push(recording),
                Err(error) => damaged.push(format!("{id}: {error}")),
            },
            Ok(other) => damaged.push(format!("{id}: its manifest is that of {}", other.id)),
            Err(error) => damaged.push(format!("{id}: {error}")),
        }
    }
    let (audit, old) = carrying;
    let here: Vec<VolumeId> = vault.volumes().iter().filter_map(Volume::id).collect();
    let audit = enter(place, &recordings, audit, old, &here, now)?;
    Ok(RebuildReport { kept_aside: None, recordings: recordings.len(), audit, damaged })
}

/// A recording as its manifest tells it, after the node's end: no client, and no attempt that runs.
#[must_use]
pub fn after_restart(recording: &Recording, now: Timestamp) -> Recording {
    let mut recording = step(recording, Event::Detached, now).0;
    for lane in Lane::ALL {
        recording = step(&recording, Event::Interrupted(lane), now).0;
    }
    recording
}

/// The ledger that is there, if it can be opened.
fn old(path: &std::path::Path) -> Result<Option<redb::Database>, RebuildError> {
    if !path.exists() {
        return Ok(None);
    }
    // redb ends a thread that opens a file which makes no sense.
    match catch_unwind(|| redb::Database::builder().open(path)) {
        // Held open by a running node, it must not be moved away under it.
        Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => {
            let reason = "a running node has it open; stop the node first".into();
            Err(LedgerError::Open { path: path.into(), reason }.into())
        }
        Ok(opened) => Ok(opened.ok()),
        Err(_) => Ok(None),
    }
}

/// Reads from a ledger what can be read of it: redb ends a thread that reads pages which make no sense.
pub(crate) fn salvage<T>(
    old: &redb::Database,
    act: impl FnOnce(&redb::ReadTransaction) -> Result<T, LedgerError>,
) -> Option<T> {
    let reading = AssertUnwindSafe(|| act(&old.begin_read().map_err(LedgerError::from)?));
    catch_unwind(reading).ok()?.ok()
}

fn put_aside(path: &std::path::Path, now: Timestamp) -> Result<Option<PathBuf>, RebuildError> {
    if !path.exists() {
        return Ok(None);
    }
    let aside = path.with_extension(format!("redb.before-{}", now.as_second()));
    rename(path, &aside)?;
    Ok(Some(aside))
}

#[expect(clippy::disallowed_methods, reason = "ledgers are renamed here, never deleted")]
fn rename(from: &std::path::Path, to: &std::path::Path) -> Result<(), RebuildError> {
    let folder = to.parent().map(std::fs::File::open);
    std::fs::rename(from, to)
        .and_then(|()| folder.map_or(Ok(()), |folder| folder?.sync_all()))
        .map_err(|source| RebuildError::Aside { path: from.into(), source })
}

fn enter(
    place: &Place,
    recordings: &[Recording],
    audit: &AuditLog,
    old: Option<&redb::Database>,
    here: &[VolumeId],
    now: Timestamp,
) -> Result<Carried, LedgerError> {
    place.empty()?;
    let database = schema::open(place)?;
    let write = writer::transaction(&database).map_err(LedgerError::Write)?;
    // A clock that stands before what manifests say must not be believed: when it is put right, their
    // stamps would move along with its own (rule 10).
    let latest = recordings.iter().map(Recording::latest_stamp).max();
    let now = latest.map_or(now, |latest| latest.max(now));
    for recording in recordings {
        let entry = schema::Entry::new(after_restart(recording, now));
        store::put(&write, None, entry, None)?;
    }
    store::note_instant(&write, now)?;
    match old.map(|old| salvage(old, known::all)) {
        Some(Some(known)) => known::carry_over(known, &write, here)?,
        // What is not known of volumes costs some looking; the recordings are what matters.
        Some(None) => {
            tracing::warn!("the old ledger is damaged: volumes that were used are forgotten");
        }
        None => {}
    }
    let carried = audit.carry_over(old, &write, now)?;
    write.commit().map_err(|error| LedgerError::Write(error.to_string()))?;
    Ok(carried)
}
