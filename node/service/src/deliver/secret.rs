//! Secrets as destinations use them: from a file, read anew at each use, or given over the API.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{Destination, Sealed, SecretMember, Settings};
use crate::nodekey::{KeyError, NodeKey};

/// Largest secret, in bytes.
pub(crate) const SECRET_BYTES_MAX: usize = 4 << 10;
/// Largest secret of several lines, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;

/// A secret of a destination.
pub enum Secret {
    /// In a file that the configuration names. It can be replaced at any time.
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Given over the API.
    Given(Zeroizing<String>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "Secret({})", path.display()),
            Self::Given(_) => f.write_str("Secret"),
        }
    }
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nobody gave it.
    #[error("{name} is missing; give it, or name its file in {name}_file")]
    Missing {
        /// Which member.
        name: &'static str,
    },
    /// Its file cannot be used.
    #[error("cannot use {path}, named by {setting}: {problem}")]
    File {
        /// The setting that names its file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What the API was given cannot be used.
    #[error("it cannot be used: {problem}; give it anew")]
    Given {
        /// What is wrong with it.
        problem: String,
    },
}

impl Secret {
    /// A secret that is one word.
    ///
    /// # Errors
    /// [`SecretError`] where its file cannot be read, is empty, holds more, or is over 4 KiB.
    pub fn word(&self) -> Result<Zeroizing<String>, SecretError> {
        let text = self.read(SECRET_BYTES_MAX)?;
        check_word(text.trim(), SECRET_BYTES_MAX).map_err(|problem| self.failure(problem))?;
        Ok(Zeroizing::new(text.trim().to_owned()))
    }

    /// A secret that is one line, such as a password: it may have spaces in it.
    ///
    /// # Errors
    /// [`SecretError`] where its file cannot be read, is empty, holds more, or is over 4 KiB.
    pub fn line(&self) -> Result<Zeroizing<String>, SecretError> {
        let text = self.read(SECRET_BYTES_MAX)?;
        let line = text.trim();
        let checked = if line.is_empty() {
            Err("it is empty".to_owned())
        } else if line.contains(char::is_control) {
            Err("it holds more than one line".to_owned())
        } else {
            Ok(Zeroizing::new(line.to_owned()))
        };
        checked.map_err(|problem| self.failure(problem))
    }

    /// A secret that may have spaces, and several lines.
    ///
    /// # Errors
    /// [`SecretError`] where its file cannot be read, is empty, or is over 64 KiB.
    pub fn text(&self) -> Result<Zeroizing<String>, SecretError> {
        let text = self.read(TEXT_BYTES_MAX)?;
        if text.trim().is_empty() {
            return Err(self.failure("it is empty".into()));
        }
        Ok(Zeroizing::new(text.trim().to_owned()))
    }

    fn read(&self, bytes_max: usize) -> Result<Zeroizing<String>, SecretError> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File { path, .. } => {
                let text = read_limited(path, bytes_max as u64);
                text.map(Zeroizing::new).map_err(|problem| self.failure(problem))
            }
        }
    }

    fn failure(&self, problem: String) -> SecretError {
        match self {
            Self::File { setting, path } => {
                SecretError::File { setting, path: path.clone(), problem }
            }
            Self::Given(_) => SecretError::Given { problem },
        }
    }
}

/// The secrets of a destination, by the member that the API has for each.
#[derive(Debug, Default)]
pub struct Secrets(Vec<(&'static str, Secret)>);

impl Secrets {
    /// Those that settings name files of. What was given over the API is not among them.
    pub(super) fn in_files(settings: &mut dyn Settings) -> Self {
        let members = settings.secrets().into_iter();
        Self(members.filter_map(|member| in_file(&member)).collect())
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter().map(|(_, secret)| secret)
    }

    /// The secret of this member, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(of, _)| *of == name).map(|(_, secret)| secret)
    }

    /// A secret that is one word.
    ///
    /// # Errors
    /// [`SecretError`] where there is none, its file cannot be read, is empty, or holds more.
    pub fn word(&self, name: &'static str) -> Result<Zeroizing<String>, SecretError> {
        let missing = || SecretError::Missing { name };
        self.get(name).ok_or_else(missing)?.word()
    }

    /// A secret that is one line.
    ///
    /// # Errors
    /// [`SecretError`] where there is none, its file cannot be read, is empty, or holds more.
    pub fn line(&self, name: &'static str) -> Result<Zeroizing<String>, SecretError> {
        let missing = || SecretError::Missing { name };
        self.get(name).ok_or_else(missing)?.line()
    }
}

/// Checks a secret that is one word.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_word(secret: &str, bytes_max: usize) -> Result<(), String> {
    if secret.is_empty() {
        Err("it is empty".into())
    } else if secret.len() > bytes_max {
        Err(format!("it is larger than {bytes_max} bytes"))
    } else if secret.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Err("it holds more than one word".into())
    } else {
        Ok(())
    }
}

/// Where a sealed secret belongs, so that it opens nowhere else.
pub(crate) fn context(destination: &str, secret: &str) -> String {
    format!("destination {destination}: {secret}")
}

/// Opens what a destination was given; its files are left for when they are needed.
///
/// # Errors
/// [`KeyError::Sealed`] where another node's key sealed it.
pub(crate) fn open(settings: &Destination, key: &NodeKey) -> Result<Secrets, KeyError> {
    let (mut of, mut found) = (settings.clone(), Vec::new());
    for member in of.settings_mut().secrets() {
        let Some(Sealed(sealed)) = member.given.as_ref() else {
            found.extend(in_file(&member));
            continue;
        };
        let context = context(settings.name(), member.name);
        let plain = String::from_utf8(key.open(&context, sealed)?.to_vec());
        let plain = Zeroizing::new(plain.map_err(|_| KeyError::Sealed { context })?);
        found.push((member.name, Secret::Given(plain)));
    }
    Ok(Secrets(found))
}

fn in_file(member: &SecretMember<'_>) -> Option<(&'static str, Secret)> {
    let path = member.file.as_ref()?.clone();
    Some((member.name, Secret::File { setting: member.file_name, path }))
}

/// The text of a file that is no larger than it may be.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_limited(path: &Path, bytes_max: u64) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it is larger than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not text".into())
}
