//! Which recordings are taken for undelivered, by manifests of a real node that went on to other states.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::{output, repo};
use holdfast_tests::{Environment, Node, Settings};
use serde_json::{Value, json};

/// Nothing of these is copied, whatever is asked.
const ENDED: [&str; 2] = ["garbage", "deleted"];

fn plan(vault: &Path, is_all: bool) -> Result<Value> {
    let out = vault.join("../plan.json");
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-B").arg(repo().join("scripts/recordings.py")).arg("plan");
    if is_all {
        command.arg("--all");
    }
    command.arg("--volume").arg(format!("data0={}", vault.display())).arg("--out").arg(&out);
    output(&mut command)?;
    Ok(serde_json::from_slice(&fs::read(out)?)?)
}

/// The names of the files of the only recording, with why; nothing where none is copied.
fn files(vault: &Path, is_all: bool) -> Result<Option<(Vec<String>, String)>> {
    let plan = plan(vault, is_all)?;
    let all = plan["recordings"].as_array().context("no recordings")?;
    ensure!(all.len() <= 1 && plan["not_copied"] == json!([]), "{plan}");
    let Some(entry) = all.first() else { return Ok(None) };
    let files = entry["files"].as_array().context("no files")?;
    let names = files.iter().filter_map(|file| Some(file["name"].as_str()?.to_owned())).collect();
    Ok(Some((names, entry["why"].as_str().unwrap_or_default().to_owned())))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_follows_from_state_pushes_hold_and_deletion() -> Result<()> {
    let nowhere = Environment::raw_only("keep").set("destinations", Vec::<String>::new());
    let mut node = Node::start(Settings::new().environment(nowhere)).await?;
    let id = node.upload("keep", webm_noise(1, 10_000)).await?.id;
    node.wait_for(&id, "stored").await?;
    node.stop().await?;
    let folder = node.vault().join("recordings").join(&id);
    let path = folder.join("manifest.json");
    let real: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let write = |manifest: &Value| Ok::<_, anyhow::Error>(fs::write(&path, manifest.to_string())?);
    let check = |manifest: &Value, is_all: bool, names: &[&str], why: &str| {
        write(manifest)?;
        let found = files(&node.vault(), is_all)?;
        let is_it = match &found {
            None => names.is_empty(),
            Some((has, said)) => has == names && said.contains(why),
        };
        ensure!(is_it, "{} wanted {names:?} {why:?}: {found:?}", manifest["state"]);
        Ok(())
    };
    check(&real, false, &["manifest.json", "raw"], "no destination")?;

    let pushed = json!([{"destination": "a", "at": real["received_at"], "location": "x"}]);
    let mut to_two = real.clone();
    to_two["policy"]["destinations"] = json!(["a", "b"]);
    let states = ["receiving", "stopped", "saved", "copying", "processing", "delivering", "failed"];
    for state in states {
        let mut manifest = to_two.clone();
        manifest["state"] = json!(state);
        manifest["files"][0]["pushed"] = pushed.clone();
        check(&manifest, false, &["manifest.json", "raw"], state)?;
    }
    for state in ENDED {
        let mut manifest = to_two.clone();
        manifest["state"] = json!(state);
        check(&manifest, true, &[], "")?;
    }

    // Everywhere: only where all is asked for, or a court wants it kept.
    let mut delivered = to_two.clone();
    delivered["policy"]["destinations"] = json!(["a"]);
    delivered["files"][0]["pushed"] = pushed;
    check(&delivered, false, &[], "")?;
    check(&delivered, true, &["manifest.json", "raw"], "all")?;
    let mut held = delivered.clone();
    held["hold"] = json!({"at": real["received_at"], "by": "admin", "reason": "a court"});
    check(&held, false, &["manifest.json", "raw"], "legal hold")?;
    let mut doomed = held;
    doomed["files"][0]["doomed"] = json!({"rule": "requested", "at": real["received_at"]});
    check(&doomed, true, &[], "")?;

    // Its picture reached nobody: only that is at stake.
    let mut partly = delivered.clone();
    partly["policy"]["outputs"]["snapshot"] = json!(true);
    let mut picture = real["files"][0].clone();
    picture["kind"] = json!("snapshot");
    partly["files"].as_array_mut().context("no files")?.push(picture);
    fs::write(folder.join("snapshot.jpg"), "a picture")?;
    check(&partly, false, &["manifest.json", "snapshot.jpg"], "in part")?;
    partly["policy"]["outputs"]["snapshot"] = json!(false);
    check(&partly, false, &[], "")?;

    // Nobody knows what it is: all of it that can be a recording's.
    fs::write(&path, "{\"id\": ")?;
    let damaged = ["manifest.json", "raw", "snapshot.jpg"].map(str::to_owned).to_vec();
    let (mut names, why) = files(&node.vault(), false)?.context("nothing is copied")?;
    names.sort();
    ensure!(names == damaged && why.contains("manifest is damaged"), "{names:?} {why}");
    // A link in the vault is not followed.
    fs::remove_file(folder.join("snapshot.jpg"))?;
    std::os::unix::fs::symlink("/etc/hostname", folder.join("snapshot.jpg"))?;
    let (names, _) = files(&node.vault(), false)?.context("nothing is copied")?;
    ensure!(names == ["manifest.json", "raw"], "{names:?}");
    Ok(())
}
