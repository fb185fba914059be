//! A bucket of Amazon S3, or of a store that speaks its language.
//!
//! - A key appears only once its bytes are whole: that is how S3 works, in one request or in parts.
//! - What a store takes is in `capabilities`; nothing else is asked of it.
//! - Signatures are in the query string and leave the body out, so every body has a checksum in a header,
//!   which is in the signature and which the store checks. All stores take `Content-MD5`; several
//!   refuse the newer `x-amz-checksum-*`, which are better and cheaper where they are taken.
//! - What the store says it has (checksum, ETag, size) is compared with what was sent.
//! - A large file goes in parts, several at once, and a push that was cut goes on where it stopped.
//! - Keys are asked for at each request, so they can be changed without a restart, and expire.
//! - Memory is bounded: a file is read in small pieces, a few requests at once.

mod answer;
mod ask;
pub(crate) mod capabilities;
mod client;
mod credentials;
mod error;
mod existing;
mod headers;
mod multipart;
mod place;
mod push;
mod read;
mod sums;
mod template;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Method, Url};

use self::ask::Ask;
use self::client::Client;
pub use self::client::Limits;
use self::credentials::Keys;
pub use self::credentials::Variables;
use self::error::Error;
use self::place::Place;
use self::push::Push;
use super::secret::{Secrets, read_limited};
use super::{Destination, FileToPush, PushError, Reading, names};
use crate::clock::Clock;
use crate::config::S3Destination;

/// Largest file with authorities, in bytes.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// A bucket.
pub struct S3 {
    settings: S3Destination,
    client: Arc<Client>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl S3 {
    /// A destination from its settings, its keys in the files that they name. The store need not be
    /// reachable yet.
    ///
    /// # Errors
    /// [`PushError`] where the settings make no sense, or `ca_file` cannot be read.
    pub fn new(settings: &S3Destination) -> Result<Self, PushError> {
        Self::with_limits(settings, Limits::default())
    }

    /// The same with keys that were given over the API.
    ///
    /// # Errors
    /// The same.
    pub fn with_secrets(settings: &S3Destination, secrets: Secrets) -> Result<Self, PushError> {
        Self::made(settings, secrets, Limits::default(), &Variables::default())
    }

    /// The same with other limits, for tests.
    ///
    /// # Errors
    /// The same.
    pub fn with_limits(settings: &S3Destination, limits: Limits) -> Result<Self, PushError> {
        Self::with_variables(settings, limits, &Variables::default())
    }

    /// The same with another environment, for tests.
    ///
    /// # Errors
    /// The same.
    pub fn with_variables(
        settings: &S3Destination,
        limits: Limits,
        variables: &Variables,
    ) -> Result<Self, PushError> {
        let secrets = Secrets::in_files(&mut settings.clone());
        Self::made(settings, secrets, limits, variables)
    }

    fn made(
        settings: &S3Destination,
        secrets: Secrets,
        limits: Limits,
        variables: &Variables,
    ) -> Result<Self, PushError> {
        match client(settings, secrets, limits, variables) {
            Ok(client) => Ok(Self { settings: settings.clone(), client: Arc::new(client) }),
            Err(error) => Err(error.into_push_error(settings)),
        }
    }

    async fn upload(&self, file: &FileToPush) -> Result<String, Error> {
        let push = Push::new(&self.client, &self.settings, file).await?;
        // Boxed, or the future of every caller is as large as this one.
        let key = Box::pin(push.run()).await?;
        Ok(format!("{}{key}", self.location_prefix()))
    }

    async fn delete(&self, name: &str, location: Option<&str>) -> Result<(), Error> {
        let key = match location {
            Some(location) => self.key(location)?.to_owned(),
            None => format!("{}{name}", self.settings.prefix),
        };
        names::parts(&key).map_err(|problem| Error::Key { key: key.clone(), problem })?;
        multipart::sweep(&self.client, &key).await;
        match self.client.send(&Ask::new("delete the file", Method::DELETE, &key)).await {
            Err(Error::Refused(refusal)) if refusal.is_gone() => Ok(()),
            result => result.map(drop),
        }
    }

    /// The key of a location that this bucket once answered with.
    fn key<'a>(&self, location: &'a str) -> Result<&'a str, Error> {
        let elsewhere = || Error::Elsewhere { location: location.into() };
        let key = location.strip_prefix(&self.location_prefix()).ok_or_else(elsewhere)?;
        names::parts(key).map_err(|_| elsewhere())?;
        Ok(key)
    }

    fn location_prefix(&self) -> String {
        format!("s3://{}/", self.settings.bucket)
    }

    async fn open(&self, location: &str, range: Option<&str>) -> Result<Reading, Error> {
        let key = self.key(location)?;
        read::open(&self.client, key, range, &self.settings).await
    }
}

impl Destination for S3 {
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
        let delete = async move {
            let deleted = self.delete(name, location).await;
            deleted.map_err(|error| error.into_push_error(&self.settings))
        };
        delete.boxed()
    }

    fn abandon<'a>(&'a self, memo: &'a [u8]) -> BoxFuture<'a, Result<(), PushError>> {
        let abort = async move {
            let aborted = multipart::abandon(&self.client, &self.settings, memo).await;
            aborted.map_err(|error| error.into_push_error(&self.settings))
        };
        abort.boxed()
    }
}

fn client(
    settings: &S3Destination,
    secrets: Secrets,
    limits: Limits,
    variables: &Variables,
) -> Result<Client, Error> {
    capabilities::check(settings).map_err(Error::Settings)?;
    let place = Place::new(settings)?;
    let http = http(settings, place.now().base_url(), &limits)?;
    let keys = Keys::new(settings.credentials, secrets, variables)?;
    Ok(Client { http, place, keys, limits, clock: Clock::new() })
}

fn http(settings: &S3Destination, base: &Url, limits: &Limits) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_millis(limits.connect_ms_max))
        .tcp_user_timeout(Duration::from_millis(limits.stall_ms_max))
        .pool_idle_timeout(Duration::from_secs(20))
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &settings.ca_file {
        builder = builder.tls_certs_merge(authorities(path)?);
    } else if base.scheme() == "http" {
        // So that a machine without any authorities can speak plain HTTP.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        let error = error::innermost(&error);
        let advice = "install ca-certificates, or name the store's authority in ca_file";
        Error::Settings(format!("TLS cannot be set up: {error}; {advice}"))
    })
}

fn authorities(path: &PathBuf) -> Result<Vec<reqwest::Certificate>, Error> {
    let failed =
        |problem: String| Error::KeyFile { setting: "ca_file", path: path.into(), problem };
    let text = read_limited(path, CA_FILE_BYTES_MAX).map_err(failed)?;
    let found = reqwest::Certificate::from_pem_bundle(text.as_bytes())
        .map_err(|error| failed(error::innermost(&error)))?;
    if found.is_empty() {
        return Err(failed("it holds no certificate in PEM".into()));
    }
    Ok(found)
}
