//! Several volumes under one node: disks that are pulled, put back, swapped and failing, while
//! recordings lie on them and arrive. Real ext4 on loop devices, mounted and unmounted under the node.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::problem;
use holdfast_tests::media::{self, salted, webm_noise};
use holdfast_tests::mount::Disk;
use holdfast_tests::settings::volumes;
use holdfast_tests::tools::{output, sha256, sha256_of};
use holdfast_tests::{Environment, Node, Settings, Stream, until};
use reqwest::Method;
use serde_json::{Value, json};
use toml::Table;

const MIB: usize = 1 << 20;

/// A node on two disks. The second is the larger one, so it gets what comes first.
async fn two_disks() -> Result<(Disk, Disk, Node)> {
    let (small, large) = (Disk::new(64 << 20)?, Disk::new(160 << 20)?);
    let places = [("data0", small.path()), ("data1", large.path())];
    let settings = Settings::new()
        // No destination: everything stays in the vault.
        .environment(Environment::raw_only("kept").set("destinations", Vec::<String>::new()))
        .environment(Environment::raw_only("sent").set("push_raw", true))
        .set("vault.volumes", volumes(places))
        .set("ingest.playback_ms", 0);
    let node = Node::start(settings).await?;
    Ok((small, large, node))
}

fn folder(disk: &Path, id: &str) -> PathBuf {
    disk.join("recordings").join(id)
}

async fn state_of(node: &Node, name: &str) -> Result<Value> {
    let status = node.get("/status").await?;
    let all = status["vault"].as_array().context("no volumes")?.clone();
    all.into_iter().find(|volume| volume["name"] == name).context("no such volume")
}

async fn volume_is(node: &Node, name: &str, state: &str) -> Result<()> {
    until(&format!("{name} to be {state}"), async || {
        Ok((state_of(node, name).await?["state"] == state).then_some(()))
    })
    .await
}

async fn hold(node: &Node, id: &str) -> Result<()> {
    let hold = node.api(Method::PUT, &format!("/recordings/{id}/hold"))?;
    let hold = hold.header("content-type", "application/json");
    let set = hold.body(json!({ "reason": "a court asks" }).to_string()).send().await?;
    ensure!(set.status().is_success(), "{}", set.text().await?);
    Ok(())
}

fn manifest(disk: &Path, id: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(folder(disk, id).join("manifest.json"))?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_pulled_and_put_back_has_lost_and_kept_nothing_it_should_not() -> Result<()>
{
    let (small, large, node) = two_disks().await?;
    let address = node.address()?;
    let bytes = webm_noise(1, 2 * MIB);
    let held = node.upload("kept", bytes.clone()).await?.id;
    let unwanted = node.upload("kept", webm_noise(2, MIB)).await?.id;
    for id in [&held, &unwanted] {
        node.wait_for(id, "stored").await?;
        ensure!(folder(&large.path(), id).is_dir(), "the larger disk gets what is new");
    }
    let coming = webm_noise(3, 6 * MIB);
    let mut stream = Stream::start(&address, "kept").await?;
    stream.push(&coming[..3 * MIB], MIB / 2).await?;
    let (id, token, acked) = (stream.id.clone(), stream.token.clone(), stream.acked);
    ensure!(folder(&large.path(), &id).is_dir() && acked >= 2 << 20, "{acked}");

    large.pull()?;
    volume_is(&node, "data1", "away").await?;
    let refused = stream.refusal().await?;
    ensure!(refused.code() == 4503, "{refused}");
    drop(stream);
    large.let_go().await?;

    // What lies there is neither read nor taken for gone, and the sentence names the disk.
    let asked = node.api(Method::GET, &format!("/recordings/{held}/files/raw"))?;
    let said = problem(asked.send().await?, 503).await?;
    ensure!(said["detail"].as_str().is_some_and(|it| it.contains("data1")), "{said}");
    let resumed =
        Stream::resume(&address, &id, &token).await.err().context("resumed on nothing")?;
    ensure!(resumed.code() == 4503, "{resumed}");
    // Decisions stand all the same.
    hold(&node, &held).await?;
    let gone = node.api(Method::DELETE, &format!("/recordings/{unwanted}"))?.send().await?;
    ensure!(gone.status().is_success(), "{}", gone.text().await?);
    // Others go on.
    let other = node.upload("sent", webm_noise(4, MIB)).await?.id;
    node.wait_for(&other, "stored").await?;
    let file = node.recording(&unwanted).await?["files"][0].clone();
    ensure!(file["deleted_at"].is_null(), "deleted on a disk that is not there: {file}");

    large.put_back()?;
    volume_is(&node, "data1", "ready").await?;
    until("the folder to learn of the hold", async || {
        Ok((!manifest(&large.path(), &held)?["hold"].is_null()).then_some(()))
    })
    .await?;
    until("what was to go to be gone", async || {
        Ok((!folder(&large.path(), &unwanted).exists()).then_some(()))
    })
    .await?;
    ensure!(node.get_file(&held, "raw").await? == bytes, "other bytes than were sent");
    let mut stream = Stream::resume(&address, &id, &token).await?;
    ensure!(stream.acked >= acked, "{} acknowledged bytes are lost", acked - stream.acked);
    stream.record(&coming, MIB / 2).await?;
    node.wait_for(&id, "stored").await?;
    ensure!(sha256_of(&folder(&large.path(), &id).join("raw"))? == sha256(&coming), "{id}");
    ensure!(!folder(&small.path(), &held).exists(), "a recording is on one volume");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_a_disk_catches_up_when_it_comes() -> Result<()> {
    let (small, large, mut node) = two_disks().await?;
    let id = node.upload("kept", webm_noise(1, MIB)).await?.id;
    node.wait_for(&id, "stored").await?;
    node.stop().await?;
    large.pull()?;
    large.let_go().await?;
    node.launch().await?;
    volume_is(&node, "data1", "away").await?;
    hold(&node, &id).await?;
    // Once more, so that nothing but the ledger remembers that the folder is behind.
    node.stop().await?;
    large.put_back()?;
    node.launch().await?;
    volume_is(&node, "data1", "ready").await?;
    ensure!(!manifest(&large.path(), &id)?["hold"].is_null(), "the folder did not learn of it");
    ensure!(small.path().join("volume.json").is_file(), "each volume has its mark");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_disk_in_the_bay_is_another_volume() -> Result<()> {
    let (_small, large, node) = two_disks().await?;
    let id = node.upload("kept", webm_noise(1, MIB)).await?.id;
    node.wait_for(&id, "stored").await?;
    let before = state_of(&node, "data1").await?["id"].clone();
    large.pull()?;
    large.let_go().await?;
    let spare = Disk::new(200 << 20)?;
    spare.pull()?;
    spare.let_go().await?;
    spare.mount_at(&large.path())?;
    let taken = until("the other disk to be taken", async || {
        let volume = state_of(&node, "data1").await?;
        Ok((volume["state"] == "ready" && volume["id"] != before).then_some(volume))
    })
    .await?;
    ensure!(!taken["id"].is_null(), "{taken}");
    let asked = node.api(Method::GET, &format!("/recordings/{id}/files/raw"))?;
    let said = problem(asked.send().await?, 503).await?;
    let old = before.as_str().context("no id")?;
    ensure!(said["detail"].as_str().is_some_and(|it| it.contains(old)), "{said}");
    let new = node.upload("kept", webm_noise(2, MIB)).await?.id;
    node.wait_for(&new, "stored").await?;
    ensure!(folder(&large.path(), &new).is_dir(), "the spare has most room");

    large.pull()?;
    large.let_go().await?;
    large.put_back()?;
    until("the first disk to be known again", async || {
        let volume = state_of(&node, "data1").await?;
        Ok((volume["state"] == "ready" && volume["id"] == before).then_some(()))
    })
    .await?;
    ensure!(node.get_file(&id, "raw").await?.len() == MIB, "it is there again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_went_read_only_is_read_and_delivered_from_and_gets_nothing_new()
-> Result<()> {
    let (small, large, node) = two_disks().await?;
    let bytes = webm_noise(1, MIB);
    let id = node.upload("kept", bytes.clone()).await?.id;
    node.wait_for(&id, "stored").await?;
    large.set_read_only(true)?;
    volume_is(&node, "data1", "read_only").await?;
    ensure!(node.get_file(&id, "raw").await? == bytes, "other bytes than were sent");
    hold(&node, &id).await?;
    let new = node.upload("kept", webm_noise(2, MIB)).await?.id;
    node.wait_for(&new, "stored").await?;
    ensure!(folder(&small.path(), &new).is_dir(), "nothing new goes to a read-only disk");
    large.set_read_only(false)?;
    volume_is(&node, "data1", "ready").await?;
    until("the folder to learn of the hold", async || {
        Ok((!manifest(&large.path(), &id)?["hold"].is_null()).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_takes_nothing_new_until_the_other_water_mark() -> Result<()> {
    let (small, large) = (Disk::new(64 << 20)?, Disk::new(160 << 20)?);
    let places = [("data0", small.path()), ("data1", large.path())];
    let settings = Settings::new()
        .environment(Environment::raw_only("kept").set("destinations", Vec::<String>::new()))
        .set("vault.volumes", volumes(places))
        .set("vault.free_bytes_min", 20 << 20)
        .set("vault.free_bytes_again", 60 << 20);
    let node = Node::start(settings).await?;
    let filler = large.fill_to(15 << 20)?;
    volume_is(&node, "data1", "full").await?;
    let on_the_other = node.upload("kept", webm_noise(1, MIB)).await?.id;
    ensure!(folder(&small.path(), &on_the_other).is_dir(), "a full disk took something new");
    // Above the lower mark, but not above the higher one.
    fs::remove_file(&filler)?;
    let filler = large.fill_to(50 << 20)?;
    node.for_a_while(3_000).await;
    volume_is(&node, "data1", "full").await?;
    fs::remove_file(filler)?;
    volume_is(&node, "data1", "ready").await?;
    let again = node.upload("kept", webm_noise(2, MIB)).await?.id;
    ensure!(folder(&large.path(), &again).is_dir(), "it takes again");
    Ok(())
}

/// A recording whose raw file is delivered, and whose snapshot has no place at the destination.
async fn half_delivered(node: &Node, salt: u64) -> Result<String> {
    let webm = salted(&fs::read(media::file("vp8.webm")?)?, salt);
    let mut stream = Stream::start(&node.address()?, "snagged").await?;
    let id = stream.id.clone();
    fs::create_dir_all(node.storage().join(format!("snagged/{id}.jpg/in the way")))?;
    stream.record(&webm, 64 << 10).await?;
    until("the snapshot to be refused", async || {
        let recording = node.recording(&id).await?;
        Ok(recording["push"]["error"].is_object().then_some(()))
    })
    .await?;
    ensure!(
        raw_of(node, &id).await?["pushed"][0]["destination"] == "folder",
        "its raw file is not up"
    );
    Ok(id)
}

async fn raw_of(node: &Node, id: &str) -> Result<Value> {
    let recording = node.recording(id).await?;
    let mut files = recording["files"].as_array().context("no files")?.iter();
    files.find(|file| file["kind"] == "raw").cloned().context("no raw file")
}

async fn made_room(node: &Node, id: &str) -> Result<()> {
    until("a delivered file to make room", async || {
        Ok(raw_of(node, id).await?["deleted_at"].is_string().then_some(()))
    })
    .await?;
    let raw = raw_of(node, id).await?;
    ensure!(raw["deleted_by_rule"] == "space_needed", "{raw}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_set_what_every_destination_has_goes_before_anything_new_is_refused()
-> Result<()> {
    const KEPT_FREE: usize = 20 * MIB;
    const FREE_AGAIN: usize = 30 * MIB;
    let disk = Disk::new(128 << 20)?;
    let snagged = Environment::raw_only("snagged").set("snapshot", true);
    let mut nowhere = Table::new();
    nowhere.insert("kind".into(), "directory".into());
    nowhere.insert("name".into(), "nowhere".into());
    nowhere.insert("path".into(), "/nowhere/at/all".into());
    let settings = Settings::new()
        .environment(snagged)
        .environment(Environment::raw_only("lost").set("destinations", vec!["folder", "nowhere"]))
        .environment(Environment::raw_only("kept").set("destinations", Vec::<String>::new()))
        .destination(nowhere)
        .set("vault.volumes", volumes([("data0", disk.path())]))
        .set("vault.when_full", "drop_delivered_first")
        .set("vault.free_bytes_min", KEPT_FREE as i64)
        .set("vault.free_bytes_again", FREE_AGAIN as i64)
        .set("ingest.playback_ms", 0);
    let node = Node::start(settings).await?;
    let oldest = half_delivered(&node, 1).await?;
    let held = half_delivered(&node, 2).await?;
    let newest = half_delivered(&node, 3).await?;
    hold(&node, &held).await?;
    // One destination has it, the other has not.
    let lost = node.upload("lost", webm_noise(4, 5 * MIB)).await?.id;
    until("one of two destinations to have it", async || {
        Ok((raw_of(&node, &lost).await?["pushed"][0]["destination"] == "folder").then_some(()))
    })
    .await?;
    ensure!(state_of(&node, "data0").await?["when_full"] == "drop_delivered_first", "not shown");
    let is_there = |id: &str, name: &str| folder(&disk.path(), id).join(name).exists();
    for id in [&oldest, &held, &newest, &lost] {
        ensure!(is_there(id, "raw"), "{id}: something went without need");
    }

    // What comes would leave too little. It is taken in all the same, for the oldest delivered file went.
    let _filler = disk.fill_to((FREE_AGAIN + MIB) as u64)?;
    let new = node.upload("kept", webm_noise(5, 14 * MIB)).await?.id;
    ensure!(is_there(&new, "raw"), "what was acknowledged is not there");
    made_room(&node, &oldest).await?;
    // Now less is free than the higher mark says, so the next goes without being asked.
    made_room(&node, &newest).await?;
    for id in [&oldest, &newest] {
        ensure!(!is_there(id, "raw") && is_there(id, "snapshot.jpg"), "{id}");
        ensure!(node.recording(id).await?["state"] == "delivering");
    }

    // What is left is held, or a destination still has to get it: from here on what is new is refused.
    let path = Node::upload_path("kept");
    let refused = node.request(Method::PUT, &path)?.body(webm_noise(6, 14 * MIB)).send().await?;
    problem(refused, 507).await?;
    node.for_a_while(2_500).await;
    ensure!(is_there(&held, "raw"), "a legal hold was broken");
    ensure!(is_there(&lost, "raw"), "what one destination has not was dropped");
    ensure!(is_there(&new, "raw"), "what is stored here alone was dropped");

    // The snapshot's place is free again: the push ends, and nothing of it is missing.
    fs::remove_dir_all(node.storage().join(format!("snagged/{oldest}.jpg")))?;
    let retried = node.api(Method::POST, &format!("/recordings/{oldest}/retry"))?.send().await?;
    ensure!(retried.status().is_success(), "{}", retried.text().await?);
    until("the rest to be pushed", async || {
        Ok((node.recording(&oldest).await?["state"] == "stored").then_some(()))
    })
    .await?;
    let pushed = fs::read(node.storage().join(format!("snagged/{oldest}_raw.webm")))?;
    ensure!(
        pushed == salted(&fs::read(media::file("vp8.webm")?)?, 1),
        "it is not what was recorded"
    );
    audit_has_receipts(&node, [&oldest, &newest])
}

/// The log verifies, and has for each of these the receipt of what made room.
fn audit_has_receipts(node: &Node, ids: [&str; 2]) -> Result<()> {
    let export = output(&mut node.command(&["audit", "export"]))?;
    let (log, key) = (node.dir().join("audit.jsonl"), node.dir().join("audit.pem"));
    fs::write(&log, &export)?;
    fs::write(&key, output(&mut node.command(&["audit", "key"]))?)?;
    let mut verify = node.command(&["audit", "verify"]);
    output(verify.arg(&log).arg("--key").arg(&key))?;
    let lines = String::from_utf8(export)?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for id in ids {
        let is_its = |line: &&Value| {
            line["what"]["recording"] == id && line["what"]["rule"] == "space_needed"
        };
        let receipt = lines.iter().find(is_its).with_context(|| format!("no receipt of {id}"))?;
        ensure!(receipt["what"]["rule_number"] == "5", "{receipt}");
        ensure!(receipt["what"]["files"][0]["kind"] == "raw", "{receipt}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appliance_refuses_what_is_not_encrypted() -> Result<()> {
    let disk = Disk::new(64 << 20)?;
    let settings = Settings::new()
        .environment(Environment::raw_only("kept"))
        .set("node.profile", "appliance")
        .set("vault.volumes", volumes([("data0", disk.path())]));
    let mut node = Node::lay_out(settings)?;
    node.spawn()?;
    let ended = until("the node to end", async || Ok((!node.is_alive()).then_some(()))).await;
    ensure!(ended.is_ok(), "it runs: {}", node.log());
    let said = node.log();
    ensure!(said.contains("state_path") && said.contains("not encrypted"), "{said}");
    ensure!(!disk.path().join("volume.json").exists(), "it wrote to a disk in the clear");
    Ok(())
}
