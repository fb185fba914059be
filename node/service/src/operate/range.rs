//! Which bytes of a file a request asks for: `Range` and `If-Range` of RFC 9110, one range.
//!
//! A `Range` that is malformed, in other units or of several ranges is ignored, as the RFC allows:
//! the whole file is a right answer to it.

use std::fmt;
use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, header};

/// Largest number in a range that is passed on.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The whole file.
    Whole,
    /// These bytes of it, at least one.
    Part(Range<u64>),
    /// Bytes that it does not have.
    Beyond,
}

/// A range as a request has it, before it is known how large the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// From this byte to the end.
    From(u64),
    /// From this byte to this one.
    FromTo(u64, u64),
    /// The last so many bytes.
    Last(u64),
}

impl Wanted {
    /// What a request wants, unless it is the whole.
    pub(super) fn read(headers: &HeaderMap, etag: Option<&HeaderValue>) -> Option<Self> {
        // Without a date of its own a file matches no If-Range but its ETag.
        if headers.get(header::IF_RANGE).is_some_and(|condition| Some(condition) != etag) {
            return None;
        }
        let mut ranges = headers.get_all(header::RANGE).iter();
        match (ranges.next().and_then(|range| range.to_str().ok()), ranges.next()) {
            (Some(range), None) => Self::parse(range),
            _ => None,
        }
    }

    /// Reads what `Range` says, unless it is to be ignored.
    pub(crate) fn parse(range: &str) -> Option<Self> {
        parse(range)
    }

    /// Which bytes of a file of `size` bytes this is.
    pub(crate) fn of(self, size: u64) -> Asked {
        let part = match self {
            Self::From(first) => first..size,
            Self::FromTo(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(bytes) => size.saturating_sub(bytes)..size,
        };
        if part.start < part.end { Asked::Part(part) } else { Asked::Beyond }
    }
}

/// As in `Range`.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first) => write!(f, "bytes={first}-"),
            Self::FromTo(first, last) => write!(f, "bytes={first}-{last}"),
            Self::Last(bytes) => write!(f, "bytes=-{bytes}"),
        }
    }
}

/// Which bytes of a file of `size` bytes are asked for.
pub(super) fn asked(headers: &HeaderMap, size: u64, etag: Option<&HeaderValue>) -> Asked {
    Wanted::read(headers, etag).map_or(Asked::Whole, |wanted| wanted.of(size))
}

fn parse(range: &str) -> Option<Wanted> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first, last) {
        ("", suffix) => Some(Wanted::Last(number(suffix)?)),
        (first, "") => Some(Wanted::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Wanted::FromTo(first, last))
        }
    }
}

/// Digits only. A number beyond every file may be too large for a store, and becomes the largest
/// that any takes.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(NUMBER_MAX).min(NUMBER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(value: &str, size: u64) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, value.parse().unwrap());
        asked(&headers, size, None)
    }

    #[test]
    fn one_range_of_each_form() {
        for (value, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=5-99", Asked::Part(5..10)),
            ("Bytes = 5-5", Asked::Part(5..6)),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-12", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=99999999999999999999-", Asked::Beyond),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=5-2", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            assert_eq!(range(value, 10), expected, "{value}");
        }
        assert_eq!(range("bytes=0-", 0), Asked::Beyond);
    }

    #[test]
    fn a_range_is_passed_on_in_one_form() {
        for (value, expected) in [
            ("Bytes = 5-7", Some("bytes=5-7")),
            ("bytes=05-", Some("bytes=5-")),
            ("bytes=-3", Some("bytes=-3")),
            ("bytes=1-99999999999999999999", Some("bytes=1-9223372036854775807")),
            ("bytes=0-1,4-5", None),
            ("lines=0-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, value.parse().unwrap());
            let wanted = Wanted::read(&headers, None).map(|wanted| wanted.to_string());
            assert_eq!(wanted.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn if_range_holds_only_for_the_same_bytes() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=1-2".parse().unwrap());
        headers.insert(header::IF_RANGE, "\"a\"".parse().unwrap());
        let (same, other) = (HeaderValue::from_static("\"a\""), HeaderValue::from_static("\"b\""));
        assert_eq!(asked(&headers, 10, Some(&same)), Asked::Part(1..3));
        assert_eq!(asked(&headers, 10, Some(&other)), Asked::Whole);
        assert_eq!(asked(&headers, 10, None), Asked::Whole);
    }
}
