//! A person with a real browser: recording, losing the line, playing back, deleting.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{repo, tools_dir};
use holdfast_tests::{Environment, Node, Settings, media};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_do_what_they_should_in_a_real_browser() -> Result<()> {
    let settings = Settings::new()
        .environment(Environment::new("demo").set("push_raw", true))
        .set("operate.demo_environment", "demo")
        .set("ingest.reconnect_ms", 20_000);
    let node = Node::start(settings).await?;
    let program = repo().join("tests/browser/run");
    let status = Command::new(&program)
        .current_dir(repo().join("tests/browser"))
        .env("HOLDFAST_URL", node.url(""))
        .env("HOLDFAST_KEY", node.key())
        .env("HOLDFAST_ENV_ID", "demo")
        .env("HOLDFAST_ENV_HASH", "demo-hash")
        .env("HOLDFAST_STORAGE", node.storage())
        .env("HOLDFAST_CERTIFICATE", node.certificate())
        .env("HOLDFAST_TOOLS", tools_dir())
        .env("HOLDFAST_TEST_MEDIA", media::folder()?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| program.display().to_string())?;
    ensure!(status.success(), "the browser tests ended with {status}");
    Ok(())
}
