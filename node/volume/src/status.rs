//! How the volumes are, without a key and without changing anything.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Config, Name, VolumeSettings};
use crate::device::Shown;
use crate::keys::tpm2::{self, Binding};
use crate::luks::slots::Slot;
use crate::luks::{Description, Luks, Progress};
use crate::receipts::{self, Erased};
use crate::state::Opened;
use crate::volume::Volume;
use crate::{backup, children, device, erasing, filesystem, state};

/// The state of one that the machine may do without.
const UNMADE: &str = "unmade";

/// How one volume is.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub volume: Name,
    /// In one word: `open`, `closed`, `unmounted`, `unformatted`, `missing`, `damaged`, `foreign`, or `unmade` for one that
    /// is optional, missing, and was never here: no header backup of it is kept, nor a receipt of its erasure.
    pub state: &'static str,
    /// What is wrong, and what to do.
    pub problem: Option<String>,
    /// Its device now.
    pub device: Option<PathBuf>,
    /// What its header says.
    pub header: Option<Description>,
    /// How far it is re-encrypted, if that is under way.
    pub reencryption: Option<Progress>,
    /// Its key slots, without anything of the keys.
    pub slots: Vec<Slot>,
    /// How slots are bound to the TPM2, and whether it unseals them.
    pub tpm2: Vec<Binding>,
    /// Where it is mounted, or would be.
    pub mount: PathBuf,
    /// The mount's options, if it is.
    pub mount_options: Option<String>,
    /// How it was opened.
    pub opened: Option<Opened>,
    /// What the kernel does: cipher and options of its table, if it is open.
    pub kernel: Option<Kernel>,
    /// When the kept header backup was made.
    pub header_backup: Option<jiff::Timestamp>,
    /// Receipts of what had this name before and was erased, the newest first.
    pub erased: Vec<Erased>,
}

/// Whether it is tried what the TPM unseals, which takes it up to a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriesTpm {
    /// For a person who asks.
    Always,
    /// For a program that asks often: of open volumes it is known how they were opened.
    IfClosed,
}

/// What the kernel's table says.
#[derive(Debug, Serialize)]
pub struct Kernel {
    /// Cipher and mode; with integrity it is written another way than in the header.
    pub cipher: String,
    /// Whether that is what the header says.
    pub is_as_header: bool,
    /// Whether discards are passed on.
    pub discards: bool,
    /// Whether the volume key lies in the kernel's keyring, not in the table.
    pub key_in_keyring: bool,
}

/// How every volume is.
#[must_use]
pub fn all(config: &Config, tries_tpm: TriesTpm) -> Vec<Status> {
    // Those that the machine may do without are mostly not there: one look at the devices tells that of all of them.
    let seen = device::tags().ok();
    let is_gone = |tag: &str| seen.as_ref().is_some_and(|seen| !seen.contains(tag));
    let one = |settings: &VolumeSettings| {
        let volume = Volume::new(config, settings);
        if settings.optional && !was_here(&volume) && is_gone(&settings.device.tag()) {
            return Status { state: UNMADE, ..Status::missing(&volume) };
        }
        one(&volume, tries_tpm)
    };
    config.volumes.iter().map(one).collect()
}

/// Whether a header backup of it is kept, or a receipt of its erasure.
fn was_here(volume: &Volume<'_>) -> bool {
    !backup::kept(volume.config, volume.name()).is_empty()
        || !receipts::shown(volume.config, volume.name()).is_empty()
}

impl Status {
    /// Of a volume whose device is not there.
    fn missing(volume: &Volume<'_>) -> Self {
        Self {
            volume: volume.name().clone(),
            state: "missing",
            problem: None,
            device: None,
            header: None,
            reencryption: None,
            slots: Vec::new(),
            tpm2: Vec::new(),
            mount: volume.settings.mount.clone(),
            mount_options: filesystem::mounted(&volume.mapped(), &volume.settings.mount),
            opened: None,
            kernel: None,
            header_backup: None,
            erased: receipts::shown(volume.config, volume.name()),
        }
    }

    /// Whether the machine may do without it, and never had it.
    #[must_use]
    pub fn is_unmade(&self) -> bool {
        self.state == UNMADE
    }
}

/// How a volume is.
#[must_use]
pub fn one(volume: &Volume<'_>, tries_tpm: TriesTpm) -> Status {
    let mut status = Status::missing(volume);
    status.problem = look(volume, &mut status, tries_tpm).err();
    let is_gone = status.state == "missing" && status.device.is_none();
    if is_gone && volume.settings.optional && !was_here(volume) {
        (status.state, status.problem) = (UNMADE, None);
    }
    status
}

fn look(volume: &Volume<'_>, status: &mut Status, tries_tpm: TriesTpm) -> Result<(), String> {
    let device = volume.device().map_err(|e| e.to_string())?;
    status.device = Some(device.clone());
    status.state = "damaged";
    let Some(mut luks) = Luks::load(&device, volume.kdf()).map_err(|e| e.to_string())? else {
        let shown = Shown::of(&device).map_err(|e| e.to_string())?;
        let holds = shown.contents();
        if erasing::begun(volume.config, volume.name(), &shown).is_some() {
            let name = volume.name();
            return Err(format!("its erasure was cut off; repeat holdfast-volume erase {name}"));
        }
        if let Some(lost) = volume.lost_header(&device).map_err(|e| e.to_string())? {
            return Err(lost);
        }
        if holds.is_empty() {
            status.state = "unformatted";
            return Err(format!("empty; holdfast-volume format {}", volume.name()));
        }
        status.state = "foreign";
        return Err(format!("holds {}", holds.join(", ")));
    };
    status.reencryption = luks.reencryption().map_err(|e| e.to_string())?;
    let header = luks.describe().map_err(|e| e.to_string())?;
    status.slots = luks.slots().map_err(|e| e.to_string())?;
    let kept = backup::path(volume.config, volume.name(), &header.uuid);
    let made = fs::metadata(kept).and_then(|meta| meta.modified()).ok();
    status.header_backup = made.and_then(|made| jiff::Timestamp::try_from(made).ok());
    status.kernel = kernel(volume, &header);
    status.header = Some(header);
    if let Err(what) = luks.is_ours(volume.settings.integrity) {
        status.state = "foreign";
        return Err(what);
    }
    let is_open = volume.is_open();
    let is_tried = tries_tpm == TriesTpm::Always || !is_open;
    let tokens = luks.tokens().map_err(|e| e.to_string())?;
    status.tpm2 = tpm2::bindings(&volume.config.tpm2, &device, &tokens, is_tried);
    status.opened = state::noted(volume.name()).filter(|_| is_open);
    status.state = match (is_open, &status.mount_options) {
        (true, Some(_)) => "open",
        (true, None) => "unmounted",
        (false, _) => "closed",
    };
    let is_read_only = status.mount_options.iter().any(|it| it.split(',').any(|it| it == "ro"));
    if is_read_only {
        return Err("its file system went read-only after an error: see the journal".to_owned());
    }
    if status.header_backup.is_none() {
        return Err(format!("no header backup; holdfast-volume header backup {}", volume.name()));
    }
    Ok(())
}

/// The table never has a key in it: keys lie in the keyring, and `dmsetup` shows zeros for others.
fn kernel(volume: &Volume<'_>, header: &Description) -> Option<Kernel> {
    let table = children::run("dmsetup", ["table", &volume.name().mapped()]).ok()?;
    let words: Vec<&str> = table.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "crypt")?;
    let (cipher, key) = (*words.get(at + 1)?, *words.get(at + 2)?);
    Some(Kernel {
        cipher: cipher.to_owned(),
        is_as_header: match header.integrity {
            None => cipher == header.cipher,
            Some(_) => cipher.starts_with("capi:authenc(hmac(sha256),xts(aes))-plain64"),
        },
        discards: words.contains(&"allow_discards"),
        key_in_keyring: key.starts_with(':'),
    })
}
