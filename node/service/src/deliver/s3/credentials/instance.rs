//! The keys of the machine's role, from its metadata service.
//!
//! In a container of ECS or EKS the environment says where to ask (`AWS_CONTAINER_CREDENTIALS_*`).
//! Elsewhere it is EC2's service at its link-local address, version 2 only: a token is taken with `PUT`,
//! and shown with every question. Both answer JSON with `AccessKeyId`, `SecretAccessKey`, `Token` and
//! `Expiration`.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::attempts::Fault;
use jiff::{SignedDuration, Timestamp};
use reqwest::{RequestBuilder, StatusCode, Url};
use rusty_s3::Credentials;
use serde::Deserialize;

use super::Variables;
use crate::clock::Clock;
use crate::deliver::s3::error::{Error, innermost};
use crate::deliver::secret::read_limited;

/// EC2's service. Its first hop is the machine itself.
const EC2: &str = "http://169.254.169.254";
/// ECS's service.
const ECS: &str = "http://169.254.170.2";
/// The addresses, beside loopback, to which a container's token may go without TLS: ECS, EKS.
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
/// Where a container of EKS asks.
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
/// How long EC2's token is asked to hold, in seconds. It is used for one round of questions.
const TOKEN_TTL_S: u32 = 300;
/// How long before they expire keys are renewed.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// Longest time for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How often the service is asked, and the wait between.
const TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why the machine has no keys for us.
#[derive(Debug, thiserror::Error)]
pub(in crate::deliver::s3) enum MetadataError {
    /// There is no such service.
    #[error("the metadata service at {host} does not answer: {problem}")]
    Silent { host: String, problem: String },
    /// It says no.
    #[error("the metadata service at {host} answers {status}")]
    Refused { host: String, status: StatusCode },
    /// The machine has no role.
    #[error("this machine has no role")]
    NoRole,
    /// It says something else.
    #[error("the metadata service at {host} answers something else than keys: {problem}")]
    Unreadable { host: String, problem: String },
    /// The environment points to somewhere else.
    #[error("{variable} cannot be used: {problem}")]
    Variable { variable: &'static str, problem: String },
}

/// The metadata service of this machine, and what it said last.
pub(in crate::deliver::s3) struct Instance {
    http: reqwest::Client,
    variables: Variables,
    kept: Mutex<Option<Kept>>,
    /// Held by whoever asks, so that only one does.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Kept {
    credentials: Arc<Credentials>,
    expires_at: Option<Timestamp>,
}

/// What a service answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    code: Option<String>,
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<Timestamp>,
}

impl Instance {
    /// # Errors
    /// [`Error::Settings`] where the HTTP client cannot be made.
    pub(super) fn new(variables: Variables) -> Result<Self, Error> {
        // No proxy: what the service says is for this machine only.
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_TIME_MAX);
        if !variables.get(FULL).is_some_and(|url| url.starts_with("https:")) {
            // So that a machine without any authorities can speak plain HTTP.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| Error::Settings(innermost(&error)))?;
        let (kept, asking) = (Mutex::new(None), tokio::sync::Mutex::new(()));
        Ok(Self { http, variables, kept, asking })
    }

    /// Keys that still hold for a while.
    ///
    /// # Errors
    /// [`MetadataError`] where there are none; old ones are used as long as they hold.
    pub(super) async fn get(&self, clock: &Clock) -> Result<Arc<Credentials>, MetadataError> {
        let holds = |kept: &Kept, for_long| {
            kept.expires_at.is_none_or(|at| at.duration_since(clock.wall()) > for_long)
        };
        if let Some(kept) = self.kept().filter(|kept| holds(kept, RENEW_BEFORE)) {
            return Ok(kept.credentials);
        }
        let _asking = self.asking.lock().await;
        if let Some(kept) = self.kept().filter(|kept| holds(kept, RENEW_BEFORE)) {
            return Ok(kept.credentials);
        }
        match self.ask_often().await {
            Ok(kept) => {
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept.clone());
                Ok(kept.credentials)
            }
            Err(error) => match self.kept().filter(|kept| holds(kept, SignedDuration::ZERO)) {
                Some(kept) => {
                    tracing::warn!(%error, "the machine's keys cannot be renewed yet");
                    Ok(kept.credentials)
                }
                None => Err(error),
            },
        }
    }

    /// These are not good any more. Answers whether they were the ones that are kept.
    pub(super) fn forget(&self, expired: &Arc<Credentials>) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = kept.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.credentials, expired));
        if is_kept {
            *kept = None;
        }
        is_kept
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask_often(&self) -> Result<Kept, MetadataError> {
        let mut tries = 1;
        loop {
            match self.ask().await {
                Err(error) if tries < TRIES && error.is_hiccup() => {
                    tries += 1;
                    tracing::debug!(%error, "the metadata service is asked again");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                result => return result,
            }
        }
    }

    async fn ask(&self) -> Result<Kept, MetadataError> {
        let (host, text) = match self.container()? {
            Some(url) => {
                let mut request = self.http.get(url.clone());
                if let Some(token) = self.container_token()? {
                    request = request.header("authorization", token);
                }
                (host(&url), read(&url, request).await?)
            }
            None => self.ask_ec2().await?,
        };
        let unreadable =
            |problem: String| MetadataError::Unreadable { host: host.clone(), problem };
        // What the error of a parser quotes could be a key.
        let said: Said = serde_json::from_str(&text)
            .map_err(|error| unreadable(format!("line {}", error.line())))?;
        if said.code.as_ref().is_some_and(|code| code != "Success") {
            return Err(unreadable("its Code is not Success".into()));
        }
        let credentials = match said.token {
            Some(token) => {
                Credentials::new_with_token(said.access_key_id, said.secret_access_key, token)
            }
            None => Credentials::new(said.access_key_id, said.secret_access_key),
        };
        Ok(Kept { credentials: Arc::new(credentials), expires_at: said.expiration })
    }

    /// Version 2: a token first.
    async fn ask_ec2(&self) -> Result<(String, String), MetadataError> {
        const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        let endpoint = self.variables.get(ENDPOINT).unwrap_or_else(|| EC2.to_owned());
        let at = |path: &str| parse(ENDPOINT, &format!("{}{path}", endpoint.trim_end_matches('/')));
        let url = at("/latest/api/token")?;
        let request = self.http.put(url.clone());
        let request = request.header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_S);
        let token = read(&url, request).await?;
        let get = async |path: &str| {
            let url = at(path)?;
            let request = self.http.get(url.clone());
            read(&url, request.header("x-aws-ec2-metadata-token", token.trim())).await
        };
        let roles = "/latest/meta-data/iam/security-credentials/";
        let role = match get(roles).await {
            Err(MetadataError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
                return Err(MetadataError::NoRole);
            }
            role => role?,
        };
        let role = role.lines().next().map(str::trim).filter(|role| !role.is_empty());
        let role = role.ok_or(MetadataError::NoRole)?;
        Ok((host(&url), get(&format!("{roles}{role}")).await?))
    }

    /// Where a container asks.
    fn container(&self) -> Result<Option<Url>, MetadataError> {
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        if let Some(path) = self.variables.get(RELATIVE) {
            let problem = || MetadataError::Variable {
                variable: RELATIVE,
                problem: "it must begin with a slash".into(),
            };
            let path = path.strip_prefix('/').ok_or_else(problem)?;
            return Ok(Some(parse(RELATIVE, &format!("{ECS}/{path}"))?));
        }
        let Some(full) = self.variables.get(FULL) else { return Ok(None) };
        let url = parse(FULL, &full)?;
        let is_near = url.host_str().is_some_and(|host| {
            let bare = host.trim_matches(['[', ']']);
            let is_loopback = bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
            is_loopback || bare == "localhost" || CONTAINER_HOSTS.contains(&bare)
        });
        if url.scheme() == "https" || is_near {
            return Ok(Some(url));
        }
        let problem = "without TLS it must be a loopback address or that of ECS or EKS".into();
        Err(MetadataError::Variable { variable: FULL, problem })
    }

    /// What a container shows.
    fn container_token(&self) -> Result<Option<String>, MetadataError> {
        const FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
        match self.variables.get(FILE) {
            Some(path) => read_limited(&PathBuf::from(path), ANSWER_BYTES_MAX as u64)
                .map(|token| Some(token.trim().to_owned()))
                .map_err(|problem| MetadataError::Variable { variable: FILE, problem }),
            None => Ok(self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")),
        }
    }
}

impl MetadataError {
    /// Whose fault it is.
    pub(in crate::deliver::s3) fn fault(&self) -> Fault {
        match self {
            Self::Silent { .. } => Fault::Networks,
            Self::Refused { status, .. } if status.is_server_error() => Fault::Networks,
            _ => Fault::Customers,
        }
    }

    fn is_hiccup(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            // A token that has just expired is one of these.
            Self::Refused { status, .. } => {
                *status == StatusCode::UNAUTHORIZED || status.is_server_error()
            }
            _ => false,
        }
    }
}

fn parse(variable: &'static str, text: &str) -> Result<Url, MetadataError> {
    let problem = |problem: String| MetadataError::Variable { variable, problem };
    let url: Url = text.parse().map_err(|_| problem("it is no address".into()))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err(problem("it must begin with http:// or https://".into())),
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

async fn read(url: &Url, request: RequestBuilder) -> Result<String, MetadataError> {
    let silent = |error: reqwest::Error| MetadataError::Silent {
        host: host(url),
        problem: if error.is_timeout() {
            io::ErrorKind::TimedOut.to_string()
        } else {
            innermost(&error.without_url())
        },
    };
    let mut response = request.send().await.map_err(silent)?;
    let status = response.status();
    if !status.is_success() {
        return Err(MetadataError::Refused { host: host(url), status });
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(silent)? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            let problem = format!("more than {ANSWER_BYTES_MAX} bytes");
            return Err(MetadataError::Unreadable { host: host(url), problem });
        }
        body.extend_from_slice(&piece);
    }
    String::from_utf8(body).map_err(|_| MetadataError::Unreadable {
        host: host(url),
        problem: "it is not text".into(),
    })
}
