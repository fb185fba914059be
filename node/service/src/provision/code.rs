//! The code that is printed on the device. Only its digest is known here (`label.json`).

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use super::{ProvisionError, failed};

/// Longest code that is looked at, in bytes.
const CODE_BYTES_MAX: usize = 128;
const LABEL_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, Deserialize)]
struct Label {
    serial: Option<String>,
    code_sha256: String,
}

/// The device's label.
#[derive(Debug)]
pub(super) struct Code {
    /// The number that the device is known by.
    pub serial: Option<String>,
    sha256: [u8; 32],
}

impl Code {
    /// Reads `label.json`: `{"serial": "HF-…", "code_sha256": "…64 hex digits…"}`.
    pub(super) fn load(path: &Path) -> Result<Self, ProvisionError> {
        let length = std::fs::metadata(path).map_err(failed("read", path))?.len();
        let wrong =
            |problem: &str| ProvisionError::Label { path: path.into(), problem: problem.into() };
        if length > LABEL_BYTES_MAX {
            return Err(wrong("larger than any label"));
        }
        let bytes = std::fs::read(path).map_err(failed("read", path))?;
        let label: Label = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(&format!("is no label of a device: {error}")))?;
        let sha256 =
            unhex(&label.code_sha256).ok_or_else(|| wrong("code_sha256 is not 64 hex digits"))?;
        Ok(Self { serial: label.serial, sha256 })
    }

    /// Whether this is the code, however it was typed: with or without dashes and spaces, in small
    /// letters, with an O for a 0 or an I or L for a 1.
    pub(super) fn is(&self, typed: &str) -> bool {
        if typed.len() > CODE_BYTES_MAX {
            return false;
        }
        let plain: String = typed
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let alike = plain.replace('O', "0").replace(['I', 'L'], "1");
        let matches = |code: &str| {
            let of = digest(&SHA256, code.as_bytes());
            verify_slices_are_equal(of.as_ref(), &self.sha256).is_ok()
        };
        // Both, so that a code that was made of all letters is found too.
        matches(&plain) | matches(&alike)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        let sha256 = unhex(&digest::of(b"AB01CDEF2345GH67")).unwrap();
        let code = Code { serial: None, sha256 };
        for typed in [
            "AB01-CDEF-2345-GH67",
            "ab01 cdef 2345 gh67",
            "ABOI-CDEF-2345-GH67",
            "abolcdef2345gh67",
        ] {
            assert!(code.is(typed), "{typed}");
        }
        for typed in ["", "AB01-CDEF-2345-GH68", "AB01-CDEF-2345-GH67-7", &"A".repeat(4_096)] {
            assert!(!code.is(typed), "{typed}");
        }
        let letters = Code { serial: None, sha256: unhex(&digest::of(b"HOLLOW")).unwrap() };
        assert!(letters.is("hol-low"));
    }
}
