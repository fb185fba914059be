//! Speaking https to a node: uploads, the API, problem documents.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response};
use serde_json::Value;

use crate::node::Node;
use crate::wait::until;

/// States in which a recording needs nothing more.
const AT_REST: [&str; 5] = ["stored", "delivered", "failed", "garbage", "deleted"];

/// What a node answers to an upload it took.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// The recording.
    pub id: String,
    /// The secret that its sender holds.
    pub token: String,
    /// SHA-256 of what the node received.
    pub sha256: String,
    /// Where its sender may ask what became of it.
    pub status_url: String,
}

impl Uploaded {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not `201` with what is promised.
    pub async fn read(response: Response) -> Result<Self> {
        let status = response.status();
        let location = response.headers().get("location").cloned();
        let text = response.text().await?;
        ensure!(status == 201, "{status}: {text}");
        ensure!(location.is_some(), "201 without Location");
        Self::parse(&text)
    }

    /// Reads the body of the answer.
    ///
    /// # Errors
    /// If a member is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let body: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        ensure!(body["state"] == "saved", "{body}");
        Ok(Self {
            id: member(&body, "id")?,
            token: member(&body, "token")?,
            sha256: member(&body, "sha256")?,
            status_url: member(&body, "status_url")?,
        })
    }
}

/// A member of a JSON object that is a text.
///
/// # Errors
/// If there is none.
pub fn member(body: &Value, name: &str) -> Result<String> {
    body[name].as_str().map(str::to_owned).with_context(|| format!("no {name:?} in {body}"))
}

/// A client that trusts this certificate and no other.
///
/// # Errors
/// If it is no certificate.
pub fn client(certificate: &Path) -> Result<Client> {
    let pem = std::fs::read(certificate).with_context(|| certificate.display().to_string())?;
    let builder = Client::builder()
        .tls_certs_only([Certificate::from_pem(&pem)?])
        .connect_timeout(Duration::from_secs(30))
        .http1_only()
        .no_proxy();
    Ok(builder.build()?)
}

/// Reads a problem document and checks that it is one, for this status.
///
/// # Errors
/// What is wrong with it.
pub async fn problem(response: Response, status: u16) -> Result<Value> {
    let got = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let text = response.text().await?;
    ensure!(got == status, "expected {status}, got {got}: {text}");
    let kind = kind.context("no content-type")?;
    ensure!(kind.to_str()?.starts_with("application/problem+json"), "{kind:?}: {text}");
    let body: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    for name in ["type", "title", "detail"] {
        ensure!(!member(&body, name)?.is_empty(), "empty {name}: {text}");
    }
    ensure!(body["status"] == status, "{text}");
    Ok(body)
}

impl Node {
    /// An address of this node.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port())
    }

    /// The client that trusts this node.
    ///
    /// # Errors
    /// If the node was never ready.
    pub fn client(&self) -> Result<Client> {
        self.client.clone().context("the node was never ready")
    }

    /// A request to this node, without a key.
    ///
    /// # Errors
    /// If the node was never ready.
    pub fn request(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        Ok(self.client()?.request(method, self.url(path)))
    }

    /// A request to this node's API, with its key.
    ///
    /// # Errors
    /// If the node was never ready.
    pub fn api(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        Ok(self.request(method, &format!("/api/v1{path}"))?.bearer_auth(self.key()))
    }

    /// What the API answers to a `GET`.
    ///
    /// # Errors
    /// If it is not a success.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let response = self.api(Method::GET, path)?.send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    /// The address at which files of an environment made by a test are uploaded.
    #[must_use]
    pub fn upload_path(environment: &str) -> String {
        format!("/api/v1/ingest/upload?env_id={environment}&env_hash={environment}-hash")
    }

    /// Uploads bytes as a recording.
    ///
    /// # Errors
    /// If it is not taken.
    pub async fn upload(
        &self,
        environment: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<Uploaded> {
        let request = self.request(Method::PUT, &Self::upload_path(environment))?;
        Uploaded::read(request.body(body).send().await?).await
    }

    /// A recording, as the API shows it.
    ///
    /// # Errors
    /// If the API does not know it.
    pub async fn recording(&self, id: &str) -> Result<Value> {
        self.get(&format!("/recordings/{id}")).await
    }

    /// A recording's file, as the API hands it out.
    ///
    /// # Errors
    /// If the API does not.
    pub async fn get_file(&self, id: &str, kind: &str) -> Result<Vec<u8>> {
        let request = self.api(Method::GET, &format!("/recordings/{id}/files/{kind}"))?;
        Ok(request.send().await?.error_for_status()?.bytes().await?.to_vec())
    }

    /// Every recording that the API lists.
    ///
    /// # Errors
    /// If the API does not answer.
    pub async fn recordings(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/recordings?limit=100{cursor}")).await?;
            all.extend(page["recordings"].as_array().context("no recordings")?.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Waits until a recording is in this state, and fails as soon as it rests in another.
    ///
    /// # Errors
    /// If it ends elsewhere, or an attempt failed, or nothing happens for too long.
    pub async fn wait_for(&self, id: &str, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        let found = until(&format!("{id} to be {state}"), async || {
            last = self.recording(id).await?;
            let now = last["state"].as_str().context("no state")?;
            let error = [&last["transcode"]["error"], &last["push"]["error"]];
            let is_stuck = AT_REST.contains(&now) || error.iter().any(|error| !error.is_null());
            Ok((now == state || is_stuck).then(|| now.to_owned()))
        })
        .await
        .with_context(|| format!("last seen: {last}"))?;
        if found != state {
            bail!("expected {state}: {last}");
        }
        Ok(last)
    }

    /// A file that a recording has at the directory destination.
    #[must_use]
    pub fn delivered(&self, environment: &str, id: &str, ending: &str) -> std::path::PathBuf {
        self.storage().join(environment).join(format!("{id}{ending}"))
    }

    /// Waits until nothing of a recording is left in the vault.
    ///
    /// # Errors
    /// If something stays.
    pub async fn gone_from_vault(&self, id: &str) -> Result<()> {
        until(&format!("{id} to be gone from the vault"), async || {
            let left = self.in_vault(id)?;
            ensure!(left.is_empty(), "still there: {left:?}");
            Ok(Some(()))
        })
        .await
    }
}
