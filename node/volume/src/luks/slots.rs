//! Key slots with a purpose.
//!
//! The token of a slot: `{"type":"holdfast","keyslots":["0"],"purpose":"machine",
//! "source":"credential","made":"2026-01-31T12:00:00Z"}`; `source` only for a machine's. The type of
//! a recovery slot's is systemd's, `systemd-recovery`, whose tools read past the other members; they
//! want one token for each slot. Adding is
//! slot first, then token: cut off between the two it leaves a slot of unknown purpose, which
//! opens the volume and can be removed. Removing is slot first too: a token without a slot says
//! nothing and is removed at the next change.

use libcryptsetup_rs::TokenInput;
use libcryptsetup_rs::consts::vals::KeyslotInfo;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Luks, failed};
use crate::error::Error;
use crate::keys::{Purpose, Secret, SourceKind};
use crate::state;

/// Slots and tokens that a LUKS2 header has room for.
const NUMBERS: std::ops::Range<u32> = 0..32;

/// The type of our own tokens, and of systemd's for its recovery keys.
const HOLDFAST: &str = "holdfast";
const SYSTEMD_RECOVERY: &str = "systemd-recovery";
/// The type of what Clevis encrypts to a Tang server.
pub const CLEVIS: &str = "clevis";
/// The type of what systemd-cryptenroll seals to a TPM2.
const SYSTEMD_TPM2: &str = "systemd-tpm2";
/// The same under another name, while a new one is sealed in its place: systemd-cryptenroll does nothing
/// if it finds one for the same state of the TPM.
const ASIDE_TPM2: &str = "holdfast-tpm2";

/// Whether a token is one that a TPM2 unseals.
#[must_use]
pub fn is_tpm2(token: &Value) -> bool {
    matches!(token["type"].as_str(), Some(SYSTEMD_TPM2 | ASIDE_TPM2))
}

/// A slot in use; no key material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// Its number.
    pub number: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// Where the machine finds its key.
    pub source: Option<SourceKind>,
    /// When it was made.
    pub made: Option<String>,
}

impl Luks {
    /// The slots in use, by number.
    ///
    /// # Errors
    /// If the header cannot be read.
    pub fn slots(&mut self) -> Result<Vec<Slot>, Error> {
        let json = self.json()?;
        let tokens: Vec<&Value> =
            json["tokens"].as_object().into_iter().flat_map(|it| it.values()).collect();
        // One in which a re-encryption keeps its checksums holds no key.
        let all = json["keyslots"].as_object().into_iter().flatten();
        let numbers = all.filter(|(_, it)| it["type"] == "luks2").map(|(number, _)| number);
        let mut slots: Vec<Slot> =
            numbers.filter_map(|number| Some(slot(number.parse().ok()?, &tokens))).collect();
        slots.sort_by_key(|slot| slot.number);
        Ok(slots)
    }

    /// The tokens with their numbers, for sources that keep something there.
    ///
    /// # Errors
    /// If the header cannot be read.
    pub fn tokens(&mut self) -> Result<Vec<(u32, Value)>, Error> {
        let json = self.json()?;
        let tokens = json["tokens"].as_object().into_iter().flatten();
        Ok(tokens.filter_map(|(number, it)| Some((number.parse().ok()?, it.clone()))).collect())
    }

    /// Says what a slot is for.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn name_slot(
        &mut self,
        number: u32,
        purpose: Purpose,
        source: Option<SourceKind>,
    ) -> Result<(), Error> {
        let keyslots = [number.to_string()];
        let made = state::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let kind = if purpose == Purpose::Recovery { SYSTEMD_RECOVERY } else { HOLDFAST };
        let mut token =
            json!({"type": kind, "keyslots": keyslots, "purpose": purpose, "made": made});
        if let Some(source) = source {
            token["source"] = json!(source);
        }
        let added = self.crypt.token_handle().json_set(TokenInput::AddToken(&token));
        added.map(drop).map_err(|e| failed(&self.path, "naming a key slot of", e))
    }

    /// Adds a slot, with the right of a key that opens another, and proves that it opens.
    ///
    /// # Errors
    /// If the header cannot be written, or there is no slot left.
    pub fn add_slot(
        &mut self,
        by: &Secret,
        key: &Secret,
        purpose: Purpose,
        source: Option<SourceKind>,
    ) -> Result<u32, Error> {
        self.pin_slots()?;
        let added = self.crypt.keyslot_handle().add_by_passphrase(None, by.bytes(), key.bytes());
        let number = added.map_err(|e| failed(&self.path, "adding a key slot to", e))?;
        self.name_slot(number, purpose, source)?;
        if self.slot_of(key)?.is_none() {
            let doing = format!("adding a key slot to {}", self.path.display());
            return Err(Error::failed(doing, "the new key does not open it"));
        }
        Ok(number)
    }

    /// Sets what is sealed to the TPM2 aside, under a name that only this program knows, or puts it back.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn set_tpm2_aside(&mut self, is_aside: bool) -> Result<(), Error> {
        for (number, mut token) in self.tokens()?.into_iter().filter(|(_, it)| is_tpm2(it)) {
            token["type"] = json!(if is_aside { ASIDE_TPM2 } else { SYSTEMD_TPM2 });
            let set = self.crypt.token_handle().json_set(TokenInput::ReplaceToken(number, &token));
            set.map_err(|e| failed(&self.path, "renaming a token of", e))?;
        }
        Ok(())
    }

    /// Destroys a slot: its key material is overwritten. Takes its tokens along, and those of slots
    /// that are gone.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn remove_slot(&mut self, number: u32) -> Result<(), Error> {
        let removed = self.crypt.keyslot_handle().destroy(number);
        removed.map_err(|e| failed(&self.path, &format!("destroying key slot {number} of"), e))?;
        if self.reencryption()?.is_some() {
            // Tokens cannot be removed then; without a slot they say nothing.
            return Ok(());
        }
        for token in NUMBERS {
            let Ok(json) = self.crypt.token_handle().json_get(token) else { continue };
            let is_named = matches!(
                json["type"].as_str(),
                Some(HOLDFAST | SYSTEMD_RECOVERY | SYSTEMD_TPM2 | ASIDE_TPM2)
            );
            let is_alone = json["keyslots"].as_array().is_some_and(Vec::is_empty);
            if is_named && is_alone {
                let removed = self.crypt.token_handle().json_set(TokenInput::RemoveToken(token));
                removed.map_err(|e| failed(&self.path, "removing a token of", e))?;
            }
        }
        Ok(())
    }

    /// The numbers of slots that libcryptsetup finds in use, whatever the JSON says of what for; without the
    /// one that holds the checksums of a re-encryption, and no key.
    ///
    /// # Errors
    /// If the header cannot be read.
    pub fn numbers_in_use(&mut self) -> Result<Vec<u32>, Error> {
        let json = self.json()?;
        let mut handle = self.crypt.keyslot_handle();
        let used = NUMBERS.filter(|number| {
            json["keyslots"][number.to_string()]["type"] != "reencrypt"
                && !matches!(
                    handle.status(*number),
                    Ok(KeyslotInfo::Inactive | KeyslotInfo::Invalid)
                )
        });
        Ok(used.collect())
    }
}

fn slot(number: u32, tokens: &[&Value]) -> Slot {
    let text = number.to_string();
    let is_its = |token: &&&Value| {
        let slots = token["keyslots"].as_array();
        slots.is_some_and(|slots| slots.iter().any(|it| it.as_str() == Some(&text)))
    };
    let its = tokens.iter().find(is_its);
    let kind = its.and_then(|token| token["type"].as_str());
    let member = |name: &str| its.map(|token| token[name].clone());
    let purpose = member("purpose").and_then(|it| serde_json::from_value(it).ok());
    Slot {
        number,
        // Slots that systemd-cryptenroll or Clevis made have no purpose in words.
        purpose: purpose.unwrap_or(match kind {
            Some(SYSTEMD_RECOVERY) => Purpose::Recovery,
            Some(SYSTEMD_TPM2 | ASIDE_TPM2) => Purpose::Machine,
            Some(CLEVIS) => Purpose::Site,
            _ => Purpose::Unknown,
        }),
        source: match kind {
            Some(SYSTEMD_TPM2 | ASIDE_TPM2) => Some(SourceKind::Tpm2),
            Some(CLEVIS) => Some(SourceKind::Site),
            _ => member("source").and_then(|it| serde_json::from_value(it).ok()),
        },
        made: member("made").and_then(|it| it.as_str().map(str::to_owned)),
    }
}
