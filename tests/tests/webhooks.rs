//! A recording's life as a customer's own server hears of it: a real HTTP server in node.js that
//! verifies each request with the package `standardwebhooks`, which others wrote.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::small_webm;
use holdfast_tests::tools::repo;
use holdfast_tests::{Environment, Node, Settings, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A customer's server.
struct Receiver {
    _child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    port: u64,
    got: Vec<Value>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let folder = repo().join("tests/webhooks");
        ensure!(
            folder.join("node_modules").is_dir(),
            "{} has no modules; run `npm ci` there, or scripts/test",
            folder.display()
        );
        let mut child = Command::new("node")
            .arg("receiver.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let to = child.stdin.take().context("no input")?;
        let mut from = BufReader::new(child.stdout.take().context("no output")?).lines();
        let first = from.next_line().await?.context("the receiver ended")?;
        let first: Value = serde_json::from_str(&first)?;
        let port = first["port"].as_u64().context("no port")?;
        Ok(Self { _child: child, to, from, port, got: Vec::new() })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn expect(&mut self, path: &str, secret: &str, pipe_key: Option<&str>) -> Result<()> {
        let hook = json!({
            "path": path, "url": self.url(path), "secret": secret, "pipe_key": pipe_key,
        });
        self.to.write_all(format!("{hook}\n").as_bytes()).await?;
        Ok(())
    }

    /// Waits for an event at a path; answers what it says. Every request must have been verified.
    async fn hear(&mut self, path: &str, event: &str, id: &str) -> Result<Value> {
        let is =
            |got: &&Value| got["path"] == path && got["event"] == event && got["data"]["id"] == id;
        while !self.got.iter().any(|got| is(&got)) {
            let line = tokio::time::timeout(holdfast_tests::wait::PATIENCE, self.from.next_line());
            let line = line.await.with_context(|| format!("no {event} at {path}"))?;
            let got: Value = serde_json::from_str(&line?.context("the receiver ended")?)?;
            ensure!(got["ok"] == true, "a request was not verified: {got}");
            self.got.push(got);
        }
        let got = self.got.iter().find(is).context("it was there a moment ago")?;
        Ok(got["data"].clone())
    }

    /// What a path heard of a recording, in order.
    fn heard(&self, path: &str, id: &str) -> Vec<(&str, u64)> {
        let of = self.got.iter().filter(|got| got["path"] == path && got["data"]["id"] == id);
        of.map(|got| (got["event"].as_str().unwrap_or(""), got["status"].as_u64().unwrap_or(0)))
            .collect()
    }
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str> {
    value[member].as_str().with_context(|| format!("no {member} in {value}"))
}

/// Settings with a webhook that the configuration declares.
fn settings(receiver: &Receiver, folder: &std::path::Path, secret: &str) -> Result<Settings> {
    let (secret_file, pipe_key_file) = (folder.join("secret"), folder.join("pipe-key"));
    std::fs::write(&secret_file, format!("{secret}\n"))?;
    std::fs::write(&pipe_key_file, "pipe-key\n")?;
    let mut hook = toml::Table::new();
    for (member, value) in [
        ("id", "declared".to_owned()),
        ("env_id", "demo".into()),
        ("url", receiver.url("/form?customer=1")),
        ("format", "form".into()),
        ("secret_file", secret_file.to_string_lossy().into_owned()),
        ("pipe_key_file", pipe_key_file.to_string_lossy().into_owned()),
    ] {
        hook.insert(member.into(), value.into());
    }
    Ok(Settings::new()
        .environment(Environment::new("demo"))
        .set("notify.private_targets", vec!["127.0.0.1/32"])
        .set("notify.plain_http", true)
        .set("webhooks", vec![toml::Value::Table(hook)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_server_hears_of_a_recordings_life_and_believes_every_word() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let folder = tempfile::tempdir()?;
    let declared = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    receiver.expect("/form?customer=1", declared, Some("pipe-key")).await?;
    let node = Node::start(settings(&receiver, folder.path(), declared)?).await?;
    let body = json!({ "id": "made", "env_id": "demo", "url": receiver.url("/flaky") });
    let asked = node.api(Method::POST, "/webhooks")?.header("content-type", "application/json");
    let answer = asked.body(body.to_string()).send().await?;
    let (status, made) = (answer.status(), answer.text().await?);
    ensure!(status == 201, "{status}: {made}");
    let made: Value = serde_json::from_str(&made)?;
    receiver.expect("/flaky", text(&made, "secret")?, None).await?;

    let source = small_webm(node.dir(), 1.0)?;
    let id = node.upload("demo", source).await?.id;
    for path in ["/form?customer=1", "/flaky"] {
        let recorded = receiver.hear(path, "video_recorded", &id).await?;
        ensure!(recorded["bytes"].as_u64() > Some(0), "{recorded}");
        let converted = receiver.hear(path, "video_converted", &id).await?;
        ensure!(converted["media"]["duration_ms"].as_u64() > Some(500), "{converted}");
        let copied = receiver.hear(path, "video_copied_directory", &id).await?;
        let location = text(&copied, "location")?;
        ensure!(node.storage().join(location).exists(), "nothing at {location:?}");
    }
    node.api(Method::DELETE, &format!("/recordings/{id}"))?.send().await?.error_for_status()?;
    for path in ["/form?customer=1", "/flaky"] {
        let deleted = receiver.hear(path, "recording.deleted", &id).await?;
        ensure!((text(&deleted, "rule")?, text(&deleted, "by")?) == ("requested", "tests"));
        ensure!(deleted["metadata"].is_null(), "{deleted}");
    }
    let life = ["video_recorded", "video_converted", "video_copied_directory", "recording.deleted"];
    ensure!(receiver.heard("/form?customer=1", &id) == life.map(|event| (event, 204)));
    // Each was told a second time after it was not taken, and before the next.
    let twice: Vec<_> = life.iter().flat_map(|event| [(*event, 503), (*event, 204)]).collect();
    until("all to be taken", async || {
        let page = node.api(Method::GET, "/webhooks/made/deliveries")?.send().await?;
        let page: Value = serde_json::from_str(&page.text().await?)?;
        let all = page["deliveries"].as_array().context("no deliveries")?;
        let is_taken = |one: &Value| one["state"] == "delivered" && one["attempts"] == 2;
        Ok((all.len() == 4 && all.iter().all(is_taken)).then_some(()))
    })
    .await?;
    while receiver.heard("/flaky", &id).len() < twice.len() {
        let line = receiver.from.next_line().await?.context("the receiver ended")?;
        receiver.got.push(serde_json::from_str(&line)?);
    }
    ensure!(receiver.heard("/flaky", &id) == twice, "{:?}", receiver.heard("/flaky", &id));
    on_the_command_line(&node)
}

/// The same on the node itself.
fn on_the_command_line(node: &Node) -> Result<()> {
    let run = |words: &[&str]| -> Result<String> {
        let output = node.command(words).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{words:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let listed = run(&["webhooks", "list"])?;
    ensure!(listed.contains("declared") && listed.contains("made"), "{listed}");
    let deliveries = run(&["webhooks", "deliveries", "declared"])?;
    ensure!(deliveries.contains("recording.deleted") && deliveries.contains("204"), "{deliveries}");
    let pinged = run(&["webhooks", "ping", "declared"])?;
    ensure!(pinged.contains("delivered"), "{pinged}");
    let rotated = run(&["webhooks", "rotate-secret", "made", "--yes"])?;
    ensure!(rotated.starts_with("whsec_") && rotated.lines().count() == 1, "{rotated}");
    Ok(())
}
