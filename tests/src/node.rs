//! A real node: the program as built, in a folder of its own.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use toml::{Table, Value};

use crate::http;
use crate::settings::{Environment, Settings, put};
use crate::tools::{bin_dir, files_under, sha256};
use crate::wait::until;

/// Lines of a node's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 80;

/// A node that runs, or has run and can again.
///
/// When it is dropped it is killed, and the end of its log is printed, which the test runner shows
/// if the test failed.
#[derive(Debug)]
pub struct Node {
    dir: TempDir,
    settings: Settings,
    port: u16,
    key: String,
    child: Option<Child>,
    pub(crate) client: Option<reqwest::Client>,
}

impl Node {
    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or is never ready.
    pub async fn start(settings: Settings) -> Result<Self> {
        let mut node = Self::lay_out(settings)?;
        node.launch().await?;
        Ok(node)
    }

    /// Makes a node's folders and configuration, without starting it.
    ///
    /// # Errors
    /// If the folders cannot be made.
    pub fn lay_out(settings: Settings) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-test-").tempdir()?;
        let key: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let node = Self { dir, settings, port: free_port()?, key, child: None, client: None };
        for folder in [node.storage(), node.vault(), node.state()] {
            fs::create_dir_all(folder)?;
        }
        node.write_config()?;
        Ok(node)
    }

    fn write_config(&self) -> Result<()> {
        let mut config = Table::new();
        put(&mut config, "node.state_path", text(&self.state()));
        put(&mut config, "node.listen", vec![format!("127.0.0.1:{}", self.port)].into());
        // The kernel of a machine that runs tests may not be synchronised.
        put(&mut config, "node.clock", "as_is".into());
        // Volumes take the place of the plain folder.
        if !self.settings.set.iter().any(|(key, _)| key == "vault.volumes") {
            put(&mut config, "vault.path", text(&self.vault()));
        }
        put(&mut config, "vault.free_bytes_min", (1 << 20).into());
        // Where others run the transcoder, none is named.
        if !self.settings.set.iter().any(|(key, _)| key == "transcode.socket") {
            put(&mut config, "transcode.program", text(&bin_dir().join("holdfast-transcode")));
        }
        let mut key = Table::new();
        key.insert("name".into(), "tests".into());
        key.insert("sha256".into(), sha256(self.key.as_bytes()).into());
        put(&mut config, "operate.keys", vec![Value::Table(key)].into());
        let mut folder = Table::new();
        folder.insert("kind".into(), "directory".into());
        folder.insert("name".into(), "folder".into());
        folder.insert("path".into(), text(&self.storage()));
        let destinations = [folder].into_iter().chain(self.settings.destinations.iter().cloned());
        put(&mut config, "destinations", destinations.map(Value::Table).collect::<Vec<_>>().into());
        let mut environments = self.settings.environments.clone();
        if environments.is_empty() {
            environments.push(Environment::new("demo"));
        }
        let environments = environments.into_iter().map(|environment| Value::Table(environment.0));
        put(&mut config, "environments", environments.collect::<Vec<_>>().into());
        for (key, value) in &self.settings.set {
            put(&mut config, key, value.clone());
        }
        fs::write(self.config(), toml::to_string(&config)?)?;
        Ok(())
    }

    /// Sets one key, as [`Settings::set`] does, for the next start.
    ///
    /// # Errors
    /// If the configuration cannot be written.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<()> {
        self.settings.set.push((key.to_owned(), value.into()));
        self.write_config()
    }

    /// Runs this program instead, from the next start on.
    pub fn run_by(&mut self, program: &Path) {
        self.settings.program = Some(program.into());
    }

    /// Starts the program, again if it ran before, and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or is never ready.
    pub async fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Starts the program without waiting.
    ///
    /// # Errors
    /// If it runs already or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the node runs already");
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(self.program());
        command.args(["run", "--config"]).arg(self.config());
        self.surround(&mut command);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("starting {command:?}"))?);
        Ok(())
    }

    /// Waits until the node says that it is ready.
    ///
    /// # Errors
    /// If it ends before.
    pub async fn ready(&mut self) -> Result<()> {
        let certificate = self.certificate();
        let url = self.url("/ready");
        let child = self.child.as_mut().context("the node was not started")?;
        let client = until("the node to be ready", async || {
            if child.try_wait()?.is_some() {
                return Ok(Some(None));
            }
            let client = http::client(&certificate)?;
            let answer = client.get(&url).send().await?;
            ensure!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await?);
            Ok(Some(Some(client)))
        })
        .await?;
        if client.is_none() {
            let status = self.child.take().context("the node was not started")?.wait()?;
            bail!("the node ended at its start: {status}");
        }
        self.client = client;
        Ok(())
    }

    fn program(&self) -> PathBuf {
        let usual = || bin_dir().join("holdfast");
        self.settings.program.clone().unwrap_or_else(usual)
    }

    fn surround(&self, command: &mut Command) {
        command.current_dir(self.dir.path()).env("HOLDFAST_LOG", "info");
        if let Ok(log) = std::env::var("HOLDFAST_TEST_LOG") {
            command.env("HOLDFAST_LOG", log);
        }
        command.envs(self.settings.variables.iter().map(|(name, value)| (name, value)));
    }

    /// A command of the node's own program that comes to an end, such as `status`, with this node's
    /// configuration. It is ended if it does not.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.arg("120").arg(self.program()).args(words).arg("--config").arg(self.config());
        self.surround(&mut command);
        command.stdin(Stdio::null());
        command
    }

    /// Ends the node as a power cut would, as far as the program can tell.
    ///
    /// # Errors
    /// If it did not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the node to stop, and waits until it has.
    ///
    /// # Errors
    /// If it did not run or never ends.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let child = self.child.as_mut().context("the node does not run")?;
        let status = until("the node to stop", async || Ok(child.try_wait()?)).await?;
        self.child = None;
        Ok(status)
    }

    /// Sends the node a signal.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal)?;
        Ok(())
    }

    /// The node's process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self) -> Result<Pid> {
        let child = self.child.as_ref().context("the node does not run")?;
        Ok(Pid::from_raw(child.id().try_into()?))
    }

    /// Whether the process is there still.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The port it serves at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The key of its API.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The folder that holds everything of it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("node.toml")
    }

    /// The folder of its ledger and certificate.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The certificate that it made for itself.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.state().join("tls/certificate.pem")
    }

    /// Its vault.
    #[must_use]
    pub fn vault(&self) -> PathBuf {
        self.settings.vault.clone().unwrap_or_else(|| self.dir.path().join("vault"))
    }

    /// Files of recordings in its vault: those with an id in their path.
    ///
    /// # Errors
    /// Where the vault cannot be read.
    pub fn files_of_recordings(&self) -> Result<Vec<PathBuf>> {
        let mut files = files_under(&self.vault())?;
        files.retain(|path| {
            path.components().any(|part| {
                let part = part.as_os_str().to_string_lossy();
                part.len() >= 36 && part.matches('-').count() >= 4
            })
        });
        Ok(files)
    }

    /// Waits until its vault holds no recording.
    ///
    /// # Errors
    /// Where one stays.
    pub async fn holds_no_recording(&self) -> Result<()> {
        until("the vault to hold no recording", async || {
            let left = self.files_of_recordings()?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(Some(()))
        })
        .await
    }

    /// The directory destination `folder`.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.dir.path().join("storage")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("node.log")
    }

    /// What it has logged so far, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Every file in the vault that belongs to this recording.
    ///
    /// # Errors
    /// If the vault cannot be read.
    pub fn in_vault(&self, id: &str) -> Result<Vec<PathBuf>> {
        let of_it = |path: &PathBuf| path.to_string_lossy().contains(id);
        Ok(files_under(&self.vault())?.into_iter().filter(of_it).collect())
    }

    /// Waits some real time; for what must not happen.
    pub async fn for_a_while(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        eprintln!("--- the node's log, last {} of {} lines", shown.len(), lines.len());
        eprintln!("{}\n---", shown.join("\n"));
        if std::env::var_os("HOLDFAST_TEST_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept {}", self.dir.path().display());
        }
    }
}

fn text(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

/// A port that is free for TCP and UDP, below those that the kernel gives to outgoing connections, so that a node that is
/// started again finds it free again.
///
/// # Errors
/// If none is found.
pub fn free_port() -> Result<u16> {
    for _ in 0..1_000 {
        let port = fastrand::u16(12_000..32_000);
        let at = ("127.0.0.1", port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}
