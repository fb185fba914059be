//! What a technician hands in: checked like everything that is taken, then put where `take` looks.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::provision::folder::{Bundle, is_secret_name, wrong_name};
use crate::provision::{
    CONFIG, CONFIG_BYTES_MAX, HANDED_IN, SECRET_BYTES_MAX, SECRETS, SECRETS_MAX, SETTINGS,
    SETTINGS_BYTES_MAX, check, files,
};

/// As it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandedIn {
    config: String,
    #[serde(default)]
    settings: Option<String>,
    /// In base64.
    #[serde(default)]
    secrets: BTreeMap<String, String>,
}

impl HandedIn {
    /// What it holds.
    ///
    /// # Errors
    /// What is wrong with it, a sentence each.
    pub(super) fn check(self) -> Result<Bundle, Vec<String>> {
        let mut problems = Vec::new();
        let mut measure = |name: &str, length: usize, bytes_max: u64| {
            if length as u64 > bytes_max {
                problems.push(format!("{name} is larger than {bytes_max} bytes"));
            }
        };
        measure(CONFIG, self.config.len(), CONFIG_BYTES_MAX);
        measure(SETTINGS, self.settings.as_ref().map_or(0, String::len), SETTINGS_BYTES_MAX);
        let settings = self.settings.filter(|settings| !settings.trim().is_empty());
        let mut bundle = Bundle { config: self.config, settings, ..Bundle::default() };
        if self.secrets.len() > SECRETS_MAX {
            problems.push(format!("{SECRETS} has more than {SECRETS_MAX} files"));
        }
        for (name, text) in self.secrets.into_iter().take(SECRETS_MAX) {
            match STANDARD.decode(text.as_bytes()).map(Zeroizing::new) {
                _ if !is_secret_name(&name) => problems.push(wrong_name(&name)),
                Ok(secret) if secret.len() as u64 <= SECRET_BYTES_MAX => {
                    bundle.secrets.insert(name, secret);
                }
                Ok(_) => problems
                    .push(format!("{SECRETS}/{name} is larger than {SECRET_BYTES_MAX} bytes")),
                Err(_) => problems.push(format!("{SECRETS}/{name} did not arrive whole")),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        check::check(&bundle, |_| false)?;
        Ok(bundle)
    }
}

/// Puts it into the inbox: there is a whole `set`, or none.
pub(super) fn put(inbox: &Path, bundle: &Bundle) -> io::Result<()> {
    let (new, set) = (inbox.join("new"), inbox.join(HANDED_IN));
    files::remove(&new)?;
    files::make_folder(&new, 0o700, None)?;
    files::write(&new.join(CONFIG), bundle.config.as_bytes(), 0o600, None)?;
    if let Some(settings) = &bundle.settings {
        files::write(&new.join(SETTINGS), settings.as_bytes(), 0o600, None)?;
    }
    files::make_folder(&new.join(SECRETS), 0o700, None)?;
    for (name, secret) in &bundle.secrets {
        files::write(&new.join(SECRETS).join(name), secret, 0o600, None)?;
    }
    files::remove(&set)?;
    files::rename(&new, &set)
}
