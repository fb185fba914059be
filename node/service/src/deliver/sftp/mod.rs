//! A folder of a server that speaks SFTP, by libssh2.
//!
//! - A name appears only once its file is whole, synced and checked (see `upload`).
//! - A push that was cut short is gone on with where it stopped.
//! - The server is known by its key before anything secret is sent (see `hosts`).
//! - Sessions are kept for a while, so that many small files do not log in one by one (see `pool`).
//! - The library blocks, so it runs on threads for that; dropping a push shuts its connection down,
//!   which ends the thread. Memory is bounded: two windows of the file for each push.
//! - Secrets are read at each login, so they can be changed without a restart.

mod client;
mod error;
mod hosts;
mod pool;
mod read;
mod remote;
mod replace;
mod status;
mod upload;
mod window;

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub use self::client::Limits;
use self::client::{Cut, Session};
use self::error::Error;
use self::hosts::Hosts;
use self::pool::Pool;
use self::remote::Remote;
use self::upload::Job;
use super::progress::{Progress, Stalled};
use super::secret::Secrets;
use super::turns::Turns;
use super::{Destination, FileToPush, PushError, Reading, names};
use crate::config::{SftpDestination, Verify};

/// Longest user name and host name, in bytes.
const WORD_BYTES_MAX: usize = 255;

/// A folder of a server.
#[derive(Debug)]
pub struct Sftp {
    settings: Arc<SftpDestination>,
    secrets: Secrets,
    hosts: Arc<Hosts>,
    pool: Arc<Pool>,
    turns: Turns,
    limits: Limits,
    file_mode: Option<i32>,
    folder_mode: Option<i32>,
}

impl Sftp {
    /// A destination from its settings, its secrets in the files that they name. The server need not
    /// be reachable yet. Its key is remembered in the state folder.
    ///
    /// # Errors
    /// [`PushError`] where the settings make no sense.
    pub fn new(settings: &SftpDestination, state_path: &Path) -> Result<Self, PushError> {
        Self::with_limits(settings, state_path, Limits::default())
    }

    /// The same with other limits, for tests.
    ///
    /// # Errors
    /// The same.
    pub fn with_limits(
        settings: &SftpDestination,
        state_path: &Path,
        limits: Limits,
    ) -> Result<Self, PushError> {
        let failed = |problem| Error::Settings(problem).into_push_error(settings);
        check(settings).map_err(failed)?;
        let (host, given) = (&settings.host, settings.host_key.as_deref());
        let hosts = Hosts::new(state_path, host, settings.port, given).map_err(failed)?;
        let mode = |name, given: &Option<String>| mode(name, given.as_deref()).map_err(failed);
        Ok(Self {
            secrets: Secrets::in_files(&mut settings.clone()),
            hosts: Arc::new(hosts),
            pool: Arc::default(),
            turns: Turns::default(),
            limits,
            file_mode: mode("file_mode", &settings.file_mode)?,
            folder_mode: mode("folder_mode", &settings.folder_mode)?,
            settings: Arc::new(settings.clone()),
        })
    }

    /// The same with these secrets.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    async fn send(&self, file: &FileToPush) -> Result<String, Error> {
        let bad = |problem| Error::Name { name: file.name.clone(), problem };
        let parts: Vec<_> = names::parts(&file.name).map_err(bad)?;
        let turn = self.turns.take(&file.name, self.limits.stall_ms_max).await;
        let turn = Arc::new(turn.map_err(|Stalled| self.stalled())?);
        let job = Arc::new(Job {
            source: file.path.clone(),
            bytes: file.bytes,
            root: root(&self.settings.path).to_owned(),
            parts: parts.into_iter().map(String::from).collect(),
            existing: self.settings.existing,
            reads_back: self.settings.verify == Verify::ReadBack,
            file_mode: self.file_mode,
            folder_mode: self.folder_mode,
        });
        let run = || {
            let (job, turn) = (job.clone(), turn.clone());
            move |session: &Session, progress: &Progress| {
                let _until_it_ends = turn;
                job.run(session, progress)
            }
        };
        // A session that waited may have been ended by the server meanwhile.
        while let Some(session) = self.pool.take() {
            match self.on(session, &file.progress, run()).await {
                Err(Error::Broken { message, .. }) => {
                    tracing::debug!(message, "a session that waited was dead");
                }
                result => return result.map(|below| self.location(&below)),
            }
        }
        let session = self.connect().await?;
        self.on(session, &file.progress, run()).await.map(|below| self.location(&below))
    }

    async fn connect(&self) -> Result<Session, Error> {
        client::connect(&self.settings, &self.secrets, &self.hosts, self.limits).await
    }

    /// Does something with a session, on a thread that ends when this is dropped or nothing moves. A
    /// session that is still good waits for the next file.
    async fn on<T: Send + 'static>(
        &self,
        session: Session,
        progress: &Progress,
        act: impl FnOnce(&Session, &Progress) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let cut = Cut::new(&session.line);
        let moves = progress.clone();
        let acting = client::blocking(move || {
            let result = act(&session, &moves);
            Ok((session, result))
        });
        let watched = progress.watch(self.limits.stall_ms_max, acting).await;
        let (session, result) = watched.map_err(|Stalled| self.stalled())??;
        if result.as_ref().err().is_none_or(Error::leaves_session) {
            cut.defuse();
            self.pool.put(session, self.limits.idle_ms_max);
        } else {
            // In this order: with its connection shut down a session goes without a wait.
            drop(cut);
            drop(session);
        }
        result
    }

    fn stalled(&self) -> Error {
        Error::Stalled { stall_ms: self.limits.stall_ms_max }
    }

    async fn open(&self, location: &str, range: Option<&str>) -> Result<Reading, Error> {
        let path = self.path(location)?;
        let open = |session| {
            let (pool, settings) = (&self.pool, &self.settings);
            read::open(session, path.clone(), range, pool, settings, self.limits)
        };
        while let Some(session) = self.pool.take() {
            match open(session).await {
                Err(Error::Broken { .. }) => {}
                result => return result,
            }
        }
        open(self.connect().await?).await
    }

    async fn remove(&self, name: &str, location: Option<&str>) -> Result<(), Error> {
        let bad = |problem| Error::Name { name: name.to_owned(), problem };
        let path = match location {
            Some(location) => self.path(location)?,
            None => {
                names::parts(name).map_err(bad)?;
                upload::join(root(&self.settings.path), name)
            }
        };
        let progress = Progress::default();
        let session = self.connect().await?;
        let remove = move |session: &Session, progress: &Progress| {
            Remote { sftp: &session.sftp, progress }.remove(&path)
        };
        self.on(session, &progress, remove).await
    }

    fn location(&self, below: &str) -> String {
        format!("{}{below}", self.location_prefix())
    }

    /// `sftp://host:port/path/`; a path that begins where a login does has `~/` before it.
    fn location_prefix(&self) -> String {
        let SftpDestination { host, port, path, .. } = &*self.settings;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let path = match (root(path), path.starts_with('/')) {
            ("/", _) => String::new(),
            (path, true) => format!("{}/", &path[1..]),
            (".", false) => "~/".into(),
            (path, false) => format!("~/{path}/"),
        };
        format!("sftp://{host}:{port}/{path}")
    }

    /// The path of a location that this destination once answered with.
    fn path(&self, location: &str) -> Result<String, Error> {
        let elsewhere = || Error::Elsewhere { location: location.into() };
        let below = location.strip_prefix(&self.location_prefix()).ok_or_else(elsewhere)?;
        names::parts(below).map_err(|_| elsewhere())?;
        Ok(upload::join(root(&self.settings.path), below))
    }
}

impl Destination for Sftp {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn push<'a>(&'a self, file: &'a FileToPush) -> BoxFuture<'a, Result<String, PushError>> {
        let send = async move {
            self.send(file).await.map_err(|error| error.into_push_error(&self.settings))
        };
        send.boxed()
    }

    fn read<'a>(
        &'a self,
        location: &'a str,
        range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Reading, PushError>> {
        let open = async move {
            let opened = self.open(location, range).await;
            opened.map_err(|error| error.into_push_error(&self.settings))
        };
        open.boxed()
    }

    fn withdraw<'a>(
        &'a self,
        name: &'a str,
        location: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), PushError>> {
        let remove = async move {
            let removed = self.remove(name, location).await;
            removed.map_err(|error| error.into_push_error(&self.settings))
        };
        remove.boxed()
    }
}

/// The folder without slashes at its end.
fn root(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        root => root,
    }
}

fn check(settings: &SftpDestination) -> Result<(), String> {
    let SftpDestination { host, port, user, path, .. } = settings;
    let is_short = |word: &str| !word.is_empty() && word.len() <= WORD_BYTES_MAX;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if !is_short(host) || !host.bytes().all(is_host) || host.starts_with('.') {
        return Err(format!("host = {host:?}: give the server's name or IP address alone"));
    }
    if *port == 0 {
        return Err("port = 0: must be 1 to 65535".into());
    }
    if !is_short(user) || user.contains(char::is_control) {
        return Err(format!("user = {user:?} cannot be used"));
    }
    let below = root(path).trim_start_matches('/');
    if path.starts_with("//") || path.split('/').any(|part| part == "~") {
        return Err(format!(
            "path = {path:?}: give it from /, or relative to where a login begins"
        ));
    }
    if !below.is_empty()
        && below != "."
        && let Err(problem) = names::parts(below)
    {
        return Err(format!("path = {path:?} cannot be used: {problem}"));
    }
    let has_password = settings.password.is_some() || settings.password_file.is_some();
    let has_key = settings.private_key.is_some() || settings.private_key_file.is_some();
    if !has_password && !has_key {
        return Err("it has no password and no private_key: give one of them, or both".into());
    }
    Ok(())
}

/// A mode in octal, without the bits for other users' programs (setuid and so on).
fn mode(name: &str, given: Option<&str>) -> Result<Option<i32>, String> {
    let Some(given) = given else { return Ok(None) };
    let is_octal = (3..=4).contains(&given.len()) && given.bytes().all(|b| b.is_ascii_digit());
    let mode = is_octal.then(|| i32::from_str_radix(given, 8).ok()).flatten();
    match mode.filter(|mode| *mode <= 0o777) {
        Some(mode) => Ok(Some(mode)),
        None => Err(format!("{name} = {given:?}: give it in octal, such as 0640")),
    }
}
