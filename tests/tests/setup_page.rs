//! A technician with a real browser: the setup page of a box without a configuration.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{bin_dir, output, repo};

const CODE: &str = "K7QM-2B9X-04TZ-1HRV";

struct Page(Child);

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_technician_sets_a_box_up_in_a_real_browser() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    for name in ["esp", "inbox", "report"] {
        fs::create_dir(at(name))?;
    }
    fs::write(at("esp/holdfast.toml"), "[vault]\npath = \"/srv/a\"\nfre_bytes_min = 1\n")?;
    let program = bin_dir().join("holdfast");
    let mut take = Command::new(&program);
    take.args(["provision", "take", "--from"]).arg(at("esp")).arg("--to").arg(at("to"));
    let code = take.arg("--report").arg(at("report")).stdout(Stdio::null()).status()?.code();
    ensure!(code == Some(4), "{code:?}");
    let mut openssl = Command::new("openssl");
    openssl
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30".split(' '));
    openssl.args(["-subj", "/CN=holdfast", "-keyout"]).arg(at("page.key"));
    output(openssl.arg("-out").arg(at("page.crt")))?;
    // `printf %s K7QM2B9X04TZ1HRV | sha256sum`
    let sha256 = "65a694564365482f00c3ad53203099d0a028b1905e8eaa671e28b9e9d22f71db";
    let label = format!(r#"{{"serial": "HF-2026-0042", "code_sha256": "{sha256}"}}"#);
    fs::write(at("label.json"), label)?;
    let mut page = Command::new(&program);
    page.args(["provision", "page", "--listen", "127.0.0.1:0"]);
    for (flag, name) in [
        ("--code-sha256-from", "label.json"),
        ("--certificate", "page.crt"),
        ("--key", "page.key"),
        ("--inbox", "inbox"),
        ("--outcome", "report/outcome.json"),
    ] {
        page.arg(flag).arg(at(name));
    }
    let mut page = Page(page.stderr(Stdio::piped()).spawn()?);
    let stderr = page.0.stderr.take().context("no stderr")?;
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let line =
        lines.find(|line| line.contains("127.0.0.1:")).context("the page does not listen")?;
    std::thread::spawn(move || lines.count());
    let port: String = line
        .rsplit(':')
        .next()
        .into_iter()
        .flat_map(str::chars)
        .take_while(char::is_ascii_digit)
        .collect();
    let status = Command::new(repo().join("tests/browser/run"))
        .current_dir(repo().join("tests/browser"))
        .env("HOLDFAST_SETUP_URL", format!("https://127.0.0.1:{port}"))
        .env("HOLDFAST_SETUP_CODE", CODE)
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "the browser tests ended with {status}");
    ensure!(page.0.wait()?.success(), "the page did not end well");
    let config = fs::read_to_string(at("inbox/set/holdfast.toml"))?;
    ensure!(config == "[vault]\npath = \"/srv/holdfast/data0\"\n", "{config}");
    Ok(())
}
