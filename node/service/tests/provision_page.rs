//! `holdfast provision page`, as its unit calls it: the built program over TLS.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

const GOOD: &str = "[vault]\npath = \"/srv/a\"\n";
const CODE: &str = "K7QM-2B9X-04TZ-1HRV";

struct Page {
    dir: tempfile::TempDir,
    child: Child,
    base: String,
    client: Client,
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Page {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(path("page.crt"), made.cert.pem()).unwrap();
        fs::write(path("page.key"), made.signing_key.serialize_pem()).unwrap();
        let code = digest(&SHA256, CODE.replace('-', "").as_bytes());
        let hex: String = code.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let label = json!({ "serial": "HF-0001", "code_sha256": hex });
        fs::write(path("label.json"), label.to_string()).unwrap();
        fs::create_dir(path("inbox")).unwrap();
        let outcome = json!({
            "state": "broken", "summary": "the configuration in /efi cannot be used.",
            "problems": ["holdfast.toml, line 3, column 1: unknown field"], "advice": [],
            "looked_at": [], "source": null, "settings": null,
        });
        fs::write(path("outcome.json"), outcome.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["provision", "page", "--listen", "127.0.0.1:0"]);
        for (flag, name) in [
            ("--code-sha256-from", "label.json"),
            ("--certificate", "page.crt"),
            ("--key", "page.key"),
            ("--inbox", "inbox"),
            ("--outcome", "outcome.json"),
        ] {
            command.arg(flag).arg(path(name));
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("waiting for a configuration")).unwrap();
        let port: String = line
            .split("127.0.0.1:")
            .nth(1)
            .unwrap()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        // So that the page's own lines never wait for a reader.
        std::thread::spawn(move || lines.count());
        let client = Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
        Self { dir, child, base: format!("https://127.0.0.1:{port}"), client }
    }

    fn set(&self) -> PathBuf {
        self.dir.path().join("inbox/set")
    }

    async fn post(&self, path: &str, code: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client.post(format!("{}{path}", self.base));
        request.header("Holdfast-Setup-Code", code).body(body).send().await.unwrap()
    }
}

fn body(config: &str, secrets: &[(&str, &str)]) -> String {
    let secrets: Value = secrets
        .iter()
        .map(|(name, text)| (name.to_string(), json!(STANDARD.encode(text))))
        .collect();
    json!({ "config": config, "settings": null, "secrets": secrets }).to_string()
}

async fn said(answer: Response) -> (StatusCode, String) {
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn without_the_code_little_is_told_and_nothing_can_be_done() {
    let page = Page::start();
    let at = |path: &str| format!("{}{path}", page.base);
    let answer = page.client.get(at("/")).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"));
    let state = page.client.get(at("/setup/state")).send().await.unwrap();
    let (_, text) = said(state).await;
    assert!(text.contains("HF-0001") && text.contains("cannot be used"), "{text}");
    assert!(!text.contains("line 3"), "{text}");
    for path in ["/setup/open", "/setup/check", "/setup/hand-in"] {
        let request = page.client.post(at(path)).body(body(GOOD, &[]));
        assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
        let wrong = Page::start();
        let (status, text) =
            said(wrong.post(path, "K7QM-2B9X-04TZ-1HRW", body(GOOD, &[])).await).await;
        assert_eq!(status, 403, "{path}");
        assert!(text.contains("not the code"), "{text}");
        assert!(!wrong.set().exists());
    }
    assert_eq!(page.client.get(at("/metrics")).send().await.unwrap().status(), 404);
    for (method, path) in
        [(Method::PUT, "/"), (Method::DELETE, "/setup/state"), (Method::GET, "/setup/hand-in")]
    {
        let answer = page.client.request(method, at(path)).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{path}");
        assert!(answer.headers().contains_key("content-security-policy"));
    }
    // Plain HTTP gets no answer.
    let plain = page.client.get(at("/").replace("https", "http")).send().await;
    assert!(plain.is_err());
}

#[tokio::test]
async fn guessing_locks_out_even_with_the_right_code() {
    let page = Page::start();
    for _ in 0..3 {
        assert_eq!(page.post("/setup/open", "AAAA-AAAA-AAAA-AAAA", "").await.status(), 403);
    }
    let answer = page.post("/setup/open", CODE, "").await;
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    assert!(said(answer).await.1.contains("Too many wrong codes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_explained_and_a_good_one_ends_the_page() {
    let mut page = Page::start();
    // As somebody reads it out over a telephone.
    let (status, text) = said(page.post("/setup/open", "k7qm 2b9x o4tz ihrv", "").await).await;
    assert!(status == 200 && text.contains("line 3"), "{text}");
    let broken = format!("{GOOD}fre_bytes_min = 1\n");
    for path in ["/setup/check", "/setup/hand-in"] {
        let (status, text) = said(page.post(path, CODE, body(&broken, &[])).await).await;
        assert_eq!(status, if path.ends_with("check") { 200 } else { 422 });
        assert!(text.contains("holdfast.toml, line 3, column 1: unknown field"), "{text}");
    }
    for (name, part) in [("../x", "a secret's name"), (".x", "a secret's name")] {
        let (status, text) =
            said(page.post("/setup/hand-in", CODE, body(GOOD, &[(name, "")])).await).await;
        assert!(status == 422 && text.contains(part), "{text}");
    }
    let large = "x".repeat((64 << 10) + 1);
    let (status, text) =
        said(page.post("/setup/hand-in", CODE, body(GOOD, &[("a", &large)])).await).await;
    assert!(status == 422 && text.contains("larger than 65536 bytes"), "{text}");
    assert_eq!(page.post("/setup/hand-in", CODE, "{").await.status(), 400);
    let flood = page.post("/setup/hand-in", CODE, vec![b' '; (8 << 20) + 1]).await;
    assert_eq!(flood.status(), 413);
    assert!(!page.set().exists());

    assert_eq!(page.post("/setup/check", CODE, body(GOOD, &[])).await.status(), 200);
    assert!(!page.set().exists());
    let (status, text) =
        said(page.post("/setup/hand-in", CODE, body(GOOD, &[("hook", "s3cret")])).await).await;
    assert!(status == 200, "{text}");
    let child = &mut page.child;
    assert!(tokio::task::block_in_place(|| child.wait()).unwrap().success());
    assert_eq!(fs::read_to_string(page.set().join("holdfast.toml")).unwrap(), GOOD);

    let to = page.dir.path().join("to");
    let taken = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["provision", "take", "--from", "/nonexistent", "--inbox"])
        .arg(page.dir.path().join("inbox"))
        .arg("--to")
        .arg(&to)
        .output()
        .unwrap();
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stdout));
    assert_eq!(fs::read_to_string(to.join("secrets/hook")).unwrap(), "s3cret");
    assert!(!page.set().exists());
}
