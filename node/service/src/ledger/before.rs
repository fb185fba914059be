//! The ledger as it was before a newer program migrated it, for the program that knows no more than that.
//!
//! A version on trial may be left for the one before (docs/appliance.md), which would refuse what the other made of
//! the ledger. So a migration leaves a copy of what it found, and a program that meets a ledger that is too new for
//! it goes on with that copy. What came in meanwhile lies in the vault with its manifests, and is taken in again
//! as the node starts. The newer ledger stays beside it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest that the newer program may have worked on its own: a copy that is older would bring back what has long
/// been delivered and deleted.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

fn copy_of(path: &Path, version: u64) -> PathBuf {
    path.with_extension(format!("redb.schema-{version}"))
}

/// Leaves a copy of a ledger of this version, durably. The ledger is not open.
pub(super) fn keep(path: &Path, version: u64) -> io::Result<()> {
    let new = path.with_extension("redb.copy");
    fs::copy(path, &new)?;
    File::open(&new)?.sync_all()?;
    rename(&new, &copy_of(path, version))
}

/// Puts the copy of the version `known` in the place of a ledger of the version `newer`, which is not open. Where it lies
/// now, or why there is nothing to put back.
pub(super) fn put_back(path: &Path, known: u64, newer: u64) -> Result<PathBuf, String> {
    let copy = copy_of(path, known);
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    let (Ok(left), Ok(last)) = (modified(&copy), modified(path)) else {
        return Err(format!("there is no copy of before at {}", copy.display()));
    };
    if last.duration_since(left).is_ok_and(|age| age > AGE_MAX) {
        return Err(format!(
            "the copy of before, {}, is more than {} days older",
            copy.display(),
            AGE_MAX.as_secs() / 86_400
        ));
    }
    let aside = path.with_extension(format!("redb.newer-{newer}"));
    // A power cut in between leaves no ledger, and a node that says so; both files are there.
    let done = rename(path, &aside).and_then(|()| rename(&copy, path));
    done.map_err(|error| format!("{} cannot be put back: {error}", copy.display()))?;
    Ok(aside)
}

#[expect(clippy::disallowed_methods, reason = "ledgers are renamed here, never deleted")]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
