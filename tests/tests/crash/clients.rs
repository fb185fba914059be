//! Clients that keep at it: they send, are cut off, come back, and remember what was promised them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream;
use holdfast_tests::http::Uploaded;
use holdfast_tests::media::salted;
use holdfast_tests::stream::Address;
use holdfast_tests::tools::sha256;
use holdfast_tests::{Node, Stream, StreamError};
use reqwest::Body;
use serde_json::json;

/// Bytes of a piece that is sent at once.
const PIECE: usize = 2_000;
/// Close codes after which a client comes back.
const COME_BACK: [u16; 5] = [0, 4408, 4429, 4503, 4507];
/// How long a client waits for what was promised to be delivered.
const DELIVERED_WITHIN: Duration = Duration::from_secs(600);

/// Something that the node acknowledged.
pub(crate) enum Promise {
    /// Saved: it will be delivered as it was sent.
    Kept { id: String, environment: String, sha256: String },
    /// Never finished: at least this much of it will be recovered.
    Abandoned { id: String, bytes: Vec<u8>, acked: u64 },
    /// Deleted.
    Discarded { id: String },
}

impl Promise {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Kept { id, .. } | Self::Abandoned { id, .. } | Self::Discarded { id } => id,
        }
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept { id, environment, .. } => write!(f, "{id}, saved for {environment}"),
            Self::Abandoned { id, acked, .. } => write!(f, "{id}, abandoned at {acked}"),
            Self::Discarded { id } => write!(f, "{id}, discarded"),
        }
    }
}

/// What the clients share.
pub(crate) struct Book {
    address: Address,
    http: reqwest::Client,
    upload: String,
    storage: PathBuf,
    clip: Vec<u8>,
    closed: AtomicBool,
    salt: AtomicU64,
    comebacks: AtomicU64,
    sent: Mutex<BTreeSet<String>>,
    promises: Mutex<Vec<Promise>>,
}

impl Book {
    pub(crate) fn new(node: &Node, clip: Vec<u8>) -> Result<Self> {
        Ok(Self {
            address: node.address()?,
            http: node.client()?,
            upload: node.url("/api/v1/ingest/upload"),
            storage: node.storage(),
            clip,
            closed: AtomicBool::new(false),
            salt: AtomicU64::new(1),
            comebacks: AtomicU64::new(0),
            sent: Mutex::default(),
            promises: Mutex::default(),
        })
    }

    /// Clients finish what they are at, and end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// A recording like no other.
    fn recording(&self) -> Vec<u8> {
        let bytes = salted(&self.clip, self.salt.fetch_add(1, Ordering::Relaxed));
        self.sent.lock().expect("no client panics").insert(sha256(&bytes));
        bytes
    }

    fn note(&self, promise: Promise) {
        self.promises.lock().expect("no client panics").push(promise);
    }

    pub(crate) fn promises(&self) -> Vec<Promise> {
        std::mem::take(&mut self.promises.lock().expect("no client panics"))
    }

    pub(crate) fn was_sent(&self, sha256: &str) -> bool {
        self.sent.lock().expect("no client panics").contains(sha256)
    }

    /// Whether a file is the beginning of what some client sent and never finished.
    pub(crate) fn is_piece_of_an_abandoned(&self, path: &Path) -> Result<bool> {
        let bytes = std::fs::read(path)?;
        Ok(!bytes.is_empty() && self.clip.starts_with(&bytes[..bytes.len().min(self.clip.len())]))
    }

    pub(crate) fn print(&self) {
        let promises = self.promises.lock().expect("no client panics");
        let count =
            |is: fn(&Promise) -> bool| promises.iter().filter(|promise| is(promise)).count();
        println!(
            "{} recordings begun; {} saved, {} abandoned, {} discarded; came back {} times",
            self.salt.load(Ordering::Relaxed) - 1,
            count(|promise| matches!(promise, Promise::Kept { .. })),
            count(|promise| matches!(promise, Promise::Abandoned { .. })),
            count(|promise| matches!(promise, Promise::Discarded { .. })),
            self.comebacks.load(Ordering::Relaxed),
        );
    }

    /// What was saved is delivered before the client begins its next: the queue stays short.
    async fn keep(&self, id: &str, environment: &str, bytes: &[u8]) -> Result<()> {
        let (id, environment) = (id.to_owned(), environment.to_owned());
        let at = self.storage.join(&environment).join(format!("{id}_raw.webm"));
        self.note(Promise::Kept { id: id.clone(), environment, sha256: sha256(bytes) });
        let begun = Instant::now();
        while !at.exists() {
            ensure!(begun.elapsed() < DELIVERED_WITHIN, "{id} was never delivered");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

async fn pause(random: &mut Rng, ms_max: u64) {
    tokio::time::sleep(Duration::from_millis(random.u64(..ms_max))).await;
}

fn environment(random: &mut Rng) -> &'static str {
    if random.bool() { "demo" } else { "raw" }
}

/// Uploads one recording after the other. One that was not acknowledged is forgotten: the next
/// try is a recording of its own.
pub(crate) async fn uploader(book: Arc<Book>, seed: u64) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    while book.is_open() {
        let environment = environment(&mut random);
        let bytes = book.recording();
        let pieces: Vec<_> = bytes.chunks(PIECE * 2).map(Bytes::copy_from_slice).collect();
        let waits: Vec<_> = pieces.iter().map(|_| random.u64(..30)).collect();
        let slowly = stream::unfold(pieces.into_iter().zip(waits), async |mut left| {
            let (piece, wait_ms) = left.next()?;
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            Some((Ok::<_, std::io::Error>(piece), left))
        });
        let query = format!("?env_id={environment}&env_hash={environment}-hash");
        let request = book.http.put(format!("{}{query}", book.upload));
        match request.body(Body::wrap_stream(slowly)).send().await {
            Ok(answer) if answer.status() == 201 => {
                let Ok(text) = answer.text().await else { continue };
                let uploaded = Uploaded::parse(&text)?;
                ensure!(uploaded.sha256 == sha256(&bytes), "{}: other bytes", uploaded.id);
                book.keep(&uploaded.id, environment, &bytes).await?;
            }
            Ok(answer) => {
                let status = answer.status().as_u16();
                let retry = [408, 429, 503, 507].contains(&status);
                ensure!(retry, "{status}: {}", answer.text().await.unwrap_or_default());
            }
            Err(_) => {
                book.comebacks.fetch_add(1, Ordering::Relaxed);
                pause(&mut random, 100).await;
            }
        }
    }
    Ok(())
}

/// What a client wants with a recording in the end.
#[derive(Clone, Copy, PartialEq)]
enum Wish {
    Save,
    Abandon,
    Discard,
}

/// Streams one recording after the other, and comes back until each is where it should be.
pub(crate) async fn streamer(book: Arc<Book>, seed: u64) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    while book.is_open() {
        let wish = match random.u8(..8) {
            0 => Wish::Abandon,
            1 => Wish::Discard,
            _ => Wish::Save,
        };
        let environment = if wish == Wish::Abandon { "raw" } else { environment(&mut random) };
        let mut recording = Recording {
            bytes: book.recording(),
            environment,
            wish,
            id: String::new(),
            token: String::new(),
            acked: 0,
            ending: false,
        };
        while !recording.send(&book, &mut random).await? {
            book.comebacks.fetch_add(1, Ordering::Relaxed);
            pause(&mut random, 100).await;
        }
        match wish {
            Wish::Save => book.keep(&recording.id, environment, &recording.bytes).await?,
            Wish::Discard => book.note(Promise::Discarded { id: recording.id }),
            Wish::Abandon if recording.acked > 0 => {
                let Recording { id, bytes, acked, .. } = recording;
                book.note(Promise::Abandoned { id, bytes, acked });
            }
            Wish::Abandon => {}
        }
    }
    Ok(())
}

/// A recording on its way, over as many connections as it takes.
struct Recording {
    bytes: Vec<u8>,
    environment: &'static str,
    wish: Wish,
    id: String,
    token: String,
    acked: u64,
    /// The wish was told, and may have been fulfilled without the answer arriving.
    ending: bool,
}

impl Recording {
    /// One connection's worth. `true` when the wish is fulfilled, `false` to come back.
    async fn send(&mut self, book: &Book, random: &mut Rng) -> Result<bool> {
        match self.attempt(book, random).await {
            Ok(()) => Ok(true),
            Err(error) if COME_BACK.contains(&error.code()) => Ok(false),
            // Gone, as was wished.
            Err(error) if self.wish == Wish::Discard && self.ending && is_gone(&error) => Ok(true),
            // It was begun, but nothing of it was acknowledged: it need not be known.
            Err(error) if error.code() == 4404 && self.acked == 0 => {
                self.id.clear();
                Ok(false)
            }
            Err(error) => {
                Err(error).with_context(|| format!("{} at {} bytes", self.id, self.acked))
            }
        }
    }

    async fn attempt(&mut self, book: &Book, random: &mut Rng) -> Result<(), StreamError> {
        let mut stream = if self.id.is_empty() {
            let stream = Stream::start(&book.address, self.environment).await?;
            (self.id, self.token) = (stream.id.clone(), stream.token.clone());
            stream
        } else {
            Stream::resume(&book.address, &self.id, &self.token).await?
        };
        if stream.acked < self.acked {
            let lost = self.acked - stream.acked;
            return Err(violation(&format!("{lost} acknowledged bytes are gone")));
        }
        self.acked = stream.acked;
        if self.wish == Wish::Save && stream.greeting["state"] == "saved" {
            return Ok(());
        }
        let outcome = self.go_on(&mut stream, random).await;
        self.acked = self.acked.max(stream.acked);
        outcome
    }

    async fn go_on(&mut self, stream: &mut Stream, random: &mut Rng) -> Result<(), StreamError> {
        let end = if self.wish == Wish::Abandon { self.bytes.len() / 2 } else { self.bytes.len() };
        let mut at = usize::try_from(stream.acked).unwrap_or(end).min(end);
        while at < end {
            let next = end.min(at + PIECE);
            stream.chunk(at as u64, &self.bytes[at..next]).await?;
            at = next;
            pause(random, 30).await;
        }
        stream.acked_to(end as u64).await?;
        self.acked = stream.acked;
        match self.wish {
            Wish::Abandon => Ok(()),
            Wish::Discard => {
                self.ending = true;
                stream.say(&json!({ "type": "discard" })).await?;
                stream.hear_of("discarded").await.map(drop)
            }
            Wish::Save => {
                let digest = stream.stop(self.bytes.len()).await?;
                if digest != sha256(&self.bytes) {
                    return Err(violation("the node has other bytes"));
                }
                stream.save().await
            }
        }
    }
}

fn is_gone(error: &StreamError) -> bool {
    matches!(error.code(), 4404 | 4409 | 4401)
}

/// A promise that was broken, as an error after which nobody comes back.
fn violation(what: &str) -> StreamError {
    StreamError::Refused { code: 1, problem: json!({ "detail": what }) }
}
