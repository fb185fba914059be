//! Pushing as a whole: a destination that is down, one that is slow, and what is said of them.

use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::tools_dir;
use holdfast_tests::{Environment, Node, Settings, until};
use reqwest::Method;
use serde_json::Value;
use toml::Table;

fn directory(name: &str, path: &Path) -> Table {
    let mut table = Table::new();
    table.insert("kind".into(), "directory".into());
    table.insert("name".into(), name.into());
    table.insert("path".into(), path.to_string_lossy().into_owned().into());
    table
}

fn limited(mut destination: Table, name: &str, value: impl Into<toml::Value>) -> Table {
    let limits = destination.entry("limits").or_insert_with(|| Table::new().into());
    if let toml::Value::Table(limits) = limits {
        limits.insert(name.into(), value.into());
    }
    destination
}

fn to(environment: &str, destination: &str) -> Environment {
    Environment::raw_only(environment).set("destinations", vec![destination])
}

async fn health(node: &Node, destination: &str) -> Result<Value> {
    Ok(node.get(&format!("/destinations/{destination}")).await?["health"].clone())
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_uses_up_few_attempts_and_then_catches_up() -> Result<()> {
    const RECORDINGS: usize = 12;
    let dir = tempfile::tempdir()?;
    let share = dir.path().join("share");
    // Minutes pass in seconds, so that retries and probes come.
    let settings = Settings::new()
        .environment(to("down", "share"))
        .environment(to("well", "folder"))
        .destination(directory("share", &share))
        .program(tools_dir().join("holdfast-test-clock"))
        .variable("HOLDFAST_TEST_CLOCK_RATE", "20");
    let node = Node::start(settings).await?;
    let mut ids = Vec::new();
    for nr in 0..RECORDINGS {
        ids.push(node.upload("down", webm_noise(nr as u64, 10_000)).await?.id);
    }
    until("the destination to be shut", async || {
        Ok((health(&node, "share").await?["open"] == false).then_some(()))
    })
    .await?;
    let well = node.upload("well", webm_noise(99, 10_000)).await?;
    node.wait_for(&well.id, "stored").await?;

    let waiting = until("a recording to wait for it", async || {
        for id in &ids {
            let recording = node.recording(id).await?;
            if recording["push"]["waits_for"].is_string() {
                return Ok(Some(recording));
            }
        }
        Ok(None)
    })
    .await?;
    ensure!(waiting["push"]["attempts"] == 0, "waiting cost an attempt: {waiting}");
    let said = waiting["explain"].to_string();
    ensure!(said.contains("share") && said.contains("probed"), "{said}");

    // Several probes later, most have tried nothing yet.
    until("four probes", async || {
        let tried = all_attempts(&node, &ids).await?;
        Ok((tried >= 7).then_some(()))
    })
    .await?;
    let mut untouched = 0;
    for id in &ids {
        untouched += usize::from(node.recording(id).await?["push"]["attempts"] == 0);
    }
    ensure!(untouched > 0, "every recording was tried against a destination that is down");

    fs::create_dir(&share)?;
    until("all of them to arrive", async || {
        let all = node.recordings().await?;
        Ok(all.iter().all(|recording| recording["state"] == "stored").then_some(()))
    })
    .await?;
    ensure!(health(&node, "share").await?["open"] == true);
    let tried = node.get(&format!("/recordings/{}/attempts", ids[0])).await?;
    let tried = tried["attempts"].as_array().context("no attempts")?;
    let (last, before) = tried.split_last().context("nothing was tried")?;
    ensure!(last["location"].is_string() && last["error"].is_null(), "{last}");
    ensure!(last["sent_bytes"] == last["bytes"], "{last}");
    ensure!(!before.is_empty(), "the first recording was tried when it was down: {tried:?}");
    for failed in before {
        ensure!(failed["error"].to_string().contains("share"), "{failed}");
        ensure!(failed["destination"] == "share" && failed["kind"] == "raw", "{failed}");
    }
    let output = node.command(&["recordings", "attempts", &ids[0]]).output()?;
    let said = words(&output);
    ensure!(output.status.success() && said.contains("DESTINATION"), "{said}");
    Ok(())
}

async fn all_attempts(node: &Node, ids: &[String]) -> Result<usize> {
    let mut all = 0;
    for id in ids {
        let tried = node.get(&format!("/recordings/{id}/attempts")).await?;
        all += tried["attempts"].as_array().map_or(0, Vec::len);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_destination_has_its_places_and_holds_nobody_else_up() -> Result<()> {
    const BYTES: usize = 400_000;
    let dir = tempfile::tempdir()?;
    let slow = limited(directory("slow", dir.path()), "files_max", 1);
    let slow = limited(slow, "bandwidth", vec!["00:00-24:00 100 KiB/s"]);
    let settings = Settings::new()
        .environment(to("slow", "slow"))
        .environment(to("well", "folder"))
        .destination(slow);
    let node = Node::start(settings).await?;
    let mut ids = Vec::new();
    for nr in 0..6 {
        ids.push(node.upload("slow", webm_noise(nr, BYTES)).await?.id);
    }
    let well = node.upload("well", webm_noise(99, BYTES)).await?;
    node.wait_for(&well.id, "stored").await?;
    let last = node.recording(ids.last().context("none")?).await?;
    ensure!(last["state"] == "delivering", "the slow one was not slow: {last}");

    let mut seen_half_way = false;
    until("all to arrive", async || {
        let (mut pushing, mut stored) = (0, 0);
        for recording in node.recordings().await? {
            let under_way = recording["pushing"].as_array().context("no list")?;
            pushing += under_way.len();
            stored += usize::from(recording["state"] == "stored");
            for file in under_way {
                let sent = file["sent_bytes"].as_u64().context("no number")?;
                seen_half_way |= sent > 0 && sent < BYTES as u64;
            }
        }
        ensure!(pushing <= 1, "{pushing} at once");
        Ok((stored == ids.len() + 1).then_some(()))
    })
    .await?;
    ensure!(seen_half_way, "nobody could see how far a push was");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_tried_on_demand_and_the_step_that_failed_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let share = dir.path().join("share");
    let node = Node::start(Settings::new().destination(directory("share", &share))).await?;
    let failing = node.command(&["destinations", "test", "share"]).output()?;
    let said = words(&failing);
    ensure!(failing.status.code() == Some(1), "{said}");
    ensure!(said.contains("write") && said.contains("cannot open it"), "{said}");
    ensure!(!said.contains("read_back"), "nothing was there to read: {said}");

    fs::create_dir(&share)?;
    let answer = node.api(Method::POST, "/destinations/share/test")?.send().await?;
    let done: Value = serde_json::from_str(&answer.error_for_status()?.text().await?)?;
    ensure!(done["ok"] == true, "{done}");
    let steps = done["steps"].as_array().context("no steps")?;
    let steps: Vec<&Value> = steps.iter().map(|step| &step["step"]).collect();
    ensure!(steps == ["write", "read_back", "delete"], "{done}");
    ensure!(fs::read_dir(&share)?.next().is_none(), "the test left something behind");
    let well = node.command(&["destinations", "test", "share"]).output()?;
    ensure!(well.status.success(), "{}", words(&well));
    let nobody = node.command(&["destinations", "test", "shore"]).output()?;
    ensure!(nobody.status.code() == Some(3), "{}", words(&nobody));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_pushing_turned_off_recordings_wait_and_are_pushed_once_it_is_on_again() -> Result<()>
{
    let settings = Settings::new().environment(to("well", "folder")).set("deliver.pushes_max", 0);
    let mut node = Node::start(settings).await?;
    let id = node.upload("well", webm_noise(1, 10_000)).await?.id;
    node.wait_for(&id, "delivering").await?;
    node.for_a_while(500).await;
    ensure!(node.recording(&id).await?["push"]["attempts"] == 0, "it was tried");
    ensure!(node.log().contains("nothing is pushed until it is raised"), "and nobody was told");
    node.stop().await?;
    node.set("deliver.pushes_max", 4)?;
    node.launch().await?;
    node.wait_for(&id, "stored").await?;
    Ok(())
}
