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
    /// Volumes beside the first that are made on blank disks: `data1` to `data7`.
    #[serde(default)]
    pub data_disks: Vec<String>,
    /// Time servers of the site, each `HOST` or, with authentication (NTS), `nts:HOST` or `nts:HOST:PORT`; 8 at most.
    #[serde(default)]
    pub time_servers: Vec<String>,
}

/// Most time servers.
const TIME_SERVERS_MAX: usize = 8;
/// Where an appliance mounts its volumes.
const MOUNTS: &str = "/srv/holdfast";

/// Checks everything together. `has_earlier` tells whether a secret was taken before.
///
/// # Errors
/// What is wrong, a sentence each, with the line where it is known.
pub(super) fn check(
    bundle: &Bundle,
    has_earlier: impl Fn(&str) -> bool,
) -> Result<Settings, Vec<String>> {
    let mut problems = Vec::new();
    let settings = settings(bundle.settings.as_deref().unwrap_or_default())
        .map_err(|problem| problems.push(problem));
    match Config::parse(&bundle.config, Path::new(CONFIG)) {
        Ok(config) => {
            let disks = settings.iter().flat_map(|settings| &settings.data_disks);
            problems.extend(disks.filter_map(|name| unused(name, &config)));
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
    let disks = &settings.data_disks;
    if let Some(name) = disks.iter().find(|name| !is_data_disk(name)) {
        return Err(format!(
            "{SETTINGS}: data_disks has {name:?}: it may have \"data1\" to \"data7\""
        ));
    }
    if let Some((_, name)) = disks.iter().enumerate().find(|(at, name)| disks[..*at].contains(name))
    {
        return Err(format!("{SETTINGS}: data_disks has {name:?} twice"));
    }
    if settings.time_servers.len() > TIME_SERVERS_MAX {
        return Err(format!("{SETTINGS}: time_servers has more than {TIME_SERVERS_MAX}"));
    }
    if let Some(server) = settings.time_servers.iter().find(|server| !is_time_server(server)) {
        return Err(format!(
            "{SETTINGS}: time_servers has {server:?}: write \"HOST\", or \"nts:HOST\" or \"nts:HOST:PORT\" for one \
             with NTS; HOST is a name or an address"
        ));
    }
    Ok(settings)
}

/// Of these the appliance's `volume.toml` knows how they are found and where they are mounted.
fn is_data_disk(name: &str) -> bool {
    matches!(name.strip_prefix("data").map(str::as_bytes), Some([b'1'..=b'7']))
}

/// That a volume would be made which the node does not use.
fn unused(name: &str, config: &Config) -> Option<String> {
    let path = Path::new(MOUNTS).join(name);
    let is_used = config.vault.volumes.iter().any(|it| it.name == name && it.path == path);
    (!is_used).then(|| {
        format!(
            "{SETTINGS}: data_disks has {name:?}, which {CONFIG} does not use; add there: [[vault.volumes]] with \
             name = {name:?} and path = {path:?}"
        )
    })
}

fn is_time_server(text: &str) -> bool {
    let (host, port) = match text.strip_prefix("nts:") {
        None => (text, None),
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => (address, None),
        Some(address) => {
            address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port)))
        }
    };
    let is_name = host.len() <= 253 && host.split('.').all(is_hostname);
    (is_name || host.parse::<std::net::IpAddr>().is_ok())
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
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
        assert!(said.contains("`recovery_key`, `hostname`, `data_disks`"), "{said}");
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
    fn a_data_disk_has_to_be_used_by_the_node() {
        let two = "[[vault.volumes]]\nname = \"data0\"\npath = \"/srv/holdfast/data0\"\n\
            [[vault.volumes]]\nname = \"data1\"\npath = \"/srv/holdfast/data1\"\n";
        let settings = check(&bundle(two, "data_disks = [\"data1\"]"), |_| false).unwrap();
        assert_eq!(settings.data_disks, ["data1"]);
        let said = problem(GOOD, "data_disks = [\"data1\"]");
        assert!(said.contains("add there") && said.contains("/srv/holdfast/data1"), "{said}");
        let elsewhere = two.replace("/srv/holdfast/data1", "/mnt/data1");
        assert!(problem(&elsewhere, "data_disks = [\"data1\"]").contains("add there"));
        for wrong in ["data0", "data8", "data11", "../x", "data1 data2"] {
            let said = problem(two, &format!("data_disks = [{wrong:?}]"));
            assert!(said.contains("\"data1\" to \"data7\""), "{said}");
        }
        assert!(problem(two, "data_disks = [\"data1\", \"data1\"]").contains("twice"));
    }

    #[test]
    fn time_servers_are_hosts_or_addresses() {
        let good = r#"time_servers = ["10.0.0.1", "fd00::1", "time.site.example", "nts:a.example", "nts:a.example:4461",
            "nts:fd00::1"]"#;
        assert_eq!(check(&bundle(GOOD, good), |_| false).unwrap().time_servers.len(), 6);
        for wrong in [
            "",
            "a b",
            "nts:",
            "a;b",
            "ntp:a",
            "a:123",
            "nts:a:0",
            "nts:a:70000",
            "a\nmakestep 1 -1",
            "$(x)",
        ] {
            let said = problem(GOOD, &format!("time_servers = [{wrong:?}]"));
            assert!(said.contains("nts:HOST"), "{wrong}: {said}");
        }
        let many = ["\"a\""; TIME_SERVERS_MAX + 1].join(", ");
        assert!(problem(GOOD, &format!("time_servers = [{many}]")).contains("more than 8"));
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
