//! The setup page: HTTPS on the local network, no privilege, gone once it has something valid.
//!
//! ```text
//! GET  /                the page, and its files under /assets/ and /recorder/v1/dom.js
//! GET  /setup/state     {serial, state, summary}: all that one without the code is told
//! POST /setup/open      the whole outcome
//! POST /setup/check     {config, settings, secrets: {name: base64}} -> {problems}
//! POST /setup/hand-in   the same; 200 once it is in the inbox, 422 with problems
//! ```
//!
//! Every POST carries the code in `Holdfast-Setup-Code`. A header of that name is never sent by
//! another site's page, because no answer here permits it; there is no session and no cookie.

mod assets;
mod hand_in;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempts::Attempts;
use super::code::Code;
use super::outcome::Outcome;
use crate::listen::{Listener, Places};
use hand_in::HandedIn;

const CODE_HEADER: &str = "holdfast-setup-code";
/// Largest body: all secrets at their largest in base64, and the configuration with every character
/// escaped would be more, but nobody's is.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Longest that a body may take.
const BODY_WAIT_MAX: Duration = Duration::from_secs(60);
/// A connection without a request ends after this.
const IDLE_MAX: Duration = Duration::from_secs(30);
const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;
/// Longest that running answers may take once the page ends.
const ENDING_MAX: Duration = Duration::from_secs(10);
const OUTCOME_BYTES_MAX: u64 = 1 << 20;

/// What the page needs.
#[derive(Debug)]
pub struct Page {
    /// `label.json`
    pub label: PathBuf,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// The certificate's key, PEM.
    pub key: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where what is handed in is put.
    pub inbox: PathBuf,
    /// `outcome.json` of `take`.
    pub outcome: PathBuf,
}

#[derive(Debug)]
struct Setup {
    code: Code,
    attempts: Mutex<Attempts>,
    outcome: PathBuf,
    inbox: PathBuf,
    /// Whether something was handed in already; held while it is written.
    has_one: Mutex<bool>,
    stop: CancellationToken,
}

/// Serves until something valid was handed in, or SIGTERM or SIGINT comes.
///
/// # Errors
/// What is wrong with the label, the certificate or the address.
pub async fn run(page: Page) -> anyhow::Result<()> {
    let tls = crate::tls::of_files(&page.certificate, &page.key)?;
    let code = Code::load(&page.label)?;
    let tcp = tokio::net::TcpListener::bind(page.listen)
        .await
        .with_context(|| format!("cannot listen at {}", page.listen))?;
    let stop = CancellationToken::new();
    let setup = Arc::new(Setup {
        code,
        attempts: Mutex::default(),
        outcome: page.outcome,
        inbox: page.inbox,
        has_one: Mutex::new(false),
        stop: stop.clone(),
    });
    let tasks = TaskTracker::new();
    let address = tcp.local_addr()?;
    let listener = Listener {
        tcp,
        tls,
        places: Places::new(0, CONNECTIONS_PER_ADDRESS_MAX),
        idle_max: IDLE_MAX,
        alt_svc: None,
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    tasks.spawn(listener.run(router(setup)));
    tracing::info!(%address, "waiting for a configuration");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        () = stop.cancelled() => tracing::info!("has a configuration; the page ends"),
        _ = terminate.recv() => stop.cancel(),
        _ = tokio::signal::ctrl_c() => stop.cancel(),
    }
    tasks.close();
    drop(tokio::time::timeout(ENDING_MAX, tasks.wait()).await);
    Ok(())
}

fn router(setup: Arc<Setup>) -> Router {
    let routes = Router::new()
        .route("/setup/state", get(state))
        .route("/setup/open", post(open))
        .route("/setup/check", post(check))
        .route("/setup/hand-in", post(hand_in))
        .with_state(setup);
    let nowhere =
        || async { said(StatusCode::NOT_FOUND, "There is nothing here but the setup page at /.") };
    let not_so =
        || async { said(StatusCode::METHOD_NOT_ALLOWED, "This is not asked for like that.") };
    assets::router()
        .merge(routes)
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(axum::middleware::map_response(assets::guard))
}

async fn state(State(setup): State<Arc<Setup>>) -> Json<Value> {
    let outcome = setup.outcome().await;
    let summary = outcome.as_ref().map_or("the box waits for its configuration.", |o| &o.summary);
    let state = outcome.as_ref().map(|outcome| outcome.state);
    Json(json!({ "serial": setup.code.serial, "state": state, "summary": summary }))
}

async fn open(
    State(setup): State<Arc<Setup>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    match setup.admit(peer.ip(), &headers).await {
        Ok(()) => Json(setup.outcome().await).into_response(),
        Err(refused) => refused,
    }
}

async fn check(
    State(setup): State<Arc<Setup>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    match setup.handed_in(peer.ip(), request).await {
        Ok(handed_in) => {
            let problems = handed_in.check().err().unwrap_or_default();
            Json(json!({ "problems": problems })).into_response()
        }
        Err(refused) => refused,
    }
}

async fn hand_in(
    State(setup): State<Arc<Setup>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let handed_in = match setup.handed_in(peer.ip(), request).await {
        Ok(handed_in) => handed_in,
        Err(refused) => return refused,
    };
    let bundle = match handed_in.check() {
        Ok(bundle) => bundle,
        Err(problems) => {
            let body = Json(json!({ "problems": problems }));
            return (StatusCode::UNPROCESSABLE_ENTITY, body).into_response();
        }
    };
    let mut has_one = setup.has_one.lock().await;
    if *has_one {
        return said(
            StatusCode::CONFLICT,
            "The box has a configuration already; it was handed in a moment ago.",
        );
    }
    let inbox = setup.inbox.clone();
    let put = tokio::task::spawn_blocking(move || hand_in::put(&inbox, &bundle)).await;
    match put.map_err(std::io::Error::other).flatten() {
        Ok(()) => {
            *has_one = true;
            tracing::info!(from = %peer.ip(), "a configuration was handed in");
            setup.stop.cancel();
            Json(json!({ "problems": [] })).into_response()
        }
        Err(error) => {
            tracing::error!(%error, inbox = %setup.inbox.display(), "cannot keep what was handed in");
            said(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("The box cannot keep it: {error}. Restart it and try again."),
            )
        }
    }
}

impl Setup {
    async fn outcome(&self) -> Option<Outcome> {
        let path = self.outcome.clone();
        let read = move || {
            let is_small = std::fs::metadata(&path).ok()?.len() <= OUTCOME_BYTES_MAX;
            let bytes = is_small.then(|| std::fs::read(&path).ok()).flatten()?;
            serde_json::from_slice(&bytes).ok()
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    /// Whether the request has the code. No code is looked at while its address has to wait.
    async fn admit(&self, from: IpAddr, headers: &HeaderMap) -> Result<(), Response> {
        let typed = headers.get(CODE_HEADER).and_then(|value| value.to_str().ok());
        let Some(typed) = typed else {
            return Err(said(
                StatusCode::UNAUTHORIZED,
                "Give the code that is printed on the box.",
            ));
        };
        let mut attempts = self.attempts.lock().await;
        let now = Instant::now();
        if let Some(wait) = attempts.wait(from, now) {
            return Err(too_many(wait));
        }
        if self.code.is(typed) {
            attempts.right(from);
            return Ok(());
        }
        attempts.wrong(from, now);
        tracing::warn!(%from, "a wrong code");
        Err(said(
            StatusCode::FORBIDDEN,
            "This is not the code of this box. It is printed on its label.",
        ))
    }

    async fn handed_in(&self, from: IpAddr, request: Request) -> Result<HandedIn, Response> {
        let (head, unread) = request.into_parts();
        self.admit(from, &head.headers).await?;
        let bytes = body(unread).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            said(StatusCode::BAD_REQUEST, &format!("This cannot be understood: {error}."))
        })
    }
}

async fn body(body: Body) -> Result<Bytes, Response> {
    let read =
        tokio::time::timeout(BODY_WAIT_MAX, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let too_slow =
        |_| said(StatusCode::REQUEST_TIMEOUT, "This took too long to arrive; try again.");
    read.map_err(too_slow)?.map_err(|_| {
        let mib = BODY_BYTES_MAX >> 20;
        let sentence = format!("More than {mib} MiB, or broken off: hand in less, or try again.");
        said(StatusCode::PAYLOAD_TOO_LARGE, &sentence)
    })
}

fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let sentence = format!("Too many wrong codes. Wait {seconds} seconds, then try again.");
    let mut response = said(StatusCode::TOO_MANY_REQUESTS, &sentence);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn said(status: StatusCode, sentence: &str) -> Response {
    (status, Json(json!({ "problems": [sentence] }))).into_response()
}
