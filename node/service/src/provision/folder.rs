//! What a folder holds that a stranger may have filled. No link is followed, nothing but a regular
//! file is read, and never more of one than its limit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use zeroize::Zeroizing;

use super::{
    CONFIG, CONFIG_BYTES_MAX, SECRET_BYTES_MAX, SECRETS, SECRETS_MAX, SETTINGS, SETTINGS_BYTES_MAX,
};
use crate::digest::Sha256;

/// Names in a `secrets` folder that are looked at before it is called too full, hidden ones included.
const NAMES_MAX: usize = 4 * SECRETS_MAX;

/// The secrets by their names.
pub(super) type Secrets = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What belongs together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    /// `holdfast.toml`
    pub config: String,
    /// `provision.toml`
    pub settings: Option<String>,
    /// `secrets/`
    pub secrets: Secrets,
}

impl Bundle {
    /// Of all of it, each part with its length, in hex.
    pub(super) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update(&(bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        part(self.config.as_bytes());
        part(if self.settings.is_some() { b"settings" } else { b"" });
        part(self.settings.as_deref().unwrap_or_default().as_bytes());
        for (name, secret) in &self.secrets {
            part(name.as_bytes());
            part(secret);
        }
        digest.finish()
    }
}

/// What was found in a folder.
#[derive(Debug)]
pub(super) enum Found {
    /// No configuration; with a hint where something looks like one.
    Nothing(Option<String>),
    /// All of it could be read.
    Bundle(Bundle),
    /// There is a configuration, but not everything can be used.
    Broken(Vec<String>),
}

/// Reads a folder. One that is not there holds nothing.
pub(super) fn read(path: &Path) -> Found {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    let folder = match open(path, flags | OFlag::O_NOFOLLOW, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::ENOENT) => return Found::Nothing(None),
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            return Found::Nothing(Some(format!("{} is no folder", path.display())));
        }
        Err(error) => return Found::Broken(vec![format!("cannot open: {}", error.desc())]),
    };
    let mut problems = Vec::new();
    let config = match text(&folder, CONFIG, CONFIG_BYTES_MAX) {
        Ok(Some(config)) => config,
        Ok(None) => return Found::Nothing(hint(path)),
        Err(problem) => {
            problems.push(problem);
            String::new()
        }
    };
    let settings = text(&folder, SETTINGS, SETTINGS_BYTES_MAX).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let secrets = secrets(&folder, path, &mut problems);
    if problems.is_empty() {
        Found::Bundle(Bundle { config, settings, secrets })
    } else {
        Found::Broken(problems)
    }
}

/// Windows hides endings, so a text editor's file may be called otherwise than it looks.
fn hint(path: &Path) -> Option<String> {
    ["holdfast.toml.txt", "holdfast.txt", "Holdfast.toml"].into_iter().find_map(|name| {
        path.join(name).symlink_metadata().ok()?;
        Some(format!(
            "there is a file {name}; rename it to {CONFIG} (on Windows, have the Explorer show \
             file name extensions first)"
        ))
    })
}

/// A regular file's bytes; `None` where there is none of that name.
pub(super) fn bytes(
    folder: impl AsFd,
    name: &str,
    shown: &str,
    bytes_max: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    // A pipe or a device must not hold anything up before it is known to be one.
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let wrong_kind = || format!("{shown} is no regular file; links and devices are not followed");
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP | Errno::ENXIO) => return Err(wrong_kind()),
        Err(error) => return Err(format!("{shown} cannot be opened: {}", error.desc())),
    };
    let unreadable = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(wrong_kind());
    }
    let mut bytes = Zeroizing::new(Vec::new());
    // The size that a file system claims may be anything; what is read is what counts.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{shown} is larger than {bytes_max} bytes"));
    }
    Ok(Some(bytes))
}

fn text(folder: &OwnedFd, name: &str, bytes_max: u64) -> Result<Option<String>, String> {
    let Some(bytes) = bytes(folder, name, name, bytes_max)? else { return Ok(None) };
    as_text(&bytes, name).map(Some)
}

/// UTF-8 without the mark that Windows' editors put before it.
fn as_text(bytes: &[u8], name: &str) -> Result<String, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{name}, line {line}: is not UTF-8 text; save it again with the encoding UTF-8")
    })?;
    Ok(text.to_owned())
}

/// Whether a secret may have this name.
pub(super) fn is_secret_name(name: &str) -> bool {
    let known = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    };
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(known)
}

/// What is wrong with a name that [`is_secret_name`] refuses.
pub(super) fn wrong_name(name: &str) -> String {
    format!(
        "{SECRETS}/{}: a secret's name has 1 to 64 of a-z, 0-9, dot, dash and underscore, and begins \
         with no dot",
        name.escape_debug()
    )
}

fn secrets(folder: &OwnedFd, path: &Path, problems: &mut Vec<String>) -> Secrets {
    let mut secrets = Secrets::new();
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    let inner = match openat(folder, SECRETS, flags, Mode::empty()) {
        Ok(inner) => inner,
        Err(Errno::ENOENT) => return secrets,
        Err(error) => {
            problems.push(format!("{SECRETS} is no folder that can be read: {}", error.desc()));
            return secrets;
        }
    };
    // Only names come from here; each is opened in the folder that was opened above.
    let names = match std::fs::read_dir(path.join(SECRETS)) {
        Ok(names) => names,
        Err(error) => {
            problems.push(format!("{SECRETS} cannot be read: {error}"));
            return secrets;
        }
    };
    for (index, entry) in names.enumerate() {
        if index >= NAMES_MAX || secrets.len() >= SECRETS_MAX {
            problems.push(format!("{SECRETS} has more than {SECRETS_MAX} files"));
            break;
        }
        let Ok(entry) = entry else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        // What other systems leave beside people's files: .DS_Store, ._name.
        if name.starts_with('.') {
            continue;
        }
        if !is_secret_name(&name) {
            problems.push(wrong_name(&name));
            continue;
        }
        match bytes(&inner, &name, &format!("{SECRETS}/{name}"), SECRET_BYTES_MAX) {
            Ok(Some(bytes)) => drop(secrets.insert(name, bytes)),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_plain() {
        for good in ["a", "films-password", "front_hook.2"] {
            assert!(is_secret_name(good), "{good}");
        }
        for bad in ["", ".a", "A", "a/b", "..", "a b", &"a".repeat(65)] {
            assert!(!is_secret_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_mark_of_windows_is_taken_off_and_utf_16_is_refused() {
        assert_eq!(as_text(b"\xef\xbb\xbf[vault]", CONFIG).unwrap(), "[vault]");
        let said = as_text(b"\xff\xfe[\0", CONFIG).unwrap_err();
        assert!(said.contains("line 1") && said.contains("UTF-8"), "{said}");
    }

    #[test]
    fn a_digest_tells_parts_from_each_other() {
        let of = |config: &str, settings: Option<&str>| {
            let settings = settings.map(Into::into);
            Bundle { config: config.into(), settings, ..Bundle::default() }.digest()
        };
        assert_ne!(of("ab", None), of("a", Some("b")));
        assert_ne!(of("a", None), of("a", Some("")));
    }
}
