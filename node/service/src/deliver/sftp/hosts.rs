//! The keys of servers: given in the settings, or remembered from the first time.
//!
//! What is remembered lies in `{state_path}/sftp-hosts/{host}_{port}`, one line: the kind of key and
//! its fingerprint, `ssh-ed25519 SHA256:…`. It is a file of its own and not in the ledger, so that a
//! ledger that was made anew does not trust whoever stands in the line that day. It belongs to the
//! server and not to a destination: deleting a destination and making it again forgets nothing. A
//! fingerprint that is given in the settings and found right replaces it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

use super::error::Error;
use crate::deliver::secret::read_limited;

const FOLDER: &str = "sftp-hosts";
const FILE_BYTES_MAX: u64 = 4 << 10;
const PREFIX: &str = "SHA256:";

/// Kinds of host keys, in the order in which they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Ed25519,
    Ecdsa,
    Rsa,
}

impl KeyKind {
    pub(super) const ALL: [Self; 3] = [Self::Ed25519, Self::Ecdsa, Self::Rsa];

    /// Its algorithms, as they are negotiated. None signs with SHA-1.
    pub(super) fn algorithms(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Ecdsa => "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
            Self::Rsa => "rsa-sha2-512,rsa-sha2-256",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "ssh-rsa",
        }
    }

    fn of(key: ssh2::HostKeyType) -> Option<Self> {
        match key {
            ssh2::HostKeyType::Ed25519 => Some(Self::Ed25519),
            ssh2::HostKeyType::Ecdsa256
            | ssh2::HostKeyType::Ecdsa384
            | ssh2::HostKeyType::Ecdsa521 => Some(Self::Ecdsa),
            ssh2::HostKeyType::Rsa => Some(Self::Rsa),
            _ => None,
        }
    }
}

/// A server's key, as it is told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostKey {
    pub(super) kind: KeyKind,
    /// `SHA256:…`, as ssh-keygen prints it.
    pub(super) fingerprint: String,
}

impl HostKey {
    /// The key that a session found.
    pub(super) fn of(session: &ssh2::Session) -> Option<Self> {
        let kind = KeyKind::of(session.host_key()?.1)?;
        let hash = session.host_key_hash(ssh2::HashType::Sha256)?;
        let fingerprint = format!("{PREFIX}{}", BASE64_STANDARD_NO_PAD.encode(hash));
        Some(Self { kind, fingerprint })
    }
}

/// What is known of one server's key.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    given: Vec<String>,
    /// One learns at a time.
    learning: Mutex<()>,
}

impl Hosts {
    /// What is known of `host:port`; nothing is read yet.
    ///
    /// # Errors
    /// What is wrong with the given fingerprints.
    pub(super) fn new(
        state_path: &Path,
        host: &str,
        port: u16,
        given: Option<&str>,
    ) -> Result<Self, String> {
        let words = given.unwrap_or_default().split([' ', ',', '\n', '\t']);
        let words = words.filter(|word| !word.is_empty()).map(plain);
        let given = words.collect::<Result<_, _>>()?;
        let path = state_path.join(FOLDER).join(format!("{host}_{port}"));
        Ok(Self { path, given, learning: Mutex::default() })
    }

    /// Which kind of key to ask for first.
    pub(super) fn kind(&self) -> Result<Option<KeyKind>, Error> {
        Ok(self.remembered()?.map(|key| key.kind))
    }

    /// Whether the server may have this key. Remembers it, if nothing is known yet.
    ///
    /// # Errors
    /// [`Error::HostKey`] where it is another one; [`Error::Hosts`] where it cannot be remembered.
    pub(super) fn check(&self, found: &HostKey) -> Result<(), Error> {
        let _one = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = self.remembered()?;
        let changed = |expected: String, why| {
            let HostKey { kind, fingerprint } = found;
            Error::HostKey { found: format!("{} {fingerprint}", kind.word()), expected, why }
        };
        if !self.given.is_empty() && !self.given.contains(&found.fingerprint) {
            return Err(changed(self.given.join(" or "), "given in host_key"));
        }
        match remembered {
            Some(remembered) if remembered == *found => Ok(()),
            Some(HostKey { kind, fingerprint }) if self.given.is_empty() => {
                let expected = format!("{} {fingerprint}", kind.word());
                Err(changed(expected, "remembered from the first time"))
            }
            _ => self.remember(found),
        }
    }

    fn remembered(&self) -> Result<Option<HostKey>, Error> {
        if !self.path.exists() {
            return Ok(None);
        }
        let text = read_limited(&self.path, FILE_BYTES_MAX).map_err(|p| self.failure(p))?;
        let parts = text.trim().split_once(' ').and_then(|(word, fingerprint)| {
            let kind = KeyKind::ALL.into_iter().find(|kind| kind.word() == word)?;
            Some(HostKey { kind, fingerprint: plain(fingerprint).ok()? })
        });
        let damaged =
            || self.failure("it is damaged; remove it once the key is in host_key".into());
        parts.map(Some).ok_or_else(damaged)
    }

    fn remember(&self, key: &HostKey) -> Result<(), Error> {
        let HostKey { kind, fingerprint } = key;
        let line = format!("{} {fingerprint}\n", kind.word());
        write(&self.path, &line).map_err(|error| self.failure(error.to_string()))?;
        tracing::info!(path = %self.path.display(), key = line.trim(), "the server's key is remembered");
        Ok(())
    }

    fn failure(&self, problem: String) -> Error {
        Error::Hosts { path: self.path.clone(), problem }
    }
}

/// A fingerprint without what may stand at its end.
fn plain(word: &str) -> Result<String, String> {
    let word = word.trim().trim_end_matches('=');
    let hash = word.strip_prefix(PREFIX).map(|hash| format!("{hash}="));
    let hash = hash.and_then(|hash| BASE64_STANDARD.decode(hash).ok());
    if hash.is_some_and(|hash| hash.len() == 32) {
        return Ok(word.to_owned());
    }
    Err(format!(
        "host_key has {word:?}, which is no fingerprint; `ssh-keygen -lf` prints one like SHA256:Yq9…"
    ))
}

/// Whole and durably, or not at all.
#[expect(clippy::disallowed_methods, reason = "a file of the state folder takes its place")]
fn write(path: &Path, line: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()?;
    File::open(folder.parent().unwrap_or(folder))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(letter: &str) -> HostKey {
        let fingerprint = format!("{PREFIX}{}A", letter.repeat(42));
        HostKey { kind: KeyKind::Ed25519, fingerprint }
    }

    #[test]
    fn the_first_key_is_remembered_and_another_refused() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = || Hosts::new(dir.path(), "h.example", 22, None).unwrap();
        hosts().check(&key("a")).unwrap();
        hosts().check(&key("a")).unwrap();
        let said = hosts().check(&key("b")).unwrap_err().to_string();
        for part in [&key("a").fingerprint, &key("b").fingerprint, "host_key"] {
            assert!(said.contains(part), "{said}");
        }
        let other = Hosts::new(dir.path(), "h.example", 2222, None).unwrap();
        other.check(&key("b")).unwrap();
    }

    #[test]
    fn a_key_that_is_given_takes_the_place_of_what_was_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = |given| Hosts::new(dir.path(), "h", 22, given).unwrap();
        hosts(None).check(&key("a")).unwrap();
        let both = format!("{} {}=", key("c").fingerprint, key("b").fingerprint);
        hosts(Some(&both)).check(&key("a")).unwrap_err();
        hosts(Some(&both)).check(&key("b")).unwrap();
        hosts(None).check(&key("b")).unwrap();
        hosts(None).check(&key("a")).unwrap_err();
    }

    #[test]
    fn what_is_no_fingerprint_or_damaged_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for given in ["MD5:00", "SHA256:", "SHA256:abc", "Yq9"] {
            let problem = Hosts::new(dir.path(), "h", 22, Some(given)).unwrap_err();
            assert!(problem.contains("ssh-keygen"), "{problem}");
        }
        let hosts = Hosts::new(dir.path(), "h", 22, None).unwrap();
        hosts.check(&key("a")).unwrap();
        std::fs::write(dir.path().join("sftp-hosts/h_22"), "").unwrap();
        assert!(matches!(hosts.check(&key("a")), Err(Error::Hosts { .. })));
    }
}
