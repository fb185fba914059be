//! A folder of somebody's Dropbox, by its HTTP API, version 2.
//!
//! - What the API takes and answers is in its specification, the Stone files of the repository
//!   `dropbox/dropbox-api-spec` (`files.stone`, `auth.stone`, `common.stone`).
//! - A name appears only once its file is whole: that is how `upload` and `upload_session/finish` work.
//! - Each request that carries bytes carries their `content_hash`, which Dropbox checks; that of the
//!   whole file, and its size, are compared with what Dropbox says it has.
//! - A push that was cut short goes on with its upload session, also after a restart (see `session`).
//!   What is given up needs no clearing away: sessions end by themselves after 7 days, and there is no
//!   request to end one.
//! - Where Dropbox is busy, it says for how long: the push waits that long, but not for ever.
//! - Access tokens are short-lived and never leave the memory. Secrets are read at each request, so
//!   they can be changed without a restart.
//! - Memory is bounded: a file is read in small pieces, a few requests at once, and 32 bytes of hash
//!   are kept for each 4 MiB of it.

mod client;
mod error;
mod hash;
mod push;
mod read;
mod remove;
mod session;
mod token;

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Url;

pub use self::client::Limits;
use self::client::{Client, Waits};
use self::error::Error;
use self::hash::{BLOCK_BYTES, Hashes};
use self::push::Push;
use self::session::PART_BYTES_MAX;
use self::token::Tokens;
use super::secret::{Secrets, read_limited};
use super::source::Source;
use super::{Destination, FileToPush, PushError, Reading, names};
use crate::config::DropboxDestination;

/// Largest file with authorities, in bytes.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest key of an app and id of a namespace, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// A folder of a Dropbox.
pub struct Dropbox {
    settings: DropboxDestination,
    client: Client,
}

impl std::fmt::Debug for Dropbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dropbox").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Dropbox {
    /// A destination from its settings, its secrets in the files that they name. Dropbox need not be
    /// reachable yet.
    ///
    /// # Errors
    /// [`PushError`] where the settings make no sense, or `ca_file` cannot be read.
    pub fn new(settings: &DropboxDestination) -> Result<Self, PushError> {
        Self::with_limits(settings, Limits::default())
    }

    /// The same with other limits, for tests.
    ///
    /// # Errors
    /// The same.
    pub fn with_limits(settings: &DropboxDestination, limits: Limits) -> Result<Self, PushError> {
        match client(settings, limits) {
            Ok(client) => Ok(Self { settings: settings.clone(), client }),
            Err(error) => Err(error.into_push_error(settings)),
        }
    }

    /// The same with these secrets.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        let tokens = Tokens::new(&self.settings.app_key, secrets);
        Self { client: Client { tokens, ..self.client }, ..self }
    }

    async fn upload(&self, file: &FileToPush) -> Result<String, Error> {
        let path = self.path_of(&file.name)?;
        let (folder, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
        let source = Source::open(&file.path, file.bytes, file.progress.clone()).await?;
        let push = Push {
            client: &self.client,
            settings: &self.settings,
            memo: &file.memo,
            folder: folder.into(),
            name: name.into(),
            source: &source,
            hashes: Hashes::of(&source),
            waits: Waits::new(self.client.limits.wait_ms_max, file.progress.clone()),
        };
        Ok(format!("dropbox:{}", push.run().await?))
    }

    async fn open(&self, location: &str, range: Option<&str>) -> Result<Reading, Error> {
        read::open(&self.client, self.path(location)?, range, &self.settings).await
    }

    async fn remove(&self, name: &str, location: Option<&str>) -> Result<(), Error> {
        let path = match location {
            Some(location) => self.path(location)?.to_owned(),
            None => self.path_of(name)?,
        };
        remove::remove(&self.client, &path).await
    }

    /// The path of a file of this name.
    fn path_of(&self, name: &str) -> Result<String, Error> {
        let path = format!("{}{name}", below(&self.settings.directory));
        match names::parts(&path) {
            Ok(_) => Ok(format!("/{path}")),
            Err(problem) => Err(Error::Name { name: path, problem }),
        }
    }

    /// The path of a location that this destination once answered with.
    fn path<'a>(&self, location: &'a str) -> Result<&'a str, Error> {
        let elsewhere = || Error::Elsewhere { location: location.into() };
        let path = location.strip_prefix("dropbox:").ok_or_else(elsewhere)?;
        let root = format!("/{}", below(&self.settings.directory));
        names::parts(path.strip_prefix(&root).ok_or_else(elsewhere)?).map_err(|_| elsewhere())?;
        Ok(path)
    }
}

impl Destination for Dropbox {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn push<'a>(&'a self, file: &'a FileToPush) -> BoxFuture<'a, Result<String, PushError>> {
        let upload = async move {
            self.upload(file).await.map_err(|error| error.into_push_error(&self.settings))
        };
        upload.boxed()
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

/// The folder as it goes before a name: `a/b/`, or nothing.
fn below(directory: &str) -> String {
    match directory.trim_matches('/') {
        "" => String::new(),
        directory => format!("{directory}/"),
    }
}

fn check(settings: &DropboxDestination, limits: &Limits) -> Result<(), String> {
    let DropboxDestination { app_key, directory, path_root, .. } = settings;
    let is_short = |word: &str| !word.is_empty() && word.len() <= WORD_BYTES_MAX;
    if !is_short(app_key) || !app_key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(format!(
            "app_key = {app_key:?}: give the letters and digits that the app's page shows"
        ));
    }
    let folder = below(directory);
    if !directory.is_empty()
        && let Err(problem) = names::parts(&format!("{folder}x"))
    {
        return Err(format!("directory = {directory:?} cannot be used: {problem}"));
    }
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte);
    if path_root.as_ref().is_some_and(|id| !is_short(id) || !id.bytes().all(is_id)) {
        return Err("path_root: give the id of a namespace, such as 1234567890".into());
    }
    for (name, url) in [("api_url", settings.api_url()), ("content_url", settings.content_url())] {
        let is_good = url
            .parse::<Url>()
            .is_ok_and(|url| url.scheme() == "https" && url.path() == "/" && url.query().is_none());
        if !is_good || url.ends_with('/') {
            return Err(format!("{name} = {url:?}: give it like https://localhost:8443"));
        }
    }
    let part_bytes = limits.part_bytes;
    if !(BLOCK_BYTES..=PART_BYTES_MAX).contains(&part_bytes)
        || !part_bytes.is_multiple_of(BLOCK_BYTES)
    {
        return Err(format!("parts of {part_bytes} bytes: must be multiples of {BLOCK_BYTES}"));
    }
    Ok(())
}

fn client(settings: &DropboxDestination, limits: Limits) -> Result<Client, Error> {
    check(settings, &limits).map_err(Error::Settings)?;
    let mut builder = reqwest::Client::builder()
        // Parts in parallel over several connections, each with a window of its own.
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_millis(limits.connect_ms_max))
        .tcp_user_timeout(Duration::from_millis(limits.stall_ms_max))
        .pool_idle_timeout(Duration::from_secs(20))
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &settings.ca_file {
        let failed = |problem: String| Error::Authorities { path: path.clone(), problem };
        let text = read_limited(path, CA_FILE_BYTES_MAX).map_err(failed)?;
        let found = reqwest::Certificate::from_pem_bundle(text.as_bytes())
            .map_err(|error| failed(error::innermost(&error)))?;
        if found.is_empty() {
            return Err(failed("it holds no certificate in PEM".into()));
        }
        builder = builder.tls_certs_merge(found);
    }
    let http = builder.build().map_err(|error| {
        let error = error::innermost(&error);
        Error::Settings(format!("TLS cannot be set up: {error}; install ca-certificates"))
    })?;
    let root = |id: &String| serde_json::json!({ ".tag": "namespace_id", "namespace_id": id });
    Ok(Client {
        http,
        api: settings.api_url().into(),
        content: settings.content_url().into(),
        path_root: settings.path_root.as_ref().map(|id| root(id).to_string()),
        tokens: Tokens::new(&settings.app_key, Secrets::in_files(&mut settings.clone())),
        limits,
        clock_s: AtomicI64::new(0),
    })
}
