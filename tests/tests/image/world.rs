//! What the tests share: images, a configuration for a box, and what its user does with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_tests::stream::Address;
use holdfast_tests::tools::{output, repo, sha256, tools_dir};
use holdfast_tests::wait::until_within;
use holdfast_tests::weed::{Weed, certificates};
use holdfast_tests::{Stream, http, media};
use reqwest::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;

use crate::machine::{Board, START, STORE, partition};

/// The boards' UUIDs: a machine id comes of each.
pub(crate) const BOARD: &str = "6a1e0f6e-8f6d-4a3e-9d3a-1c1a7a3d0001";
pub(crate) const OTHER_BOARD: &str = "6a1e0f6e-8f6d-4a3e-9d3a-1c1a7a3d0002";
const KEY: &str = "a-key-of-the-tests-with-some-length";

/// What happens on the serial line.
pub(crate) const HEALTHY: &str = "is healthy";
pub(crate) const CLOSED: &str = "this disk stays closed";

/// Images that `scripts/test image` has built: HOLDFAST_TEST_IMAGES has a folder for each version and `keys`.
pub(crate) fn images() -> Result<PathBuf> {
    let folder = std::env::var_os("HOLDFAST_TEST_IMAGES")
        .context("no HOLDFAST_TEST_IMAGES: run scripts/test image")?;
    Ok(folder.into())
}

/// One box's life: its store, its disk, its settings.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) store: Weed,
    pub(crate) disk: PathBuf,
}

impl World {
    /// Starts a store and flashes a disk with an image as a technician would.
    pub(crate) async fn flashed(image: &str) -> Result<Self> {
        Self::flashed_with(image, "", "").await
    }

    /// The same with more in the configuration, and in what says how the box is set up.
    pub(crate) async fn flashed_with(
        image: &str,
        configuration: &str,
        setup: &str,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-image-").tempdir_in(images()?)?;
        let mut store = Weed::lay_out_in(dir.path())?;
        store.launch().await?;
        certificates(dir.path())?;
        let disk = dir.path().join("disk");
        let world = Self { dir, store, disk };
        fs::write(world.file("holdfast.toml"), world.configuration()? + configuration)?;
        fs::write(
            world.file("provision.toml"),
            format!("recovery_key = \"console\"\nhostname = \"front-desk\"\n{setup}"),
        )?;
        fs::File::create(&world.disk)?.set_len(8 << 30)?;
        world.flash(image)?;
        Ok(world)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn flash(&self, image: &str) -> Result<()> {
        let images = images()?;
        let mut command = Command::new(repo().join("scripts/flash"));
        command.arg("--key").arg(images.join(image).join("update.pub.pem"));
        command.arg("--config").arg(self.file("holdfast.toml"));
        command.arg("--provision").arg(self.file("provision.toml"));
        let [id, secret] = self.store.key();
        fs::write(self.file("store-id"), format!("{id}\n"))?;
        fs::write(self.file("store-secret"), format!("{secret}\n"))?;
        for (name, file) in self.secrets() {
            command.arg("--secret").arg(format!("{name}={}", file.display()));
        }
        let phrase = format!("erase {}", self.disk.display());
        command.arg("--confirm").arg(phrase).arg(images.join(image)).arg(&self.disk);
        output(&mut command).map(drop)
    }

    fn configuration(&self) -> Result<String> {
        let secret = "/run/credentials/holdfast.service";
        let digest = sha256(KEY.as_bytes());
        Ok(format!(
            r#"
[node]
name = "front-desk"
zone = "Europe/Bucharest"
state_path = "/var/lib/holdfast"
listen = ["[::]:443"]
profile = "appliance"
# The board has no time server.
clock = "as_is"

[[vault.volumes]]
name = "data0"
path = "/srv/holdfast/data0"

[tls]
certificate = "{secret}/tls-chain"
key = "{secret}/tls-key"

[transcode]
socket = "/run/holdfast-transcode.socket"
jail = "required"

[[operate.keys]]
name = "tests"
sha256 = "{digest}"
scope = "admin"

[[destinations]]
kind = "s3"
name = "store"
endpoint = "https://{STORE}"
region = "us-east-1"
bucket = "recordings"
path_style = true
access_key_file = "{secret}/store-id"
secret_key_file = "{secret}/store-secret"
ca_file = "{secret}/store-ca"
part_bytes = 5242880

[[environments]]
id = "demo"
hash = "demo-hash"
destinations = ["store"]
"#
        ))
    }

    /// A board for this world.
    pub(crate) fn board(&self, uuid: &'static str) -> Result<Board> {
        Board::new(self.dir.path(), uuid, self.store.port())
    }

    pub(crate) fn client(&self) -> Result<Client> {
        http::client(&self.file("ca.pem"))
    }

    /// Asks the node of a board.
    pub(crate) async fn ask(&self, board: &Board, method: Method, path: &str) -> Result<Value> {
        let url = format!("https://127.0.0.1:{}{path}", board.port());
        let answer = self
            .client()?
            .request(method, url)
            .bearer_auth(KEY)
            .timeout(Duration::from_secs(120))
            .send()
            .await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Waits until the node answers that it is healthy.
    pub(crate) async fn healthy(&self, board: &Board) -> Result<Value> {
        until_within(START, "the node to be healthy", async || {
            self.ask(board, Method::GET, "/api/v1/status").await.map(Some)
        })
        .await
    }

    /// Sends a recording over wss as a browser does, and waits until its film lies in the store.
    pub(crate) async fn record(&self, board: &Board) -> Result<String> {
        // Short: nothing here has hardware to make films with, and the processor is QEMU's.
        let bytes = media::small_webm(self.dir.path(), 3.0)?;
        let address = Address::new(board.port(), &self.file("ca.pem"))?;
        let mut stream = Stream::start(&address, "demo").await?;
        stream.record(&bytes, 100_000).await?;
        let id = stream.id.clone();
        self.delivered(board, &id).await?;
        Ok(id)
    }

    /// Waits until a recording's film lies in the store, and checks it.
    pub(crate) async fn delivered(&self, board: &Board, id: &str) -> Result<()> {
        let path = format!("/api/v1/recordings/{id}");
        until_within(START, "the recording to be delivered", async || {
            let recording = self.ask(board, Method::GET, &path).await?;
            ensure!(recording["state"] == "stored", "{recording}");
            Ok(Some(()))
        })
        .await?;
        let names = self.store.names().await?;
        let film = names.iter().find(|it| it.contains(id) && it.ends_with(".mp4"));
        let film = film.with_context(|| format!("no film of {id} among {names:?}"))?;
        let file = self.file("film.mp4");
        fs::write(&file, self.store.read(film).await?)?;
        let said = output(
            Command::new("ffprobe")
                .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
                .arg(&file),
        )?;
        let said = String::from_utf8(said)?;
        ensure!(said.contains("h264") && said.contains("aac"), "{said}");
        Ok(())
    }

    /// A stick with one FAT partition of this name and label, and these files.
    pub(crate) fn stick(
        &self,
        name: &str,
        label: &str,
        mib: u64,
        files: &[(&str, &Path)],
    ) -> Result<PathBuf> {
        let (stick, fat) = (self.file(&format!("stick-{name}")), self.file("fat"));
        fs::File::create(&stick)?.set_len((mib + 2) << 20)?;
        let table = format!("label: gpt\nstart=2048, size={}, name={name}\n", mib << 11);
        let script = self.file("table");
        fs::write(&script, table)?;
        output(Command::new("/sbin/sfdisk").arg("-q").arg(&stick).stdin(fs::File::open(&script)?))?;
        let _ = fs::remove_file(&fat);
        fs::File::create(&fat)?.set_len(mib << 20)?;
        output(Command::new("/sbin/mkfs.vfat").args(["-n", label]).arg(&fat))?;
        for (inside, outside) in files {
            output(
                Command::new("mcopy").arg("-i").arg(&fat).arg(outside).arg(format!("::{inside}")),
            )?;
        }
        output(
            Command::new("dd")
                .arg(format!("if={}", fat.display()))
                .arg(format!("of={}", stick.display()))
                .args(["bs=1M", "seek=1", "conv=notrunc", "status=none"]),
        )?;
        Ok(stick)
    }

    /// A setup stick with the order of a factory reset for a box, and what the box is set up with afterwards.
    pub(crate) fn reset_stick(&self, serial: &str) -> Result<PathBuf> {
        let here = |name: &str| self.file(name);
        let [config, provision] = ["holdfast.toml", "provision.toml"].map(here);
        let stick = self.stick(
            "reset",
            "HF-SETUP",
            40,
            &[("holdfast.toml", &config), ("provision.toml", &provision)],
        )?;
        let mut command = Command::new(repo().join("scripts/provision"));
        for (name, file) in self.secrets() {
            command.arg("--secret").arg(format!("{name}={}", file.display()));
        }
        output(command.arg(&stick))?;
        let mut command = Command::new(repo().join("scripts/factory-reset"));
        command
            .args(["--stick", "--serial", serial, "--confirm"])
            .arg(format!("reset {serial}"))
            .arg(&stick);
        output(&mut command)?;
        Ok(stick)
    }

    /// The serial on the box's label.
    pub(crate) fn serial(&self) -> Result<String> {
        http::member(&serde_json::from_str(&self.on_esp("label.json")?)?, "serial")
    }

    /// A file of the disk's ESP.
    pub(crate) fn on_esp(&self, name: &str) -> Result<String> {
        let (at, _) = partition(&self.disk, "ESP")?;
        let place = format!("{}@@{at}", self.disk.display());
        let file = format!("::/{name}");
        Ok(String::from_utf8(output(Command::new("mtype").args(["-i", &place, &file]))?)?)
    }

    /// What the configuration names, with the files that have it.
    pub(crate) fn secrets(&self) -> [(&'static str, PathBuf); 5] {
        [
            ("store-id", self.file("store-id")),
            ("store-secret", self.file("store-secret")),
            ("store-ca", self.store.authority()),
            ("tls-chain", self.file("server.pem")),
            ("tls-key", self.file("server.key")),
        ]
    }

    /// The recovery key that the board showed.
    pub(crate) fn recovery_key(&self, said: &str) -> Result<PathBuf> {
        let is_key =
            |line: &&str| line.len() == 80 && line.chars().all(|c| "cbdefghijklnrtuv-".contains(c));
        let key = said.lines().map(str::trim).find(is_key).context("no recovery key was shown")?;
        let file = self.file("recovery.txt");
        fs::write(&file, format!("{key}\n"))?;
        Ok(file)
    }
}

/// Whether what scripts/test fetches is there.
pub(crate) fn tools() -> Result<()> {
    ensure!(tools_dir().join("weed").exists(), "no weed in {}", tools_dir().display());
    Ok(())
}
