//! Folders and files: what they hold now, and what of it would outlive a power cut.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::lock;
use crate::simulation::chance::Chance;

#[derive(Debug, Default)]
pub(super) struct Folder(pub(super) Mutex<Names>);

#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) now: BTreeMap<OsString, Entry>,
    pub(super) durable: BTreeMap<OsString, Entry>,
    /// Changes since the last sync.
    pending: Vec<(OsString, Option<Entry>)>,
}

#[derive(Debug, Clone)]
pub(super) enum Entry {
    Folder(Arc<Folder>),
    File(Arc<Mutex<Bytes>>),
}

#[derive(Debug, Default)]
pub(super) struct Bytes {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) modified: Timestamp,
    /// The disk lost what was to be synced, and has yet to say so to whoever syncs this file.
    pub(super) is_lost: bool,
}

impl Bytes {
    pub(super) fn sync(&mut self) {
        self.durable = self.now.clone();
    }

    /// What a failed sync leaves: pages that are marked as clean, and were never written.
    pub(super) fn lose(&mut self) {
        let kept = if self.now.starts_with(&self.durable) { self.durable.len() } else { 0 };
        self.now[kept..].fill(0);
    }
}

impl Names {
    pub(super) fn set(&mut self, name: &OsStr, entry: Option<Entry>) {
        match &entry {
            Some(entry) => self.now.insert(name.to_owned(), entry.clone()),
            None => self.now.remove(name),
        };
        self.pending.push((name.to_owned(), entry));
    }

    pub(super) fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.now);
    }
}

pub(super) fn sync_all(folder: &Folder, works: bool) {
    let mut names = lock(&folder.0);
    if works {
        names.sync();
    }
    for entry in names.now.values() {
        match entry {
            Entry::Folder(inner) => sync_all(inner, works),
            Entry::File(bytes) => {
                let mut bytes = lock(bytes);
                if works {
                    bytes.sync();
                } else if bytes.now != bytes.durable {
                    bytes.lose();
                    bytes.is_lost = true;
                }
            }
        }
    }
}

pub(super) fn crash(folder: &Folder, chance: &mut Chance) {
    let mut names = lock(&folder.0);
    let kept = chance.index(names.pending.len() + 1);
    let pending = std::mem::take(&mut names.pending);
    for (name, entry) in pending.into_iter().take(kept) {
        match entry {
            Some(entry) => names.durable.insert(name, entry),
            None => names.durable.remove(&name),
        };
    }
    names.now = names.durable.clone();
    for entry in names.now.values() {
        match entry {
            Entry::Folder(inner) => crash(inner, chance),
            Entry::File(bytes) => {
                let mut bytes = lock(bytes);
                if bytes.now != bytes.durable {
                    let from =
                        if bytes.now.starts_with(&bytes.durable) { bytes.durable.len() } else { 0 };
                    let kept = from + chance.index(bytes.now.len() - from + 1);
                    bytes.now.truncate(kept);
                    // Its length may have become durable before its bytes.
                    if chance.percent(25) {
                        bytes.now[from..].fill(0);
                    }
                    bytes.durable = bytes.now.clone();
                }
            }
        }
    }
}
