//! The node's own key: what the ledger keeps sealed is opened with it, and the audit log is signed
//! with it.
//!
//! `{state_path}/node.key` holds 32 random bytes, made at the first start, readable by the node's
//! user alone. Everything else is derived from them with HKDF-SHA256, one key for each purpose. Who
//! has the ledger but not this file has no secret of any customer; who loses the file has to give the
//! secrets anew.
//!
//! A sealed secret is the base64 of nonce (12 bytes), ciphertext and tag (AES-256-GCM). Where it
//! belongs is authenticated with it, so that it opens nowhere else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const FILE_NAME: &str = "node.key";
const KEY_BYTES: usize = 32;

/// What can go wrong with the node's key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read or made.
    #[error("cannot use the node's key {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file is not what was written.
    #[error(
        "the node's key {path} {problem}; put the right file back, or move it away and give all \
         secrets anew"
    )]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine has no randomness, or the library refuses.
    #[error("this machine's cryptography fails: {0}")]
    Failed(&'static str),
    /// A sealed secret is damaged, belongs elsewhere, or was sealed with another key.
    #[error(
        "the secret of {context} does not open with this node's key: it is damaged, or was sealed by \
         another node; give it anew"
    )]
    Sealed {
        /// Where the secret belongs.
        context: String,
    },
}

/// The node's key. Its bytes are wiped when it goes, and never shown.
pub struct NodeKey {
    sealing: RandomizedNonceKey,
    signing_seed: Zeroizing<[u8; KEY_BYTES]>,
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey")
    }
}

impl NodeKey {
    /// Reads the key, or makes one where there is none.
    ///
    /// # Errors
    /// [`KeyError::File`], or [`KeyError::Unusable`] where others can read it or it is cut short.
    pub fn load_or_make(state_path: &Path) -> Result<Self, KeyError> {
        let path = state_path.join(FILE_NAME);
        let root = match load(&path)? {
            Some(root) => root,
            None => make(&path, state_path)?,
        };
        Self::derive(&root)
    }

    /// The key of these bytes.
    #[cfg(test)]
    pub(crate) fn of(root: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        Self::derive(root)
    }

    fn derive(root: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let sealing = expand(root, b"holdfast sealing 1")?;
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, sealing.as_slice())
            .map_err(|_| KeyError::Failed("AES-256-GCM"))?;
        Ok(Self { sealing, signing_seed: expand(root, b"holdfast audit signing 1")? })
    }

    /// Seals a secret for where it belongs, such as `destination folder: secret key`.
    ///
    /// # Errors
    /// [`KeyError::Failed`].
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<String, KeyError> {
        let mut bytes = plain.to_vec();
        let nonce = self
            .sealing
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut bytes)
            .map_err(|_| KeyError::Failed("sealing"))?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&bytes);
        Ok(STANDARD.encode(sealed))
    }

    /// Opens what was sealed for this very place.
    ///
    /// # Errors
    /// [`KeyError::Sealed`].
    pub fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let failed = || KeyError::Sealed { context: context.into() };
        let bytes = STANDARD.decode(sealed).map_err(|_| failed())?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = self
            .sealing
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut opened)
            .map_err(|_| failed())?
            .len();
        opened.truncate(length);
        Ok(opened)
    }

    /// The seed of the Ed25519 key that signs the audit log.
    #[must_use]
    pub fn signing_seed(&self) -> &[u8; KEY_BYTES] {
        &self.signing_seed
    }
}

/// Whether the file of a node's key is there, and gives the key with this signing seed.
///
/// # Errors
/// [`KeyError`], as at a start.
pub fn is_that_of(state_path: &Path, signing_seed: &[u8; KEY_BYTES]) -> Result<bool, KeyError> {
    let Some(root) = load(&state_path.join(FILE_NAME))? else { return Ok(false) };
    Ok(NodeKey::derive(&root)?.signing_seed() == signing_seed)
}

fn load(path: &Path) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, KeyError> {
    let failed = |source| KeyError::File { path: path.into(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let unusable =
        |problem: &str| KeyError::Unusable { path: path.into(), problem: problem.into() };
    if metadata.mode() & 0o077 != 0 {
        return Err(unusable("can be read by others (its mode must be 0600)"));
    }
    if metadata.len() != KEY_BYTES as u64 {
        return Err(unusable(&format!("has {} bytes instead of {KEY_BYTES}", metadata.len())));
    }
    let mut root = Zeroizing::new([0; KEY_BYTES]);
    file.read_exact(root.as_mut_slice()).map_err(failed)?;
    Ok(Some(root))
}

fn make(path: &Path, state_path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let failed = |source| KeyError::File { path: path.into(), source };
    let mut root = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(root.as_mut_slice()).map_err(|_| KeyError::Failed("randomness"))?;
    // Half a key after a crash would keep the node from starting, so it gets its name whole.
    let half = path.with_extension("key.new");
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&half).map_err(failed)?;
    file.write_all(root.as_slice()).and_then(|()| file.sync_all()).map_err(failed)?;
    #[expect(clippy::disallowed_methods, reason = "a key gets its name, no recording")]
    std::fs::rename(&half, path).map_err(failed)?;
    File::open(state_path).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(root)
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

fn expand(root: &[u8], purpose: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"holdfast node key")
        .extract(root)
        .expand(&[purpose], Length)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(|_| KeyError::Failed("HKDF"))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_with_the_same_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = NodeKey::load_or_make(folder.path()).unwrap();
        let sealed = key.seal("destination a", b"hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_ne!(sealed, key.seal("destination a", b"hunter2").unwrap());
        assert_eq!(key.open("destination a", &sealed).unwrap().as_slice(), b"hunter2");
        assert!(key.open("destination b", &sealed).is_err());
        assert!(key.open("destination a", "AAAA").is_err());
        assert!(key.open("destination a", "not base64").is_err());
        // The same file gives the same key; another file another one.
        let seed = key.signing_seed();
        assert!(is_that_of(folder.path(), seed).unwrap());
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(!is_that_of(elsewhere.path(), seed).unwrap());
        NodeKey::load_or_make(elsewhere.path()).unwrap();
        assert!(!is_that_of(elsewhere.path(), seed).unwrap());
        let again = NodeKey::load_or_make(folder.path()).unwrap();
        assert_eq!(again.open("destination a", &sealed).unwrap().as_slice(), b"hunter2");
        assert_eq!(again.signing_seed(), key.signing_seed());
        let other = NodeKey::load_or_make(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(other.open("destination a", &sealed).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_was_cut_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        NodeKey::load_or_make(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = NodeKey::load_or_make(folder.path()).unwrap_err().to_string();
        assert!(said.contains("0600"), "{said}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"short").unwrap();
        let said = NodeKey::load_or_make(folder.path()).unwrap_err().to_string();
        assert!(said.contains("5 bytes"), "{said}");
    }
}
