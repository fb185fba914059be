//! Checking an export with public keys alone: no node, no network, and no more memory than a line
//! and what was found wrong.
//!
//! Each line is checked by itself first (digest, key, signature). Only what passes counts for the
//! chain; a line that does not pass is taken for the entry whose place it holds, so that one wrong
//! entry is one fault, named.

mod chain;
mod keys;
mod report;

use std::io::{self, BufRead, Read};

use serde_json::Value;

use super::key::PublicKey;
use super::line::{Flaw, Hash, Unsealed, from_hex, unseal};
use chain::Chain;
use keys::Keys;
pub use keys::{Destroyed, ErasedKeys};
pub use report::{Entry, Fault, FaultKind, Report};

/// Longest line, in bytes. An entry is a few hundred.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Faults after which there is no point in going on.
const FAULTS_MAX: usize = 1_000;

/// With what an export is checked.
#[derive(Debug, Clone, Default)]
pub struct With {
    /// Public keys that may have signed it. Without any, the one in the export is believed.
    pub keys: Vec<PublicKey>,
    /// Digest, in hex, of an entry that is known from before.
    pub known: Option<String>,
}

/// Checks an export.
///
/// # Errors
/// Where it cannot be read; what is wrong with it is in the report.
pub fn verify(mut export: impl BufRead, with: With) -> io::Result<Report> {
    let mut check = Check::new(with)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than a line may have shows that it is longer.
        export.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 > LINE_BYTES_MAX {
            let error = format!("line {} is longer than any that a node writes", check.line + 1);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        check.take(&line);
        if check.chain.found() >= FAULTS_MAX {
            return Ok(check.give_up());
        }
    }
    Ok(check.finish())
}

/// Whether a text is a digest as entries have it.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    from_hex(text).is_some()
}

/// The line with which an export begins.
#[derive(Debug, Clone, Copy)]
struct Start {
    ends: Option<(u64, u64, Hash)>,
    newest: Option<u64>,
}

/// An export that is being checked.
struct Check {
    keys: Vec<PublicKey>,
    is_believed: bool,
    known: Option<Hash>,
    found_known: bool,
    line: u64,
    start: Option<Start>,
    chain: Chain,
    erased: Keys,
}

impl Check {
    fn new(with: With) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, "this is no digest of an entry");
        let known = with.known.map(|text| from_hex(&text).ok_or_else(bad)).transpose()?;
        Ok(Self {
            is_believed: with.keys.is_empty(),
            keys: with.keys,
            known,
            found_known: false,
            line: 0,
            start: None,
            chain: Chain::default(),
            erased: Keys::default(),
        })
    }

    fn take(&mut self, text: &[u8]) {
        self.line += 1;
        let unsealed = unseal(text);
        if self.line == 1 && !is_head(unsealed.as_ref()) {
            let sentence = "the export does not begin with its head: its start was cut off";
            self.chain.fault(FaultKind::NoHead, Some(1), None, sentence);
        }
        match unsealed {
            Ok(line) if is_head(Ok(&line)) => self.take_head(&line),
            Ok(line) => self.take_entry(&line),
            Err(reason) => self.chain.take_unreadable(self.line, reason),
        }
    }

    fn take_head(&mut self, line: &Unsealed) {
        if self.line > 1 {
            let sentence = format!(
                "line {} is the head of an export, in the middle of one; check one export at a time",
                self.line
            );
            return self.chain.fault(FaultKind::OtherHead, Some(self.line), None, sentence);
        }
        if self.is_believed {
            self.keys.extend(line.text("public_key").and_then(PublicKey::from_base64));
        }
        let read = read_head(line);
        let problem = match (line.check(&self.keys), &read) {
            (Err(Flaw::Foreign), _) => format!(
                "the export's head is signed with another key ({}) than the one given",
                line.key()
            ),
            (Err(_), _) => "the export's head was changed".into(),
            (Ok(()), None) => "the export's head is not understood".into(),
            (Ok(()), Some(start)) => {
                self.chain.begin(start.ends.map(|(first, ..)| first));
                self.start = Some(*start);
                return;
            }
        };
        self.chain.fault(FaultKind::HeadChanged, Some(1), None, problem);
    }

    fn take_entry(&mut self, line: &Unsealed) {
        let (at, flaw) = (self.line, line.check(&self.keys).err());
        let (seq, prev, made_at) = (line.seq(), line.prev(), line.at());
        let entry = self.chain.place_of(seq);
        let name = entry.map_or_else(|| "an entry".into(), |seq| format!("entry {seq}"));
        let (kind, sentence) = match (flaw, seq, prev, made_at) {
            (None, Some(seq), Some(prev), Some(made_at)) => {
                self.found_known |= self.known.is_some_and(|known| {
                    known == line.hash || (known == prev && seq > 1 && self.chain.is_empty())
                });
                self.erased.take(line.members.get("what"), made_at);
                let entry = Entry { seq, at: made_at, hash: line.hash };
                return self.chain.take(at, entry, prev, line.key());
            }
            (None, ..) => {
                return self.chain.take_unreadable(at, "it is signed, but no entry");
            }
            (Some(Flaw::Changed), ..) => {
                (FaultKind::Changed, "was changed: its content has another digest than it says")
            }
            (Some(Flaw::Foreign), ..) => {
                (FaultKind::ForeignKey, "is signed with another key than the one given")
            }
            (Some(Flaw::Unsigned), ..) => {
                (FaultKind::NotSigned, "was changed or made up: the key did not sign it")
            }
        };
        let mut sentence = format!("{name} {sentence}");
        if kind == FaultKind::ForeignKey {
            sentence = format!("{sentence} ({})", printable(line.key()));
        }
        self.chain.take_bad(at, seq, kind, sentence);
    }

    fn finish(mut self) -> Report {
        if self.line == 0 {
            self.chain.fault(FaultKind::NoHead, None, None, "there is nothing in it");
        }
        let end = self.start.and_then(|start| start.ends);
        let end = end.map(|(_, seq, hash)| (seq, hash));
        self.chain.end(self.start.is_some(), end);
        if self.known.is_some() && !self.found_known {
            let sentence = "no entry has the digest that is known: this is another log, one that was \
                written anew since, or a part that does not reach it";
            self.chain.fault(FaultKind::KnownNotFound, None, None, sentence);
        }
        self.report(false)
    }

    fn give_up(mut self) -> Report {
        self.chain.end(false, None);
        self.report(true)
    }

    fn report(self, gave_up: bool) -> Report {
        let newest = self.start.and_then(|start| start.newest);
        Report {
            is_sound: self.chain.faults.is_empty(),
            entries: self.chain.entries,
            first: self.chain.first,
            last: self.chain.last,
            newest,
            keys: self.chain.keys.into_iter().collect(),
            key_was_believed: self.is_believed,
            erased_keys: self.erased.report(),
            faults: self.chain.faults,
            gave_up,
        }
    }
}

fn is_head(line: Result<&Unsealed, &&'static str>) -> bool {
    line.is_ok_and(|line| line.members.contains_key("export"))
}

/// What a head says; nothing where it makes no sense.
fn read_head(line: &Unsealed) -> Option<Start> {
    let export = line.members.get("export")?;
    let number = |name: &str| export.get(name).and_then(Value::as_u64);
    let hash = export.get("last_hash").and_then(Value::as_str).and_then(from_hex);
    let ends = match (number("first"), number("last"), hash) {
        (Some(first), Some(last), Some(hash)) if first <= last => Some((first, last, hash)),
        (None, None, None) => None,
        _ => return None,
    };
    Some(Start { ends, newest: number("newest") })
}

/// A key's name, as it may stand in a sentence: nobody vouches for it.
fn printable(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

#[cfg(test)]
mod tests;
