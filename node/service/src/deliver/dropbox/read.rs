//! Reads a file and hands its bytes on, as fast as they are taken.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use reqwest::Response;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use serde_json::json;

use super::client::{Call, Client, Payload, Waits};
use super::error::{Error, Meaning};
use crate::config::DropboxDestination;
use crate::deliver::progress::Progress;
use crate::deliver::{Pieces, Reading};

const WHAT: &str = "read the file";
/// Longest that Dropbox may have somebody wait who wants to watch, in milliseconds.
const WAIT_MS_MAX: u64 = 10_000;

/// Asks for a file, or for a part of it.
pub(super) async fn open(
    client: &Client,
    path: &str,
    range: Option<&str>,
    settings: &DropboxDestination,
) -> Result<Reading, Error> {
    let stall_ms = client.limits.stall_ms_max;
    let call = Call {
        what: WHAT,
        route: "files/download",
        argument: json!({ "path": path }),
        payload: Payload::Wanted(range),
        stall_ms_max: stall_ms,
    };
    let waits = Waits::new(client.limits.wait_ms_max.min(WAIT_MS_MAX), Progress::default());
    let progress = Progress::default();
    // Boxed, or the future of every caller is as large as this one.
    let once = || Box::pin(client.open(&call, &progress));
    let response = match client.patiently(WHAT, &waits, once).await {
        Ok(response) => response,
        Err(error) if error.meaning() == Some(Meaning::Gone) => return Ok(Reading::Gone),
        Err(error) => return Err(error),
    };
    let unreadable = || Error::Unreadable { what: WHAT };
    match response.status().as_u16() {
        200 => {
            let size = response.content_length().ok_or_else(unreadable)?;
            Ok(Reading::Whole { size, pieces: pieces(response, stall_ms, settings) })
        }
        206 => {
            let (part, size) = part(response.headers()).ok_or_else(unreadable)?;
            if response.content_length() != Some(part.end - part.start) {
                return Err(unreadable());
            }
            Ok(Reading::Part { part, size, pieces: pieces(response, stall_ms, settings) })
        }
        416 => Ok(Reading::Beyond { size: size(response.headers()) }),
        _ => Err(unreadable()),
    }
}

/// The bytes of an answer. Time counts only while somebody waits for the next ones.
fn pieces(response: Response, stall_ms: u64, settings: &DropboxDestination) -> Pieces {
    let settings = settings.clone();
    let next = move |mut response: Response| {
        let settings = settings.clone();
        async move {
            match next(&mut response, stall_ms).await {
                Ok(piece) => Ok(piece.map(|piece| (piece, response))),
                Err(error) => Err(error.into_push_error(&settings)),
            }
        }
    };
    try_unfold(response, next).boxed()
}

async fn next(response: &mut Response, stall_ms: u64) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(Duration::from_millis(stall_ms), response.chunk()).await {
        Ok(piece) => piece.map_err(|error| Error::from_transport(WHAT, error)),
        Err(_) => Err(Error::Stalled { what: WHAT, stall_ms }),
    }
}

/// Which bytes came and how large the whole is: `bytes 0-9/100`.
fn part(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let (part, size) = content_range(headers)?;
    let (first, last) = part.split_once('-')?;
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    (first <= last && last < size).then_some((first..last + 1, size))
}

/// How large the whole is where nothing came: `bytes */100`.
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
