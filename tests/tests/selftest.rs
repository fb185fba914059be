//! A node's test of itself, on real nodes: one that is well, and ones of which something is broken.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::problem;
use holdfast_tests::node::free_port;
use holdfast_tests::tools::{bin_dir, files_under, output};
use holdfast_tests::{Node, Settings, until};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use reqwest::Method;
use serde_json::Value;
use toml::Table;

const SELFTEST: &str = "/selftest";

/// The test, over the command line's socket; also where something failed.
fn tested(node: &Node, more: &[&str]) -> Result<(Value, bool)> {
    let words = [&["selftest", "--json"], more].concat();
    let done = node.command(&words).output()?;
    let tested = serde_json::from_slice(&done.stdout)
        .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
    Ok((tested, done.status.success()))
}

fn checks(tested: &Value) -> Result<&Vec<Value>> {
    tested["checks"].as_array().with_context(|| tested.to_string())
}

/// The one check that the node was asked for.
fn only(node: &Node, name: &str) -> Result<Value> {
    let (tested, went_well) = tested(node, &["--only", name])?;
    let [check] = checks(&tested)?.as_slice() else { anyhow::bail!("{tested}") };
    ensure!(check["name"] == name && went_well == (tested["ok"] == true), "{tested}");
    Ok(check.clone())
}

fn failed_with(check: &Value, words: &str) -> Result<()> {
    let (found, todo) = (check["found"].as_str(), check["todo"].as_str());
    ensure!(check["outcome"] == "failed", "{check}");
    ensure!(found.is_some_and(|found| found.contains(words)), "{check}");
    ensure!(todo.is_some_and(|todo| todo.len() > 10), "nothing to do: {check}");
    Ok(())
}

/// What self-tests have laid down in a node's vault.
fn left(node: &Node) -> Result<Vec<PathBuf>> {
    let of_test = |path: &PathBuf| path.to_string_lossy().contains("/selftest");
    Ok(files_under(&node.vault())?.into_iter().filter(of_test).collect())
}

/// A transcoder that answers everything but jobs, and does this with those.
struct Transcoder(tempfile::TempDir);

impl Transcoder {
    fn new(with_jobs: &str) -> Result<Self> {
        let program = Self(tempfile::tempdir()?);
        program.now(with_jobs)?;
        Ok(program)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("holdfast-transcode")
    }

    fn now(&self, with_jobs: &str) -> Result<()> {
        let real = bin_dir().join("holdfast-transcode").display().to_string();
        let script = format!("#!/bin/sh\n[ $# -gt 0 ] && exec {real} \"$@\"\n{with_jobs}\n");
        // Another file: one that runs cannot be written.
        let new = self.0.path().join("new");
        fs::write(&new, script.replace("REAL", &real))?;
        fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        fs::rename(new, self.path())?;
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings::new().set("transcode.program", self.path().to_string_lossy().into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_node_passes_and_nothing_stays_behind() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    output(&mut node.command(&["health", "--wait", "100"]))?;
    let (tested, went_well) = tested(&node, &[])?;
    ensure!(went_well && tested["ok"] == true, "{tested}");
    let names: Vec<_> = checks(&tested)?.iter().map(|check| check["name"].clone()).collect();
    ensure!(
        names
            == [
                "ledger",
                "volume",
                "film",
                "encoders",
                "destination",
                "clock",
                "certificate",
                "key"
            ],
        "{tested}"
    );
    for check in checks(&tested)? {
        // Tests take the clock as it is, whoever keeps it.
        let is_well = check["outcome"] == "passed"
            || (check["name"] == "clock" && check["outcome"] == "not_applicable");
        ensure!(is_well && check["todo"].is_null(), "{check}");
    }
    let film = &checks(&tested)?[2];
    ensure!(film["found"].as_str().is_some_and(|it| it.contains("264")), "{film}");
    ensure!(checks(&tested)?[4]["of"] == "folder", "{tested}");
    ensure!(left(&node)?.is_empty(), "{:?}", left(&node)?);
    ensure!(node.recordings().await?.is_empty(), "it became a recording");
    ensure!(files_under(&node.storage())?.is_empty(), "a file stays at the destination");
    // The same for people.
    let said = String::from_utf8(output(&mut node.command(&["selftest"]))?)?;
    ensure!(said.contains("passed        film: ") && said.contains("0 failed"), "{said}");
    let unknown = node.api(Method::POST, "/selftest?only=weather")?.send().await?;
    problem(unknown, 400).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_that_makes_no_film_keeps_a_version_from_being_kept() -> Result<()> {
    // It takes its job, and ends.
    let transcoder = Transcoder::new("dd bs=65536 count=1 of=/dev/null 2>/dev/null\nexit 7")?;
    let node = Node::start(transcoder.settings()).await?;
    // Its proofs are well, so that what is cheap to ask finds nothing wrong.
    until("the node to be well as far as it looks", async || {
        Ok(node.command(&["health"]).output()?.status.success().then_some(()))
    })
    .await?;
    let done = node.command(&["health", "--wait", "1"]).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.code() == Some(1) && said.contains("became no film"), "{said}");
    failed_with(&only(&node, "film")?, "exit status: 7")?;
    ensure!(left(&node)?.is_empty(), "{:?}", left(&node)?);
    fs::remove_file(transcoder.path())?;
    failed_with(&only(&node, "film")?, "Cannot start")?;
    transcoder.now("exec REAL")?;
    let said = output(&mut node.command(&["health", "--wait", "100"]))?;
    ensure!(said == b"healthy\n", "{said:?}");
    ensure!(only(&node, "film")?["outcome"] == "passed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_is_named_and_the_others_pass() -> Result<()> {
    let mut down = Table::new();
    for (key, value) in [("kind", "ftps"), ("name", "far"), ("host", "127.0.0.1"), ("user", "u")] {
        down.insert(key.into(), value.into());
    }
    down.insert("port".into(), i64::from(free_port()?).into());
    let password = tempfile::NamedTempFile::new()?;
    fs::write(password.path(), "secret")?;
    fs::set_permissions(password.path(), Permissions::from_mode(0o600))?;
    down.insert("password_file".into(), password.path().to_string_lossy().into_owned().into());
    let node = Node::start(Settings::new().destination(down)).await?;
    let (tested, went_well) = tested(&node, &["--only", "destination"])?;
    ensure!(!went_well && tested["ok"] == false, "{tested}");
    let of = |name: &str| checks(&tested)?.iter().find(|it| it["of"] == name).context("no check");
    failed_with(of("far")?, "Writing a file failed")?;
    ensure!(of("far")?["todo"].as_str().is_some_and(|todo| todo.contains("test far")), "{tested}");
    ensure!(of("folder")?["outcome"] == "passed", "{tested}");
    // What is somebody else's to mend takes no new version back.
    output(&mut node.command(&["health", "--wait", "100"]))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tests_at_once_the_second_is_refused() -> Result<()> {
    let transcoder = Transcoder::new("while [ ! -e \"$0.go\" ]; do sleep 0.1; done\nexec REAL")?;
    let node = Node::start(transcoder.settings()).await?;
    let path = format!("{SELFTEST}?only=film");
    let first = tokio::spawn(node.api(Method::POST, &path)?.send());
    until("the first to have begun", async || Ok((!left(&node)?.is_empty()).then_some(()))).await?;
    let second = node.api(Method::POST, &path)?.send().await?;
    ensure!(second.headers().contains_key("retry-after"));
    let problem = problem(second, 409).await?;
    ensure!(problem["detail"].as_str().is_some_and(|it| it.contains("is running")), "{problem}");
    let done = node.command(&["selftest"]).output()?;
    ensure!(done.status.code() == Some(1), "{done:?}");
    fs::write(format!("{}.go", transcoder.path().display()), "")?;
    let first = first.await??.error_for_status()?.bytes().await?;
    let first: Value = serde_json::from_slice(&first)?;
    ensure!(first["ok"] == true, "{first}");
    // It is free again.
    ensure!(only(&node, "film")?["outcome"] == "passed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_was_testing_goes_at_the_next_start() -> Result<()> {
    // Until its socket is closed.
    let transcoder = Transcoder::new("exec cat >/dev/null")?;
    let mut node = Node::start(transcoder.settings()).await?;
    let hanging = tokio::spawn(node.api(Method::POST, &format!("{SELFTEST}?only=film"))?.send());
    until("the test to have begun", async || Ok((!left(&node)?.is_empty()).then_some(()))).await?;
    node.kill()?;
    ensure!(hanging.await?.is_err(), "a dead node has answered");
    ensure!(!left(&node)?.is_empty(), "nothing was left to be removed");
    node.launch().await?;
    ensure!(left(&node)?.is_empty() && !node.vault().join("selftest").exists());
    // An orderly stop waits for no film, and leaves nothing either.
    let hanging = tokio::spawn(node.api(Method::POST, &format!("{SELFTEST}?only=film"))?.send());
    until("the test to have begun", async || Ok((!left(&node)?.is_empty()).then_some(()))).await?;
    ensure!(node.stop().await?.success());
    ensure!(!node.vault().join("selftest").exists(), "{:?}", left(&node)?);
    drop(hanging.await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_broken_is_named_with_what_to_do() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    for name in ["volume", "certificate", "key", "ledger"] {
        ensure!(only(&node, name)?["outcome"] == "passed", "{name}");
    }
    fs::create_dir(node.vault().join("selftest.tmp"))?;
    failed_with(&only(&node, "volume")?, "selftest.tmp")?;
    fs::remove_dir(node.vault().join("selftest.tmp"))?;

    let key = node.state().join("node.key");
    fs::rename(&key, node.state().join("elsewhere"))?;
    failed_with(&only(&node, "key")?, "gone")?;
    fs::rename(node.state().join("elsewhere"), &key)?;

    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    let pair = KeyPair::generate()?;
    let tls = node.state().join("tls");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    fs::write(tls.join("certificate.pem"), params.self_signed(&pair)?.pem())?;
    failed_with(&only(&node, "certificate")?, "do not fit")?;
    fs::write(tls.join("key.pem"), pair.serialize_pem())?;
    failed_with(&only(&node, "certificate")?, "2021-01-01")?;
    Ok(())
}
