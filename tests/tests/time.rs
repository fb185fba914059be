//! A real node driven through weeks: what rules 2, 6, 7, 8 and 10 say, to the second, over its API.

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use holdfast_tests::clock::instant;
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::{bin_dir, output_of, sha256, sha256_of, tools_dir};
use holdfast_tests::{Environment, Node, Settings, TestClock, until};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

/// Rule 2's table.
const WAITS_MIN: [i64; 12] = [2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 1440];
/// After which failure the node is killed.
const KILLED_AFTER: usize = 5;
/// How long what must not happen is given to happen, in milliseconds.
const A_WHILE_MS: u64 = 300;

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// An environment whose recordings stay on the node, untouched.
fn here(id: &str) -> Environment {
    Environment::raw_only(id).set("destinations", Vec::<String>::new())
}

/// A node with one part of its disk that can be taken away: the destination `folder`.
struct Weeks {
    node: Node,
    clock: TestClock,
}

impl Weeks {
    async fn begin(
        wall: &str,
        environments: impl IntoIterator<Item = Environment>,
    ) -> Result<Self> {
        let clock = TestClock::at(wall)?;
        let settings = environments.into_iter().fold(clock.settings(), Settings::environment);
        Ok(Self { node: Node::start(settings).await?, clock })
    }

    fn away(&self) -> PathBuf {
        self.node.dir().join("away")
    }

    fn take_destination_away(&self) -> Result<()> {
        Ok(fs::rename(self.node.storage(), self.away())?)
    }

    fn bring_destination_back(&self) -> Result<()> {
        Ok(fs::rename(self.away(), self.node.storage())?)
    }

    async fn pass(&mut self, time: SignedDuration) -> Result<()> {
        self.clock.pass(&self.node, time).await
    }

    async fn pass_until(&mut self, at: Timestamp) -> Result<()> {
        self.clock.pass_until(&self.node, at).await
    }

    /// Waits until the node trusts its clock, or does not.
    async fn trusts(&self, trusts: bool) -> Result<Value> {
        let what = if trusts { "the node to trust its clock" } else { "the node to say no" };
        until(what, async || {
            let clock = self.node.get("/status").await?["clock"].clone();
            Ok((clock["trusted"] == trusts).then_some(clock))
        })
        .await
    }

    /// Waits until so many attempts of a step have failed.
    async fn failed(&self, id: &str, step: &str, attempts: usize) -> Result<Value> {
        let mut last = Value::Null;
        until(&format!("attempt {attempts} ({step}) of {id} to fail"), async || {
            last = self.node.recording(id).await?;
            let has_ended = last["state"] == "failed" || !last[step]["next_at"].is_null();
            let is_it = last[step]["attempts"] == attempts && !last[step]["error"].is_null();
            Ok((has_ended && is_it).then_some(()))
        })
        .await
        .with_context(|| format!("last seen: {last}"))?;
        Ok(last)
    }

    /// It is on disk, and the API says so.
    async fn is_here(&self, id: &str) -> Result<()> {
        self.node.for_a_while(A_WHILE_MS).await;
        let raw = self.raw(&self.node.recording(id).await?)?;
        ensure!(raw["local"] == true && raw["deleted_at"].is_null(), "{raw}");
        ensure!(!self.node.in_vault(id)?.is_empty(), "{id} is not in the vault");
        Ok(())
    }

    /// It is gone from disk, and the API says so; answers when and by which rule.
    async fn is_gone(&self, id: &str) -> Result<(Timestamp, String)> {
        self.node.gone_from_vault(id).await?;
        until("the API to say that it is gone", async || {
            let raw = self.raw(&self.node.recording(id).await?)?;
            let rule = raw["deleted_by_rule"].as_str().map(str::to_owned);
            Ok(rule.map(|rule| instant(&raw["deleted_at"]).map(|at| (at, rule))))
        })
        .await?
    }

    fn raw(&self, recording: &Value) -> Result<Value> {
        let files = recording["files"].as_array().context("no files")?;
        let raw = files.iter().find(|file| file["kind"] == "raw");
        Ok(raw.with_context(|| format!("no raw file: {recording}"))?.clone())
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let said = format!("{method} {path}");
        let request = self.node.api(method, path)?.header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{said}: {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn hold(&self, id: &str) -> Result<()> {
        self.send(Method::PUT, &format!("/recordings/{id}/hold"), json!({"reason": "a case"}))
            .await?;
        Ok(())
    }

    /// Uploads a recording that stays here.
    async fn keep(&self, env_id: &str, seed: u64) -> Result<String> {
        let id = self.node.upload(env_id, webm_noise(seed, 20_000)).await?.id;
        self.node.wait_for(&id, "stored").await?;
        Ok(id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_2_and_6_thirteen_attempts_in_74_h_02_min_then_28_days() -> Result<()> {
    let saved_at = at("2026-03-10T10:00:00Z");
    // Day 1 is 10 March; clocks go forward on 29 March, so that day 28 ends at 21:00 UTC.
    let goes_at = at("2026-04-06T21:00:00Z");
    let envs = [Environment::raw_only("raw"), Environment::new("demo")];
    let mut weeks = Weeks::begin("2026-03-10T10:00:00Z", envs).await?;
    weeks.take_destination_away()?;
    let bytes = webm_noise(1, 50_000);
    let pushed = weeks.node.upload("raw", bytes.clone()).await?.id;
    let lost = weeks.node.upload("raw", webm_noise(2, 50_000)).await?.id;
    let garbled = weeks.node.upload("demo", webm_noise(3, 50_000)).await?.id;
    let steps = [(&pushed, "push"), (&lost, "push"), (&garbled, "transcode")];

    let mut expected_at = saved_at;
    for attempt in 1..=13 {
        let wait = WAITS_MIN.get(attempt - 1).map(|min| SignedDuration::from_mins(*min));
        for (id, step) in steps {
            let seen = weeks.failed(id, step, attempt).await?;
            ensure!(instant(&seen["saved_at"])? == saved_at, "{seen}");
            ensure!(instant(&seen[step]["error"]["at"])? == expected_at, "{attempt}: {seen}");
            let next_at = seen[step]["next_at"].as_str().map(str::parse).transpose()?;
            ensure!(next_at == wait.map(|wait| expected_at + wait), "{attempt}: {seen}");
            ensure!((seen["state"] == "failed") == wait.is_none(), "{attempt}: {seen}");
        }
        let Some(wait) = wait else { break };
        if attempt == KILLED_AFTER {
            weeks.node.kill()?;
            weeks.node.launch().await?;
        }
        expected_at += wait;
        weeks.pass_until(expected_at - SECOND).await?;
        weeks.node.for_a_while(A_WHILE_MS / 3).await;
        for (id, step) in steps {
            let seen = weeks.node.recording(id).await?;
            ensure!(seen[step]["attempts"] == attempt, "a second too soon: {seen}");
        }
        weeks.pass(SECOND).await?;
    }
    ensure!(expected_at == saved_at + 74 * HOUR + 2 * MINUTE);

    for id in [&pushed, &lost, &garbled] {
        weeks.is_here(id).await?;
        let outlook = weeks.node.get(&format!("/recordings/{id}/explain")).await?;
        let raw = outlook["files"].as_array().context("no files")?;
        let raw = raw.iter().find(|file| file["kind"] == "raw").context("no raw file")?;
        ensure!(instant(&raw["goes"]["at"])? == goes_at, "{outlook}");
        let said = outlook["sentence"].as_str().context("no sentence")?;
        ensure!(
            said.contains("13 attempts") && said.contains("2026-04-07 00:00:00 EEST"),
            "{said}"
        );
    }

    // Someone mends the destination, and has one of them pushed.
    weeks.bring_destination_back()?;
    weeks.pass(2 * DAY).await?;
    weeks.send(Method::POST, &format!("/recordings/{pushed}/push"), json!({})).await?;
    until("the push by hand to arrive", async || {
        Ok((weeks.node.recording(&pushed).await?["state"] == "stored").then_some(()))
    })
    .await?;
    let delivered = weeks.node.delivered("raw", &pushed, "_raw.webm");
    ensure!(sha256_of(&delivered)? == sha256(&bytes));

    for before in [MINUTE, SECOND] {
        weeks.pass_until(goes_at - before).await?;
        weeks.is_here(&lost).await?;
        weeks.is_here(&garbled).await?;
    }
    weeks.pass(SECOND).await?;
    ensure!(weeks.is_gone(&lost).await? == (goes_at, "push_failed".into()));
    ensure!(weeks.is_gone(&garbled).await? == (goes_at, "transcode_failed".into()));
    ensure!(sha256_of(&delivered)? == sha256(&bytes), "what was delivered is the customer's");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_3_what_nobody_knows_is_kept_for_six_hours_after_its_last_byte() -> Result<()> {
    let mut weeks = Weeks::begin("2026-06-01T12:00:00Z", [here("here")]).await?;
    let known = weeks.keep("here", 1).await?;
    weeks.node.kill()?;
    // A folder of the vault of which neither the ledger nor a manifest says what it is.
    let mut unknown = known.clone();
    unknown.replace_range(unknown.len() - 1.., if known.ends_with('0') { "1" } else { "0" });
    let last_byte_at = at("2026-06-01T10:30:00Z");
    for path in weeks.node.in_vault(&known)? {
        let copy = PathBuf::from(path.display().to_string().replace(&known, &unknown));
        fs::create_dir_all(copy.parent().context("a folder")?)?;
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("raw")) {
            fs::copy(&path, &copy)?;
            let file = fs::File::options().write(true).open(&copy)?;
            file.set_modified(
                UNIX_EPOCH + last_byte_at.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs(),
            )?;
        } else {
            fs::write(&copy, "{ half a mani")?;
        }
    }
    weeks.node.launch().await?;
    until("it to be taken in", async || {
        let seen = weeks.node.get(&format!("/recordings/{unknown}")).await;
        Ok(seen.is_ok_and(|seen| seen["state"] == "unknown").then_some(()))
    })
    .await?;
    weeks.pass_until(last_byte_at + 6 * HOUR - MINUTE).await?;
    weeks.is_here(&unknown).await?;
    weeks.pass_until(last_byte_at + 6 * HOUR).await?;
    let (gone_at, rule) = weeks.is_gone(&unknown).await?;
    ensure!(rule == "unknown", "{rule}");
    ensure!(gone_at.duration_since(last_byte_at + 6 * HOUR) < MINUTE, "{gone_at}");
    weeks.is_here(&known).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_7_and_8_accounts_expire_lifecycles_end_and_a_hold_outlives_both() -> Result<()> {
    let mut weeks = Weeks::begin("2026-01-10T09:00:00Z", [here("demo")]).await?;
    weeks.send(Method::POST, "/accounts", json!({"id": "shop", "plan": "paid"})).await?;
    for (id, more) in [
        ("paid", json!({"account": "shop"})),
        ("short", json!({"lifecycle_days": 1})),
        ("longer", json!({"lifecycle_days": 5})),
    ] {
        let mut body = json!({
            "id": id, "hash": format!("{id}-hash"), "destinations": [],
            "mp4": false, "snapshot": false, "filmstrip": false,
        });
        let members = body.as_object_mut().context("no object")?;
        members.extend(more.as_object().context("no object")?.clone());
        weeks.send(Method::POST, "/environments", body).await?;
    }
    let saved_at = weeks.clock.now();
    let (short, longer) = (weeks.keep("short", 1).await?, weeks.keep("longer", 2).await?);
    let (paid, kept) = (weeks.keep("paid", 3).await?, weeks.keep("demo", 4).await?);
    let (held_short, held_paid) = (weeks.keep("short", 5).await?, weeks.keep("paid", 6).await?);
    weeks.hold(&held_short).await?;
    weeks.hold(&held_paid).await?;

    // One day is less than 75 h; five days are more.
    weeks.pass_until(saved_at + 75 * HOUR - SECOND).await?;
    weeks.is_here(&short).await?;
    weeks.pass(SECOND).await?;
    ensure!(weeks.is_gone(&short).await? == (saved_at + 75 * HOUR, "lifecycle".into()));
    weeks.pass_until(saved_at + 5 * DAY - SECOND).await?;
    weeks.is_here(&longer).await?;
    weeks.pass(SECOND).await?;
    ensure!(weeks.is_gone(&longer).await? == (saved_at + 5 * DAY, "lifecycle".into()));

    // 15 January 23:30 in Bucharest is day 1, whose end is in half an hour.
    let expires_at = at("2026-01-15T21:30:00Z");
    weeks.send(Method::PATCH, "/accounts/shop", json!({"expires_at": expires_at})).await?;
    weeks.pass_until(expires_at - SECOND).await?;
    weeks.node.upload("paid", webm_noise(7, 20_000)).await?;
    weeks.pass(SECOND).await?;
    let path = Node::upload_path("paid");
    let refused =
        weeks.node.request(Method::PUT, &path)?.body(webm_noise(8, 20_000)).send().await?;
    ensure!(refused.status() == 403, "{}", refused.status());
    let goes_at = at("2026-02-11T22:00:00Z");
    for before in [MINUTE, SECOND] {
        weeks.pass_until(goes_at - before).await?;
        weeks.is_here(&paid).await?;
    }
    weeks.pass(SECOND).await?;
    ensure!(weeks.is_gone(&paid).await? == (goes_at, "account_expired".into()));

    weeks.pass(40 * DAY).await?;
    for id in [&held_short, &held_paid, &kept] {
        weeks.is_here(id).await?;
    }
    for id in [&held_short, &held_paid] {
        weeks.send(Method::DELETE, &format!("/recordings/{id}/hold"), Value::Null).await?;
        weeks.is_gone(id).await?;
    }
    weeks.is_here(&kept).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_a_clock_in_doubt_deletes_nothing_until_it_is_mended() -> Result<()> {
    let short = here("short").set("lifecycle_days", 1);
    let mut weeks = Weeks::begin("2026-01-10T09:00:00Z", [short]).await?;
    let first = weeks.keep("short", 1).await?;
    weeks.pass(HOUR).await?;
    let second = weeks.keep("short", 2).await?;
    weeks.pass(74 * HOUR - MINUTE).await?;

    // Set back by ten days. Node time counts on: what is due stays, and is overdue.
    let right = weeks.clock.now();
    weeks.clock.set(right - 10 * DAY, true)?;
    let said = weeks.trusts(false).await?;
    let detail = said["detail"].as_str().context("no reason")?;
    ensure!(detail.contains("recorded something"), "{detail}");
    weeks.pass(2 * HOUR).await?;
    weeks.is_here(&first).await?;
    let status = String::from_utf8(output_of(weeks.node.command(&["status"])).await?)?;
    ensure!(status.contains("NOT TRUSTED"), "{status}");
    let ready = weeks.node.request(Method::GET, "/ready")?.send().await?;
    ensure!(ready.status() == 200, "it takes recordings all the same");
    let ready: Value = serde_json::from_str(&ready.text().await?)?;
    ensure!(ready["clock_trusted"] == false, "{ready}");

    // A restart changes nothing about that.
    weeks.node.kill()?;
    weeks.node.launch().await?;
    weeks.trusts(false).await?;
    weeks.is_here(&first).await?;
    let mended = right + MINUTE;
    weeks.clock.set(mended, true)?;
    weeks.trusts(true).await?;
    weeks.is_gone(&first).await?;
    weeks.is_here(&second).await?;

    // No time service keeps it.
    weeks.clock.set(mended, false)?;
    let said = weeks.trusts(false).await?;
    let detail = said["detail"].as_str().context("no reason")?;
    ensure!(detail.contains("time service"), "{detail}");
    weeks.pass(2 * HOUR).await?;
    weeks.is_here(&second).await?;
    weeks.clock.set(weeks.clock.now(), true)?;
    weeks.trusts(true).await?;
    weeks.is_gone(&second).await?;
    ensure!(weeks.node.log().contains("the clock is trusted again"), "its log does not say so");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_booted_in_2020_a_recording_is_delivered_when_it_is_2026() -> Result<()> {
    let mut weeks = Weeks::begin("2026-06-01T12:00:00Z", [Environment::raw_only("raw")]).await?;
    // Before the node's first start: a machine without a battery for its clock.
    weeks.node.kill()?;
    fs::remove_dir_all(weeks.node.state())?;
    fs::create_dir_all(weeks.node.state())?;
    weeks.clock.reboot(at("2020-01-01T00:00:00Z"), false)?;
    weeks.node.launch().await?;
    weeks.trusts(false).await?;
    weeks.take_destination_away()?;
    let bytes = webm_noise(1, 50_000);
    let id = weeks.node.upload("raw", bytes.clone()).await?.id;
    weeks.failed(&id, "push", 1).await?;
    weeks.pass(MINUTE).await?;

    let right = at("2026-06-01T12:00:00Z");
    weeks.clock.set(right, true)?;
    weeks.trusts(true).await?;
    // The clock is trusted a moment before what it had stamped is moved.
    let seen = until("its stamps to be moved", async || {
        let seen = weeks.node.recording(&id).await?;
        Ok((instant(&seen["saved_at"])? == right - MINUTE).then_some(seen))
    })
    .await?;
    ensure!(instant(&seen["push"]["next_at"])? == right + MINUTE, "{seen}");
    ensure!(seen["push"]["attempts"] == 1 && seen["state"] == "delivering", "{seen}");
    weeks.is_here(&id).await?;
    weeks.bring_destination_back()?;
    weeks.pass(MINUTE).await?;
    until("it to be delivered", async || {
        Ok((weeks.node.recording(&id).await?["state"] == "stored").then_some(()))
    })
    .await?;
    ensure!(sha256_of(&weeks.node.delivered("raw", &id, "_raw.webm"))? == sha256(&bytes));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_a_clock_that_ran_ahead_is_accepted_by_a_person() -> Result<()> {
    let short = here("short").set("lifecycle_days", 1);
    let mut weeks = Weeks::begin("2035-01-10T09:00:00Z", [short]).await?;
    let id = weeks.keep("short", 1).await?;
    let right = at("2026-01-10T09:00:00Z");
    weeks.clock.set(right, true)?;
    weeks.trusts(false).await?;
    let said = output_of(weeks.node.command(&["clock", "accept", "--yes"])).await?;
    let said = String::from_utf8(said)?;
    ensure!(said.contains("trusted: 2026-01-10"), "{said}");
    weeks.trusts(true).await?;
    let saved_at = instant(&weeks.node.recording(&id).await?["saved_at"])?;
    ensure!(saved_at.duration_since(right).abs() < SECOND, "{saved_at}");
    weeks.pass(75 * HOUR - MINUTE).await?;
    weeks.is_here(&id).await?;
    weeks.pass(2 * MINUTE).await?;
    weeks.is_gone(&id).await?;
    Ok(())
}

#[test]
fn the_clock_of_a_usual_build_cannot_be_driven() -> Result<()> {
    let knows = |program: PathBuf| -> Result<bool> {
        let bytes = fs::read(&program).with_context(|| program.display().to_string())?;
        Ok(bytes.windows(19).any(|window| window == b"HOLDFAST_TEST_CLOCK"))
    };
    ensure!(knows(tools_dir().join("holdfast-test-clock"))?);
    ensure!(!knows(bin_dir().join("holdfast"))?, "this build was made with the feature test-clock");
    Ok(())
}
