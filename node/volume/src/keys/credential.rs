//! A systemd credential: `$CREDENTIALS_DIRECTORY/holdfast-volume_NAME`, which systemd decrypted
//! (with the TPM, or the host's key) into memory for this unit alone.

use std::path::PathBuf;

use super::{Asked, Found, Source, read_both};

/// Credentials of this unit.
#[derive(Debug)]
pub(super) struct Credential {
    folder: Option<PathBuf>,
}

impl Credential {
    pub(super) fn from_systemd() -> Self {
        Self { folder: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }
}

impl Source for Credential {
    fn fetch(&self, asked: &Asked<'_>) -> Result<Found, String> {
        let Some(folder) = &self.folder else {
            return Err("systemd gave no credentials (LoadCredential=)".to_owned());
        };
        read_both(&folder.join(format!("holdfast-volume_{}", asked.volume)))
    }
}
