//! One attempt: builds a request, signs it, sends it, reads a little of the answer.
//!
//! No redirects, no proxies, at most 15 s until the answer's status, and of its body only the
//! beginning, for 2 s more: whatever a receiver does, it holds one of its own few places for a while.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use holdfast_core::recording::Metadata;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Request, Response, redirect};

use super::event::Format;
use super::message::{Message, Outcome, Try};
use super::payload::compose;
use super::target::{RefusedTarget, Resolver, Targets};
use super::{Webhook, schedule};
use crate::config::Notify;
use crate::node::Node;

/// Longest that the answer's status may take, from looking the name up on.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Longest that its body is listened to after that.
const BODY_MAX: Duration = Duration::from_secs(2);
/// Longest that the connection may take, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next request.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// How much of an answer is looked at, in bytes.
const HEAD_BYTES_MAX: usize = 1_024;
/// Longest that a reason is told, in characters.
const ERROR_CHARS_MAX: usize = 300;

/// Sends requests.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    http: reqwest::Client,
    targets: Targets,
    /// Who answers in a simulation.
    #[cfg(test)]
    simulated: Option<crate::simulation::receivers::Receivers>,
}

impl Sender {
    pub(super) fn new(notify: &Notify) -> anyhow::Result<Self> {
        let targets = Targets::new(notify);
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .https_only(!notify.plain_http)
            .dns_resolver(Arc::new(Resolver::new(targets.clone())))
            .connect_timeout(CONNECT_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &notify.ca_file {
            let at = || format!("notify.ca_file {}", path.display());
            let pem = std::fs::read(path).with_context(at)?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).with_context(at)?;
            anyhow::ensure!(!authorities.is_empty(), "{}: it holds no certificate", at());
            builder = builder.tls_certs_merge(authorities);
        }
        // A simulation starts a node thousands of times, and nothing of it leaves the process.
        #[cfg(test)]
        if notify.simulated.is_some() {
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().context("TLS for webhooks cannot be set up")?;
        Ok(Self {
            http,
            targets,
            #[cfg(test)]
            simulated: notify.simulated.clone(),
        })
    }

    /// Tries to deliver a message.
    pub(super) async fn attempt(&self, node: &Node, hook: &Webhook, message: &Message) -> Outcome {
        let (at, started) = (node.clock.now(), node.clock.boottime());
        let sending = tokio::time::timeout(ANSWER_MAX, self.send(node, hook, message, at));
        let mut asked_wait = None;
        let (status, error, response_head) = match sending.await {
            Ok(Ok(response)) => {
                let (status, error) = judge(&response);
                let retry_after = response.headers().get(RETRY_AFTER);
                let retry_after = retry_after.and_then(|value| value.to_str().ok());
                asked_wait =
                    retry_after.and_then(|text| schedule::asked(status, text, node.clock.now()));
                (Some(status), error, Some(head(response).await))
            }
            Ok(Err(error)) => (None, Some(error), None),
            Err(_) => (None, Some(too_slow()), None),
        };
        let duration_ms = schedule::millis(node.clock.boottime().saturating_sub(started));
        let error = error.map(|error| harmless(&error).chars().take(ERROR_CHARS_MAX).collect());
        Outcome { attempt: Try { at, duration_ms, status, error }, response_head, asked_wait }
    }

    async fn send(
        &self,
        node: &Node,
        hook: &Webhook,
        message: &Message,
        now: Timestamp,
    ) -> Result<Response, String> {
        // Asked for at each attempt: the configuration may have changed since it was made.
        let url = self.targets.check_url(&hook.url)?;
        let signer = hook.signer(&node.key, now).await?;
        let metadata = metadata(node, message)?;
        let json = compose(message.payload.clone(), metadata.as_ref());
        let pipe = signer.pipe(&hook.url, &json);
        let (content_type, body) = match hook.format {
            Format::Json => ("application/json", json),
            Format::Form => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("payload", &String::from_utf8_lossy(&json));
                ("application/x-www-form-urlencoded", form.finish().into_bytes())
            }
        };
        let signature = signer.standard(&message.id, now.as_second(), &body);
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, content_type)
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", now.as_second())
            .header("webhook-signature", signature)
            .header("x-pipe-signature", pipe)
            .body(body);
        self.carry(request.build().map_err(|error| reason(&error))?).await
    }

    /// Has a request answered.
    async fn carry(&self, request: Request) -> Result<Response, String> {
        #[cfg(test)]
        if let Some(receivers) = &self.simulated {
            return receivers.answer(&request).await;
        }
        self.http.execute(request).await.map_err(|error| reason(&error))
    }
}

/// An answer's status, and why it does not count, if it does not.
fn judge(response: &Response) -> (u16, Option<String>) {
    let status = response.status();
    let error = if status.is_success() {
        None
    } else if status.is_redirection() {
        let to = response.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()));
        let to = to.map_or_else(String::new, |to| format!(" to {to}"));
        Some(format!("it answered with a redirect{to}, which is not followed"))
    } else {
        Some(format!("it answered {status}"))
    };
    (status.as_u16(), error)
}

/// What is still kept of the person. Nothing for a ping, and once the recording's entry is gone.
fn metadata(node: &Node, message: &Message) -> Result<Option<Metadata>, String> {
    let Some(id) = message.recording_id else { return Ok(None) };
    let found = node.ledger.get(id).map_err(|error| error.to_string())?;
    Ok(found.map(|rec| rec.metadata))
}

/// The beginning of an answer, as text that does nothing. What breaks off or takes too long ends
/// there: the status was the answer.
async fn head(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let over = tokio::time::sleep(BODY_MAX);
    tokio::pin!(over);
    while bytes.len() < HEAD_BYTES_MAX {
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk,
            () = &mut over => break,
        };
        match chunk {
            Ok(Some(chunk)) => {
                let room = HEAD_BYTES_MAX - bytes.len();
                bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(None) | Err(_) => break,
        }
    }
    harmless(&String::from_utf8_lossy(&bytes))
}

/// Without anything that a terminal or a page would obey: control characters, and what turns the
/// direction of writing.
fn harmless(text: &str) -> String {
    let is_harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

fn too_slow() -> String {
    format!("no answer within {} s", ANSWER_MAX.as_secs())
}

/// Why no answer came, in words.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn StdError = error;
    while let Some(source) = innermost.source() {
        if let Some(refused) = source.downcast_ref::<RefusedTarget>() {
            return refused.to_string();
        }
        innermost = source;
    }
    match () {
        () if error.is_timeout() && error.is_connect() => "it cannot be reached in time".into(),
        () if error.is_timeout() => too_slow(),
        () if error.is_connect() => format!("it cannot be reached: {innermost}"),
        () => format!("the connection broke: {innermost}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_without_what_a_terminal_would_obey() {
        let said = harmless("ok\u{1b}[2J\r\n\u{202e}gpj.exe\u{7}\0");
        assert_eq!(said, "ok\u{fffd}[2J\u{fffd}\n\u{fffd}gpj.exe\u{fffd}\u{fffd}");
    }
}
