//! `scripts/support-bundle`, as technicians call it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{output, repo};
use holdfast_tests::{Node, Settings};
use reqwest::Method;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn script() -> Command {
    let mut command = Command::new(repo().join("scripts/support-bundle"));
    command.stdin(Stdio::null());
    command
}

/// Runs it and hands back how it ended, what it printed and what it said.
fn said(command: &mut Command) -> Result<(bool, String, String)> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("{command:?}"))?;
    Ok((status.success(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

async fn run(mut command: Command) -> Result<(bool, String, String)> {
    tokio::task::spawn_blocking(move || said(&mut command)).await?
}

/// Runs it and expects it to refuse, and to leave no file behind.
async fn refused(command: Command, out: &Path, because: &str) -> Result<()> {
    let (is_fine, _, said) = run(command).await?;
    ensure!(!is_fine && said.contains(because), "wanted: {because}\nsaid: {said}");
    ensure!(!out.exists(), "{because}: it left a file behind");
    Ok(())
}

/// A box, and a technician's folder.
struct Bench {
    node: Node,
    dir: TempDir,
}

impl Bench {
    async fn new() -> Result<Self> {
        let bench = Self { node: Node::start(Settings::new()).await?, dir: tempfile::tempdir()? };
        fs::write(bench.path("key"), format!("{}\n", bench.node.key()))?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fingerprint(&self) -> Result<String> {
        let asked = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
        let text = output(Command::new("openssl").args(asked).arg(self.node.certificate()))?;
        let text = String::from_utf8(text)?;
        Ok(text.trim().split_once('=').context("no fingerprint")?.1.to_owned())
    }

    /// It, with this key, at this port.
    fn at(&self, port: u16, key: &str, out: &Path) -> Command {
        let mut command = script();
        command.arg("--key-file").arg(self.path(key));
        command.arg(format!("https://127.0.0.1:{port}")).arg(out);
        command
    }

    fn with_ca(&self, out: &Path) -> Command {
        let mut command = self.at(self.node.port(), "key", out);
        command.arg("--ca").arg(self.node.certificate());
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_fetched_checked_and_listed() -> Result<()> {
    let bench = Bench::new().await?;
    let out = bench.path("bundle.tar.gz");
    let mut dry = bench.with_ca(&out);
    dry.arg("--dry-run");
    let (is_fine, _, told) = run(dry).await?;
    ensure!(is_fine && told.contains("Dry run, nothing was changed"), "{told}");
    ensure!(!out.exists(), "a dry run made a file");

    let (is_fine, listed, told) = run(bench.with_ca(&out)).await?;
    ensure!(is_fine && told.contains("is whole") && told.contains("Read it"), "{told}");
    for name in ["README.txt", "health.json", "log.txt", "SHA256SUMS"] {
        ensure!(listed.contains(name), "{name}: {listed}");
    }
    let mode = output(Command::new("stat").args(["-c", "%a"]).arg(&out))?;
    ensure!(mode == b"600\n", "others may read it");
    let (is_fine, _, told) = run(bench.with_ca(&out)).await?;
    ensure!(!is_fine && told.contains("there already"), "{told}");

    // By its fingerprint, as it is printed and as it is copied.
    let fingerprint = bench.fingerprint()?;
    for (nr, form) in
        [fingerprint.clone(), fingerprint.replace(':', "").to_lowercase()].iter().enumerate()
    {
        let out = bench.path(&format!("{nr}.tar.gz"));
        let mut command = bench.at(bench.node.port(), "key", &out);
        command.arg("--fingerprint").arg(form).arg("--json");
        let (is_fine, printed, told) = run(command).await?;
        ensure!(is_fine, "{told}");
        let printed: Value = serde_json::from_str(&printed)?;
        ensure!(printed["about"]["version"] == env!("CARGO_PKG_VERSION"), "{printed}");
        let files = printed["files"].as_array().context("no files")?;
        ensure!(files.iter().any(|file| file["name"] == "failures.json"), "{printed}");
    }
    let mut check = script();
    check.arg("--check").arg(&out);
    let (is_fine, listed, _) = run(check).await?;
    ensure!(is_fine && listed.contains("configuration.json"), "{listed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_box_gets_no_key_and_wrong_keys_are_named() -> Result<()> {
    let bench = Bench::new().await?;
    let out = bench.path("bundle.tar.gz");
    let port = bench.node.port();
    refused(bench.at(port, "key", &out), &out, "is not trusted").await?;
    let mut wrong = bench.at(port, "key", &out);
    wrong.arg("--fingerprint").arg("00".repeat(32));
    refused(wrong, &out, "is not the box that you mean").await?;
    let mut short = bench.at(port, "key", &out);
    short.arg("--fingerprint").arg("abc");
    refused(short, &out, "64 hex digits").await?;

    fs::write(bench.path("wrong"), "hfk_wrong\n")?;
    fs::write(bench.path("words"), "two words\n")?;
    let body = r#"{"name":"reader","scope":"read"}"#;
    let made = bench.node.api(Method::POST, "/keys")?.header("content-type", "application/json");
    let made: Value = serde_json::from_str(&made.body(body).send().await?.text().await?)?;
    fs::write(bench.path("reader"), made["key"].as_str().context("no key")?)?;
    for (key, because) in [
        ("wrong", "is not one of"),
        ("words", "holds no key"),
        ("reader", "scope admin"),
        ("none", "does not exist"),
    ] {
        for more in [None, Some("--dry-run")] {
            let mut command = bench.at(port, key, &out);
            command.arg("--ca").arg(bench.node.certificate()).args(more);
            refused(command, &out, because).await?;
        }
    }
    let mut nobody = bench.at(holdfast_tests::node::free_port()?, "key", &out);
    nobody.arg("--ca").arg(bench.node.certificate());
    refused(nobody, &out, "nothing answers").await?;
    let mut plain = script();
    plain.arg("--key-file").arg(bench.path("key")).arg("http://127.0.0.1").arg(&out);
    refused(plain, &out, "no address of a box").await?;
    let (_, _, told) = run({
        let mut without = script();
        without.arg("https://127.0.0.1").arg(&out);
        without
    })
    .await?;
    ensure!(told.contains("--key-file"), "{told}");
    Ok(())
}

/// Serves these bytes to whoever asks anything, over TLS with a certificate of its own.
async fn served(answer: Vec<u8>, certificate: &Path) -> Result<u16> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    fs::write(certificate, made.cert.pem())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut line) = acceptor.accept(socket).await else { continue };
            let mut asked = vec![0; 8192];
            let _ = line.read(&mut asked).await;
            let _ = line.write_all(&answer).await;
            let _ = line.shutdown().await;
        }
    });
    Ok(port)
}

fn http(body: &[u8], length: Option<usize>) -> Vec<u8> {
    let length = length.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
    let head = format!("HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_damaged_or_no_bundle_is_refused_and_not_kept() -> Result<()> {
    let bench = Bench::new().await?;
    let whole = bench.node.api(Method::GET, "/support-bundle")?.send().await?;
    let whole = whole.error_for_status()?.bytes().await?.to_vec();
    let half = &whole[..whole.len() / 2];
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 0x55;
    let packed = |name: &str, text: &str| -> Result<Vec<u8>> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join("holdfast-support-20260101T000000Z");
        fs::create_dir(&folder)?;
        fs::write(folder.join("README.txt"), "read me\n")?;
        fs::write(folder.join("extra.json"), text)?;
        if name.is_empty() {
            fs::write(folder.join("SHA256SUMS"), format!("{}  extra.json\n", "0".repeat(64)))?;
        } else {
            std::os::unix::fs::symlink("/etc/passwd", folder.join(name))?;
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(dir.path()).args(["-cz", "--no-recursion"]);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?.file_name();
            tar.arg(Path::new("holdfast-support-20260101T000000Z").join(entry));
        }
        output(&mut tar)
    };
    let mut gzip =
        Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut zeros = gzip.stdin.take().context("no stdin")?;
    let writing =
        std::thread::spawn(move || (0..20).try_for_each(|_| zeros.write_all(&[0; 1 << 20])));
    let bomb = gzip.wait_with_output()?.stdout;
    let _ = writing.join();

    let out = bench.path("out.tar.gz");
    for (nr, (answer, because)) in [
        (http(half, Some(whole.len())), "broke off"),
        (http(half, None), "cut off"),
        (http(&altered, None), "damaged"),
        (http(b"<html>welcome</html>", None), "damaged"),
        (http(&bomb, None), "larger than"),
        (http(&packed("link", "{}")?, None), "strange names"),
        (http(&packed("", "{}")?, None), "is not what SHA256SUMS says"),
        (http(b"", Some(64 << 20)), "no support bundle"),
    ]
    .into_iter()
    .enumerate()
    {
        let certificate = bench.path(&format!("{nr}.pem"));
        let port = served(answer, &certificate).await?;
        let mut command = bench.at(port, "key", &out);
        command.arg("--ca").arg(&certificate);
        refused(command, &out, because).await.with_context(|| format!("answer {nr}"))?;
    }
    fs::write(&out, half)?;
    let mut check = script();
    check.arg("--check").arg(&out);
    let (is_fine, _, told) = run(check).await?;
    ensure!(!is_fine && told.contains("cut off"), "{told}");
    ensure!(out.exists(), "what was there is not its to take away");
    Ok(())
}

#[test]
fn mandoc_has_nothing_to_say_about_the_man_page_and_it_has_every_option() -> Result<()> {
    let page = repo().join("docs/man/support-bundle.1");
    let mut lint = Command::new("mandoc");
    let (_, printed, told) = said(lint.args(["-T", "lint", "-W", "style"]).arg(&page))?;
    ensure!(printed.is_empty() && told.is_empty(), "{printed}{told}");
    let text = fs::read_to_string(&page)?;
    let usage = String::from_utf8(output(script().arg("--help"))?)?;
    for option in usage.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
        let option = option.trim_end_matches(|c: char| !c.is_ascii_lowercase());
        ensure!(text.contains(&format!("Fl -{option}")), "support-bundle.1 lacks --{option}");
    }
    Ok(())
}
