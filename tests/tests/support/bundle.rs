//! What is in a bundle, and what is not.

use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::problem;
use holdfast_tests::{Node, Settings};
use reqwest::Method;
use serde_json::Value;

use super::trouble::{ADDRESS, Troubled, Unpacked, written};

/// Most bytes of a bundle, unpacked, as `docs/support.md` promises.
const UNPACKED_BYTES_MAX: usize = 16 << 20;

async fn fetch(node: &Node) -> Result<Vec<u8>> {
    let answer = node.api(Method::GET, "/support-bundle")?.send().await?.error_for_status()?;
    let headers = answer.headers();
    ensure!(headers["content-type"] == "application/gzip", "{headers:?}");
    ensure!(headers["cache-control"] == "private, no-store", "{headers:?}");
    ensure!(headers["content-disposition"].to_str()?.contains(".tar.gz"), "{headers:?}");
    let length: usize = headers["content-length"].to_str()?.parse()?;
    let bytes = answer.bytes().await?.to_vec();
    ensure!(bytes.len() == length, "{} of {length}", bytes.len());
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_says_what_went_wrong_and_nothing_of_anybody() -> Result<()> {
    let troubled = Troubled::new().await?;
    let node = &troubled.node;
    let packed = fetch(node).await?;
    let bundle = Unpacked::of(&packed)?;
    let (all, lower) = bundle.all()?;
    ensure!(all.len() < UNPACKED_BYTES_MAX, "{} bytes", all.len());
    if let Some(keep) = std::env::var_os("HOLDFAST_TEST_KEEP_BUNDLE") {
        fs::write(keep, &packed)?;
    }

    // What must not be in it was really there: the node knows it, or wrote it into its own log.
    let streamed = node.recording(&troubled.ids[2]).await?["metadata"].to_string();
    ensure!(streamed.contains("Quokka") && streamed.contains("Zanzibar"), "{streamed}");
    let uploaded = node.recording(&troubled.ids[0]).await?.to_string();
    ensure!(uploaded.contains(ADDRESS) && uploaded.contains("shibboleth"), "{uploaded}");
    ensure!(node.log().contains(ADDRESS) && node.log().contains("shibboleth"));
    for (what, text) in &troubled.never {
        for way in written(text) {
            ensure!(!lower.contains(&way), "{what} is in the bundle: {text:?}, as {way:?}");
        }
    }

    useful(&troubled, &bundle)?;
    let exported = node.api(Method::GET, "/audit")?.send().await?.text().await?;
    ensure!(exported.contains("support_bundle_made"), "nobody wrote down that it was made");
    Ok(())
}

/// What whoever builds the node wants to know.
fn useful(troubled: &Troubled, bundle: &Unpacked) -> Result<()> {
    let about = bundle.json("about.json")?;
    ensure!(about["version"] == env!("CARGO_PKG_VERSION"), "{about}");
    ensure!(about["program_sha256"].as_str().is_some_and(|it| it.len() == 64), "{about}");
    ensure!(bundle.json("health.json")?["ready"] == true);
    ensure!(bundle.json("clock.json")?["trusted"] == true);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    ensure!(bundle.json("machine.json")?["kernel"] == kernel.trim());

    let destinations = bundle.json("destinations.json")?;
    let destinations = destinations["destinations"].as_array().context("no destinations")?;
    let of = |kind: &str| destinations.iter().find(|it| it["kind"] == kind);
    let ftp = of("ftp").context("no ftp")?;
    ensure!(ftp["name"].as_str().is_some_and(|it| it.starts_with("destination-")), "{ftp}");
    ensure!(ftp["health"]["failures"].as_u64() > Some(0), "{ftp}");
    ensure!(of("s3").is_some() && of("sftp").is_some() && of("directory").is_some());

    let failures = bundle.json("failures.json")?;
    let failed = failures["recordings"].as_array().context("no recordings")?;
    for id in &troubled.ids {
        ensure!(failed.iter().any(|it| it["id"] == id.as_str()), "{id} is missing: {failures}");
    }
    let at = &failures["destinations"][ftp["name"].as_str().unwrap_or_default()];
    ensure!(at["customers"].as_u64() > Some(1), "{failures}");
    let said = at["last_error"].as_str().context("no error")?;
    ensure!(said.contains("cannot log in") && said.contains("530"), "{said}");
    let of = |id: &str| failed.iter().find(|it| it["id"] == id).unwrap_or(&Value::Null);
    let pushed = of(&troubled.ids[0]);
    ensure!(pushed["push"]["error"]["fault"].is_string(), "{pushed}");
    let pushes = pushed["pushes"].as_array().context("no pushes")?;
    ensure!(pushes.iter().any(|it| it["destination"] == ftp["name"]), "{pushed}");
    ensure!(pushed["container"] == "webm" && pushed["bytes"] == 20_000, "{pushed}");
    let made = of(&troubled.ids[1]);
    let sentence = made["transcode"]["error"]["sentence"].as_str().context("no sentence")?;
    ensure!(sentence.split_whitespace().count() > 3, "nothing is left of it: {sentence}");

    let recordings = bundle.json("recordings.json")?;
    ensure!(recordings["counts"]["delivering"].as_u64() > Some(0), "{recordings}");
    let lanes = recordings["queue"]["lanes"].as_array().context("no lanes")?;
    let deliver = lanes.iter().find(|it| it["lane"] == "deliver").context("no lane")?;
    ensure!(deliver["due"].as_u64().zip(deliver["later"].as_u64()).is_some(), "{deliver}");
    ensure!(deliver["next_at"].is_string(), "{deliver}");

    let configuration = bundle.json("configuration.json")?;
    ensure!(configuration["file"]["deliver"]["pushes_max"] == 4, "{configuration}");
    ensure!(configuration["environments"].as_array().is_some_and(|it| it.len() == 2));
    ensure!(configuration["keys_by_scope"]["read"] == 1, "{configuration}");
    ensure!(bundle.json("webhooks.json")?["webhooks"][0]["enabled"] == true);
    let mounts = bundle.json("mounts.json")?;
    let used = mounts["mounts"].as_array().context("no mounts")?;
    ensure!(used.iter().any(|it| it["used_for"].to_string().contains("state")), "{mounts}");
    ensure!(bundle.json("volumes.json")?["volumes"][0]["state"] == "ready");
    ensure!(bundle.json("hardware.json")?["jobs_max"].as_u64() > Some(0));
    ensure!(bundle.json("metrics.json")?["process"]["open_files"].as_u64() > Some(0));

    let log = bundle.text("log.txt")?;
    ensure!(log.contains("not pushed") && log.contains(&troubled.ids[0]), "{log}");
    ensure!(log.contains("wrong API keys"), "{log}");
    let readme = bundle.text("README.txt")?;
    ensure!(!readme.contains("IS MISSING"), "{readme}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_do_everything_gets_one() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    let without = node.request(Method::GET, "/api/v1/support-bundle")?.send().await?;
    problem(without, 401).await?;
    for scope in ["read", "manage"] {
        let body = serde_json::json!({ "name": scope, "scope": scope }).to_string();
        let made = node.api(Method::POST, "/keys")?.header("content-type", "application/json");
        let made: Value = serde_json::from_str(&made.body(body).send().await?.text().await?)?;
        let key = made["key"].as_str().context("no key")?;
        let asked = node.request(Method::GET, "/api/v1/support-bundle")?.bearer_auth(key);
        problem(asked.send().await?, 403).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_writes_one_into_a_new_file() -> Result<()> {
    let mut node = Node::start(Settings::new()).await?;
    let out = node.dir().join("bundle.tar.gz");
    let place = out.to_string_lossy().into_owned();
    let words = ["support-bundle", "--out", place.as_str()];
    let made = node.command(&words).output()?;
    ensure!(made.status.success(), "{made:?}");
    let bundle = Unpacked::of(&fs::read(&out)?)?;
    ensure!(bundle.json("health.json")?["ready"] == true);
    let again = node.command(&words).output()?;
    ensure!(again.status.code() == Some(1), "{again:?}");
    ensure!(String::from_utf8_lossy(&again.stderr).contains("there already"), "{again:?}");
    node.stop().await?;
    let other = node.dir().join("other.tar.gz");
    let gone = node.command(&["support-bundle", "--out", &other.to_string_lossy()]).output()?;
    ensure!(gone.status.code() == Some(4) && !other.exists(), "{gone:?}");
    Ok(())
}

/// A bundle is wanted most where something is broken: what cannot be looked at says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_vault_is_gone_still_makes_one() -> Result<()> {
    let node = Node::start(Settings::new()).await?;
    fs::rename(node.vault(), node.dir().join("elsewhere"))?;
    let bundle = Unpacked::of(&fetch(&node).await?)?;
    let health = bundle.json("health.json")?;
    ensure!(health["ready"] == false, "{health}");
    ensure!(health["missing"].to_string().contains("vault"), "{health}");
    ensure!(bundle.json("about.json")?["version"].is_string());
    Ok(())
}
