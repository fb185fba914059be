//! One line of the log: a JSON object with its digest and signature in it.
//!
//! The body is the object without the members `hash` and `sig`, in its one form ([`canonical`]).
//! `hash` is the body's SHA-256 in lower-case hex; `sig` is the Ed25519 signature of the body, in
//! base64. The line is the whole object in its one form, so that there is one line for each body.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::canonical::canonical;
use super::key::{PublicKey, Signer, sha256};
use crate::digest::hex;

/// Version of the format.
const VERSION: u64 = 1;

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// A line, and the digest of its body.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) hash: Hash,
    pub(super) line: Vec<u8>,
}

/// Signs an object; it gets the members `v`, `key`, `hash` and `sig`. Nothing where it holds what
/// has no one form.
pub(super) fn seal(signer: &Signer, mut members: Map<String, Value>) -> Option<Sealed> {
    members.insert("v".into(), VERSION.into());
    members.insert("key".into(), signer.public().id().into());
    let mut object = Value::Object(members);
    let body = canonical(&object)?;
    let hash = sha256(&body);
    object["hash"] = hex(&hash).into();
    object["sig"] = signer.sign(&body).into();
    Some(Sealed { hash, line: canonical(&object)? })
}

/// A line, taken apart. Nothing in it is to be believed before it was checked.
#[derive(Debug)]
pub(super) struct Unsealed {
    /// All members but `hash` and `sig`.
    pub(super) members: Map<String, Value>,
    /// The digest that it says it has.
    pub(super) hash: Hash,
    body: Vec<u8>,
    sig: String,
}

/// What is wrong with a line by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Its body does not have the digest that it says.
    Changed,
    /// It says that another key signed it.
    Foreign,
    /// The signature is not that of its key.
    Unsigned,
}

/// Takes a line apart.
pub(super) fn unseal(line: &[u8]) -> Result<Unsealed, &'static str> {
    let value: Value = serde_json::from_slice(line).map_err(|_| "it is no JSON")?;
    // Else two different lines could pass for one entry.
    if canonical(&value).as_deref() != Some(line) {
        return Err("it is JSON, but not in the form that the node writes");
    }
    let Value::Object(mut members) = value else { return Err("it is no JSON object") };
    let hash = members.remove("hash").as_ref().and_then(Value::as_str).and_then(from_hex);
    let hash = hash.ok_or("it has no digest")?;
    let sig = members.remove("sig");
    let sig = sig.as_ref().and_then(Value::as_str).ok_or("it has no signature")?.to_owned();
    if members.get("v").and_then(Value::as_u64) != Some(VERSION) {
        return Err("its format is one that this program does not know; use a newer program");
    }
    let object = Value::Object(members);
    let body = canonical(&object).ok_or("it has no body")?;
    let Value::Object(members) = object else { return Err("it is no JSON object") };
    Ok(Unsealed { members, hash, body, sig })
}

impl Unsealed {
    /// What the line calls the key that signed it.
    pub(super) fn key(&self) -> &str {
        self.text("key").unwrap_or("")
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// An entry's place in the log.
    pub(super) fn seq(&self) -> Option<u64> {
        self.members.get("seq").and_then(Value::as_u64).filter(|seq| *seq > 0)
    }

    /// The digest of the entry before it.
    pub(super) fn prev(&self) -> Option<Hash> {
        self.text("prev").and_then(from_hex)
    }

    /// When it was made.
    pub(super) fn at(&self) -> Option<Timestamp> {
        self.text("at").and_then(|at| at.parse().ok())
    }

    /// Checks it with these keys.
    pub(super) fn check(&self, keys: &[PublicKey]) -> Result<(), Flaw> {
        if sha256(&self.body) != self.hash {
            return Err(Flaw::Changed);
        }
        let key = keys.iter().find(|key| key.id() == self.key()).ok_or(Flaw::Foreign)?;
        if key.has_signed(&self.body, &self.sig) { Ok(()) } else { Err(Flaw::Unsigned) }
    }
}

/// A SHA-256 in lower-case hex.
pub(super) fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|c| b"0123456789abcdef".contains(&c)) {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}
