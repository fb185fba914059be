//! What an HTTP answer holds of a file.

use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Response, StatusCode};

use super::{Pieces, PushError, Reading};

/// Why the bytes of an answer ended early.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nothing moved for too long.
    Stalled,
    /// The connection broke.
    Broken(reqwest::Error),
}

/// What an answer with one of the statuses 200, 206 and 416 holds; `None` where it makes no sense. Bytes
/// that end early are told in the words of `judge`.
pub(super) fn reading(
    response: Response,
    stall_ms: u64,
    judge: impl Fn(Ended) -> PushError + Clone + Send + 'static,
) -> Option<Reading> {
    match response.status() {
        StatusCode::OK => {
            let size = response.content_length()?;
            Some(Reading::Whole { size, pieces: pieces(response, stall_ms, judge) })
        }
        StatusCode::PARTIAL_CONTENT => {
            let (part, size) = part(response.headers())?;
            if response.content_length() != Some(part.end - part.start) {
                return None;
            }
            Some(Reading::Part { part, size, pieces: pieces(response, stall_ms, judge) })
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            Some(Reading::Beyond { size: size(response.headers()) })
        }
        _ => None,
    }
}

/// The bytes of an answer. Time counts only while somebody waits for the next ones.
fn pieces(
    response: Response,
    stall_ms: u64,
    judge: impl Fn(Ended) -> PushError + Clone + Send + 'static,
) -> Pieces {
    let next = move |mut response: Response| {
        let judge = judge.clone();
        async move {
            match tokio::time::timeout(Duration::from_millis(stall_ms), response.chunk()).await {
                Ok(Ok(piece)) => Ok(piece.map(|piece| (piece, response))),
                Ok(Err(error)) => Err(judge(Ended::Broken(error))),
                Err(_) => Err(judge(Ended::Stalled)),
            }
        }
    };
    try_unfold(response, next).boxed()
}

/// Which bytes came and how large the whole is: `bytes 0-9/100`.
fn part(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let (part, size) = content_range(headers)?;
    let (first, last) = part.split_once('-')?;
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    (first <= last && last < size).then_some((first..last + 1, size))
}

/// How large the whole is where nothing came: `bytes */100`. Some stores leave it out.
fn size(headers: &HeaderMap) -> Option<u64> {
    match content_range(headers)? {
        ("*", size) => number(size),
        _ => None,
    }
}

fn content_range(headers: &HeaderMap) -> Option<(&str, &str)> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')
}

fn number(digits: &str) -> Option<u64> {
    digits.parse().ok()
}
