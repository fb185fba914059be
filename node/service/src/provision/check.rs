//! Whether what was found makes a node: by the service's own parser, and by whether the secrets that
//! the configuration names are there.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::Bundle;
use super::{CONFIG, CREDENTIALS, SECRETS, SETTINGS};
use crate::config::{Config, ConfigError};

/// Where the recovery key is shown, once, when the data volume is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryKey {
    /// On the screen and the serial line, until the next start.
    Console,
    /// In a file on the stick that the configuration came from.
    Stick,
    /// Nowhere: none is made. What the TPM no longer opens is lost.
    #[default]
    Nowhere,
}

impl RecoveryKey {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Stick => "stick",
            Self::Nowhere => "nowhere",
        }
    }
}

/// `provision.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the recovery key is shown.
    #[serde(default)]
    pub recovery_key: RecoveryKey,
    /// The host's name: letters, digits and dashes, 1 to 63 of them.
    pub hostname: Option<String>,
}

/// Checks everything together. `has_earlier` tells whether a secret was taken before.
///
/// # Errors
/// What is wrong, a sentence each, with the line where it is known.
pub(super) fn check(
    bundle: &Bundle,
    has_earlier: impl Fn(&str) -> bool,
) -> Result<Settings, Vec<String>> {
    let mut problems = Vec::new();
    match Config::parse(&bundle.config, Path::new(CONFIG)) {
        Ok(_) => {
            let missing = wanted(&bundle.config)
                .into_iter()
                .filter(|name| !bundle.secrets.contains_key(name) && !has_earlier(name));
            problems.extend(missing.map(|name| {
                format!(
                    "{CONFIG} names {CREDENTIALS}{name}, but there is no file {SECRETS}/{name}; put \
                     it there, beside {CONFIG}"
                )
            }));
        }
        Err(ConfigError::Parse { message, .. }) => problems.push(in_words(CONFIG, &message)),
        Err(ConfigError::Invalid { problem, .. }) => problems.push(format!("{CONFIG}: {problem}")),
        Err(error) => problems.push(error.to_string()),
    }
    let settings = settings(bundle.settings.as_deref().unwrap_or_default())
        .map_err(|problem| problems.push(problem));
    match settings {
        Ok(settings) if problems.is_empty() => Ok(settings),
        _ => Err(problems),
    }
}

/// Parses `provision.toml`.
///
/// # Errors
/// What is wrong, with the line where it is known.
pub(super) fn settings(text: &str) -> Result<Settings, String> {
    let settings: Settings =
        toml::from_str(text).map_err(|error| in_words(SETTINGS, &error.to_string()))?;
    if let Some(name) = &settings.hostname
        && !is_hostname(name)
    {
        return Err(format!(
            "{SETTINGS}: hostname = {name:?}: must have 1 to 63 letters, digits and dashes, and begin \
             and end with no dash"
        ));
    }
    Ok(settings)
}

fn is_hostname(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The parser's message with its place in front and without the line itself, which may hold what
/// somebody wrote into the wrong file and which a console shows to all.
fn in_words(file: &str, message: &str) -> String {
    let place = message.lines().next().and_then(|line| line.split_once(" at line "));
    let Some((_, place)) = place else { return format!("{file}: {message}") };
    let is_excerpt = |line: &&str| {
        let line = line.trim_start();
        line.starts_with('|')
            || line.split_once(" |").is_some_and(|(number, _)| number.parse::<u64>().is_ok())
    };
    let said: Vec<&str> = message.lines().skip(1).filter(|line| !is_excerpt(line)).collect();
    format!("{file}, line {place}: {}", said.join(" ").trim())
}

/// The secrets that a configuration names.
pub(super) fn wanted(config: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Ok(table) = toml::from_str::<toml::Table>(config) {
        collect(&toml::Value::Table(table), &mut names);
    }
    names
}

fn collect(value: &toml::Value, names: &mut BTreeSet<String>) {
    match value {
        toml::Value::String(text) => {
            names.extend(text.strip_prefix(CREDENTIALS).map(ToOwned::to_owned));
        }
        toml::Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        toml::Value::Table(table) => table.values().for_each(|value| collect(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[vault]\npath = \"/v\"\n";

    fn bundle(config: &str, settings: &str) -> Bundle {
        Bundle { config: config.into(), settings: Some(settings.into()), ..Bundle::default() }
    }

    fn problem(config: &str, settings: &str) -> String {
        check(&bundle(config, settings), |_| false).unwrap_err().join(" / ")
    }

    #[test]
    fn errors_have_a_line_and_do_not_repeat_it() {
        let said = problem("[vault]\npath = \"/v\"\nhunter2 hunter3\n", "");
        assert!(said.starts_with("holdfast.toml, line 3, column 9: "), "{said}");
        assert!(!said.contains("hunter"), "{said}");
        let said = problem(GOOD, "\nhost = \"a\"");
        assert!(said.contains("provision.toml, line 2") && said.contains("`host`"), "{said}");
        assert!(said.contains("`recovery_key` or `hostname`"), "{said}");
    }

    #[test]
    fn settings_are_refused_by_value() {
        let said = problem(GOOD, "recovery_key = \"page\"");
        assert!(said.contains("`console`, `stick`, `nowhere`"), "{said}");
        assert!(problem(GOOD, "hostname = \"a b\"").contains("1 to 63"));
        let settings =
            check(&bundle(GOOD, "recovery_key = \"console\"\nhostname = \"a-1\""), |_| false);
        assert_eq!(settings.unwrap().recovery_key, RecoveryKey::Console);
        assert_eq!(check(&bundle(GOOD, ""), |_| false).unwrap(), Settings::default());
    }

    #[test]
    fn a_secret_that_the_configuration_names_has_to_be_there() {
        let hook = "[[environments]]\nid = \"demo\"\nhash = \"h\"\n\
            [[webhooks]]\nid = \"h\"\nenv_id = \"demo\"\nurl = \"https://a.example/h\"\n\
            secret_file = \"/run/credentials/holdfast.service/front-hook\"\n";
        let config = format!("{GOOD}# /run/credentials/holdfast.service/other\n{hook}");
        let said = problem(&config, "");
        assert!(said.contains("no file secrets/front-hook") && !said.contains("other"), "{said}");
        check(&bundle(&config, ""), |name| name == "front-hook").unwrap();
    }
}
