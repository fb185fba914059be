//! A node's configuration, as a test wants it.

use std::path::PathBuf;

use toml::{Table, Value};

/// What a test changes in a node's configuration; everything else is as delivered.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub(crate) set: Vec<(String, Value)>,
    pub(crate) environments: Vec<Environment>,
    pub(crate) destinations: Vec<Table>,
    pub(crate) vault: Option<PathBuf>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) program: Option<PathBuf>,
}

impl Settings {
    /// Settings as delivered, with the environment `demo` that pushes to the directory `folder`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one key, named with its table: `ingest.stall_ms_max`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set.push((key.to_owned(), value.into()));
        self
    }

    /// Adds an environment. Once one is added, there is no `demo` unless it is added too.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environments.push(environment);
        self
    }

    /// Adds a destination beside `folder`.
    #[must_use]
    pub fn destination(mut self, destination: Table) -> Self {
        self.destinations.push(destination);
        self
    }

    /// Puts the vault into a folder that exists.
    #[must_use]
    pub fn vault(mut self, path: impl Into<PathBuf>) -> Self {
        self.vault = Some(path.into());
        self
    }

    /// Sets an environment variable of the node's process.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs this build of the node instead of the usual one.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }
}

/// The value of `vault.volumes` for these names and places.
#[must_use]
pub fn volumes<'a>(all: impl IntoIterator<Item = (&'a str, PathBuf)>) -> Value {
    let table = |(name, path): (&str, PathBuf)| {
        let mut table = Table::new();
        table.insert("name".into(), name.into());
        table.insert("path".into(), path.to_string_lossy().into_owned().into());
        Value::Table(table)
    };
    all.into_iter().map(table).collect::<Vec<_>>().into()
}

/// A customer's settings. Its hash is its id with `-hash` behind it.
#[derive(Debug, Clone)]
pub struct Environment(pub(crate) Table);

impl Environment {
    /// An environment as delivered, which pushes to `folder`.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let mut table = Table::new();
        table.insert("id".into(), id.into());
        table.insert("hash".into(), format!("{id}-hash").into());
        table.insert("destinations".into(), vec!["folder"].into());
        Self(table)
    }

    /// One that makes nothing of a recording, and only pushes the raw file.
    #[must_use]
    pub fn raw_only(id: &str) -> Self {
        ["mp4", "snapshot", "filmstrip"].iter().fold(Self::new(id), |env, key| env.set(key, false))
    }

    /// Sets one key.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }
}

/// Sets `a.b.c` in a table, making tables on the way.
pub(crate) fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = table.entry(head).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
