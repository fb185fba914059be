//! What is on a device, as its header says it, and whether that is what we write.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::reencrypt::REQUIREMENT;
use super::{Cipher, INTEGRITY, INTEGRITY_KEY_BYTES, Luks, SECTOR_BYTES, SLOTS};
use crate::error::Error;

/// Where a header and its copy may begin, in bytes: the copy's place follows the header's size.
const PLACES: [u64; 10] =
    [0, 0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];

/// What a header says of its volume; no key material.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// The header's UUID.
    pub uuid: String,
    /// Cipher and mode.
    pub cipher: String,
    /// Bits of the volume's key, the integrity's included.
    pub key_bits: usize,
    /// Bytes of a sector.
    pub sector_bytes: u64,
    /// Integrity's algorithm, if any.
    pub integrity: Option<String>,
}

impl Luks {
    /// What the header says.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn describe(&mut self) -> Result<Description, Error> {
        let json = self.json()?;
        let segment = &json["segments"]["0"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Description {
            uuid: self.uuid()?,
            cipher: text(&segment["encryption"]).unwrap_or_default(),
            key_bits: usize::try_from(self.crypt.status_handle().get_volume_key_size())
                .unwrap_or_default()
                * 8,
            sector_bytes: segment["sector_size"].as_u64().unwrap_or_default(),
            integrity: text(&segment["integrity"]["type"]),
        })
    }

    /// The cipher of the data.
    ///
    /// # Errors
    /// That it is none of ours, in words.
    pub(super) fn cipher(&mut self) -> Result<Cipher, String> {
        let named = self.describe().map_err(|e| e.to_string())?.cipher;
        Cipher::of(&named).ok_or_else(|| {
            let (aes, adiantum) = (Cipher::Aes.as_str(), Cipher::Adiantum.as_str());
            format!("has the cipher {named:?}, neither {aes} nor {adiantum}")
        })
    }

    /// Whether the header says what [`Luks::format`] writes.
    ///
    /// # Errors
    /// What it says instead, in words.
    pub fn is_ours(&mut self, integrity: bool) -> Result<(), String> {
        let json = self.json().map_err(|e| e.to_string())?;
        let here = self.describe().map_err(|e| e.to_string())?;
        let is = |what: &str, is: bool| if is { Ok(()) } else { Err(what.to_owned()) };
        let requires = json["config"]["requirements"]["mandatory"].as_array();
        let requires = requires.map_or(&[][..], Vec::as_slice);
        let is_between = matches!(requires, [one] if one == REQUIREMENT);
        is("wants more than this program knows", is_between || requires.is_empty())?;
        let segments = json["segments"].as_object().into_iter().flat_map(|it| it.values());
        let segments: Vec<_> = segments.collect();
        is("has not one segment", segments.len() == 1 || is_between && segments.len() > 1)?;
        let wanted = integrity.then_some(INTEGRITY);
        let cipher = self.cipher()?;
        for segment in segments {
            is("has a segment in the clear", segment["type"] == "crypt")?;
            is("has more than one cipher", segment["encryption"] == cipher.as_str())?;
            let has = segment["integrity"]["type"].as_str();
            let other = format!("has integrity {has:?}; the configuration says {wanted:?}");
            is(&other, has == wanted)?;
            is("has sectors of another size", segment["sector_size"] == SECTOR_BYTES)?;
        }
        let bits = 8 * (cipher.key_bytes() + if integrity { INTEGRITY_KEY_BYTES } else { 0 });
        is("has a key of another length", here.key_bits == bits)?;
        let slots = json["keyslots"].as_object().into_iter().flatten();
        for (number, slot) in slots.filter(|(_, it)| !is_between || it["type"] != "reencrypt") {
            let by = &slot["area"]["encryption"];
            // systemd and Clevis seal theirs with what the data has.
            let is_sealed = by == SLOTS.as_str() || by == cipher.as_str();
            is(&format!("has key slot {number} with another cipher"), is_sealed)?;
        }
        Ok(())
    }

    /// What its volume keys are known by: salted digests, which only who knows the key can make. Only of
    /// those with which data is encrypted or which a key slot holds: anybody can copy a digest that
    /// nothing depends on.
    ///
    /// # Errors
    /// If the header cannot be read.
    pub fn digests(&mut self) -> Result<Vec<String>, Error> {
        let json = self.json()?;
        let names = |it: &Value| -> Vec<String> {
            let all = it.as_array().into_iter().flatten();
            all.filter_map(|it| it.as_str().map(str::to_owned)).collect()
        };
        // The slot in which a re-encryption notes how far it is has a digest of its own, which changes.
        let is_bound = |digest: &Value| {
            let holds = |slot: &String| json["keyslots"][slot]["type"] == "luks2";
            !names(&digest["segments"]).is_empty() || names(&digest["keyslots"]).iter().any(holds)
        };
        let digests = json["digests"].as_object().into_iter().flat_map(|it| it.values());
        let bound = digests.filter(|digest| is_bound(digest));
        Ok(bound.filter_map(|it| Some(it["digest"].as_str()?.to_owned())).collect())
    }

    /// Bytes that header, copy and key slots take at the front of the device.
    ///
    /// # Errors
    /// If the header cannot be read.
    pub fn header_bytes(&mut self) -> Result<u64, Error> {
        let json = self.json()?;
        // LUKS2 writes these numbers as text.
        let member = |name: &str| {
            json["config"][name].as_str().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default()
        };
        Ok(2 * (4096 + member("json_size")) + member("keyslots_size"))
    }
}

/// Whether a LUKS2 header or its copy begins anywhere on a device. A whole one or not; but where a
/// LUKS1 header begins the device, what follows is left from before it.
pub(super) fn has_signature(path: &Path) -> Result<bool, Error> {
    let failed = |e| Error::failed(format!("reading {}", path.display()), e);
    let file = File::open(path).map_err(failed)?;
    for place in PLACES {
        let mut begin = [0; 8];
        match file.read_exact_at(&mut begin, place) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(failed(e)),
        }
        if place == 0 && begin == *b"LUKS\xba\xbe\0\x01" {
            return Ok(false);
        }
        if begin.starts_with(b"LUKS\xba\xbe") || begin.starts_with(b"SKUL\xba\xbe") {
            return Ok(true);
        }
    }
    Ok(false)
}
