//! A real node in a process of its own, to be killed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdfast::config::Destination;
use holdfast::digest;
use serde_json::Value;
use tempfile::TempDir;

use crate::deliver_common::free_port;

const KEY: &str = "a key for the tests";
/// Longest wait for anything, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(600);

/// By how much the clock goes faster where a test wants it to. A lease is six seconds then.
const CLOCK_RATE: &str = "10";

/// The node with a clock that can be made to run faster, which `scripts/test` builds.
fn test_clock() -> PathBuf {
    let tools = std::env::var_os("HOLDFAST_TOOLS").map(PathBuf::from);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let program = tools.unwrap_or(target).join("holdfast-test-clock");
    assert!(program.exists(), "{} is missing: run scripts/test once", program.display());
    program
}

pub(crate) struct Node {
    dir: TempDir,
    program: PathBuf,
    port: u16,
    client: reqwest::Client,
    child: Option<Child>,
    stopping: Vec<Child>,
}

impl Node {
    /// One that pushes what comes in, as it is, to the destination. Its clock goes faster, so that
    /// what was interrupted too often does not wait for minutes. Not where it pushes to a directory, and
    /// not to S3: a part that takes long would be given up, and sent again for that.
    pub(crate) fn laid_out(destination: &Destination) -> Self {
        let mut node = Self::laid_out_for(std::slice::from_ref(destination), "");
        if !matches!(destination, Destination::Directory(_) | Destination::S3(_)) {
            node.program = test_clock();
        }
        node
    }

    /// The same with several destinations, each with an environment of its name; that of the first is
    /// called `raw`. With more lines of configuration, which begin with a table.
    pub(crate) fn laid_out_for(destinations: &[Destination], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let at = dir.path().display();
        for folder in ["state", "vault"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let environments: String = destinations
            .iter()
            .enumerate()
            .map(|(nr, destination)| {
                let name = destination.name();
                let id = if nr == 0 { "raw" } else { name };
                format!(
                    "[[environments]]\nid = \"{id}\"\nhash = \"hash\"\ndestinations = [\"{name}\"]\n\
                     mp4 = false\nsnapshot = false\nfilmstrip = false\n"
                )
            })
            .collect();
        let destinations = toml::to_string(&serde_json::json!({ "destinations": destinations }));
        let sha256 = digest::of(KEY.as_bytes());
        let text = format!(
            "{}\n[node]\nlisten = [\"127.0.0.1:{port}\"]\nstate_path = \"{at}/state\"\n\
             clock = \"as_is\"\n[vault]\npath = \"{at}/vault\"\n\
             [[operate.keys]]\nname = \"tests\"\nsha256 = \"{sha256}\"\n\
             {environments}{more}",
            destinations.unwrap()
        );
        std::fs::write(dir.path().join("node.toml"), text).unwrap();
        // It made its certificate itself.
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build();
        Self {
            dir,
            program: env!("CARGO_BIN_EXE_holdfast").into(),
            port,
            client: client.unwrap(),
            child: None,
            stopping: Vec::new(),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn start(&mut self) {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.log()).unwrap();
        let child = Command::new(&self.program)
            .env("HOLDFAST_TEST_CLOCK_RATE", CLOCK_RATE)
            .args(["run", "--config"])
            .arg(self.dir().join("node.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.until("the node to be up", async |node| {
            let asked = node.client.get(node.url("/live")).send().await;
            asked.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
    }

    /// As the power ends, for a process.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells it to end, and waits until it says that it has. A process of which a thread hangs in the
    /// kernel may be there for longer; it is ended with the node. Answers whether it is gone.
    pub(crate) async fn stop(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        let before = self.whole_log().matches("service: stopped").count();
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.until("the node to stop", async |node| {
            (node.whole_log().matches("service: stopped").count() > before).then_some(())
        })
        .await;
        for _ in 0..100 {
            if child.try_wait().unwrap().is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.stopping.push(child);
        false
    }

    /// Threads of its process that have this name.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let pid = self.child.as_ref().expect("it runs").id();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|found| found.trim() == name).count()
    }

    /// Uploads a file; answers the recording's id.
    pub(crate) async fn upload(&self, path: &Path) -> String {
        self.upload_to("raw", path).await
    }

    /// The same for another environment.
    pub(crate) async fn upload_to(&self, environment: &str, path: &Path) -> String {
        let file = tokio::fs::File::open(path).await.unwrap();
        let pieces = futures_util::stream::try_unfold(file, async |mut file| {
            use tokio::io::AsyncReadExt;
            let mut piece = vec![0; 1 << 20];
            let read = file.read(&mut piece).await?;
            piece.truncate(read);
            std::io::Result::Ok((read > 0).then_some((piece, file)))
        });
        let answer = self
            .client
            .put(self.url(&format!("/api/v1/ingest/upload?env_id={environment}&env_hash=hash")))
            .header("content-type", "video/webm")
            .body(reqwest::Body::wrap_stream(pieces))
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        let accepted: Value = serde_json::from_str(&text).unwrap();
        accepted["id"].as_str().unwrap_or_else(|| panic!("not taken: {text}")).to_owned()
    }

    /// Waits for a recording to be stored. An attempt that waits for its time is made now.
    pub(crate) async fn stored(&self, id: &str) -> Value {
        let url = self.url(&format!("/api/v1/recordings/{id}"));
        self.until("the recording to be stored", async |node| {
            let recording: Value = node.ask(node.client.get(&url)).await?;
            if recording["state"] == "stored" {
                return Some(recording);
            }
            if recording["push"]["next_at"].is_string() {
                node.ask(node.client.post(format!("{url}/retry"))).await?;
            }
            None
        })
        .await
    }

    /// Has a recording tried now.
    pub(crate) async fn retry(&self, id: &str) {
        let url = self.url(&format!("/api/v1/recordings/{id}/retry"));
        self.client.post(url).bearer_auth(KEY).send().await.unwrap();
    }

    /// What the API says at a path.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        self.ask(self.client.get(self.url(&format!("/api/v1{path}")))).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Option<Value> {
        let answer = request.bearer_auth(KEY).send().await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> T {
        let waiting = async {
            loop {
                if let Some(found) = look(self).await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; the node's log:\n{}", self.tail()),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    fn log(&self) -> PathBuf {
        self.dir().join("log")
    }

    fn whole_log(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    pub(crate) fn tail(&self) -> String {
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for child in self.stopping.iter_mut().chain(&mut self.child) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A file that begins as a WebM does, and of which no block repeats.
pub(crate) struct Film {
    pub(crate) sha256: String,
    /// As Dropbox has it: SHA-256 of the SHA-256 of each 4 MiB.
    pub(crate) content_hash: String,
}

impl Film {
    pub(crate) fn make(path: &Path, bytes: u64) -> Self {
        const BLOCK: usize = 4 << 20;
        let ebml = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\
            \x42\xf3\x81\x08\x42\x82\x84webm\x42\x87\x81\x04\x42\x85\x81\x02";
        let mut block = super::deliver_common::bytes(BLOCK);
        let mut file = std::fs::File::create(path).unwrap();
        let (mut whole, mut blocks) = (digest::Sha256::new(), digest::Sha256::new());
        let mut at = 0;
        while at < bytes {
            block[64..72].copy_from_slice(&at.to_le_bytes());
            if at == 0 {
                block[..ebml.len()].copy_from_slice(ebml);
            }
            let length = usize::try_from((bytes - at).min(BLOCK as u64)).unwrap();
            let piece = &block[..length];
            file.write_all(piece).unwrap();
            whole.update(piece);
            blocks.update(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, piece).as_ref());
            at += length as u64;
        }
        Self { sha256: whole.finish(), content_hash: blocks.finish() }
    }
}

/// SHA-256 of a file of this machine.
pub(crate) fn sha256_of(path: &Path) -> String {
    use std::io::Read;
    let mut file = std::fs::File::open(path).unwrap();
    let mut sha256 = digest::Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).unwrap() {
            0 => return sha256.finish(),
            read => sha256.update(&piece[..read]),
        }
    }
}
