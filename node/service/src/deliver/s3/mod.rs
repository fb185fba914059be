//! A bucket of Amazon S3, or of a store that speaks its language.
//!
//! - A key appears only once its bytes are whole: that is how S3 works, in one request or in parts.
//! - Signatures are in the query string and leave the body out, so every body has a `Content-MD5`,
//!   which is in the signature and which the store checks. It is the one checksum that all stores
//!   take; several refuse the newer `x-amz-checksum-*` headers.
//! - What the store says it has (ETag, size) is compared with what was sent.
//! - Keys are read from their files at each push, so they can be changed without a restart.
//! - Memory is bounded: a file is read in small pieces, a few requests at once.

mod answer;
mod client;
mod error;
mod multipart;
mod read;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holdfast_core::recording::FileKind;
use holdfast_core::storage::{AtRest, Region};
use reqwest::Url;
use rusty_s3::{Bucket, BucketError, Credentials, UrlStyle};

pub use self::client::Limits;
use self::client::{Client, Header, Payload, hex};
use self::error::Error;
use self::multipart::{PART_BYTES_MAX, PART_BYTES_MIN};
use self::source::Source;
use super::secret::{Secrets, read_limited};
use super::{Destination, FileToPush, PushError, Reading, names};
use crate::config::S3Destination;

/// Largest file with authorities, in bytes.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// A bucket.
pub struct S3 {
    settings: S3Destination,
    secrets: Secrets,
    client: Arc<Client>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a store said it has.
struct Stored {
    etag: Option<String>,
    /// Whether its ETag is the checksum of what was sent.
    is_proven: bool,
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

    /// The same with other limits, for tests.
    ///
    /// # Errors
    /// The same.
    pub fn with_limits(settings: &S3Destination, limits: Limits) -> Result<Self, PushError> {
        let secrets = Secrets::in_files(&mut settings.clone());
        match client(settings, limits) {
            Ok(client) => {
                Ok(Self { settings: settings.clone(), secrets, client: Arc::new(client) })
            }
            Err(error) => Err(error.into_push_error(settings)),
        }
    }

    /// The same with these keys.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    fn credentials(&self) -> Result<Credentials, Error> {
        let (key, secret) = (self.secrets.word("access_key")?, self.secrets.word("secret_key")?);
        Ok(Credentials::new(key.as_str(), secret.as_str()))
    }

    async fn upload(&self, file: &FileToPush) -> Result<String, Error> {
        let key = format!("{}{}", self.settings.prefix, file.name);
        names::parts(&key).map_err(|problem| Error::Key { key: key.clone(), problem })?;
        let source = Source::open(&file.path, file.bytes, file.progress.clone()).await?;
        let credentials = Arc::new(self.credentials()?);
        let mut headers = vec![("content-type", file.media_type.to_owned())];
        headers.extend(self.at_rest(file.kind));
        let client = &self.client;
        let part_bytes = self.settings.part_bytes;
        let result = if file.bytes <= part_bytes {
            put(client, &credentials, &key, &source, headers).await
        } else {
            multipart::push(client, &credentials, &key, &source, part_bytes, &headers).await
        };
        let stored = match result {
            Ok(stored) => stored,
            Err(error) => return Err(client.explain(&credentials, &key, error).await),
        };
        verify(client, &credentials, &key, file.bytes, &stored).await?;
        Ok(format!("{}{key}", self.location_prefix()))
    }

    /// How a file is to lie there: our own storage says so by region and kind (rule 9).
    fn at_rest(&self, kind: FileKind) -> Vec<Header> {
        let class = match self.settings.ours {
            Some(region) => region.storage_class(kind).map(str::to_owned),
            None => self.settings.storage_class.clone(),
        };
        let is_encrypted = self.settings.ours.map(Region::at_rest) == Some(AtRest::SseS3);
        let encryption =
            is_encrypted.then(|| ("x-amz-server-side-encryption", "AES256".to_owned()));
        class.map(|class| ("x-amz-storage-class", class)).into_iter().chain(encryption).collect()
    }

    async fn delete(&self, name: &str, location: Option<&str>) -> Result<(), Error> {
        let key = match location {
            Some(location) => self.key(location)?.to_owned(),
            None => format!("{}{name}", self.settings.prefix),
        };
        names::parts(&key).map_err(|problem| Error::Key { key: key.clone(), problem })?;
        let credentials = self.credentials()?;
        multipart::sweep(&self.client, &credentials, &key).await;
        let action = self.client.bucket.delete_object(Some(&credentials), &key);
        match self.client.send("delete the file", action, &[], Payload::Nothing).await {
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
        read::open(&self.client, &self.credentials()?, key, range, &self.settings).await
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
}

/// Pushes a file in one request.
async fn put(
    client: &Client,
    credentials: &Credentials,
    key: &str,
    source: &Source,
    mut headers: Vec<Header>,
) -> Result<Stored, Error> {
    let what = "upload the file";
    let md5 = source.md5(source.whole()).await?;
    headers.push(("content-md5", BASE64_STANDARD.encode(md5)));
    let action = client.bucket.put_object(Some(credentials), key);
    let payload = Payload::File(source, source.whole());
    let answer = client.send(what, action, &headers, payload).await?;
    let is_proven = answer.check_md5(what, &hex(&md5))?;
    Ok(Stored { etag: answer.etag, is_proven })
}

/// Asks the store what it has under the key. `false` where it may not say.
async fn verify(
    client: &Client,
    credentials: &Credentials,
    key: &str,
    bytes: u64,
    stored: &Stored,
) -> Result<bool, Error> {
    let what = "look at what was stored";
    let action = client.bucket.head_object(Some(credentials), key);
    let answer = match client.send(what, action, &[], Payload::Nothing).await {
        Ok(answer) => answer,
        // Keys that may write but not read are good practice. The store has checked the MD5.
        Err(Error::Refused(refusal)) if refusal.status == 403 => {
            tracing::debug!(key, stored.is_proven, "the keys may not read what they stored");
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let is_same_size = answer.bytes.is_none_or(|found| found == bytes);
    let is_same_etag = match (&stored.etag, &answer.etag) {
        (Some(stored), Some(found)) => stored == found,
        _ => true,
    };
    if is_same_size && is_same_etag { Ok(true) } else { Err(Error::Altered { what }) }
}

fn client(settings: &S3Destination, limits: Limits) -> Result<Client, Error> {
    let part_bytes = settings.part_bytes;
    if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&part_bytes) {
        return Err(Error::Settings(format!(
            "part_bytes = {part_bytes}: must be {PART_BYTES_MIN} to {PART_BYTES_MAX}"
        )));
    }
    if !settings.prefix.is_empty()
        && let Err(problem) = names::parts(&format!("{}x", settings.prefix))
    {
        let prefix = &settings.prefix;
        return Err(Error::Settings(format!("prefix = {prefix:?} cannot be used: {problem}")));
    }
    let is_word = |class: &String| class.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if settings.storage_class.as_ref().is_some_and(|class| class.is_empty() || !is_word(class)) {
        return Err(Error::Settings("storage_class must be a word such as STANDARD_IA".into()));
    }
    let bucket = bucket(settings)?;
    let http = http(settings, bucket.base_url(), &limits)?;
    Ok(Client { http, bucket, limits })
}

fn bucket(settings: &S3Destination) -> Result<Bucket, Error> {
    let example = "give it like https://s3.eu-central-1.amazonaws.com";
    let endpoint: Url = settings
        .endpoint
        .parse()
        .map_err(|_| Error::Settings(format!("endpoint is not an address; {example}")))?;
    let is_plain = endpoint.username().is_empty()
        && endpoint.password().is_none()
        && endpoint.query().is_none()
        && endpoint.fragment().is_none();
    if !is_plain {
        let problem = format!("endpoint must have no user, query or fragment; {example}");
        return Err(Error::Settings(problem));
    }
    if settings.bucket.is_empty() || settings.bucket.contains('/') || settings.region.is_empty() {
        let problem = "bucket and region must not be empty, and bucket has no slash";
        return Err(Error::Settings(problem.into()));
    }
    let style = if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
    Bucket::new(endpoint, style, settings.bucket.clone(), settings.region.clone()).map_err(
        |error| {
            Error::Settings(match error {
                BucketError::ParseError(_) => {
                    "bucket cannot go before the endpoint's host; set path_style = true".into()
                }
                _ => format!("endpoint must begin with https:// (or http://); {example}"),
            })
        },
    )
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
