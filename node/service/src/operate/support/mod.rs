//! The support bundle: what whoever builds a box needs to see when it misbehaves, as one `.tar.gz`.
//!
//! Invariants:
//! - No recording, no secret, no personal data. Members are shown that tables name ([`shown`]), free
//!   text is made fit ([`plain`]), names that people chose have numbers in their place.
//! - Nothing that is broken keeps the rest from being put together: a part that fails says why, a part
//!   that does not answer within [`PART_MAX`] says so.
//! - At most [`BUNDLE_BYTES_MAX`] bytes before packing, one bundle at a time.
//!
//! `docs/support.md` says what is in it and how to read it.

mod archive;
mod failures;
mod machine;
mod plain;
mod rules;
mod settings;
mod shown;

use std::fs::File as Disk;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::evidence::evidence;
use super::log::ring::Ring;
use super::status::{hardware, status};
use crate::blocking;
use crate::digest::Sha256;
use crate::node::Node;
use archive::File;
pub(crate) use plain::Plain;
use rules::{CLOCK, DESTINATIONS, HARDWARE, HEALTH, VOLUMES};
use shown::Shown;
pub(crate) use shown::{Kind, word};

/// Most bytes of all files of a bundle.
const BUNDLE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of one file. What would be larger is left out, and says so.
const FILE_BYTES_MAX: usize = 2 << 20;
/// Longest that a part may take.
const PART_MAX: Duration = Duration::from_secs(20);
/// Largest program that is digested, in bytes.
const PROGRAM_BYTES_MAX: u64 = 1 << 30;

/// One bundle at a time: it is put together in memory.
static MAKING: Semaphore = Semaphore::const_new(1);
/// One look at disks at a time: a disk that hangs holds its thread up, and no other.
static LOOKING: Semaphore = Semaphore::const_new(1);

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupportError {
    /// Another is being made.
    #[error("another support bundle is being put together; ask again in a minute")]
    Busy,
    /// It could not be packed.
    #[error("the support bundle could not be packed: {0}")]
    Pack(#[from] std::io::Error),
}

/// A bundle.
pub(crate) struct Bundle {
    /// What the file is called.
    pub(crate) name: String,
    /// The `.tar.gz`.
    pub(crate) bytes: Vec<u8>,
}

/// What is in a bundle: each file, and what it says.
const CONTENTS: [(&str, &str); 14] = [
    ("about.json", "which node this is: version, digest of its program, key's id, time zone"),
    ("health.json", "whether it does its work, and what it lacks"),
    ("clock.json", "what its clock is worth (docs/clock.md)"),
    ("machine.json", "kernel, system, processor, memory, pressure"),
    ("mounts.json", "what is mounted, how full it is, and what the node uses it for"),
    (
        "volumes.json",
        "volumes, their encryption, what is promised and whether it holds (docs/volumes.md)",
    ),
    ("hardware.json", "what encodes and decodes, with proofs (docs/hardware.md)"),
    ("destinations.json", "destinations: kind, whether they are pushed to, what shut them"),
    ("webhooks.json", "webhooks: whether they are on, and how much waits for each"),
    ("recordings.json", "how many recordings are in each state, and how much waits in each lane"),
    (
        "failures.json",
        "what failed last, by destination and by recording: attempts, whose fault, a sentence",
    ),
    (
        "configuration.json",
        "the configuration that the node goes by, without names, addresses and secrets",
    ),
    ("metrics.json", "what the process uses, and what it may use"),
    ("log.txt", "the newest lines of the node's log, at most 1 MiB, the oldest first"),
];

const ABOUT: &str = "\
This is a support bundle of a Holdfast node. It is meant for whoever builds the node, to find out why
it misbehaves. Read it before you send it: everything in it is text.

What is not in it: recordings, pictures, keys, passwords, certificates; names, IP addresses, referrers,
user agents, cameras and titles of recordings; host names, user names, buckets, folders and addresses of
destinations and webhooks. What people named has a number in its place: destination-2 is the second that
`holdfast destinations list` shows, and so are environments, accounts and webhooks. Recordings are named
by their ids, which are random. Where something was left out of a text it says so: (left out).

SHA256SUMS checks that nothing was damaged on the way: sha256sum -c SHA256SUMS

";

/// Puts a bundle together.
///
/// # Errors
/// [`SupportError`].
pub(crate) async fn bundle(node: &Arc<Node>, started: Duration) -> Result<Bundle, SupportError> {
    let _one = MAKING.try_acquire().map_err(|_| SupportError::Busy)?;
    let now = node.clock.now();
    let looked = Arc::clone(node);
    let known = in_time(blocking::run(move || settings::known(&looked))).await;
    // Without it nothing would be left out of texts, so there are none then.
    let known = known.and_then(|known| known.map_err(|error| error.to_string()));
    let parts = match known {
        Ok(known) => parts(node, started, known).await,
        Err(why) => vec![("about.json", Err(why))],
    };
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let name = format!("holdfast-support-{stamp}");
    let packing = blocking::run(move || {
        let files = files(parts);
        archive::pack(&name, &files, now)
            .map(|bytes| Bundle { name: format!("{name}.tar.gz"), bytes })
    });
    Ok(packing.await.map_err(std::io::Error::other)??)
}

type Part = (&'static str, Result<Vec<u8>, String>);

/// All at once, so that what hangs costs no more than [`PART_MAX`].
async fn parts(node: &Arc<Node>, started: Duration, known: Shown) -> Vec<Part> {
    let known = Arc::new(known);
    let looks: [(&'static str, Look); 8] = [
        ("about.json", |node, _| Ok(about(node))),
        ("clock.json", |node, known| clock(node, known)),
        ("webhooks.json", |node, known| webhooks(node, known)),
        ("failures.json", |node, known| {
            failures::failures(node, known).map_err(|error| error.to_string())
        }),
        ("configuration.json", |node, known| Ok(settings::settings(node, known))),
        ("hardware.json", |node, known| Ok(known.thing(&json!(hardware(node)), &HARDWARE))),
        ("machine.json", |_, _| Ok(machine::machine())),
        ("metrics.json", |_, _| Ok(machine::process())),
    ];
    let looking = looks.map(|(name, look)| {
        let (node, known) = (Arc::clone(node), Arc::clone(&known));
        async move {
            let looked = in_time(blocking::run(move || look(&node, &known))).await;
            let found = looked.and_then(|done| done.map_err(|error| error.to_string())?);
            (name, found.and_then(|value| text(&value)))
        }
    });
    let (of_status, volumes, mounts, looked) = tokio::join!(
        in_time(of_status(node, started, &known)),
        volumes(node, &known),
        mounts(node, &known),
        join_all(looking),
    );
    let mut parts = of_status.unwrap_or_else(|why| vec![("health.json", Err(why))]);
    parts.extend([("volumes.json", volumes), ("mounts.json", mounts)]);
    parts.extend(looked);
    let logged = in_time(blocking::run(move || log(&known))).await;
    parts.push(("log.txt", logged.and_then(|done| done.map_err(|error| error.to_string()))));
    parts
}

type Look = fn(&Arc<Node>, &Shown) -> Result<Value, String>;

async fn in_time<T>(what: impl Future<Output = T>) -> Result<T, String> {
    let late = |_| format!("did not answer within {} s", PART_MAX.as_secs());
    tokio::time::timeout(PART_MAX, what).await.map_err(late)
}

/// The files, each within its limits, and first of all what says what they are.
fn files(mut parts: Vec<Part>) -> Vec<File> {
    let mut readme = ABOUT.to_owned();
    let mut files = Vec::new();
    let mut left = BUNDLE_BYTES_MAX - FILE_BYTES_MAX;
    for (name, what) in CONTENTS {
        let found = parts.iter().position(|(of, _)| *of == name).map(|at| parts.swap_remove(at).1);
        let found = found.unwrap_or_else(|| Err("the node did not get as far".into()));
        let bytes = found.and_then(|bytes| match bytes.len() <= FILE_BYTES_MAX.min(left) {
            true => Ok(bytes),
            false => Err(format!("it is too large: {} bytes", bytes.len())),
        });
        readme.push_str(&format!("{name:20} {what}\n"));
        match bytes {
            Ok(bytes) => {
                left -= bytes.len();
                files.push(File { name, bytes });
            }
            Err(why) => {
                let why = Plain::default().text(&why);
                readme.push_str(&format!("{:20} IS MISSING: {why}\n", ""));
            }
        }
    }
    files.insert(0, File { name: "README.txt", bytes: readme.into() });
    files
}

fn text(value: &Value) -> Result<Vec<u8>, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok((text + "\n").into_bytes())
}

fn about(node: &Arc<Node>) -> Value {
    json!({
        "made_at": node.clock.now(),
        "version": env!("CARGO_PKG_VERSION"),
        "build": env!("HOLDFAST_BUILD"),
        "test_clock": cfg!(feature = "test-clock"),
        "program_sha256": program(),
        "key": node.audit.public_key().id(),
        "ledger_schema": crate::ledger::VERSION,
        "bundle": 1,
    })
}

/// The SHA-256 of the program, by which its build is known.
fn program() -> Option<String> {
    let mut file = Disk::open("/proc/self/exe").ok()?.take(PROGRAM_BYTES_MAX);
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(digest.finish()),
            count => digest.update(&buffer[..count]),
        }
    }
}

fn clock(node: &Arc<Node>, known: &Shown) -> Result<Value, String> {
    let latest = node.ledger.latest_instant().map_err(|error| error.to_string())?;
    let mut clock = known.thing(&json!(super::status::clock_view(node)), &CLOCK);
    clock["synchronised"] = node.clock.is_synchronised().into();
    clock["latest_instant"] = json!(latest);
    clock["since_boot_s"] = node.clock.boottime().as_secs().into();
    clock["zone"] = node.config.node.zone.as_str().into();
    Ok(clock)
}

fn webhooks(node: &Arc<Node>, known: &Shown) -> Result<Value, String> {
    let all = node.settings.webhooks().into_iter().map(|webhook| {
        let health = node.webhooks.health(node, &webhook.of.id);
        let health = health.map_err(|error| error.to_string())?;
        Ok(json!({
            "id": known.name(Kind::Webhook, &webhook.of.id),
            "environment": known.name(Kind::Environment, &webhook.of.env_id),
            "origin": webhook.origin,
            "events": webhook.of.events,
            "format": webhook.of.format,
            "enabled": webhook.of.enabled,
            "waiting": health.waiting,
            "gone_at": health.gone_at,
        }))
    });
    Ok(json!({ "webhooks": all.collect::<Result<Vec<_>, String>>()? }))
}

/// What the node says of itself, in the files that it belongs to.
async fn of_status(node: &Arc<Node>, started: Duration, known: &Arc<Shown>) -> Vec<Part> {
    let all = json!(status(node, started).await);
    let health = known.thing(&all, &HEALTH);
    let destinations = known.thing(&all, &DESTINATIONS);
    let (queue_of, now) = (Arc::clone(node), node.clock.now());
    let queue = in_time(blocking::run(move || failures::queue(&queue_of, now))).await;
    let queue = queue.and_then(|done| {
        let done = done.map_err(|error| error.to_string())?;
        done.map_err(|error| error.to_string())
    });
    let recordings =
        queue.and_then(|queue| text(&json!({ "counts": all["counts"], "queue": queue })));
    vec![
        ("health.json", text(&health)),
        ("destinations.json", text(&destinations)),
        ("recordings.json", recordings),
    ]
}

async fn volumes(node: &Arc<Node>, known: &Shown) -> Result<Vec<u8>, String> {
    let evidence = in_time(evidence(node)).await?.map_err(|error| error.to_string())?;
    text(&known.thing(&json!(evidence), &VOLUMES))
}

async fn mounts(node: &Arc<Node>, known: &Arc<Shown>) -> Result<Vec<u8>, String> {
    let one = LOOKING.try_acquire().map_err(|_| "a disk that was asked before hangs".to_owned())?;
    let (node, known) = (Arc::clone(node), Arc::clone(known));
    let looking = in_time(blocking::run(move || {
        let _one = one;
        machine::mounts(&settings::places(&node, &known))
    }));
    text(&looking.await?.map_err(|error| error.to_string())?)
}

/// The newest lines, as many as fit.
fn log(known: &Shown) -> Vec<u8> {
    let (lines, mut gone) = Ring::of_process().lines();
    let (mut newest, mut left) = (Vec::new(), FILE_BYTES_MAX - (4 << 10));
    for line in lines.iter().rev() {
        let text = line.text(&known.plain, |kind, name| known.name(kind, name));
        if text.len() >= left {
            break;
        }
        left -= text.len() + 1;
        newest.push(text);
    }
    gone += (lines.len() - newest.len()) as u64;
    newest.push(format!("{} lines; {gone} older ones were not kept", newest.len()));
    newest.reverse();
    (newest.join("\n") + "\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_its_limits_and_names_what_is_missing_without_saying_too_much() {
        let large = |bytes: usize| Ok(vec![b'x'; bytes]);
        let mut parts: Vec<Part> =
            CONTENTS.iter().map(|(name, _)| (*name, large(FILE_BYTES_MAX))).collect();
        parts[0].1 = Err("cannot open /srv/anna/x: \"Anna's disk\" is gone".into());
        parts[1].1 = large(FILE_BYTES_MAX + 1);
        let files = files(parts);
        let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
        assert!(bytes <= BUNDLE_BYTES_MAX, "{bytes}");
        let readme = String::from_utf8(files[0].bytes.clone()).unwrap();
        assert_eq!(files[0].name, "README.txt");
        assert!(
            readme.contains("IS MISSING: cannot open (left out): (left out) is gone"),
            "{readme}"
        );
        assert!(readme.contains("IS MISSING: it is too large"), "{readme}");
        assert!(!readme.to_lowercase().contains("anna"), "{readme}");
        assert!(files.len() > 5, "{readme}");
    }
}
