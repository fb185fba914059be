//! Receivers of webhooks: customers' systems that are told what happens, and are down, overrun, slow,
//! broken, forgetful, and gone for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http;
use jiff::Timestamp;
use reqwest::{Request, Response};

use super::chance::Chance;
use super::disk::Disk;
use super::others;

/// Webhooks, by the number of their environment.
pub(super) const HOOKS: [&str; 3] = ["hook0", "hook1", "hook2"];

/// All receivers. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Receivers {
    /// A node without power sends nothing, and hears nothing.
    disk: Disk,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    moods: BTreeMap<String, Mood>,
    chance: Chance,
    /// Real time since the world began.
    elapsed: Duration,
    asked: u64,
    under_way: usize,
    heard: Vec<Heard>,
}

/// How a receiver feels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// It takes what it is told.
    #[default]
    Well,
    /// Nobody answers.
    Down,
    /// It answers 500.
    Broken,
    /// It has too much to do, and says for how long.
    Overrun,
    /// It answers after 1 to 25 seconds.
    Slow,
    /// It takes what it is told, and the answer gets lost on the way; every other time.
    Forgetful,
    /// It answers 410, that nothing shall come any more.
    Gone,
}

/// What a receiver has seen.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    /// Someone tried to tell it something.
    Asked { number: u64, elapsed: Duration, request: Told },
    /// What it answered has reached the node.
    Answered { number: u64, status: u16 },
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// The id of its webhook.
    pub(super) hook: String,
    pub(super) id: String,
    pub(super) at_s: String,
    pub(super) signature: String,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl std::fmt::Debug for Receivers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receivers")
    }
}

/// The address of a webhook's receiver.
pub(super) fn url_of(hook: &str) -> String {
    format!("https://{hook}.example/told?by=holdfast")
}

/// A request that is under way, for as long as this lives.
struct UnderWay<'a>(&'a Receivers);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.inner().under_way -= 1;
    }
}

impl Receivers {
    pub(super) fn new(disk: &Disk, chance: Chance) -> Self {
        let inner = Inner {
            moods: BTreeMap::new(),
            chance,
            elapsed: Duration::ZERO,
            asked: 0,
            under_way: 0,
            heard: Vec::new(),
        };
        Self { disk: disk.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_mood(&self, hook: &str, mood: Mood) {
        self.inner().moods.insert(hook.to_owned(), mood);
    }

    /// All of them are well.
    pub(super) fn mend(&self) {
        self.inner().moods.clear();
    }

    /// Real time goes on.
    pub(super) fn let_pass(&self, time: Duration) {
        self.inner().elapsed += time;
    }

    /// Whether anyone is being told something.
    pub(super) fn are_busy(&self) -> bool {
        self.inner().under_way > 0
    }

    /// What they have seen since they were last asked.
    pub(super) fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.inner().heard)
    }

    /// Sends a request, as the network would.
    pub(crate) async fn answer(&self, request: &Request) -> Result<Response, String> {
        self.inner().under_way += 1;
        let _under_way = UnderWay(self);
        others().await;
        self.is_powered()?;
        let told = told(request);
        let (number, mood, wait) = {
            let mut inner = self.inner();
            inner.asked += 1;
            let mood = inner.moods.get(&told.hook).copied().unwrap_or_default();
            let (number, elapsed) = (inner.asked, inner.elapsed);
            inner.heard.push(Heard::Asked { number, elapsed, request: told });
            (number, mood, inner.chance.from(1_000, 25_000))
        };
        match mood {
            Mood::Down => return Err("it cannot be reached: no route to host".into()),
            Mood::Slow => tokio::time::sleep(Duration::from_millis(wait)).await,
            _ => {}
        }
        others().await;
        self.is_powered()?;
        let mut inner = self.inner();
        if mood == Mood::Forgetful && inner.chance.percent(50) {
            return Err("the connection broke: reset by peer".into());
        }
        let status = match mood {
            Mood::Broken => 500,
            Mood::Overrun => [429, 503][inner.chance.index(2)],
            Mood::Gone => 410,
            _ => [200, 202, 204][inner.chance.index(3)],
        };
        let mut response = http::Response::builder().status(status);
        if mood == Mood::Overrun {
            response = response.header("retry-after", inner.chance.from(0, 5_000).to_string());
        }
        inner.heard.push(Heard::Answered { number, status });
        let response = response.body(format!("{mood:?}")).map_err(|error| error.to_string())?;
        Ok(Response::from(response))
    }

    fn is_powered(&self) -> Result<(), String> {
        if self.disk.is_off() { Err("there is no power".into()) } else { Ok(()) }
    }
}

fn told(request: &Request) -> Told {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let host = request.url().host_str().unwrap_or_default();
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    Told {
        hook: host.strip_suffix(".example").unwrap_or(host).to_owned(),
        id: header("webhook-id"),
        at_s: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        content_type: header("content-type"),
        body: body.to_vec(),
    }
}

impl Told {
    /// When it was sent, as it says itself.
    pub(super) fn sent_at(&self) -> Timestamp {
        let seconds = self.at_s.parse().expect("seconds since 1970");
        Timestamp::from_second(seconds).expect("an instant")
    }
}

impl Heard {
    /// In words.
    pub(super) fn tell(&self) -> String {
        match self {
            Self::Asked { number, request: Told { hook, id, at_s, body, .. }, .. } => {
                let body = String::from_utf8_lossy(body);
                format!("{at_s} {hook} is told {id}, request {number}: {body}")
            }
            Self::Answered { number, status } => format!("request {number} is answered {status}"),
        }
    }
}
