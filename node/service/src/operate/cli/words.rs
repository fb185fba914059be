//! Text for people at a terminal: sizes, instants, and nothing that a terminal would obey.
//!
//! What came from outside (names, browsers, destinations' errors) may hold control characters, or
//! marks that turn the writing around; none gets through.

use std::fmt::{self, Display, Write};

use jiff::Timestamp;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Text without control characters.
pub(super) struct Plain<T>(pub(super) T);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let plain: String = text
            .chars()
            .map(|c| if is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        f.pad(&plain)
    }
}

/// Whether a terminal does something at this character, or shows something else than is there.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A size, in the unit that suits it.
pub(super) struct Bytes(pub(super) u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        let mut at = 0;
        while at + 1 < units.len() && self.0 >> (10 * (at + 1)) > 0 {
            at += 1;
        }
        let one = 1_u64 << (10 * at);
        let text = match at {
            0 => format!("{} bytes", self.0),
            _ => format!("{:.1} {}", self.0 as f64 / one as f64, units[at]),
        };
        f.pad(&text)
    }
}

/// How long something took, in milliseconds.
pub(super) struct Millis(pub(super) u64);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03} s", self.0 / 1_000, self.0 % 1_000))
    }
}

/// An instant, to the second.
pub(super) struct Instant(pub(super) Timestamp);

impl Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
    }
}

/// How long something has been going on, in seconds, to the two largest units.
pub(super) struct Elapsed(pub(super) u64);

impl Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes) = (self.0 / 86_400, self.0 / 3_600 % 24, self.0 / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{} s", self.0),
            (0, 0, _) => write!(f, "{minutes} min"),
            (0, ..) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

/// Collects lines of `label  text`.
#[derive(Default)]
pub(super) struct Lines(pub(super) String);

impl Lines {
    pub(super) fn line(&mut self, label: &str, text: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{:<13} {}", Plain(label), Plain(text));
    }

    pub(super) fn maybe(&mut self, label: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.line(label, text);
        }
    }
}

/// What a JSON value is for people: an instant to the second, a list with commas, `yes` and `no`.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => instant(value).unwrap_or_else(|| text.clone()),
        Value::Array(all) if all.is_empty() => "none".into(),
        Value::Array(all) => all.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| format!("{name} {}", shown(value)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A string that is an instant, as people read it.
pub(super) fn instant(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    // A timestamp is no shorter; much else that is short parses as a part of one.
    let at: Timestamp = (text.len() >= 20).then(|| text.parse().ok()).flatten()?;
    Some(Instant(at).to_string())
}

/// The words at a place of a JSON value; nothing where there are none.
pub(super) fn words<'a>(value: &'a Value, place: &str) -> Option<&'a str> {
    value.pointer(place).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// How many columns of a terminal some text takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// As much of a text as fits into some columns, with a sign that there was more.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.into();
    }
    let mut left = width.saturating_sub(1);
    let mut kept = String::new();
    for c in text.chars() {
        let takes = c.width().unwrap_or(0);
        if takes > left {
            break;
        }
        left -= takes;
        kept.push(c);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(Bytes(1_023).to_string(), "1023 bytes");
        assert_eq!(Bytes(1_536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(512 << 20).to_string(), "512.0 MiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16777216.0 TiB");
        assert_eq!(Millis(1_050).to_string(), "1.050 s");
        assert_eq!(Elapsed(59).to_string(), "59 s");
        assert_eq!(Elapsed(90_000).to_string(), "1 d 1 h");
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(Plain("a\x1b[2Jb\n").to_string(), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(Plain("exe\u{202e}gpj.mp4").to_string(), "exe\u{fffd}gpj.mp4");
        assert_eq!(Plain("Ünï 録画 👍").to_string(), "Ünï 録画 👍");
    }

    #[test]
    fn values_read_well() {
        let value = json!({ "a": ["x", true, null], "b": "2026-11-24T02:00:00.5Z", "c": [] });
        assert_eq!(shown(&value), "a x, yes, -, b 2026-11-24 02:00:00Z, c none");
        assert_eq!(shown(&json!("20261124T02")), "20261124T02");
    }

    #[test]
    fn what_is_too_wide_is_cut_between_characters() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("録画録画", 6), "録画…");
        assert_eq!(columns(&cut("録画録画", 6)), 5);
    }
}
