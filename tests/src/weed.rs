//! A real object store: SeaweedFS, over TLS with an authority of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use rusty_s3::actions::{CreateBucket, DeleteObject, GetObject, ListObjectsV2, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use tempfile::TempDir;
use toml::Table;

use crate::http;
use crate::node::free_port;
use crate::tools::tools_dir;
use crate::wait::until;

const ACCESS_KEY: &str = "holdfast-tests";
const SECRET_KEY: &str = "a-secret-that-only-tests-use";
/// The bucket that it has.
pub const BUCKET: &str = "recordings";
/// How long a signed address of these tests holds.
const SIGNED: Duration = Duration::from_secs(600);

/// An object store; it is killed when it is dropped.
#[derive(Debug)]
pub struct Weed {
    dir: TempDir,
    ports: [u16; 5],
    child: Option<Child>,
}

impl Weed {
    /// Makes certificate, credentials and folders; does not start it.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn lay_out() -> Result<Self> {
        Self::lay_out_in(&std::env::temp_dir())
    }

    /// The same below this folder.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn lay_out_in(folder: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-weed-").tempdir_in(folder)?;
        certificates(dir.path())?;
        let identities = serde_json::json!({ "identities": [{
            "name": "tests",
            "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }] });
        fs::write(dir.path().join("s3.json"), identities.to_string())?;
        fs::write(dir.path().join("access-key"), format!("{ACCESS_KEY}\n"))?;
        fs::write(dir.path().join("secret-key"), format!("{SECRET_KEY}\n"))?;
        fs::create_dir(dir.path().join("data"))?;
        Ok(Self { dir, ports: ports()?, child: None })
    }

    /// Starts it and makes the bucket, unless it is there from before.
    ///
    /// # Errors
    /// If it is missing or never answers.
    pub async fn launch(&mut self) -> Result<()> {
        let program = tools_dir().join("weed");
        let [master, volume, filer, plain, https] = self.ports;
        let here = |name: &str| self.dir.path().join(name).display().to_string();
        let log = File::create(self.dir.path().join("weed.log"))?;
        let mut command = Command::new(&program);
        command
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.volumeSizeLimitMB=64"])
            .args([format!("-dir={}", here("data")), format!("-master.port={master}")])
            .args([format!("-volume.port={volume}"), "-volume.max=300".to_owned()])
            .args(["-filer".to_owned(), format!("-filer.port={filer}"), "-s3".to_owned()])
            .args([format!("-s3.port={plain}"), format!("-s3.port.https={https}")])
            // Listeners at ports of their own, which two stores at once would both want.
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .args([format!("-s3.config={}", here("s3.json"))])
            .args([format!("-s3.cert.file={}", here("server.pem"))])
            .args([format!("-s3.key.file={}", here("server.key"))])
            .env("WEED_S3_SSE_KEK", "5a".repeat(32))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}; scripts/test brings it", program.display()))?;
        self.child = Some(child);
        let (client, bucket, credentials) = (self.client()?, self.bucket()?, credentials());
        until("the object store to make a bucket", async || {
            let url = CreateBucket::new(&bucket, &credentials).sign(SIGNED);
            let answer = client.put(url).send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success() || text.contains("AlreadyOwnedByYou"), "{status}: {text}");
            Ok(Some(()))
        })
        .await
        .context(fs::read_to_string(self.dir.path().join("weed.log")).unwrap_or_default())
    }

    /// The node's settings for it, as a destination of this name.
    #[must_use]
    pub fn destination(&self, name: &str) -> Table {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let mut table = Table::new();
        let mut put = |key: &str, value: toml::Value| table.insert(key.into(), value);
        put("kind", "s3".into());
        put("name", name.into());
        put("endpoint", format!("https://127.0.0.1:{}", self.ports[4]).into());
        put("region", "us-east-1".into());
        put("bucket", BUCKET.into());
        put("path_style", true.into());
        put("access_key_file", file("access-key").into());
        put("secret_key_file", file("secret-key").into());
        put("ca_file", file("ca.pem").into());
        put("part_bytes", (5 << 20).into());
        table
    }

    /// The names of all objects, sorted.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn names(&self) -> Result<Vec<String>> {
        let (bucket, credentials) = (self.bucket()?, credentials());
        let url = ListObjectsV2::new(&bucket, Some(&credentials)).sign(SIGNED);
        let text = self.client()?.get(url).send().await?.error_for_status()?.text().await?;
        let answer = ListObjectsV2::parse_response(&text)?;
        Ok(answer.contents.into_iter().map(|object| object.key).collect())
    }

    /// An object's bytes.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn read(&self, name: &str) -> Result<Vec<u8>> {
        let (bucket, credentials) = (self.bucket()?, credentials());
        let url = GetObject::new(&bucket, Some(&credentials), name).sign(SIGNED);
        let answer = self.client()?.get(url).send().await?.error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }

    /// Deletes every object. Answers how many bytes and how many objects these were.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn take(&self) -> Result<(u64, usize)> {
        let (bucket, credentials, client) = (self.bucket()?, credentials(), self.client()?);
        let (mut bytes, mut objects) = (0, 0);
        loop {
            let url = ListObjectsV2::new(&bucket, Some(&credentials)).sign(SIGNED);
            let text = client.get(url).send().await?.error_for_status()?.text().await?;
            let listed = ListObjectsV2::parse_response(&text)?.contents;
            if listed.is_empty() {
                return Ok((bytes, objects));
            }
            for object in listed {
                let url = DeleteObject::new(&bucket, Some(&credentials), &object.key).sign(SIGNED);
                client.delete(url).send().await?.error_for_status()?;
                bytes += object.size.unwrap_or(0);
                objects += 1;
            }
        }
    }

    /// The port that it serves S3 over TLS at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[4]
    }

    /// The certificate of its authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Id and secret of the key that may do everything.
    #[must_use]
    pub fn key(&self) -> [&'static str; 2] {
        [ACCESS_KEY, SECRET_KEY]
    }

    fn client(&self) -> Result<Client> {
        http::client(&self.dir.path().join("ca.pem"))
    }

    fn bucket(&self) -> Result<Bucket> {
        let endpoint = format!("https://127.0.0.1:{}", self.ports[4]).parse()?;
        Ok(Bucket::new(endpoint, UrlStyle::Path, BUCKET, "us-east-1")?)
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn credentials() -> Credentials {
    Credentials::new(ACCESS_KEY, SECRET_KEY)
}

/// Ports such that each one's gRPC port, 10,000 above, is free as well.
fn ports() -> Result<[u16; 5]> {
    let mut ports = [0; 5];
    for port in &mut ports {
        *port = loop {
            let candidate = free_port()?;
            if std::net::TcpListener::bind(("127.0.0.1", candidate + 10_000)).is_ok() {
                break candidate;
            }
        };
    }
    Ok(ports)
}

/// Writes an authority, `ca.pem`, and a certificate of its for this machine, `server.pem` with
/// `server.key`.
///
/// # Errors
/// If they cannot be written.
pub fn certificates(dir: &Path) -> Result<()> {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    // The last one is where a machine that QEMU makes finds this one.
    let names = ["127.0.0.1", "127.0.0.2", "localhost", "10.0.2.100"].map(String::from);
    let server = CertificateParams::new(names)?;
    let server_pem = server.signed_by(&key, &issuer)?.pem();
    fs::write(dir.join("ca.pem"), &ca_pem)?;
    fs::write(dir.join("server.pem"), format!("{server_pem}{ca_pem}"))?;
    fs::write(dir.join("server.key"), key.serialize_pem())?;
    Ok(())
}
