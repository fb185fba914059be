//! A person with a real browser: recording, losing the line, playing back, deleting.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::repo;
use holdfast_tests::{Environment, Node, Settings};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_do_what_they_should_in_a_real_browser() -> Result<()> {
    // The environment that scripts/run makes, so that the same tests run against that, too.
    let demo = Environment::new("demo").set("hash", "demo");
    let settings = Settings::new().environment(demo).set("operate.demo_environment", "demo");
    let node = Node::start(settings).await?;
    let program = repo().join("tests/browser/run");
    let status = Command::new(&program)
        .current_dir(repo().join("tests/browser"))
        .env("HOLDFAST_URL", node.url(""))
        .env("HOLDFAST_KEY", node.key())
        .env("HOLDFAST_STORAGE", node.storage())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| program.display().to_string())?;
    ensure!(status.success(), "the browser tests ended with {status}");
    Ok(())
}
