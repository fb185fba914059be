//! Evidence for an auditor: what the kernel, the headers and the node say of how recordings are kept,
//! signed with the key of the audit log.
//!
//! Format: a JSON object; `signature` is Ed25519, in base64, over the canonical form (RFC 8785) of the
//! object without that member. Nothing in it is a secret or names a person. A promise that could not be
//! looked into has `holds: null`, and is not called kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::HeadView;
use super::status::{ClockView, VolumeView, clock_view, volumes};
use crate::audit::{PublicKey, canonical};
use crate::config::Profile;
use crate::digest::hex;
use crate::ledger::LedgerError;
use crate::node::Node;
use crate::vault::Encryption;
use crate::volumes::helper::{self, LuksView};

/// The ciphers that volumes may have, with the fewest bits of their keys.
const CIPHERS: [(&str, usize); 2] = [(AES, 512), ("xchacha12,aes-adiantum-plain64", 256)];
const AES: &str = "aes-xts-plain64";
/// The same with integrity, as the kernel writes it.
const CIPHER_WITH_INTEGRITY: &str = "capi:authenc(hmac(sha256),xts(aes))-plain64";
/// Most that an epoch lasts beyond its time, in milliseconds: a failed end is tried again within it.
const EPOCH_LATE_MS: i64 = 120_000;

/// What a node can show of how it keeps recordings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    /// When it was put together.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// The node's name.
    pub node: String,
    /// Its version.
    pub version: String,
    /// What it is run as: `appliance` or `development`.
    pub profile: String,
    /// What it promises, and whether that was found to be so.
    pub promises: Vec<PromiseView>,
    /// The volumes as the node and the kernel see them.
    pub volumes: Vec<VolumeView>,
    /// The volumes as their headers say; nothing where `holdfast-volume` could not be asked.
    pub luks: Option<Vec<LuksView>>,
    /// How the epochs of recordings' keys stand; nothing where recordings have no keys of their own.
    pub erasure: Option<ErasureView>,
    /// Its clock.
    pub clock: ClockView,
    /// The newest entry of the audit log: its sequence number, and its SHA-256 in hex.
    pub audit_head: Option<HeadView>,
    /// What the key is called that signed this.
    pub key: String,
    /// That key, in base64.
    pub public_key: String,
    /// The signature.
    pub signature: String,
}

/// How the epochs of recordings' keys stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasureView {
    /// When the current one began. What is deleted now can be read with its key until it ends.
    #[schema(value_type = String, format = DateTime)]
    pub epoch_began_at: Timestamp,
    /// How long one lasts, in milliseconds.
    pub epoch_ms: u64,
    /// The newest epoch such that it and all before it are destroyed; 0 where there is none yet.
    pub destroyed: u64,
    /// Whether the one before the current is still to be destroyed.
    pub unfinished: bool,
}

impl ErasureView {
    /// Of a node; nothing where recordings have no keys.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let standing = node.vault.epochs()?;
        Some(Self {
            epoch_began_at: standing.began_at,
            epoch_ms: node.config.vault.erasure_epoch_ms,
            destroyed: standing.destroyed,
            unfinished: standing.is_unfinished,
        })
    }

    /// Whether keys of what was deleted go on the timetable. An epoch takes a moment to end.
    fn in_time(&self, now: Timestamp) -> Found {
        let length = i64::try_from(self.epoch_ms).unwrap_or(i64::MAX);
        let late = SignedDuration::from_millis(length.saturating_add(EPOCH_LATE_MS));
        let found = format!(
            "the epoch began at {}; all up to the {}th are destroyed",
            self.epoch_began_at, self.destroyed
        );
        (Some(now.duration_since(self.epoch_began_at) <= late), found)
    }
}

/// A promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PromiseView {
    /// In one word.
    pub name: String,
    /// In a sentence.
    pub promise: String,
    /// Whether it is kept; nothing where that could not be looked into.
    pub holds: Option<bool>,
    /// What was found.
    pub found: String,
}

impl PromiseView {
    fn new(name: &str, promise: &str, (holds, found): (Option<bool>, String)) -> Self {
        Self { name: name.into(), promise: promise.into(), holds, found }
    }
}

/// Puts the evidence together, as things stand.
///
/// # Errors
/// [`LedgerError`] where the audit log cannot be read.
pub async fn evidence(node: &Arc<Node>) -> Result<EvidenceView, LedgerError> {
    let volumes = volumes(node).await;
    let asked = helper::status().await;
    let head = node.audit.head(&node.ledger)?;
    let key = node.audit.public_key();
    let mut evidence = EvidenceView {
        made_at: node.clock.now(),
        node: node.config.node_name(),
        version: env!("CARGO_PKG_VERSION").into(),
        profile: match node.config.node.profile {
            Profile::Appliance => "appliance".into(),
            Profile::Development => "development".into(),
        },
        promises: promises(node, &volumes, &asked.as_deref().map_err(ToString::to_string)),
        volumes,
        luks: asked.ok(),
        erasure: ErasureView::of(node),
        clock: clock_view(node),
        audit_head: head.map(|head| HeadView { seq: head.seq, hash: hex(&head.hash) }),
        key: key.id(),
        public_key: key.to_base64(),
        signature: String::new(),
    };
    let mut value = serde_json::to_value(&evidence).unwrap_or_default();
    evidence.signature =
        signed_part(&mut value).map_or_else(String::new, |it| node.audit.sign(&it));
    Ok(evidence)
}

/// What is signed of it.
fn signed_part(evidence: &mut Value) -> Option<Vec<u8>> {
    evidence.as_object_mut()?.remove("signature");
    canonical(evidence)
}

/// Checks a file of evidence with one of these keys, or, where none is given, with the one that it
/// names itself. Answers what the key is called.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check(file: &str, keys: &[PublicKey]) -> Result<String, String> {
    let mut value: Value =
        serde_json::from_str(file).map_err(|error| format!("this is no JSON: {error}"))?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let (signature, named) = (text("signature"), text("public_key"));
    let signed = signed_part(&mut value).ok_or("this is no evidence of a node")?;
    let own = PublicKey::all_of(&named).map_err(|_| "it names no key that signed it")?;
    let known = if keys.is_empty() { &own[..] } else { keys };
    let by = known.iter().find(|key| key.has_signed(&signed, &signature));
    by.map(PublicKey::id).ok_or_else(|| {
        if keys.is_empty() {
            "it was changed after it was signed".to_owned()
        } else {
            "it was changed after it was signed, or another node signed it".to_owned()
        }
    })
}

type Found = (Option<bool>, String);

/// What was found of one volume: kept, not looked into, or broken and how.
type Looked = Result<Option<()>, String>;

fn promises(
    node: &Node,
    volumes: &[VolumeView],
    luks: &Result<&[LuksView], String>,
) -> Vec<PromiseView> {
    let of_headers = |look: fn(&LuksView) -> Looked| match luks {
        Ok(all) => all_of(volumes.iter().map(|it| (it.name.as_str(), header(it, all, look)))),
        Err(why) => (None, why.clone()),
    };
    let clock = clock_view(node);
    let erasure = ErasureView::of(node).map(|erasure| {
        PromiseView::new(
            "erasure",
            "Each recording has a key of its own; that of a deleted one ceases to exist when its epoch ends.",
            erasure.in_time(node.clock.now()),
        )
    });
    let promises = vec![
        PromiseView::new(
            "encrypted_at_rest",
            "Recordings lie on nothing but LUKS2 volumes, by the kernel's own word.",
            all_of(volumes.iter().map(|volume| (volume.name.as_str(), encrypted(volume)))),
        ),
        PromiseView::new(
            "cipher",
            "Volumes are encrypted with AES-XTS under a key of 512 bits, or with Adiantum under one of 256 where a \
             processor has no AES, and the kernel does what the header says.",
            of_headers(cipher),
        ),
        PromiseView::new(
            "keys",
            "Each volume has a slot for the machine and one for a recovery key, and none that nobody knows of.",
            of_headers(slots),
        ),
        PromiseView::new(
            "header_backup",
            "A backup of each volume's header is kept.",
            of_headers(|it| it.header_backup.map(|_| Some(())).ok_or_else(|| "has none".into())),
        ),
        PromiseView::new(
            "state",
            "What the node knows of recordings lies on an encrypted file system.",
            state(&node.config.node.state_path),
        ),
        PromiseView::new(
            "swap",
            "What is in memory is never swapped to an unencrypted disk.",
            swap(),
        ),
        PromiseView::new(
            "clock",
            "The clock by which recordings are deleted is trusted.",
            (Some(clock.trusted), clock.detail.unwrap_or_else(|| "it is".into())),
        ),
    ];
    promises.into_iter().chain(erasure).collect()
}

/// Whether something is so of all of them; the sentence names those of which it is not, or is not known.
fn all_of<'a>(each: impl Iterator<Item = (&'a str, Looked)>) -> Found {
    let (mut count, mut wrong, mut unknown) = (0, Vec::new(), Vec::new());
    for (name, found) in each {
        count += 1;
        match found {
            Ok(Some(())) => {}
            Ok(None) => unknown.push(name),
            Err(why) => wrong.push(format!("{name} {why}")),
        }
    }
    if !wrong.is_empty() {
        (Some(false), wrong.join("; "))
    } else if count == 0 {
        (None, "there is no volume".into())
    } else if unknown.is_empty() {
        (Some(true), format!("so it is of all {count}"))
    } else {
        (None, format!("could not be looked into: {}", unknown.join(", ")))
    }
}

/// Of one that is not there nothing can be said.
fn encrypted(volume: &VolumeView) -> Looked {
    match (volume.state.is_there(), volume.encrypted) {
        (false, _) => Ok(None),
        (true, true) => Ok(Some(())),
        (true, false) => Err(format!("is {}", volume.encryption)),
    }
}

/// What is so of the header of a volume, found by the UUID that the kernel tells.
fn header(volume: &VolumeView, all: &[LuksView], look: fn(&LuksView) -> Looked) -> Looked {
    if !volume.state.is_there() {
        return Ok(None);
    }
    let is_its = |luks: &&LuksView| {
        let uuid = luks.header.as_ref().map(|header| header.uuid.replace('-', ""));
        uuid.is_some() && uuid == volume.luks_uuid
    };
    let found = all.iter().find(is_its).ok_or("is none of holdfast-volume's")?;
    look(found)
}

/// What is wrong with the header of an encrypted volume, or with what the kernel makes of it; nothing
/// where nothing is, or it cannot be looked into.
pub(super) fn luks_fault(volume: &VolumeView, all: &[LuksView]) -> Option<String> {
    header(volume, all, cipher).and(header(volume, all, slots)).err()
}

fn cipher(luks: &LuksView) -> Looked {
    let header = luks.header.as_ref().ok_or_else(|| format!("is {}", luks.state))?;
    let is_one =
        |(cipher, bits): &(&str, usize)| header.cipher == *cipher && header.key_bits >= *bits;
    if !CIPHERS.iter().any(is_one) {
        return Err(format!("has {} with {} bits", header.cipher, header.key_bits));
    }
    match &luks.kernel {
        Some(kernel) if !kernel.is_as_header => {
            Err(format!("is mapped with {}, not as its header says", kernel.cipher))
        }
        Some(kernel)
            if kernel.cipher != header.cipher && kernel.cipher != CIPHER_WITH_INTEGRITY =>
        {
            Err(format!("is mapped with {}", kernel.cipher))
        }
        Some(_) => Ok(Some(())),
        None => Ok(None),
    }
}

fn slots(luks: &LuksView) -> Looked {
    let has = |purpose: &str| luks.slots.iter().any(|slot| slot.purpose == purpose);
    if has("unknown") {
        Err("has a key slot that nothing says the purpose of".into())
    } else if !has("machine") {
        Err("has no slot for the machine".into())
    } else if !has("recovery") {
        Err("has no slot for a recovery key".into())
    } else {
        Ok(Some(()))
    }
}

fn state(path: &Path) -> Found {
    match Encryption::of_path(path) {
        Ok(encryption) => {
            (Some(encryption.is_encrypted()), format!("it is {}", encryption.describe()))
        }
        Err(error) => (None, format!("{}: {error}", path.display())),
    }
}

/// Memory that is compressed into memory (zram) is no disk.
fn swap() -> Found {
    let listed = match std::fs::read_to_string("/proc/swaps") {
        Ok(listed) => listed,
        Err(error) => return (None, format!("/proc/swaps: {error}")),
    };
    let places = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let places: Vec<PathBuf> = places.map(PathBuf::from).collect();
    let in_the_clear =
        |place: &&PathBuf| !is_memory(place) && !Encryption::of_swap(place).is_encrypted();
    let wrong: Vec<String> =
        places.iter().filter(in_the_clear).map(|it| it.display().to_string()).collect();
    match (places.len(), wrong.is_empty()) {
        (0, _) => (Some(true), "there is no swap".into()),
        (_, true) => (Some(true), "all of it is encrypted".into()),
        (_, false) => (Some(false), format!("not encrypted: {}", wrong.join(", "))),
    }
}

/// Whether this is memory that is compressed into memory, and is not written back to a disk.
fn is_memory(place: &Path) -> bool {
    let name = place.strip_prefix("/dev").ok().and_then(Path::to_str).unwrap_or_default();
    let is_zram =
        name.strip_prefix("zram").is_some_and(|it| it.bytes().all(|b| b.is_ascii_digit()));
    let backing = std::fs::read_to_string(format!("/sys/block/{name}/backing_dev"));
    is_zram && backing.map_or(true, |backing| backing.trim() == "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luks(change: impl FnOnce(&mut Value)) -> LuksView {
        let mut value = serde_json::json!({
            "volume": "data0", "state": "open", "problem": null, "device": "/dev/sda1",
            "header": {"uuid": "u", "cipher": AES, "key_bits": 512, "sector_bytes": 4096,
                       "integrity": null},
            "slots": [{"number": 0, "purpose": "machine", "source": "stick", "made": null},
                      {"number": 1, "purpose": "recovery", "source": null, "made": null}],
            "mount": "/srv/data0", "mount_options": "rw", "opened": null,
            "kernel": {"cipher": AES, "is_as_header": true, "discards": false,
                       "key_in_keyring": true},
            "header_backup": null,
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_kernel_that_does_something_else_than_the_header_says_is_named() {
        assert_eq!(cipher(&luks(|_| ())), Ok(Some(())));
        let other = luks(|it| it["kernel"]["is_as_header"] = false.into());
        assert!(cipher(&other).unwrap_err().contains("not as its header says"));
        let null = luks(|it| it["kernel"]["cipher"] = "cipher_null-ecb".into());
        assert!(cipher(&null).unwrap_err().contains("cipher_null"));
        let short = luks(|it| it["header"]["key_bits"] = 256.into());
        assert!(cipher(&short).unwrap_err().contains("256 bits"));
        assert_eq!(cipher(&luks(|it| it["kernel"] = Value::Null)), Ok(None));
        let adiantum = |bits: u64| {
            luks(|it| {
                it["header"]["cipher"] = "xchacha12,aes-adiantum-plain64".into();
                it["header"]["key_bits"] = bits.into();
                it["kernel"]["cipher"] = "xchacha12,aes-adiantum-plain64".into();
            })
        };
        assert_eq!(cipher(&adiantum(256)), Ok(Some(())));
        assert!(cipher(&adiantum(128)).unwrap_err().contains("128 bits"));
        let another = luks(|it| it["kernel"]["cipher"] = "xchacha12,aes-adiantum-plain64".into());
        assert!(cipher(&another).unwrap_err().contains("is mapped with"));
    }

    #[test]
    fn a_slot_that_nobody_knows_of_breaks_the_promise() {
        assert_eq!(slots(&luks(|_| ())), Ok(Some(())));
        let unknown = luks(|it| it["slots"][0]["purpose"] = "unknown".into());
        assert!(slots(&unknown).unwrap_err().contains("nothing says"));
        let alone = luks(|it| {
            it["slots"].as_array_mut().unwrap().pop();
        });
        assert!(slots(&alone).unwrap_err().contains("recovery"));
    }

    #[test]
    fn what_could_not_be_looked_into_is_not_called_kept() {
        assert_eq!(all_of(std::iter::empty()).0, None);
        let broken = [("a", Ok(Some(()))), ("b", Err("is open".to_owned())), ("c", Ok(None))];
        assert_eq!(all_of(broken.into_iter()), (Some(false), "b is open".to_owned()));
        assert_eq!(all_of([("a", Ok(Some(()))), ("c", Ok(None))].into_iter()).0, None);
    }
}
