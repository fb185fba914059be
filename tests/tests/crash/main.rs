//! The node is killed at random instants, again and again, while recordings arrive, are
//! transcoded, delivered and deleted. In the end nothing acknowledged is lost, nothing is there
//! twice and nothing is left over.

mod clients;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use holdfast_tests::media::{codecs, small_webm};
use holdfast_tests::tools::{files_under, sha256_of};
use holdfast_tests::wait::until_within;
use holdfast_tests::{Environment, Node, Settings};
use serde_json::Value;

use clients::{Book, Promise};

/// How often the node is killed, unless `HOLDFAST_TEST_KILLS` says otherwise.
const KILLS: u32 = 200;
/// Clients of each kind.
const CLIENTS: u64 = 4;
/// A failed attempt waits two minutes for the next, and may fail again.
const SETTLED_WITHIN: Duration = Duration::from_secs(480);

fn settings() -> Settings {
    Settings::new()
        .environment(Environment::new("demo").set("push_raw", true))
        .environment(Environment::raw_only("raw"))
        .set("ingest.playback_ms", 300)
        .set("ingest.reconnect_ms", 15_000)
        .set("transcode.jobs_max", 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_two_hundred_times_it_loses_nothing_and_leaves_nothing() -> Result<()> {
    let kills = std::env::var("HOLDFAST_TEST_KILLS").map_or(Ok(KILLS), |text| text.parse())?;
    let seed = std::env::var("HOLDFAST_TEST_SEED").map_or(Ok(fastrand::u64(..)), |t| t.parse())?;
    println!("{kills} kills, HOLDFAST_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let mut node = Node::start(settings()).await?;
    let book = Arc::new(Book::new(&node, small_webm(node.dir(), 1.0)?)?);
    let clients: Vec<_> = (0..CLIENTS)
        .flat_map(|_| {
            let (one, two) = (Arc::clone(&book), Arc::clone(&book));
            [
                tokio::spawn(clients::uploader(one, random.u64(..))),
                tokio::spawn(clients::streamer(two, random.u64(..))),
            ]
        })
        .collect();

    for nr in 1..=kills {
        if random.u8(..10) == 0 {
            // Not ready yet, and killed already.
            node.kill()?;
            node.spawn()?;
            tokio::time::sleep(Duration::from_millis(random.u64(..120))).await;
        } else {
            tokio::time::sleep(Duration::from_millis(random.u64(50..1_500))).await;
        }
        node.kill()?;
        node.launch().await.with_context(|| format!("after kill {nr}"))?;
        if clients.iter().any(tokio::task::JoinHandle::is_finished) {
            break;
        }
    }
    book.close();
    for client in clients {
        client.await??;
    }
    settled(&node).await?;
    book.print();
    everything_is_where_it_belongs(&node, &book).await
}

async fn settled(node: &Node) -> Result<()> {
    until_within(SETTLED_WITHIN, "every recording to be at rest", async || {
        let restless: Vec<_> = node
            .recordings()
            .await?
            .into_iter()
            .filter(|recording| {
                let state = recording["state"].as_str().unwrap_or_default();
                !["stored", "garbage", "deleted"].contains(&state) || !local(recording).is_empty()
            })
            .collect();
        if let Some(first) = restless.first() {
            bail!("{} are not at rest, such as {first}", restless.len());
        }
        Ok(Some(()))
    })
    .await
}

fn local(recording: &Value) -> Vec<&Value> {
    let files = recording["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    files.iter().filter(|file| file["local"] != false).collect()
}

async fn everything_is_where_it_belongs(node: &Node, book: &Book) -> Result<()> {
    let listed = node.recordings().await?;
    let text = |recording: &Value, name: &str| recording[name].as_str().unwrap_or("").to_owned();
    let known: BTreeMap<String, &Value> = listed.iter().map(|r| (text(r, "id"), r)).collect();
    ensure!(known.len() == listed.len(), "a recording is listed twice");

    // The destination holds exactly what the ledger says it holds.
    let mut expected = BTreeSet::new();
    for (id, recording) in known.iter().filter(|(_, r)| r["state"] == "stored") {
        let environment = text(recording, "env_id");
        let endings: &[&str] = match environment.as_str() {
            "raw" => &["_raw.webm"],
            _ => &[".mp4", ".jpg", "_filmstrip.jpg", "_raw.webm"],
        };
        expected.extend(endings.iter().map(|ending| node.delivered(&environment, id, ending)));
    }
    let there: BTreeSet<_> = files_under(&node.storage())?.into_iter().collect();
    let missing: Vec<_> = expected.difference(&there).collect();
    let surplus: Vec<_> = there.difference(&expected).collect();
    ensure!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");

    // Each is a recording that a client sent, whole, and none is there twice.
    let mut digests = BTreeMap::new();
    for path in there.iter().filter(|path| path.to_string_lossy().ends_with("_raw.webm")) {
        let digest = sha256_of(path)?;
        if !book.was_sent(&digest) {
            // All clips begin alike, so pieces of two may well be the same.
            ensure!(book.is_piece_of_an_abandoned(path)?, "nobody sent {}", path.display());
        } else if let Some(other) = digests.insert(digest, path.clone()) {
            bail!("{} and {} are the same recording", other.display(), path.display());
        }
    }

    // Every promise was kept.
    for promise in book.promises() {
        let id = promise.id();
        let recording = known.get(id).with_context(|| format!("{promise:?} is not known"))?;
        match &promise {
            Promise::Kept { environment, sha256, .. } => {
                ensure!(recording["state"] == "stored", "{promise:?}: {recording}");
                let raw = node.delivered(environment, id, "_raw.webm");
                ensure!(&sha256_of(&raw)? == sha256, "{promise:?}: other bytes");
                if environment == "demo" {
                    let film = codecs(&node.delivered("demo", id, ".mp4"))?;
                    ensure!(film == ("h264".into(), "aac".into()), "{promise:?}: {film:?}");
                }
            }
            Promise::Abandoned { bytes, acked, .. } => {
                ensure!(recording["recovered"] == true, "{promise:?}: {recording}");
                let raw = std::fs::read(node.delivered("raw", id, "_raw.webm"))?;
                ensure!(raw.len() as u64 >= *acked, "{promise:?}: {} are left", raw.len());
                ensure!(bytes.starts_with(&raw), "{promise:?}: other bytes");
            }
            Promise::Discarded { .. } => {
                ensure!(recording["state"] == "deleted", "{promise:?}: {recording}");
            }
        }
    }

    // Ledger and vault agree, and the vault is empty.
    let orphans: Vec<_> = files_under(&node.vault())?
        .into_iter()
        .filter(|path| path.components().any(|part| is_id(&part.as_os_str().to_string_lossy())))
        .collect();
    ensure!(orphans.is_empty(), "left in the vault: {orphans:?}");
    Ok(())
}

fn is_id(part: &str) -> bool {
    part.len() >= 36 && part.matches('-').count() >= 4
}
