//! Streams that are transcoded while they come in: the film is there soon after they end, it is the one
//! that would have been made afterwards, and whatever happens to the child costs nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::file;
use holdfast_tests::proxy::Proxy;
use holdfast_tests::tools::output_of;
use holdfast_tests::{Environment, Node, Settings, Stream, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const TAKEN_OVER: &str = "what was made while it came in is taken over";
const CHUNK: usize = 60_000;

fn settings() -> Settings {
    Settings::new()
        .environment(Environment::new("demo"))
        .set("ingest.playback_ms", 0)
        .set("ingest.reconnect_ms", 60_000)
}

/// Waits until a recording that comes in is being transcoded.
async fn is_under_way(node: &Node, id: &str) -> Result<Value> {
    until("its transcoding to begin while it comes in", async || {
        let recording = node.recording(id).await?;
        ensure!(recording["state"] == "receiving", "{recording}");
        Ok(recording["live_ms"].as_u64().is_some_and(|ms| ms > 0).then_some(recording))
    })
    .await
}

/// The transcoding children of a node.
fn children(node: &Node) -> Result<Vec<Pid>> {
    let parent = node.pid()?.to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // Gone meanwhile, or no process.
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(')').context("no such line")?;
        let mut fields = rest.split_whitespace();
        let (state, of) = (fields.next(), fields.next());
        // One that tries an encoder out has words on its command line.
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let has_job = line.iter().filter(|byte| **byte == 0).count() == 1;
        if has_job && name.contains("holdfast-transc") && state != Some("Z") && of == Some(&parent)
        {
            let pid = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            found.push(Pid::from_raw(pid.context("no number")?));
        }
    }
    Ok(found)
}

/// When each frame of a film shows.
async fn frames(film: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts"]);
    command.args(["-of", "csv"]).arg(film);
    let text = String::from_utf8(output_of(command).await?)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Which ones are reordered is the encoder's choice.
    lines.sort_unstable();
    Ok(lines)
}

/// When each packet of its sound is heard, and what is in it.
async fn sound(film: &Path) -> Result<String> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(film);
    command.args(["-map", "0:a", "-c", "copy", "-f", "framemd5", "-"]);
    Ok(String::from_utf8(output_of(command).await?)?)
}

/// What two nodes made of one recording is the same.
async fn same(
    made: [(&Node, &str); 2],
    recordings: [&Value; 2],
    frames_in_it: usize,
) -> Result<()> {
    let [one, other] = recordings;
    ensure!(one["media"] == other["media"], "{one} {other}");
    ensure!(one["remarks"] == other["remarks"], "{one} {other}");
    let files = |name: &str| made.map(|(node, id)| node.delivered("demo", id, name));
    let [a, b] = &files(".mp4");
    ensure!(frames(a).await? == frames(b).await? && frames(a).await?.len() == frames_in_it);
    ensure!(sound(a).await? == sound(b).await? && sound(a).await?.lines().count() > 900);
    for name in [".jpg", "_filmstrip.jpg"] {
        let [a, b] = files(name);
        ensure!(std::fs::read(a)? == std::fs::read(b)?, "another {name}");
    }
    Ok(())
}

async fn stored_at_once(node: &Node, id: &str) -> Result<Value> {
    let recording = node.wait_for(id, "stored").await?;
    ensure!(recording["transcode"]["attempts"] == 1, "{recording}");
    Ok(recording)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_comes_out_as_if_it_had_been_transcoded_afterwards() -> Result<()> {
    let bytes = std::fs::read(file("vp8.webm")?)?;
    let node = Node::start(settings()).await?;
    let proxy = Proxy::before(node.port()).await?;
    let address = node.address()?.at(proxy.port());
    let mut stream = Stream::start(&address, "demo").await?;
    let (id, token) = (stream.id.clone(), stream.token.clone());
    stream.push(&bytes[..bytes.len() / 2], CHUNK).await?;
    let seen = is_under_way(&node, &id).await?;
    let said = seen["explain"].as_str().context("no explanation")?;
    ensure!(said.contains("Being transcoded while it comes in"), "{said}");
    // The line breaks for a while: the child waits, and goes on.
    proxy.cut_once().await;
    node.for_a_while(2_500).await;
    let mut stream = Stream::resume(&address, &id, &token).await?;
    stream.record(&bytes, CHUNK).await?;
    let recording = stored_at_once(&node, &id).await?;
    ensure!(node.log().contains(TAKEN_OVER), "it was not taken over");
    ensure!(children(&node)?.is_empty(), "a child goes on");

    let other = Node::start(settings().set("transcode.live", false)).await?;
    let mut stream = Stream::start(&other.address()?, "demo").await?;
    stream.push(&bytes, CHUNK).await?;
    ensure!(other.recording(&stream.id).await?["live_ms"].is_null());
    stream.record(&bytes, CHUNK).await?;
    let afterwards = stored_at_once(&other, &stream.id).await?;
    ensure!(!other.log().contains(TAKEN_OVER) && !other.log().contains("while it comes in"));
    let made = [(&node, id.as_str()), (&other, stream.id.as_str())];
    same(made, [&recording, &afterwards], 418).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_of_an_mp4_come_out_as_if_they_had_been_transcoded_afterwards() -> Result<()> {
    let bytes = std::fs::read(file("vp9_opus_default.mp4")?)?;
    let node = Node::start(settings()).await?;
    let mut stream = Stream::start(&node.address()?, "demo").await?;
    stream.push(&bytes[..bytes.len() / 2], CHUNK).await?;
    is_under_way(&node, &stream.id).await?;
    stream.record(&bytes, CHUNK).await?;
    let recording = stored_at_once(&node, &stream.id).await?;
    ensure!(node.log().contains(TAKEN_OVER), "it was not taken over");

    let other = Node::start(settings().set("transcode.live", false)).await?;
    let uploaded = other.upload("demo", bytes).await?;
    let afterwards = stored_at_once(&other, &uploaded.id).await?;
    let made = [(&node, stream.id.as_str()), (&other, uploaded.id.as_str())];
    same(made, [&recording, &afterwards], 548).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_killed_costs_nothing() -> Result<()> {
    let bytes = std::fs::read(file("vp8.webm")?)?;
    let node = Node::start(settings()).await?;
    let mut stream = Stream::start(&node.address()?, "demo").await?;
    stream.push(&bytes[..bytes.len() / 2], CHUNK).await?;
    is_under_way(&node, &stream.id).await?;
    let all = children(&node)?;
    ensure!(all.len() == 1, "{all:?}");
    kill(all[0], Signal::SIGKILL)?;
    until("the job to be given up", async || {
        Ok(node.recording(&stream.id).await?["live_ms"].is_null().then_some(()))
    })
    .await?;
    let left = node.in_vault(&stream.id)?;
    ensure!(!left.iter().any(|path| path.ends_with("main.mp4")), "{left:?}");
    stream.record(&bytes, CHUNK).await?;
    stored_at_once(&node, &stream.id).await?;
    ensure!(!node.log().contains(TAKEN_OVER), "by whom?");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_begins_anew() -> Result<()> {
    let bytes = std::fs::read(file("vp8.webm")?)?;
    let mut node = Node::start(settings()).await?;
    let mut stream = Stream::start(&node.address()?, "demo").await?;
    let (id, token) = (stream.id.clone(), stream.token.clone());
    let half = bytes.len() / 2;
    stream.push(&bytes[..half], CHUNK).await?;
    is_under_way(&node, &id).await?;
    let child = children(&node)?;
    node.kill()?;
    node.launch().await?;
    for pid in child {
        until("the child to go with its node", async || Ok(kill(pid, None).is_err().then_some(())))
            .await?;
    }
    let mut stream = Stream::resume(&node.address()?, &id, &token).await?;
    stream.push(&bytes[..half + CHUNK], CHUNK).await?;
    is_under_way(&node, &id).await?;
    stream.record(&bytes, CHUNK).await?;
    stored_at_once(&node, &id).await?;
    ensure!(node.log().contains(TAKEN_OVER), "it was not taken over");
    node.gone_from_vault(&id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_discarded_takes_its_child_with_it() -> Result<()> {
    let bytes = std::fs::read(file("vp8.webm")?)?;
    let node = Node::start(settings()).await?;
    let mut stream = Stream::start(&node.address()?, "demo").await?;
    stream.push(&bytes[..bytes.len() / 2], CHUNK).await?;
    is_under_way(&node, &stream.id).await?;
    stream.say(&serde_json::json!({ "type": "discard" })).await?;
    stream.hear_of("discarded").await?;
    until("the child to end", async || Ok(children(&node)?.is_empty().then_some(()))).await?;
    node.gone_from_vault(&stream.id).await
}
