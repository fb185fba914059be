//! Destinations: stores of memory, which are down, slow, full of moods, and forget to answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use holdfast_core::attempts::Fault;
use holdfast_core::storage::Region;

use super::chance::Chance;
use super::disk::Disk;
use super::others;
use crate::config::{Limits, Settings};
use crate::deliver::{Destination, FileToPush, PushError, Reading};
use crate::digest;

/// A destination. Clones are the same one.
#[derive(Clone)]
pub struct Store {
    name: &'static str,
    ours: Option<Region>,
    limits: Limits,
    disk: Disk,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    objects: BTreeMap<String, Vec<u8>>,
    /// Uploads that were begun and neither finished nor taken back, by their names.
    uploads: BTreeSet<String>,
    /// So many uploads were begun.
    begun: u64,
    mood: Mood,
    chance: Chance,
}

/// How a store feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// It does what it is asked.
    Well,
    /// Nobody answers.
    Down,
    /// It has other keys now.
    Refusing,
    /// It stores, and the answer gets lost on the way; every other time.
    Forgetful,
    /// Each push takes up to ten minutes.
    Slow,
}

/// Part of the configuration's digest, so that it must not change with what the store has.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.name)
    }
}

impl Store {
    pub(super) fn new(
        name: &'static str,
        ours: Option<Region>,
        disk: &Disk,
        mut chance: Chance,
    ) -> Self {
        let files_max = chance.percent(30).then_some(1);
        let limits = Limits { files_max, ..Limits::default() };
        let inner = Inner {
            objects: BTreeMap::new(),
            uploads: BTreeSet::new(),
            begun: 0,
            mood: Mood::Well,
            chance,
        };
        Self { name, ours, limits, disk: disk.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    /// What environments call it.
    pub(super) fn name(&self) -> &str {
        self.name
    }

    pub(crate) fn ours(&self) -> Option<Region> {
        self.ours
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.inner().mood = mood;
    }

    /// Names of all it has.
    pub(super) fn names(&self) -> Vec<String> {
        self.inner().objects.keys().cloned().collect()
    }

    /// What it has under a name.
    pub(super) fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.inner().objects.get(name).cloned()
    }

    /// Uploads that are half-done there.
    pub(super) fn uploads(&self) -> Vec<String> {
        self.inner().uploads.iter().cloned().collect()
    }

    /// An upload that nobody comes back for.
    pub(super) fn leave_half_done(&self, upload: &str) {
        self.inner().uploads.insert(upload.to_owned());
    }

    /// It forgets what is half-done there, as stores do after some days.
    pub(super) fn forget_uploads(&self) {
        self.inner().uploads.clear();
    }

    /// Begins an upload, or goes on with the one that an earlier push left. It is noted before it is
    /// begun, so that it can be taken back whatever happens.
    async fn begin_upload(&self, file: &FileToPush) -> Result<String, PushError> {
        let left: Option<String> = file.memo.read();
        let upload = match left {
            Some(upload) => upload,
            None => {
                let number = {
                    let mut inner = self.inner();
                    inner.begun += 1;
                    inner.begun
                };
                let upload = format!("{number} of {}", file.name);
                file.memo.write(&upload).await?;
                upload
            }
        };
        others().await;
        if self.disk.is_off() {
            return Err(self.error(Fault::Networks, "the connection was reset"));
        }
        self.inner().uploads.insert(upload.clone());
        Ok(upload)
    }

    fn error(&self, fault: Fault, what: &str) -> PushError {
        PushError { fault, sentence: format!("{}: {what}", self.name) }
    }

    /// What its mood makes of a request, before anything is done.
    async fn receive(&self) -> Result<(), PushError> {
        others().await;
        let (mood, wait_s) = {
            let mut inner = self.inner();
            (inner.mood, inner.chance.from(1, 600))
        };
        match mood {
            Mood::Down => Err(self.error(Fault::Networks, "no route to host")),
            Mood::Refusing => Err(self.error(Fault::Customers, "the keys are refused")),
            Mood::Slow => {
                tokio::time::sleep(Duration::from_secs(wait_s)).await;
                Ok(())
            }
            Mood::Well | Mood::Forgetful => Ok(()),
        }
    }

    /// Whether its answer arrives.
    fn answer(&self) -> Result<(), PushError> {
        let is_lost = {
            let mut inner = self.inner();
            inner.mood == Mood::Forgetful && inner.chance.percent(50)
        };
        if is_lost || self.disk.is_off() {
            return Err(self.error(Fault::Networks, "the connection was reset"));
        }
        Ok(())
    }

    async fn take(&self, file: &FileToPush) -> Result<String, PushError> {
        self.receive().await?;
        if self.disk.is_off() {
            return Err(self.error(Fault::Networks, "the connection was reset"));
        }
        let bytes = self.disk.bytes_of(&file.path);
        let bytes = bytes.ok_or_else(|| self.error(Fault::Ours, "the file cannot be opened"))?;
        let is_whole = bytes.len() as u64 == file.bytes
            && file.sha256.as_ref().is_none_or(|sha256| *sha256 == digest::of(&bytes));
        if !is_whole {
            return Err(self.error(Fault::Ours, "the file changed since it was made"));
        }
        // As S3 does with what is large, for half of the files.
        let upload =
            if file.bytes.is_multiple_of(2) { Some(self.begin_upload(file).await?) } else { None };
        // It may break off in the middle.
        self.answer()?;
        {
            let mut inner = self.inner();
            if let Some(upload) = upload {
                inner.uploads.remove(&upload);
            }
            inner.objects.insert(file.name.clone(), bytes);
        }
        others().await;
        self.answer()?;
        Ok(format!("{}/{}", self.name, file.name))
    }
}

impl Settings for Store {
    fn name(&self) -> &str {
        self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// An enumeration that the API reads wants these of all its members.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Store {}

impl Destination for Store {
    fn name(&self) -> &str {
        self.name
    }

    fn push<'a>(&'a self, file: &'a FileToPush) -> BoxFuture<'a, Result<String, PushError>> {
        self.take(file).boxed()
    }

    fn read<'a>(
        &'a self,
        location: &'a str,
        _range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Reading, PushError>> {
        async move {
            self.receive().await?;
            let name = location.strip_prefix(self.name).and_then(|rest| rest.strip_prefix('/'));
            Ok(match name.and_then(|name| self.object(name)) {
                None => Reading::Gone,
                Some(bytes) => Reading::Whole {
                    size: bytes.len() as u64,
                    pieces: futures_util::stream::iter([Ok(Bytes::from(bytes))]).boxed(),
                },
            })
        }
        .boxed()
    }

    fn abandon<'a>(&'a self, memo: &'a [u8]) -> BoxFuture<'a, Result<(), PushError>> {
        async move {
            self.receive().await?;
            let upload: String = serde_json::from_slice(memo).expect("a memo that it wrote");
            if self.disk.is_off() {
                return Err(self.error(Fault::Networks, "the connection was reset"));
            }
            self.inner().uploads.remove(&upload);
            others().await;
            self.answer()
        }
        .boxed()
    }

    fn withdraw<'a>(
        &'a self,
        name: &'a str,
        _location: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), PushError>> {
        async move {
            self.receive().await?;
            assert!(self.ours.is_some(), "{name} is to be deleted from a customer's storage");
            self.inner().objects.remove(name);
            others().await;
            self.answer()
        }
        .boxed()
    }
}
