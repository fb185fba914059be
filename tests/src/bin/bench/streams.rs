//! Many streams at once: what a MiB costs, and what a silent one holds.

use std::time::{Duration, Instant};

use anyhow::Result;
use holdfast_tests::media::{webm_head, webm_noise};
use holdfast_tests::{Environment, Node, Settings, Stream};
use serde_json::json;

use crate::process::{cpu_seconds, memory_kib};

/// What each stream sends in a second; a browser's recording at 2 Mbit/s.
const CHUNK_BYTES: usize = 250 << 10;
/// Streams that are opened at the same moment.
const OPENED_AT_ONCE: usize = 50;

async fn start(streams: usize) -> Result<(Node, u64, Vec<Stream>)> {
    let here = Environment::raw_only("here").set("destinations", Vec::<String>::new());
    let settings = Settings::new()
        .environment(here)
        .set("ingest.recordings_max", 100_000)
        .set("node.connections_per_address_max", 100_000)
        .set("ingest.stall_ms_max", 600_000);
    let node = Node::start(settings).await?;
    // One to warm up, so that what every process needs once is there before.
    let mut first = Stream::start(&node.address()?, "here").await?;
    first.push(&webm_noise(1, CHUNK_BYTES), CHUNK_BYTES).await?;
    first.say(&json!({ "type": "discard" })).await?;
    first.hear_of("discarded").await?;
    let before_kib = memory_kib(node.pid()?, "VmRSS")?;
    let mut open = Vec::with_capacity(streams);
    while open.len() < streams {
        let some = OPENED_AT_ONCE.min(streams - open.len());
        let address = node.address()?;
        let tasks: Vec<_> = (0..some)
            .map(|_| {
                let address = address.clone();
                tokio::spawn(async move {
                    let mut stream = Stream::start(&address, "here").await?;
                    stream.push(&webm_head(), CHUNK_BYTES).await?;
                    Ok::<_, anyhow::Error>(stream)
                })
            })
            .collect();
        for task in tasks {
            open.push(task.await??);
        }
    }
    Ok((node, before_kib, open))
}

pub(crate) async fn busy(streams: usize, seconds: u64) -> Result<()> {
    let (node, before_kib, open) = start(streams).await?;
    let pid = node.pid()?;
    let chunk = bytes::Bytes::from(webm_noise(2, CHUNK_BYTES));
    let (cpu, begun) = (cpu_seconds(pid)?, Instant::now());
    let tasks: Vec<_> = open
        .into_iter()
        .enumerate()
        .map(|(nr, mut stream)| {
            let chunk = chunk.clone();
            tokio::spawn(async move {
                // Spread over the second, as recorders are.
                tokio::time::sleep(Duration::from_millis(nr as u64 * 997 % 1_000)).await;
                let mut every = tokio::time::interval(Duration::from_secs(1));
                let mut at = stream.acked;
                for _ in 0..seconds {
                    every.tick().await;
                    stream.chunk(at, &chunk).await?;
                    at += chunk.len() as u64;
                    stream.acked_to(at).await?;
                }
                Ok::<_, anyhow::Error>(stream)
            })
        })
        .collect();
    let mut open = Vec::new();
    for task in tasks {
        open.push(task.await??);
    }
    let (cpu_s, wall_s) = (cpu_seconds(pid)? - cpu, begun.elapsed().as_secs_f64());
    let mib = (streams as u64 * seconds * CHUNK_BYTES as u64) as f64 / f64::from(1 << 20);
    let grown = memory_kib(pid, "VmHWM")?.saturating_sub(before_kib);
    println!(
        "streams: {streams} at once, {} KiB a second each, every chunk acknowledged",
        CHUNK_BYTES >> 10
    );
    println!("| MiB | wall s | CPU s | MiB per CPU s | memory grew by, KiB per stream |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    println!(
        "| {mib:.0} | {wall_s:.1} | {cpu_s:.2} | {:.0} | {:.0} |\n",
        mib / cpu_s,
        grown as f64 / streams as f64
    );
    Ok(())
}

pub(crate) async fn idle(streams: usize) -> Result<()> {
    let (node, before_kib, open) = start(streams).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pid = node.pid()?;
    let with_kib = memory_kib(pid, "VmRSS")?;
    let cpu = cpu_seconds(pid)?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let cpu_s = cpu_seconds(pid)? - cpu;
    println!("idle: {} streams, begun and silent", open.len());
    println!("| memory without, KiB | with, KiB | KiB per stream | CPU s in 10 s |");
    println!("| ---: | ---: | ---: | ---: |");
    println!(
        "| {before_kib} | {with_kib} | {:.1} | {cpu_s:.2} |\n",
        with_kib.saturating_sub(before_kib) as f64 / open.len() as f64
    );
    Ok(())
}
