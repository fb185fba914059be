//! Access tokens: short-lived (four hours), from the refresh token that Dropbox gave when the app was
//! connected. Kept in memory only, and made anew before they expire.

use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::client::{Client, read};
use super::error::{Error, Refusal};
use crate::deliver::progress::{Progress, Stalled};
use crate::deliver::secret::Secrets;

/// How long before its end a token is not used any more, in seconds.
const MARGIN_S: u64 = 300;
/// Longest that a token is taken to be good, in seconds.
const LIFE_S_MAX: u64 = 24 * 3600;
const WHAT: &str = "get an access token";

/// Where access tokens come from.
pub(super) struct Tokens {
    app_key: String,
    secrets: Secrets,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    access: Access,
    until: Instant,
    /// The refresh token that it was made from: it can be replaced at any time.
    of: Zeroizing<String>,
}

/// An access token as a request carries it. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Access(HeaderValue);

impl Access {
    /// `Bearer …`
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    pub(super) fn new(app_key: &str, secrets: Secrets) -> Self {
        Self { app_key: app_key.into(), secrets, kept: Mutex::default() }
    }

    /// An access token that is good for a while, as far as we know.
    pub(super) async fn get(&self, client: &Client) -> Result<Access, Error> {
        let refresh = self.secrets.word("refresh_token")?;
        // Held over the request, so that many parts ask for one token.
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        if let Some(kept) = &*kept
            && kept.until > now
            && kept.of == refresh
        {
            return Ok(kept.access.clone());
        }
        *kept = None;
        let answer = self.ask(client, &refresh).await?;
        let token = Zeroizing::new(answer.access_token);
        let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let header = HeaderValue::from_str(&bearer);
        let mut header = header.map_err(|_| Error::Unreadable { what: WHAT })?;
        header.set_sensitive(true);
        let access = Access(header);
        let life_s = answer.expires_in.min(LIFE_S_MAX);
        // One that lives shorter than the margin is used for half its life.
        let life_s = life_s.saturating_sub(MARGIN_S).max(life_s / 2);
        let until = now + Duration::from_secs(life_s);
        *kept = Some(Kept { access: access.clone(), until, of: refresh });
        Ok(access)
    }

    /// This one is not to be used again.
    pub(super) async fn forget(&self, access: &Access) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.access == *access) {
            *kept = None;
        }
    }

    async fn ask(&self, client: &Client, refresh: &str) -> Result<Answer, Error> {
        let form = self.form(refresh)?;
        let stall_ms = client.limits.connect_ms_max;
        let stalled = |Stalled| Error::Stalled { what: WHAT, stall_ms };
        let progress = Progress::default();
        let request = client
            .http
            .post(format!("{}/oauth2/token", client.api))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let response = progress.watch(stall_ms, request.send()).await.map_err(stalled)?;
        let response = response.map_err(|error| Error::from_transport(WHAT, error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").cloned();
        let reading = read(WHAT, response, &progress);
        let text = progress.watch(stall_ms, reading).await.map_err(stalled)??;
        let text = Zeroizing::new(text);
        if status != 200 {
            let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
            return Err(Error::Refused(Box::new(Refusal::read(WHAT, status, retry_after, &text))));
        }
        serde_json::from_str(&text).map_err(|_| Error::Unreadable { what: WHAT })
    }

    fn form(&self, refresh: &str) -> Result<String, Error> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", refresh)
            .append_pair("client_id", &self.app_key);
        if self.secrets.get("app_secret").is_some() {
            form.append_pair("client_secret", &self.secrets.word("app_secret")?);
        }
        Ok(form.finish())
    }
}
