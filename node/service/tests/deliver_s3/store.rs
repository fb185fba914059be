//! A real store: SeaweedFS, one for all tests of this binary, over HTTP and HTTPS.
//!
//! A shell holds it: when the test process ends, however it ends, the shell's input closes, and it
//! ends the server by its id and removes the server's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use holdfast::config::{Existing, KeySource, S3Destination, StorageClasses};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use reqwest::{Method, Response};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::sync::OnceCell;

use crate::deliver_common::free_port;

pub(crate) const KEY_ID: &str = "AKIAHOLDFASTTEST0001";
pub(crate) const WRITER_ID: &str = "AKIAHOLDFASTTEST0002";
pub(crate) const READER_ID: &str = "AKIAHOLDFASTTEST0003";
pub(crate) const SECRET: &str = "a/Secret+that=must/never+be/said/aloud01";

/// How often it is started with other ports.
const STARTS_MAX: u32 = 5;

static STORE: OnceCell<Store> = OnceCell::const_new();

pub(crate) struct Store {
    _shell: Mutex<(Child, ChildStdin)>,
    pub(crate) dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    filer_port: u16,
}

impl Store {
    /// The one store, started by whoever asks first.
    pub(crate) async fn get() -> &'static Self {
        STORE.get_or_init(Self::start).await
    }

    /// Ports that were free may be taken by another test's server before this one's has them.
    async fn start() -> Self {
        for _ in 0..STARTS_MAX {
            let store = Self::spawn();
            if store.comes_up().await {
                return store;
            }
        }
        panic!("its ports were taken {STARTS_MAX} times");
    }

    fn spawn() -> Self {
        let weed = weed();
        let dir = tempfile::tempdir().unwrap().keep();
        let ports = free_ports();
        certificates(&dir);
        let identity = |name: &str, id: &str, actions: &[&str]| {
            let credentials = serde_json::json!([{"accessKey": id, "secretKey": SECRET}]);
            serde_json::json!({"name": name, "credentials": credentials, "actions": actions})
        };
        let identities = serde_json::json!({"identities": [
            identity("test", KEY_ID, &["Admin", "Read", "Write", "List", "Tagging"]),
            identity("writer", WRITER_ID, &["Write"]),
            identity("reader", READER_ID, &["Read", "List"]),
        ]});
        std::fs::write(dir.join("s3.json"), identities.to_string()).unwrap();
        std::fs::create_dir(dir.join("data")).unwrap();
        let shell = r#"dir=$1; shift; "$@" >"$dir/log" 2>&1 & pid=$!
            read _; kill -9 $pid; wait $pid 2>/dev/null; rm -rf "$dir""#;
        let at = |name: &str| dir.join(name).display().to_string();
        let mut child = Command::new("sh")
            .args(["-c", shell, "sh", &dir.display().to_string()])
            .arg(weed)
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
            .args(["-master.volumeSizeLimitMB=1024", "-volume.max=300"])
            .args(["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-dir={}", at("data")))
            .args(port_options(&ports))
            .arg(format!("-s3.config={}", at("s3.json")))
            .arg(format!("-s3.cert.file={}", at("server.pem")))
            .arg(format!("-s3.key.file={}", at("server.key")))
            .env("WEED_S3_SSE_KEK", "5a".repeat(32))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let _shell = Mutex::new((child, stdin));
        let (port, tls_port, filer_port) = (ports[0], ports[1], ports[7]);
        Self { _shell, dir, port, tls_port, filer_port }
    }

    /// Whether it does; not if one of its ports was taken.
    async fn comes_up(&self) -> bool {
        let bucket = self.bucket("is-it-up");
        let key = credentials();
        for _ in 0..240 {
            let made = try_send(bucket.create_bucket(&key), Method::PUT, String::new()).await;
            if made.is_ok_and(|r| r.status().is_success() || r.status() == 409) {
                let put = bucket.put_object(Some(&key), "probe");
                let put = try_send(put, Method::PUT, "probe").await;
                if put.is_ok_and(|answer| answer.status().is_success()) {
                    return true;
                }
            }
            if self.log().contains("address already in use") {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let log = self.log();
        panic!("the store did not come up; the end of its log:\n{}", tail(&log));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn bucket(&self, name: &str) -> Bucket {
        let endpoint = format!("http://127.0.0.1:{}", self.port).parse().unwrap();
        Bucket::new(endpoint, UrlStyle::Path, name.to_owned(), "us-east-1").unwrap()
    }

    /// A fresh bucket.
    pub(crate) async fn make_bucket(&self, name: &str) -> Held {
        let bucket = self.bucket(name);
        let made = send(bucket.create_bucket(&credentials()), Method::PUT, String::new()).await;
        assert!(made.status().is_success(), "{}", made.text().await.unwrap());
        Held { bucket, key: credentials() }
    }

    /// Takes a part of an unfinished upload away, past the S3 interface.
    pub(crate) async fn remove_part(&self, bucket: &str, upload_id: &str, number: u16) {
        let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        let folder =
            format!("http://127.0.0.1:{}/buckets/{bucket}/.uploads/{upload_id}/", self.filer_port);
        let listing = http.get(&folder).header("accept", "application/json").send().await.unwrap();
        let listing: serde_json::Value =
            serde_json::from_str(&listing.text().await.unwrap()).unwrap();
        let begins = format!("{number:04}");
        let entries = listing["Entries"].as_array().unwrap();
        let names =
            entries.iter().filter_map(|entry| entry["FullPath"].as_str()?.rsplit('/').next());
        let name = names.into_iter().find(|name| name.starts_with(&begins)).expect("no such part");
        let removed = http.delete(format!("{folder}{name}")).send().await.unwrap();
        assert!(removed.status().is_success(), "{}", removed.status());
    }

    /// Settings of a destination in a bucket, with the store's keys.
    pub(crate) fn settings(&self, bucket: &str) -> S3Destination {
        let keys = tempfile::Builder::new().tempdir_in(&self.dir).unwrap().keep();
        std::fs::write(keys.join("id"), format!("{KEY_ID}\n")).unwrap();
        std::fs::write(keys.join("secret"), format!(" {SECRET}\n")).unwrap();
        S3Destination {
            name: "archive".into(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            region: "us-east-1".into(),
            bucket: bucket.into(),
            preset: None,
            prefix: String::new(),
            path_style: Some(true),
            credentials: KeySource::Static,
            access_key_file: Some(keys.join("id")),
            secret_key_file: Some(keys.join("secret")),
            access_key: None,
            secret_key: None,
            ca_file: None,
            part_bytes: 5 << 20,
            parts_at_once: 4,
            existing: Existing::Overwrite,
            checksum: None,
            ours: None,
            storage_class: None,
            storage_classes: StorageClasses::default(),
            sse: None,
            acl: None,
            tags: BTreeMap::new(),
            limits: holdfast::config::Limits::default(),
        }
    }
}

/// A bucket as the tests see it, past the code under test.
pub(crate) struct Held {
    bucket: Bucket,
    key: Credentials,
}

impl Held {
    /// SHA-256 of an object, which may be larger than memory.
    #[allow(dead_code, reason = "for tests with large files")]
    pub(crate) async fn sha256(&self, key: &str) -> String {
        let get = self.bucket.get_object(Some(&self.key), key);
        let mut answer = send(get, Method::GET, String::new()).await;
        assert!(answer.status().is_success(), "{}", answer.status());
        let mut sha256 = holdfast::digest::Sha256::new();
        while let Some(piece) = answer.chunk().await.unwrap() {
            sha256.update(&piece);
        }
        sha256.finish()
    }

    pub(crate) async fn read(&self, key: &str) -> Option<Vec<u8>> {
        let get = self.bucket.get_object(Some(&self.key), key);
        let answer = send(get, Method::GET, String::new()).await;
        if answer.status() == 404 {
            return None;
        }
        assert!(answer.status().is_success(), "{}", answer.status());
        Some(answer.bytes().await.unwrap().to_vec())
    }

    pub(crate) async fn header(&self, key: &str, name: &str) -> Option<String> {
        let head = self.bucket.head_object(Some(&self.key), key);
        let answer = send(head, Method::HEAD, String::new()).await;
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// Puts an object there, or takes it away, as anybody may.
    pub(crate) async fn put(&self, key: &str, content: Option<Vec<u8>>) {
        let answer = match content {
            Some(content) => {
                let put = self.bucket.put_object(Some(&self.key), key);
                send(put, Method::PUT, content).await
            }
            None => {
                let delete = self.bucket.delete_object(Some(&self.key), key);
                send(delete, Method::DELETE, String::new()).await
            }
        };
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Begins an upload, as a node that is then killed.
    pub(crate) async fn begin_upload(&self, key: &str) {
        let create = self.bucket.create_multipart_upload(Some(&self.key), key);
        let answer = send(create, Method::POST, String::new()).await;
        assert!(answer.status().is_success());
    }

    /// The numbers of the parts that an unfinished upload has.
    pub(crate) async fn parts(&self, key: &str, upload_id: &str) -> Vec<u16> {
        let list = self.bucket.list_parts(Some(&self.key), key, upload_id);
        let text = send(list, Method::GET, String::new()).await.text().await.unwrap();
        assert!(text.contains("ListPartsResult"), "{text}");
        let numbers = text.split("<PartNumber>").skip(1);
        numbers.map(|rest| rest.split("</PartNumber>").next().unwrap().parse().unwrap()).collect()
    }

    /// Puts something else where a part is.
    pub(crate) async fn put_part(&self, key: &str, upload_id: &str, number: u16, part: Vec<u8>) {
        let put = self.bucket.upload_part(Some(&self.key), key, number, upload_id);
        let answer = send(put, Method::PUT, part).await;
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Aborts an unfinished upload, as a lifecycle rule does.
    pub(crate) async fn abort(&self, key: &str, upload_id: &str) {
        let abort = self.bucket.abort_multipart_upload(Some(&self.key), key, upload_id);
        let answer = send(abort, Method::DELETE, String::new()).await;
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The tags of an object, as XML.
    pub(crate) async fn tags(&self, key: &str) -> String {
        let mut get = self.bucket.get_object(Some(&self.key), key);
        get.query_mut().insert("tagging", "");
        send(get, Method::GET, String::new()).await.text().await.unwrap()
    }

    /// The keys that have unfinished uploads.
    pub(crate) async fn uploads(&self) -> Vec<String> {
        let mut list = self.bucket.get_object(Some(&self.key), "");
        list.query_mut().insert("uploads", "");
        let text = send(list, Method::GET, String::new()).await.text().await.unwrap();
        assert!(text.contains("ListMultipartUploadsResult"), "{text}");
        let keys = text.split("<Key>").skip(1);
        keys.map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new(KEY_ID, SECRET)
}

async fn send<'a>(
    action: impl S3Action<'a>,
    method: Method,
    body: impl Into<reqwest::Body>,
) -> Response {
    try_send(action, method, body).await.unwrap()
}

async fn try_send<'a>(
    action: impl S3Action<'a>,
    method: Method,
    body: impl Into<reqwest::Body>,
) -> reqwest::Result<Response> {
    let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let url = action.sign(Duration::from_secs(60));
    http.request(method, url).body(body).send().await
}

fn weed() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("HOLDFAST_WEED").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain([workspace.join("target/tools/weed")])
        .chain(std::env::split_paths(&path).map(|folder| folder.join("weed")))
        .find(|path| path.is_file())
        .expect(
            "SeaweedFS is missing (HOLDFAST_WEED, target/tools/weed, PATH): run scripts/test, \
             which installs it",
        )
}

/// Ports that are free now: S3, S3 with TLS, and those that the server uses by itself.
fn free_ports() -> Vec<u16> {
    let mut ports = BTreeSet::new();
    while ports.len() < 9 {
        ports.insert(free_port());
    }
    ports.into_iter().collect()
}

fn port_options(ports: &[u16]) -> Vec<String> {
    let names = [
        "s3.port",
        "s3.port.https",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ];
    names.iter().zip(ports).map(|(name, port)| format!("-{name}={port}")).collect()
}

/// An authority `ca.pem`, the server's certificate by it, and a stranger's authority.
fn certificates(dir: &Path) {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ca, stranger) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
    let server = params.signed_by(&key, &ca).unwrap();
    let write = |name: &str, text: String| {
        std::fs::File::create(dir.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    };
    write("ca.pem", ca.pem());
    write("stranger.pem", stranger.pem());
    write("server.pem", server.pem());
    write("server.key", key.serialize_pem());
}

fn tail(text: &str) -> &str {
    text.char_indices().rev().nth(3000).map_or(text, |(at, _)| &text[at..])
}
