//! Receipts of erasures, kept as `NAME.UUID.erased` beside the header backups: `status` shows the newest, and
//! the service enters them in its signed audit log, whoever erased the volume and whether it ran then.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde::{Deserialize, Serialize};

use crate::backup;
use crate::config::{Config, Name};
use crate::error::Error;
use crate::state;
use crate::volume::Receipt;

/// Ending of the files.
const ENDING: &str = "erased";
/// Ending of one that is being written.
const NEW: &str = "erased-new";
/// Receipts of one volume that are kept.
const KEPT_MAX: usize = 8;
/// Receipts of one volume that `status` shows: its answer has a limit.
const SHOWN_MAX: usize = 3;

/// A receipt in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The UUID that the volume had; `unknown` where its header could not be read.
    pub uuid: String,
    /// When its key slots and header were gone.
    pub erased_at: jiff::Timestamp,
    /// Key slots that were destroyed.
    pub slots_destroyed: usize,
    /// Keys that were tried afterwards, and opened nothing.
    pub keys_refused: usize,
    /// Bytes at the front that were overwritten.
    pub overwritten_bytes: u64,
    /// Kept header backups that were overwritten and removed.
    pub header_backups_destroyed: usize,
    /// Whether the device took a discard of all its blocks.
    pub discarded: bool,
}

impl From<&Receipt> for Erased {
    fn from(receipt: &Receipt) -> Self {
        Self {
            uuid: receipt.uuid.clone(),
            erased_at: receipt.erased_at,
            slots_destroyed: receipt.slots_destroyed.len(),
            keys_refused: receipt.keys_refused.len(),
            overwritten_bytes: receipt.overwritten_bytes,
            header_backups_destroyed: receipt.header_backups_destroyed,
            discarded: receipt.discarded.is_ok(),
        }
    }
}

/// Keeps a receipt durably.
///
/// # Errors
/// If it cannot be written.
pub fn keep(config: &Config, name: &Name, erased: &Erased) -> Result<(), Error> {
    state::folder(&config.header_backups)?;
    let path = backup::path(config, name, &erased.uuid).with_extension(ENDING);
    let new = path.with_extension(NEW);
    let failed = |e: std::io::Error| Error::failed(format!("writing {}", path.display()), e);
    let json = serde_json::to_vec(erased).map_err(|e| failed(e.into()))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(&json)?;
        file.sync_all()
    });
    #[expect(clippy::disallowed_methods, reason = "a receipt, no recording")]
    let named = written.and_then(|()| fs::rename(&new, &path));
    named.and_then(|()| backup::sync(&config.header_backups)).map_err(failed)?;
    for old in kept(config, name).into_iter().skip(KEPT_MAX) {
        state::remove(&backup::path(config, name, &old.uuid).with_extension(ENDING));
    }
    Ok(())
}

/// The newest receipts of a volume, the newest first.
#[must_use]
pub fn shown(config: &Config, name: &Name) -> Vec<Erased> {
    kept(config, name).into_iter().take(SHOWN_MAX).collect()
}

fn kept(config: &Config, name: &Name) -> Vec<Erased> {
    let named = backup::named(config, name, &[ENDING]).into_iter();
    let read = named.filter_map(|(path, _)| serde_json::from_slice(&fs::read(path).ok()?).ok());
    let mut all: Vec<Erased> = read.collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.erased_at));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_shown_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::parse(&format!("header_backups = {:?}", folder.path())).unwrap();
        let name = |it: &str| Name::try_from(it.to_owned()).unwrap();
        let erased = |uuid: &str, second: i64| Erased {
            uuid: uuid.to_owned(),
            erased_at: jiff::Timestamp::from_second(second).unwrap(),
            slots_destroyed: 2,
            keys_refused: 1,
            overwritten_bytes: 16 << 20,
            header_backups_destroyed: 1,
            discarded: true,
        };
        for number in 0..12 {
            keep(&config, &name("data0"), &erased(&format!("uuid-{number}"), number)).unwrap();
        }
        // The same once more, after a power cut.
        keep(&config, &name("data0"), &erased("uuid-9", 100)).unwrap();
        keep(&config, &name("data1"), &erased("other", 50)).unwrap();
        let seen: Vec<_> = shown(&config, &name("data0")).into_iter().map(|it| it.uuid).collect();
        assert_eq!(seen, ["uuid-9", "uuid-11", "uuid-10"]);
        assert_eq!(kept(&config, &name("data0")).len(), KEPT_MAX);
        assert_eq!(shown(&config, &name("data1")).len(), 1);
        // They are no backups that a format would ask about.
        assert_eq!(backup::uuids(&config, &name("data0")), Vec::<String>::new());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT_MAX + 1);
    }
}
