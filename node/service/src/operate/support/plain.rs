//! Free text, made fit to be sent away.
//!
//! Three sieves, one behind the other:
//! 1. What is known to be somebody's (names, hosts, users, secrets, what a recording says of a person)
//!    goes, however it is written; what has a number in the bundle gets that in its place.
//! 2. What stands in quotes goes: programs quote what came from outside.
//! 3. Of the rest only words of letters, plain numbers, instants, recordings' ids and some terms of the
//!    trade stay. Addresses, URLs, paths, host names, tokens and mail addresses are none of these.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use zeroize::Zeroize;

/// What stands where something was left out.
pub(crate) const LEFT_OUT: &str = "(left out)";
/// Longest text, in bytes. What is longer is cut off.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// Shortest that is looked for inside other words, in bytes.
const KNOWN_BYTES_MIN: usize = 3;
/// Longest word, in bytes.
const WORD_BYTES_MAX: usize = 24;
/// Longest number, in digits.
const DIGITS_MAX: usize = 12;
/// Words with digits in them that the node's own sentences have.
const TERMS: [&str; 17] = [
    "h264", "h265", "x264", "vp8", "vp9", "av1", "mp3", "mp4", "s3", "ipv4", "ipv6", "luks2",
    "ext4", "sha256", "utf-8", "md5", "crc32c",
];
/// What may stand around a word.
const AROUND: [char; 16] =
    ['.', ',', ';', ':', '!', '?', '(', ')', '[', ']', '{', '}', '<', '>', '-', '\''];

/// What is known of a node that must not be told, and what may.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// By their first bytes, in lower case, the longest first, each with what stands in its place: there
    /// may be thousands of environments.
    known: BTreeMap<[u8; KNOWN_BYTES_MIN], Vec<(String, String)>>,
    kept: BTreeSet<String>,
}

impl Plain {
    /// Leaves this out wherever it stands.
    pub(crate) fn hide(&mut self, value: &str) {
        self.put(value, LEFT_OUT.into());
    }

    /// Calls this something else wherever it stands.
    pub(crate) fn call(&mut self, value: &str, name: &str) {
        self.kept.insert(name.to_owned());
        self.put(value, name.to_owned());
    }

    /// Lets this stand, although it has digits.
    pub(crate) fn keep(&mut self, word: &str) {
        self.kept.insert(word.to_owned());
    }

    fn put(&mut self, value: &str, instead: String) {
        let value = value.trim().to_ascii_lowercase();
        let Some(first) = value.as_bytes().first_chunk() else { return };
        let alike = self.known.entry(*first).or_default();
        if !alike.iter().any(|(known, _)| *known == value) {
            let at = alike.partition_point(|(known, _)| known.len() >= value.len());
            alike.insert(at, (value, instead));
        }
    }

    /// A text without what must not be told.
    pub(crate) fn text(&self, text: &str) -> String {
        let text = self.without_known(cut(text));
        let text = self.without_quoted(&text);
        let words: Vec<String> = text.split_whitespace().map(|word| self.word(word)).collect();
        let (mut said, twice) = (words.join(" "), format!("{LEFT_OUT} {LEFT_OUT}"));
        while said.contains(&twice) {
            said = said.replace(&twice, LEFT_OUT);
        }
        cut(&said).to_owned()
    }

    /// Whether this is a word that stays.
    pub(crate) fn is_plain(&self, word: &str) -> bool {
        self.kept.contains(word)
            || is_word(word)
            || is_number(word)
            || is_id(word)
            || word.parse::<Timestamp>().is_ok()
            || TERMS.contains(&word.to_ascii_lowercase().as_str())
    }

    /// A text without what is known to be somebody's: the first sieve.
    pub(crate) fn without_known(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase();
        let (mut said, mut at) = (String::with_capacity(text.len()), 0);
        while let Some(next) = text[at..].chars().next() {
            let alike =
                lower.as_bytes()[at..].first_chunk().and_then(|first| self.known.get(first));
            let mut alike = alike.into_iter().flatten();
            let known = alike.find(|(known, _)| lower[at..].starts_with(known));
            if let Some((known, instead)) = known {
                said.push_str(instead);
                at += known.len();
            } else {
                said.push(next);
                at += next.len_utf8();
            }
        }
        said
    }

    fn without_quoted(&self, text: &str) -> String {
        let (mut said, mut rest, mut before) = (String::with_capacity(text.len()), text, ' ');
        while let Some(next) = rest.chars().next() {
            let after = &rest[next.len_utf8()..];
            let opens = match next {
                '"' | '`' => true,
                '\'' => !before.is_alphanumeric() && closes(after, '\'').is_some(),
                _ => false,
            };
            before = next;
            if !opens {
                said.push(next);
                rest = after;
                continue;
            }
            let end = closes(after, next);
            let quoted = &after[..end.unwrap_or(after.len())];
            let is_command = next == '`'
                && quoted.starts_with("holdfast")
                && quoted.split_whitespace().all(|word| self.is_plain(word));
            let stays = is_command || self.kept.contains(quoted);
            let quoted = if stays { quoted } else { LEFT_OUT };
            said.push_str(quoted);
            rest = end.map_or("", |end| &after[end + next.len_utf8()..]);
        }
        said
    }

    fn word(&self, whole: &str) -> String {
        let word = whole.trim_matches(AROUND);
        if word.is_empty() || self.is_plain(word) {
            return whole.to_owned();
        }
        let behind = &whole[whole.trim_end_matches(AROUND).len()..];
        let behind = behind.trim_matches(|c| !['.', ',', ';', ':'].contains(&c));
        format!("{LEFT_OUT}{behind}")
    }
}

/// Secrets are among what is known.
impl Drop for Plain {
    fn drop(&mut self) {
        self.known.values_mut().flatten().for_each(|(known, _)| known.zeroize());
    }
}

/// As much of a text as there may be.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Where a quotation ends, in bytes. A quote behind a backslash does not end it.
fn closes(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, next)| {
        let is_end = next == quote && !is_escaped;
        is_escaped = next == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

/// Letters, with a dash, an underscore or an apostrophe between them.
fn is_word(word: &str) -> bool {
    word.len() <= WORD_BYTES_MAX
        && word
            .split(['-', '_', '\''])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

/// Digits, with one point or comma between them and a short unit behind.
fn is_number(word: &str) -> bool {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let has_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = digits.splitn(2, ['.', ',']);
    word.len() - digits.len() <= 3
        && digits.len() <= DIGITS_MAX
        && parts.next().is_some_and(has_digits)
        && parts.next().is_none_or(has_digits)
}

/// A UUID of version 4 or 7, as volumes and recordings have: random, and of nobody.
fn is_id(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() == 36
        && matches!(bytes[14], b'4' | b'7')
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_stay_readable() {
        let plain = Plain::default();
        for text in [
            "cannot be pushed to until this is mended",
            "the server answered 530: Login incorrect (at the login)",
            "it took 1.5 s of 30 s, and 17 MiB came; that is 42%",
            "recording 0199f0a0-1b2c-7d3e-8f40-123456789abc failed at 2026-11-29T10:00:00Z",
            "x264 couldn't; h264 in mp4",
        ] {
            assert_eq!(plain.text(text), text);
        }
    }

    #[test]
    fn what_looks_like_a_name_of_something_outside_is_left_out() {
        let plain = Plain::default();
        for (text, wanted) in [
            ("from 192.0.2.7:4711 again", "from (left out) again"),
            ("from 2001:db8::1, again", "from (left out), again"),
            ("cannot reach https://user:pw@s3.example.net/b/k now", "cannot reach (left out) now"),
            ("open /srv/anna/key.pem: denied", "open (left out): denied"),
            ("no host ftp.example.net", "no host (left out)"),
            ("mail anna@example.net", "mail (left out)"),
            ("key AKIAIOSFODNN7EXAMPLE is none", "key (left out) is none"),
            ("said \"530 User \\\"Anna\\\" denied\" at last", "said (left out) at last"),
            ("User 'Anna Maria' cannot", "User (left out) cannot"),
            ("it said \"and never ended", "it said (left out)"),
            ("Frau Müller's", "Frau (left out)"),
            ("a=b c=d", "(left out)"),
            ("at \"x\" (ftp://h:21): denied", "at (left out): denied"),
            ("ask with `holdfast-volume status` now", "ask with holdfast-volume status now"),
            ("ask with `holdfast 10.0.0.1` or `rm x`", "ask with (left out) or (left out)"),
        ] {
            assert_eq!(plain.text(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_known_goes_however_it_is_written_and_the_longest_first() {
        let mut plain = Plain::default();
        plain.hide("hunter");
        plain.hide("Hunter Two");
        plain.call("archive", "destination-1");
        plain.keep("data0");
        assert_eq!(plain.text("HUNTER TWO and xhunterx"), "(left out) and (left out)");
        assert_eq!(plain.text("\"archive\" fails on data0"), "destination-1 fails on data0");
    }

    #[test]
    fn a_text_has_an_end() {
        let long = "a ".repeat(1 << 20);
        assert!(Plain::default().text(&long).len() <= TEXT_BYTES_MAX);
        assert!(Plain::default().text(&"é".repeat(5_000)).len() <= TEXT_BYTES_MAX);
        assert!(Plain::default().text(&"a 1b ".repeat(5_000)).len() <= TEXT_BYTES_MAX);
    }
}
