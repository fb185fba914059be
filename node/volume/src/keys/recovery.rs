//! The recovery key: 256 bits that a person can read aloud and type.
//!
//! ```text
//! cbdefghi-jklnrtuv-…-…-…-…-…-…-hklcvbnd
//! └── eight groups of eight modhex characters ──┘ └ one check character for each of them
//! ```
//!
//! The first eight groups are exactly what `systemd-cryptenroll --recovery-key` makes, and are, with
//! their dashes, the passphrase in the key slot: systemd's and cryptsetup's tools take them. The
//! ninth is ours alone, may be left out, and says which group was mistyped: its characters are
//! sums of the group's with distinct weights in GF(16), so that one wrong character and two that
//! were swapped never go unnoticed.

use std::fmt::Write;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use zeroize::Zeroizing;

use super::Secret;

/// Sixteen letters that lie at the same place on most keyboards.
const MODHEX: &[u8; 16] = b"cbdefghijklnrtuv";
const GROUPS: usize = 8;
const GROUP_CHARS: usize = 8;
const KEY_CHARS: usize = GROUPS * GROUP_CHARS;

/// A recovery key.
#[derive(Clone)]
pub struct RecoveryKey(Zeroizing<[u8; KEY_CHARS]>);

/// What is wrong with a recovery key that was typed. None of it is in the message but the places.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistyped {
    /// Something that the alphabet does not have.
    #[error("group {0} has a character that is none of cbdefghijklnrtuv")]
    Character(usize),
    /// Too much or too little.
    #[error(
        "a recovery key has 8 groups of 8 letters and a ninth to check them; this has {0} letters"
    )]
    Length(usize),
    /// A group does not fit its check character.
    #[error("group {0} is mistyped, or the letter {0} of the ninth group is")]
    Group(usize),
}

impl RecoveryKey {
    /// Makes a new one from the kernel's randomness.
    ///
    /// # Errors
    /// If the kernel has none.
    pub fn generate() -> Result<Self, crate::Error> {
        let mut random = Zeroizing::new([0_u8; KEY_CHARS / 2]);
        getrandom::fill(random.as_mut_slice())
            .map_err(|e| crate::Error::failed("making a recovery key", e))?;
        let mut nibbles = Zeroizing::new([0_u8; KEY_CHARS]);
        for (byte, pair) in random.iter().zip(nibbles.chunks_exact_mut(2)) {
            pair.copy_from_slice(&[byte >> 4, byte & 15]);
        }
        Ok(Self(nibbles))
    }

    /// Reads what a person typed: capitals, spaces and dashes do not matter, nor whether the ninth
    /// group is there.
    ///
    /// # Errors
    /// What is wrong and in which group, counted from 1.
    pub fn parse(text: &[u8]) -> Result<Self, Mistyped> {
        let mut typed = Zeroizing::new([0_u8; KEY_CHARS + GROUPS]);
        let mut length = 0;
        for letter in text.iter().filter(|c| !c.is_ascii_whitespace() && **c != b'-') {
            let value = MODHEX.iter().position(|it| *it == letter.to_ascii_lowercase());
            let value = value.ok_or(Mistyped::Character(length / GROUP_CHARS + 1))?;
            if let Some(place) = typed.get_mut(length) {
                // Sixteen letters: it fits.
                *place = value as u8;
            }
            length += 1;
        }
        let mut nibbles = Zeroizing::new([0_u8; KEY_CHARS]);
        nibbles.copy_from_slice(&typed[..KEY_CHARS]);
        match length {
            KEY_CHARS => return Ok(Self(nibbles)),
            n if n == KEY_CHARS + GROUPS => {}
            n => return Err(Mistyped::Length(n)),
        }
        for (index, group) in nibbles.chunks_exact(GROUP_CHARS).enumerate() {
            if check(group) != typed[KEY_CHARS + index] {
                return Err(Mistyped::Group(index + 1));
            }
        }
        Ok(Self(nibbles))
    }

    /// What opens the slot: the eight groups with their dashes.
    #[must_use]
    pub fn passphrase(&self) -> Secret {
        Secret::copied(self.groups().as_bytes())
    }

    /// All nine groups, to be written down.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = self.groups();
        text.push('-');
        for group in self.0.chunks_exact(GROUP_CHARS) {
            text.push(letter(check(group)));
        }
        text
    }

    /// All nine groups as a QR code for a terminal.
    ///
    /// # Errors
    /// Never: 80 characters fit.
    pub fn qr(&self) -> Result<Zeroizing<String>, crate::Error> {
        let code = QrCode::new(self.text().as_bytes())
            .map_err(|e| crate::Error::failed("drawing the recovery key", e))?;
        // Light squares are drawn, dark ones left out: terminals are dark.
        let mut drawing = code.render::<Dense1x2>();
        drawing.dark_color(Dense1x2::Dark).light_color(Dense1x2::Light);
        Ok(Zeroizing::new(drawing.build()))
    }

    fn groups(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(KEY_CHARS + 2 * GROUPS + 1));
        for (index, group) in self.0.chunks_exact(GROUP_CHARS).enumerate() {
            if index > 0 {
                text.push('-');
            }
            for nibble in group {
                // A String takes what is written to it.
                let _ = text.write_char(letter(*nibble));
            }
        }
        text
    }
}

impl std::fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryKey")
    }
}

fn letter(nibble: u8) -> char {
    char::from(MODHEX[usize::from(nibble & 15)])
}

/// The sum of a group's characters, each times another power of the field's generator.
fn check(group: &[u8]) -> u8 {
    group.iter().rev().fold(0, |sum, nibble| double(sum ^ nibble))
}

/// Times x in GF(16) = GF(2)[x] / (x⁴ + x + 1).
const fn double(a: u8) -> u8 {
    let shifted = a << 1;
    if shifted & 16 == 0 { shifted } else { shifted ^ 0b1_0011 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(bytes: [u8; 32]) -> RecoveryKey {
        let mut nibbles = Zeroizing::new([0; KEY_CHARS]);
        for (byte, pair) in bytes.iter().zip(nibbles.chunks_exact_mut(2)) {
            pair.copy_from_slice(&[byte >> 4, byte & 15]);
        }
        RecoveryKey(nibbles)
    }

    #[test]
    fn it_is_written_as_systemd_writes_it_and_has_a_ninth_group() {
        let key = key(std::array::from_fn(|i| (i as u8).wrapping_mul(17)));
        let text = key.text();
        let groups: Vec<_> = text.split('-').collect();
        assert_eq!(groups.len(), 9);
        assert!(groups.iter().all(|group| group.len() == 8), "{groups:?}");
        assert_eq!(groups[0], "ccbbddee");
        assert_eq!(key.passphrase().bytes(), groups[..8].join("-").as_bytes());
        assert!(key.qr().unwrap().lines().count() > 15);
    }

    #[test]
    fn two_keys_differ() {
        let (one, other) = (RecoveryKey::generate().unwrap(), RecoveryKey::generate().unwrap());
        assert_ne!(one.text(), other.text());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_typed(bytes in any::<[u8; 32]>()) {
            let key = key(bytes);
            let text = key.text().to_uppercase().replace('-', "  ");
            let read = RecoveryKey::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(read.text(), key.text());
            let read = RecoveryKey::parse(key.passphrase().bytes()).unwrap();
            prop_assert_eq!(read.text(), key.text());
        }

        #[test]
        fn one_wrong_letter_is_told_with_its_group(
            bytes in any::<[u8; 32]>(), at in 0_usize..KEY_CHARS, by in 1_u8..16,
        ) {
            let key = key(bytes);
            let mut text = key.text().replace('-', "").into_bytes();
            let value = MODHEX.iter().position(|c| *c == text[at]).unwrap() as u8;
            text[at] = MODHEX[usize::from(value ^ by)];
            let wrong = RecoveryKey::parse(&text).unwrap_err();
            prop_assert_eq!(wrong, Mistyped::Group(at / GROUP_CHARS + 1));
        }

        #[test]
        fn two_swapped_letters_of_a_group_are_noticed(
            bytes in any::<[u8; 32]>(), group in 0..GROUPS, a in 0..GROUP_CHARS, b in 0..GROUP_CHARS,
        ) {
            let key = key(bytes);
            let mut text = key.text().replace('-', "").into_bytes();
            let (a, b) = (group * GROUP_CHARS + a, group * GROUP_CHARS + b);
            prop_assume!(text[a] != text[b]);
            text.swap(a, b);
            let wrong = RecoveryKey::parse(&text).unwrap_err();
            prop_assert_eq!(wrong, Mistyped::Group(group + 1));
        }

        #[test]
        fn whatever_is_typed_gets_an_answer(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RecoveryKey::parse(&text);
        }
    }
}
