//! Which bytes of a file a request asks for: `Range` and `If-Range` of RFC 9110, one range.
//!
//! A `Range` that is malformed, in other units or of several ranges is ignored, as the RFC allows:
//! the whole file is a right answer to it.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, header};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// The whole file.
    Whole,
    /// These bytes of it, at least one.
    Part(Range<u64>),
    /// Bytes that it does not have.
    Beyond,
}

/// Which bytes of a file of `size` bytes are asked for.
pub(super) fn asked(headers: &HeaderMap, size: u64, etag: Option<&HeaderValue>) -> Asked {
    // Without a date of its own a file matches no If-Range but its ETag.
    if headers.get(header::IF_RANGE).is_some_and(|condition| Some(condition) != etag) {
        return Asked::Whole;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|range| range.to_str().ok()), ranges.next()) {
        (Some(range), None) => parse(range, size).unwrap_or(Asked::Whole),
        _ => Asked::Whole,
    }
}

fn parse(range: &str, size: u64) -> Option<Asked> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let part = match (first, last) {
        ("", suffix) => size.saturating_sub(number(suffix)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size)
        }
    };
    Some(if part.start < part.end { Asked::Part(part) } else { Asked::Beyond })
}

/// Digits only; a number too large for the machine is beyond every file.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
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
