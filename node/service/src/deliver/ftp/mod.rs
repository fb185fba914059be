//! A folder of an FTP server, with the line protected by TLS (kind `ftps`) or not (kind `ftp`).
//!
//! - A file is sent to `.{name}.part` beside its place; once all of it is there it gets its name with
//!   RNFR and RNTO.
//! - What a push that was cut short left under the temporary name is gone on with, once its end has
//!   been read back and is the same as here. What cannot be compared is sent anew.
//! - It goes on with REST and STOR rather than APPE: should the server still be writing what the cut
//!   connection brought, both write the same bytes to the same place.
//! - A file that lies there under the same name stays whole until the new one takes its name, and
//!   for good where `existing` says so.
//! - Data connections go to the address of the control connection, whatever the server answers.
//! - A line that breaks is taken up again within a push, as long as it gets on.

mod client;
mod compare;
mod error;
mod judge;
mod pool;
mod push;
mod read;
mod source;
mod tls;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::client::{Connection, Login};
use self::error::Error;
use self::pool::Pool;
use self::tls::{Trust, Version};
use super::progress::{Progress, Stalled};
use super::secret::Secrets;
use super::{Destination, FileToPush, PushError, Reading, names};
use crate::config::FtpDestination;

/// Longest name of a user or a host, in bytes.
const WORD_BYTES_MAX: usize = 255;

/// How the line is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Explicit TLS, also for the data.
    Tls,
    /// Not at all.
    None,
}

/// What a push may take and how patient it is. The defaults are right but for tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest time for each step of connecting and logging in, in milliseconds.
    pub connect_ms_max: u64,
    /// Longest time without a byte moving, in milliseconds. Noticed before twice that time.
    pub stall_ms_max: u64,
    /// Connections that may break within a push, in a row, without a MiB being gained. The waits
    /// between attempts are the core's.
    pub hiccups_max: u32,
    /// Wait before a quick retry, in milliseconds.
    pub hiccup_ms: u64,
    /// How long a connection is kept for the next file, in milliseconds.
    pub idle_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_ms_max: 30_000,
            stall_ms_max: 120_000,
            hiccups_max: 2,
            hiccup_ms: 500,
            idle_ms_max: 30_000,
        }
    }
}

/// A folder of an FTP server.
pub struct Ftp {
    settings: FtpDestination,
    protection: Protection,
    secrets: Secrets,
    limits: Limits,
    trust: Option<Trust>,
    /// Whether the server has been found to speak nothing but TLS 1.3.
    needs_tls13: AtomicBool,
    pool: Pool,
}

impl std::fmt::Debug for Ftp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ftp")
            .field("settings", &self.settings)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

/// Where a file goes at the server, from `/`.
#[derive(Debug, Clone)]
struct Place {
    folder: String,
    name: String,
}

impl Place {
    fn path(&self) -> String {
        self.beside(&self.name)
    }

    /// Another name in the same folder.
    fn beside(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.trim_end_matches('/'))
    }
}

impl Ftp {
    /// A destination from its settings, its password in the file that they name. The server need not
    /// be reachable yet.
    ///
    /// # Errors
    /// [`PushError`] where the settings make no sense, or `ca_file` cannot be read.
    pub fn new(settings: &FtpDestination, protection: Protection) -> Result<Self, PushError> {
        Self::with_limits(settings, protection, Limits::default())
    }

    /// The same with other limits, for tests.
    ///
    /// # Errors
    /// The same.
    pub fn with_limits(
        settings: &FtpDestination,
        protection: Protection,
        limits: Limits,
    ) -> Result<Self, PushError> {
        let failed = |error: Error| error.into_push_error(settings, protection);
        check(settings, protection).map_err(failed)?;
        let trust = match protection {
            Protection::Tls => Some(Trust::new(settings.ca_file.as_deref()).map_err(failed)?),
            Protection::None => None,
        };
        Ok(Self {
            settings: settings.clone(),
            protection,
            secrets: Secrets::in_files(&mut settings.clone()),
            limits,
            trust,
            needs_tls13: AtomicBool::new(false),
            pool: Pool::default(),
        })
    }

    /// The same with this password.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    fn failure(&self, error: Error) -> PushError {
        error.into_push_error(&self.settings, self.protection)
    }

    /// A connection that is logged in: one that was kept, or a new one.
    async fn connection(&self) -> Result<Connection, Error> {
        if let Some(connection) = self.pool.take().await {
            return Ok(connection);
        }
        let password = self.secrets.line("password")?;
        loop {
            let needs_tls13 = self.needs_tls13.load(Ordering::Relaxed);
            let version = if needs_tls13 { Version::Tls13 } else { Version::Tls12 };
            let login = Login {
                host: &self.settings.host,
                port: self.settings.port,
                user: &self.settings.user,
                password: &password,
                tls: self.trust.as_ref().map(|trust| (trust, version)),
                connect_ms_max: self.limits.connect_ms_max,
            };
            match Connection::open(&login).await {
                Ok(connection) => return Ok(connection),
                Err((_, true)) if version == Version::Tls12 => {
                    self.needs_tls13.store(true, Ordering::Relaxed);
                }
                Err((error, is_other)) => {
                    // It may have been a server of another kind that answered then.
                    if is_other {
                        self.needs_tls13.store(false, Ordering::Relaxed);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn give_back(&self, connection: Connection) {
        self.pool.put(connection, self.limits.idle_ms_max);
    }

    /// Waits for a step, and gives up when nothing moves.
    async fn watch<T>(
        &self,
        what: &'static str,
        progress: &Progress,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let stall_ms = self.limits.stall_ms_max;
        match progress.watch(stall_ms, step).await {
            Ok(result) => result,
            Err(Stalled) => Err(Error::Stalled { what, stall_ms }),
        }
    }

    /// Where a name goes, for a user who is in `home` after logging in.
    fn place(&self, home: &str, name: &str) -> Result<Place, Error> {
        let bad = |problem| Error::Name { name: name.to_owned(), problem };
        let parts = names::parts(name).map_err(bad)?;
        let (last, folders) = parts.split_last().ok_or_else(|| bad("it is empty".into()))?;
        let directory = self.settings.directory.trim_end_matches('/');
        let root = if self.settings.directory.starts_with('/') { "" } else { home };
        let whole = [&[root, directory], folders].concat();
        let steps = whole.iter().flat_map(|part| part.split('/')).filter(|step| !step.is_empty());
        let folder: String = steps.flat_map(|step| ["/", step]).collect();
        let folder = if folder.is_empty() { "/".into() } else { folder };
        Ok(Place { folder, name: (*last).to_owned() })
    }

    fn location(&self, name: &str) -> String {
        let place = authority(&self.settings, self.protection);
        match self.settings.directory.trim_matches('/') {
            "" => format!("{place}/{name}"),
            directory => format!("{place}/{directory}/{name}"),
        }
    }

    /// The name of a location that this destination once answered with.
    fn name_of<'a>(&self, location: &'a str) -> Result<&'a str, Error> {
        let elsewhere = || Error::Elsewhere { location: location.into() };
        let name = location.strip_prefix(&self.location("")).ok_or_else(elsewhere)?;
        names::parts(name).map_err(|_| elsewhere())?;
        Ok(name)
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        let place = self.place(&connection.home, name)?;
        let progress = Progress::default();
        let deleting = async {
            for path in [place.beside(&push::temporary(&place.name)), place.path()] {
                if let Err(refusal) = connection.delete(&path).await?
                    && connection.size(&path).await?.is_some()
                {
                    return Err(Error::Refused(refusal));
                }
            }
            Ok(())
        };
        self.watch("delete the file", &progress, deleting).await?;
        self.give_back(connection);
        Ok(())
    }
}

impl Destination for Ftp {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn push<'a>(&'a self, file: &'a FileToPush) -> BoxFuture<'a, Result<String, PushError>> {
        async move { push::push(self, file).await.map_err(|error| self.failure(error)) }.boxed()
    }

    fn read<'a>(
        &'a self,
        location: &'a str,
        range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Reading, PushError>> {
        async move { read::open(self, location, range).await.map_err(|error| self.failure(error)) }
            .boxed()
    }

    fn withdraw<'a>(
        &'a self,
        name: &'a str,
        location: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), PushError>> {
        let deleting = async move {
            let name = location.map_or(Ok(name), |location| self.name_of(location));
            self.delete(name?).await
        };
        async move { deleting.await.map_err(|error| self.failure(error)) }.boxed()
    }
}

/// The server as it is shown: `ftps://host:21`.
fn authority(settings: &FtpDestination, protection: Protection) -> String {
    let scheme = match protection {
        Protection::Tls => "ftps",
        Protection::None => "ftp",
    };
    let FtpDestination { host, port, .. } = settings;
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

fn check(settings: &FtpDestination, protection: Protection) -> Result<(), Error> {
    let wrong = |problem: &str| Err(Error::Settings(problem.to_owned()));
    let is_word = |word: &str| {
        (1..=WORD_BYTES_MAX).contains(&word.len()) && !word.contains(|c: char| c.is_control())
    };
    let host = &settings.host;
    if !is_word(host) || host.contains(|c: char| c.is_whitespace() || "/@[]".contains(c)) {
        return wrong("host must be a name or an address alone, such as ftp.example.com");
    }
    if rustls_pki_types::ServerName::try_from(host.as_str()).is_err() {
        return wrong("host is neither a name nor an address");
    }
    if settings.port == 0 {
        return wrong("port must be 1 to 65535");
    }
    if !is_word(&settings.user) {
        return wrong("user must have 1 to 255 bytes, without control characters");
    }
    let directory = settings.directory.trim_matches('/');
    if !directory.is_empty()
        && let Err(problem) = names::parts(directory)
    {
        return wrong(&format!("directory = {directory:?} cannot be used: {problem}"));
    }
    if protection == Protection::None && settings.ca_file.is_some() {
        return wrong("ca_file is for kind ftps; kind ftp has no certificates");
    }
    Ok(())
}
