//! The API against its own description, asked by schemathesis: whatever is sent, the node answers
//! with a status, a type and a shape that the description names, and never fails.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::tools_dir;
use holdfast_tests::{Environment, Node, Settings};
use reqwest::Method;

/// Requests that are made up for each call of the API.
const EXAMPLES_MAX: &str = "40";
/// Longest that other people's program may take, in seconds.
const RUN_S_MAX: &str = "900";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_schemathesis_thinks_of_is_answered_otherwise_than_described() -> Result<()> {
    let settings = Settings::new()
        .environment(Environment::raw_only("raw"))
        .environment(Environment::new("demo"))
        // It asks as fast as it can; that is not what is tested here.
        .set("operate.requests_per_minute", 60_000_000)
        .set("operate.requests_burst", 1_000_000);
    let node = Node::start(settings).await?;
    // Something to look at, hold and delete.
    for seed in 0..3 {
        let uploaded = node.upload("raw", webm_noise(seed, 20_000)).await?;
        node.wait_for(&uploaded.id, "stored").await?;
    }
    let description = node.dir().join("openapi.json");
    let described = node.request(Method::GET, "/api/v1/openapi.json")?.send().await?;
    std::fs::write(&description, described.error_for_status()?.bytes().await?)?;

    let seed =
        std::env::var("HOLDFAST_TEST_SEED").unwrap_or_else(|_| fastrand::u32(..).to_string());
    println!("HOLDFAST_TEST_SEED={seed} repeats this run");
    let program = tools_dir().join("schemathesis");
    let mut schemathesis = Command::new("timeout");
    schemathesis.arg(RUN_S_MAX).arg(&program).arg("run").arg(&description);
    schemathesis.args(["--url", &node.url(""), "--no-color", "--seed", &seed]);
    schemathesis.args(["--max-examples", EXAMPLES_MAX, "--continue-on-failure"]);
    schemathesis.arg("--tls-verify").arg(node.certificate());
    schemathesis.args(["--header", &format!("Authorization: Bearer {}", node.key())]);
    schemathesis.args(["--header", &format!("X-PIPE-AUTH: {}", node.key())]);
    // Wrong keys make the address wait, what is well-formed may still not fit what is there, and a
    // request with an Idempotency-Key is answered alike although what it made was deleted since.
    let not_here = "ignored_auth,positive_data_acceptance,ensure_resource_availability";
    schemathesis.args(["--checks", "all", "--exclude-checks", not_here]);
    schemathesis.args(["--generation-with-security-parameters", "false"]);
    schemathesis.args(["--generation-database", "none", "--no-shrink"]);
    schemathesis.current_dir(node.dir()).stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || schemathesis.output()).await?;
    let done = done.with_context(|| format!("{}: scripts/test installs it", program.display()))?;
    println!("{}", String::from_utf8_lossy(&done.stdout));
    println!("{}", String::from_utf8_lossy(&done.stderr));
    ensure!(done.status.success(), "schemathesis found something: {}", done.status);
    let status = node.get("/status").await?;
    ensure!(status["ready"] == true, "{status}");
    Ok(())
}
