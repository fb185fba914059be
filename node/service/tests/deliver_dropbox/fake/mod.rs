//! A Dropbox of the tests' own, over TLS, after the specification that Dropbox publishes: the Stone
//! files of the repository `dropbox/dropbox-api-spec` at 0d994eb (`files.stone`, `auth.stone`,
//! `common.stone`). It is stricter than Dropbox where the specification leaves something open.
//!
//! - `mod.rs`: what it keeps, and what a test can make it do;
//! - `server.rs`: connections, tokens, arguments, faults;
//! - `files.rs`: the routes of `files.stone`;
//! - `spec.rs`: arguments and errors as the specification has them.
//!
//! Its clock stands still but for what a test puts it forward.

pub(crate) mod files;
pub(crate) mod server;
pub(crate) mod spec;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA256, digest};
use holdfast::config::{DropboxDestination, Existing, Limits};

pub(crate) const APP_KEY: &str = "abc123appkey";
pub(crate) const APP_SECRET: &str = "s3cretOfTheApp";
pub(crate) const REFRESH_TOKEN: &str = "refresh-me-AAAA-BBBB";
/// A namespace that its user may use.
pub(crate) const NAMESPACE: &str = "1234567";
pub(crate) const MIB: usize = 1 << 20;
pub(crate) const BLOCK: usize = 4 * MIB;
/// Largest body that a request may have.
pub(crate) const PAYLOAD_MAX: usize = 150 * MIB;
/// How long an upload session lives.
pub(crate) const SESSION_LIFE_S: i64 = 7 * 24 * 3600;
/// 2026-03-02T00:00:00Z
pub(crate) const BEGINNING_S: i64 = 1_772_409_600;

/// Bytes that were sent, or what is left of them where they are not kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) length: usize,
    pub(crate) kept: Vec<u8>,
    pub(crate) blocks: Vec<u8>,
}

impl Bytes {
    pub(crate) fn content_hash(&self) -> String {
        hex(digest(&SHA256, &self.blocks).as_ref())
    }

    /// These bytes and then those.
    pub(crate) fn join(&mut self, next: &Self) {
        let is_aligned = self.length.is_multiple_of(BLOCK);
        self.length += next.length;
        self.kept.extend(&next.kept);
        if is_aligned {
            self.blocks.extend(&next.blocks);
        } else {
            assert_eq!(
                self.kept.len(),
                self.length,
                "bytes that are not kept must be whole blocks"
            );
            self.blocks = self
                .kept
                .chunks(BLOCK)
                .flat_map(|b| digest(&SHA256, b).as_ref().to_vec())
                .collect();
        }
    }
}

/// A file.
#[derive(Clone)]
pub(crate) struct File {
    /// As it was written; the key is in lower case.
    pub(crate) path: String,
    pub(crate) bytes: Bytes,
    pub(crate) rev: u64,
}

/// An upload session.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) is_concurrent: bool,
    pub(crate) is_closed: bool,
    pub(crate) is_committed: bool,
    pub(crate) begun_s: i64,
    /// By offset.
    pub(crate) parts: BTreeMap<usize, Bytes>,
}

/// Something that goes wrong, once.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It answers this after it has taken the body: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The same, but without looking at the body, and the connection is closed.
    AnswerEarly(u16, String),
    /// Access tokens expire before it looks at this one.
    Expire,
    /// A byte of the body is altered on the way.
    Alter,
    /// It forgets the session.
    ForgetSession,
    /// It says that it has another content than it has.
    Lie,
    /// It never answers.
    Hang,
}

/// A request that it got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) route: String,
    pub(crate) argument: serde_json::Value,
    /// Bytes of its body, as far as they came.
    pub(crate) bytes: usize,
}

/// What it keeps.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) now_s: i64,
    pub(crate) refresh_tokens: HashSet<String>,
    /// Whether the app was connected with PKCE, and so has no secret.
    pub(crate) is_pkce: bool,
    pub(crate) token_life_s: i64,
    /// Access tokens, and when they expire.
    pub(crate) access: HashMap<String, i64>,
    pub(crate) tokens_made: u32,
    pub(crate) scopes: HashSet<&'static str>,
    pub(crate) files: BTreeMap<String, File>,
    pub(crate) folders: HashSet<String>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) sessions_made: u32,
    pub(crate) revs: u64,
    /// Room for as many bytes.
    pub(crate) space_bytes: usize,
    /// Every write fails with this `WriteError`.
    pub(crate) write_error: Option<&'static str>,
    /// What is said of a session whose file was made: `not_found` or `closed`.
    pub(crate) after_commit: &'static str,
    /// Whether a part that came twice is an error.
    pub(crate) refuses_repeats: bool,
    /// Whether a sequential session keeps what came of a request that was cut.
    pub(crate) keeps_halves: bool,
    /// Whether content is not kept, but for its hashes.
    pub(crate) keeps_hashes_only: bool,
    /// By route.
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    pub(crate) got: Vec<Got>,
}

/// A Dropbox that runs for as long as there is one of these.
pub(crate) struct Fake {
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) api_port: u16,
    pub(crate) content_port: u16,
    /// PEM of the authority that signed its certificate.
    pub(crate) authority: String,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Fake {
    /// Settings for this Dropbox; their files go into the folder.
    pub(crate) fn settings(&self, dir: &Path) -> DropboxDestination {
        let put = |name: &str, content: &str| {
            let path = dir.join(name);
            std::fs::write(&path, content).unwrap();
            Some(path)
        };
        DropboxDestination {
            name: "box".into(),
            app_key: APP_KEY.into(),
            app_secret_file: put("app-secret", APP_SECRET),
            app_secret: None,
            refresh_token_file: put("refresh-token", REFRESH_TOKEN),
            refresh_token: None,
            directory: "Recordings".into(),
            existing: Existing::Overwrite,
            mute: false,
            path_root: None,
            api_url: Some(format!("https://localhost:{}", self.api_port)),
            content_url: Some(format!("https://localhost:{}", self.content_port)),
            ca_file: put("authority.pem", &self.authority),
            limits: Limits::default(),
        }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// The next request to this route goes wrong.
    pub(crate) fn fault(&self, route: &'static str, fault: Fault) {
        self.kept().faults.push_back((route, fault));
    }

    /// How often something of a route was asked for.
    pub(crate) fn asked(&self, route: &str) -> usize {
        self.kept().got.iter().filter(|got| got.route == route).count()
    }

    /// Bytes of files that it was sent, whole requests or not.
    pub(crate) fn received(&self) -> usize {
        self.kept().got.iter().map(|got| got.bytes).sum()
    }

    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.kept().files.get(&path.to_lowercase()).map(|file| file.bytes.kept.clone())
    }

    /// Every path that there is a file at.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.kept().files.values().map(|file| file.path.clone()).collect()
    }

    /// Puts a file there that is somebody else's.
    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        let mut kept = self.kept();
        let bytes = Bytes {
            length: content.len(),
            kept: content.to_vec(),
            blocks: content
                .chunks(BLOCK)
                .flat_map(|b| digest(&SHA256, b).as_ref().to_vec())
                .collect(),
        };
        let file = File { path: path.into(), bytes, rev: 1 };
        kept.files.insert(path.to_lowercase(), file);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
