//! A systemd credential, encrypted for this machine with its TPM or the host's key: the file `NAME` in
//! the configured folder.
//!
//! It is decrypted for the one volume, when it is needed: a unit that loads credentials is not even
//! started if one of them cannot be decrypted, and then neither stick nor recovery key would be tried.
//! The name within the file is always `holdfast-volume_NAME`, so that `NAME.new` can be renamed. Where
//! systemd did decrypt one for this unit (`LoadCredential=`), that one is taken.

use std::path::{Path, PathBuf};

use super::{Asked, Found, Secret, Source, read_both};
use crate::children;

/// Credentials of this machine.
#[derive(Debug)]
pub(super) struct Credential {
    loaded: Option<PathBuf>,
    encrypted: PathBuf,
}

impl Credential {
    pub(super) fn new(encrypted: &Path) -> Self {
        let loaded = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self { loaded, encrypted: encrypted.to_owned() }
    }
}

impl Source for Credential {
    fn fetch(&self, asked: &Asked<'_>) -> Result<Found, String> {
        let name = format!("holdfast-volume_{}", asked.volume);
        let loaded = self.loaded.as_ref().map(|folder| read_both(&folder.join(&name)));
        if let Some(Ok(found)) = loaded {
            return Ok(found);
        }
        let file = self.encrypted.join(asked.volume.as_str());
        let next = self.encrypted.join(format!("{}.new", asked.volume));
        let (current, next) = (decrypted(&name, &file), decrypted(&name, &next));
        // One that cannot be decrypted does not keep the other from being tried.
        match (current, next) {
            (Ok(None), Ok(None)) => match loaded {
                Some(Err(why)) => Err(why),
                _ => Err(format!("{} is not there", file.display())),
            },
            (Err(why), Ok(None) | Err(_)) | (Ok(None), Err(why)) => Err(why),
            (current, next) => {
                Ok(Found { current: current.unwrap_or_default(), next: next.unwrap_or_default() })
            }
        }
    }
}

/// The key in a file. `None` where there is none.
fn decrypted(name: &str, file: &Path) -> Result<Option<Secret>, String> {
    if !file.exists() {
        return Ok(None);
    }
    let name = format!("--name={name}");
    let arguments = ["decrypt".as_ref(), name.as_ref(), file.as_os_str(), "-".as_ref()];
    let key = children::secret("/usr/bin/systemd-creds", arguments);
    key.map(Some).map_err(|failed| {
        let why = failed.map_or_else(|why| why, |it| children::complaint(&it));
        format!("{}: systemd-creds: {why}", file.display())
    })
}
