//! A node that has seen people and trouble: everything that must never be in a bundle is distinctive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::{files_under, hex, output};
use holdfast_tests::{Environment, Node, Settings, Stream, until};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use toml::Table;

/// Where people come from.
pub(super) const ADDRESS: &str = "127.0.84.77";
const PERSON: [(&str, &str); 6] = [
    ("title", "Quokka Wedding Interview"),
    ("camera", "Zanzibar Kestrel Eyepiece"),
    ("microphone", "Obsidian Marmoset Gooseneck"),
    ("user agent", "Velociraptor/7.3 (Tamarind; fr)"),
    ("referrer", "https://patients.wolverine-clinic.example/booking?for=Philippa"),
    ("address", ADDRESS),
];
const ENVIRONMENT: &str = "clinic-saxifrage";
const FOLDER: &str = "dossier-bergamot";
const NODE: &str = "surgery-dr-peregrine";
const FTP: (&str, &str, &str) = ("vault-of-gladiolus", "cassowary", "Nightjar Sings Twice");
const SFTP: (&str, &str, &str) = ("shed-of-tourmaline", "ptarmigan", "marzipan$Lantern42");
const S3: (&str, &str, &str) =
    ("bin-of-cinnabar", "AKIAPANGOLIN7XMPLE", "wJalrX/Capybara+K7MDENGbPxRfi");
const BUCKET: &str = "bucket-liquorice";
const HOOK: (&str, &str, &str) = (
    "hook-of-hyacinth",
    "/receive/Wombat?token=axolotl99",
    "whsec_SGVsbGVib3J1c0hlbGxlYm9ydXNIZWxsZWJvcnVz",
);
const KEY_NAME: &str = "Bartholomew Ocelot";

/// The node, with what it was told.
pub(super) struct Troubled {
    pub(super) node: Node,
    /// The recordings that nothing became of.
    pub(super) ids: Vec<String>,
    /// What must not be in a bundle, each with what it is.
    pub(super) never: Vec<(&'static str, String)>,
    files: TempDir,
}

impl Troubled {
    /// Starts it and lets people and destinations do their worst.
    pub(super) async fn new() -> Result<Self> {
        let files = tempfile::tempdir()?;
        let ftp = rude_ftp().await?;
        let secret = |name: &str, text: &str| -> Result<String> {
            let path = files.path().join(name);
            fs::write(&path, text)?;
            Ok(path.to_string_lossy().into_owned())
        };
        let settings = Settings::new()
            .set("node.name", NODE)
            .environment(
                Environment::raw_only(ENVIRONMENT)
                    .set("folder", FOLDER)
                    .set("destinations", vec![FTP.0, S3.0]),
            )
            .environment(Environment::new("films"))
            .destination(table(&[
                ("kind", "ftp".into()),
                ("name", FTP.0.into()),
                ("host", "127.0.0.1".into()),
                ("port", i64::from(ftp).into()),
                ("user", FTP.1.into()),
                ("password_file", secret("gladiolus.password", FTP.2)?.into()),
            ]))
            .destination(table(&[
                ("kind", "s3".into()),
                ("name", S3.0.into()),
                ("endpoint", "https://store.salamander.invalid".into()),
                ("region", "emu-west-7".into()),
                ("bucket", BUCKET.into()),
                ("access_key_file", secret("cinnabar.id", S3.1)?.into()),
                ("secret_key_file", secret("cinnabar.key", S3.2)?.into()),
            ]))
            .set(
                "webhooks",
                vec![toml::Value::Table(table(&[
                    ("id", HOOK.0.into()),
                    ("env_id", ENVIRONMENT.into()),
                    ("url", format!("https://ears.dromedary.invalid{}", HOOK.1).into()),
                    ("secret_file", secret("hyacinth.secret", HOOK.2)?.into()),
                ]))],
            );
        let node = Node::start(settings).await?;
        let mut troubled = Self { node, ids: Vec::new(), never: Vec::new(), files };
        troubled.people().await?;
        troubled.integrators().await?;
        troubled.until_it_failed().await?;
        troubled.never = troubled.never();
        Ok(troubled)
    }

    /// One uploads, from an address and with a browser of their own; one streams.
    async fn people(&mut self) -> Result<()> {
        let certificate = fs::read(self.node.certificate())?;
        let of_person = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&certificate)?])
            .local_address(Some(ADDRESS.parse()?))
            .user_agent(PERSON[3].1)
            .no_proxy()
            .build()?;
        for (environment, seed) in [(ENVIRONMENT, 1), ("films", 2)] {
            let upload = of_person.put(self.node.url(&Node::upload_path(environment)));
            let upload = upload.header("referer", PERSON[4].1).body(webm_noise(seed, 20_000));
            let answer: Value = serde_json::from_str(&upload.send().await?.text().await?)?;
            self.ids.push(answer["id"].as_str().with_context(|| answer.to_string())?.to_owned());
        }
        // Wrong keys from there are in the node's own log, with the address.
        for _ in 0..20 {
            let asked = of_person.get(self.node.url("/api/v1/status"));
            asked.bearer_auth("a-guess-of-chinchilla").send().await?;
        }
        let start = json!({
            "type": "start", "env_id": ENVIRONMENT, "env_hash": format!("{ENVIRONMENT}-hash"),
            "mime": "video/webm",
            "metadata": { "name": PERSON[0].1, "camera": PERSON[1].1, "microphone": PERSON[2].1 },
        });
        let mut stream = Stream::open(&self.node.address()?, start, String::new()).await?;
        stream.record(&webm_noise(3, 30_000), 10_000).await?;
        self.ids.push(stream.id.clone());
        Ok(())
    }

    /// What is made over the API: a destination with its secret, a key.
    async fn integrators(&self) -> Result<()> {
        let sftp = json!({
            "kind": "sftp", "name": SFTP.0, "host": "shed.lemur.invalid", "user": SFTP.1,
            "password": SFTP.2, "path": "/home/ptarmigan/in",
        });
        for (path, body) in
            [("/destinations", sftp), ("/keys", json!({ "name": KEY_NAME, "scope": "read" }))]
        {
            let request =
                self.node.api(Method::POST, path)?.header("content-type", "application/json");
            let answer = request.body(body.to_string()).send().await?;
            let status = answer.status();
            ensure!(status == 201, "{path}: {status}: {}", answer.text().await?);
        }
        // It cannot be reached, and says so in the log.
        self.node.api(Method::POST, &format!("/destinations/{}/test", SFTP.0))?.send().await?;
        Ok(())
    }

    async fn until_it_failed(&self) -> Result<()> {
        for id in &self.ids {
            until(&format!("{id} to fail"), async || {
                let recording = self.node.recording(id).await?;
                let failed = [&recording["push"]["error"], &recording["transcode"]["error"]];
                Ok(failed.iter().any(|error| error.is_object()).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    fn never(&self) -> Vec<(&'static str, String)> {
        let mut never: Vec<_> = PERSON.iter().map(|(what, it)| (*what, (*it).to_owned())).collect();
        // Not even a part of what was said.
        for (what, words) in PERSON {
            never
                .extend(words.split(' ').filter(|it| it.len() > 4).map(|it| (what, it.to_owned())));
        }
        for (what, it) in [
            ("a domain", "wolverine-clinic"),
            ("a guess", "chinchilla"),
            ("an environment", ENVIRONMENT),
            ("a hash", "clinic-saxifrage-hash"),
            ("a folder", FOLDER),
            ("the node's name", NODE),
            ("a destination", FTP.0),
            ("a user", FTP.1),
            ("a password", FTP.2),
            ("a destination", SFTP.0),
            ("a user", SFTP.1),
            ("a password", SFTP.2),
            ("a host", "lemur.invalid"),
            ("a destination", S3.0),
            ("an access key", S3.1),
            ("a secret key", S3.2),
            ("a bucket", BUCKET),
            ("a region", "emu-west"),
            ("a host", "salamander"),
            ("a webhook", HOOK.0),
            ("a path", "Wombat"),
            ("a token", "axolotl99"),
            ("a host", "dromedary"),
            ("a secret", HOOK.2),
            ("a secret", HOOK.2.trim_start_matches("whsec_")),
            ("a file of a secret", "gladiolus.password"),
            ("a file of a secret", "hyacinth.secret"),
            ("a key's owner", KEY_NAME),
            ("a key's owner", "Ocelot"),
            ("what a server said", "shibboleth"),
            ("what a server said", "203.0.113.99"),
        ] {
            never.push((what, it.to_owned()));
        }
        never.push(("the key of the API", self.node.key().to_owned()));
        never.push(("a folder of the machine", self.files.path().to_string_lossy().into_owned()));
        never.push(("a folder of the machine", self.node.dir().to_string_lossy().into_owned()));
        never.extend(own_secrets(&self.node.state()).into_iter().map(|it| ("the node's own", it)));
        never
    }
}

/// What the node keeps to itself: private keys, line by line.
fn own_secrets(state: &Path) -> Vec<String> {
    let files = files_under(state).unwrap_or_default();
    let small = files.iter().filter(|it| fs::metadata(it).is_ok_and(|it| it.len() < 16_384));
    let secret = small.filter(|it| it.to_string_lossy().contains("key"));
    let text = |path: &PathBuf| fs::read(path).map(|it| String::from_utf8_lossy(&it).into_owned());
    let lines = secret.filter_map(|path| text(path).ok());
    let lines = lines.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.len() >= 20 && !line.starts_with("-----")).collect()
}

/// A server that refuses, and says aloud whom, with which password, and from where.
async fn rude_ftp() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = socket.into_split();
                let mut lines = BufReader::new(read).lines();
                let mut user = String::new();
                write.write_all(b"220 say who you are\r\n").await?;
                while let Some(line) = lines.next_line().await? {
                    let (verb, what) = line.split_once(' ').unwrap_or((&line, ""));
                    let answer = match verb {
                        "USER" => {
                            user = what.to_owned();
                            "331 and the password\r\n".to_owned()
                        }
                        "PASS" => format!(
                            "530 {user} with {what} may not log in from 203.0.113.99 ticket \
                             shibboleth-4711 mail {user}@dromedary.invalid\r\n"
                        ),
                        _ => "502 no\r\n".to_owned(),
                    };
                    write.write_all(answer.as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    Ok(port)
}

fn table(members: &[(&str, toml::Value)]) -> Table {
    members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// A bundle as it is unpacked.
pub(super) struct Unpacked {
    dir: TempDir,
    folder: PathBuf,
}

impl Unpacked {
    pub(super) fn of(bytes: &[u8]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("bundle.tar.gz");
        fs::write(&file, bytes)?;
        output(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(dir.path()))?;
        fs::remove_file(&file)?;
        let mut folders = fs::read_dir(dir.path())?;
        let folder = folders.next().context("nothing is in it")??.path();
        ensure!(folders.next().is_none(), "more than one folder is in it");
        output(
            Command::new("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(&folder),
        )?;
        Ok(Self { dir, folder })
    }

    pub(super) fn text(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.folder.join(name)).with_context(|| name.to_owned())
    }

    pub(super) fn json(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.text(name)?)?)
    }

    /// All of it, names too, as it is and in lower case.
    pub(super) fn all(&self) -> Result<(Vec<u8>, String)> {
        let mut all = Vec::new();
        for file in files_under(self.dir.path())? {
            all.extend(file.file_name().unwrap_or_default().as_encoded_bytes());
            all.extend(fs::read(&file)?);
        }
        let lower = String::from_utf8_lossy(&all).to_lowercase();
        Ok((all, lower))
    }
}

/// The ways in which a text could be written down: as it is, in hex, in base64 wherever it begins.
pub(super) fn written(text: &str) -> Vec<String> {
    let mut ways = vec![text.to_lowercase(), hex(text.as_bytes())];
    // Too short a text has nothing left in base64 that is its own.
    if text.len() >= 8 {
        for shift in 0..3 {
            let shifted = [&b"\0\0"[..shift], text.as_bytes()].concat();
            let whole = shifted.len() / 3 * 3;
            let from = if shift == 0 { 0 } else { 4 };
            ways.push(base64(&shifted[..whole])[from..].to_lowercase());
        }
    }
    ways
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of_three = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|by| char::from(ALPHABET[bits >> by & 63]))
    };
    bytes.chunks_exact(3).flat_map(of_three).collect()
}
