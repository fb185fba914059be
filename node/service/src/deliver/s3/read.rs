//! Reads an object and hands its bytes on, as fast as they are taken.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, Response};

use super::ask::Ask;
use super::client::{self, Client};
use super::error::{Error, READ, Refusal};
use crate::config::S3Destination;
use crate::deliver::progress::{Progress, Stalled};
use crate::deliver::{Pieces, Reading};

/// Asks for an object, or for a part of it.
pub(super) async fn open(
    client: &Client,
    key: &str,
    range: Option<&str>,
    settings: &S3Destination,
) -> Result<Reading, Error> {
    let ask = Ask::new(READ, Method::GET, key);
    // Boxed, or the future of every caller is as large as this one.
    let once = |way| Box::pin(open_once(client, client.sign(&ask, &way), range, settings));
    client.over_hiccups(READ, client.limits.hiccups_max, once).await
}

async fn open_once(
    client: &Client,
    url: reqwest::Url,
    range: Option<&str>,
    settings: &S3Destination,
) -> Result<Reading, Error> {
    let stall_ms = client.limits.stall_ms_max;
    let stalled = |Stalled| Error::Stalled { what: READ, stall_ms };
    let mut request = client.http.get(url);
    if let Some(range) = range {
        request = request.header(RANGE, range);
    }
    let progress = Progress::default();
    let response = progress
        .watch(stall_ms, request.send())
        .await
        .map_err(stalled)?
        .map_err(|error| Error::from_transport(READ, error))?;
    let unreadable = || Error::Unreadable { what: READ };
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
        416 if range.is_some() => Ok(Reading::Beyond { size: size(response.headers()) }),
        status => {
            let headers = response.headers().clone();
            let reading = client::read(READ, response, &progress);
            let text = progress.watch(stall_ms, reading).await.map_err(stalled)??;
            let refusal = Refusal::read(READ, status, &headers, &text);
            if refusal.is_gone() { Ok(Reading::Gone) } else { Err(Error::Refused(refusal)) }
        }
    }
}

/// The bytes of an answer. Time counts only while somebody waits for the next ones.
fn pieces(response: Response, stall_ms: u64, settings: &S3Destination) -> Pieces {
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
        Ok(piece) => piece.map_err(|error| Error::from_transport(READ, error)),
        Err(_) => Err(Error::Stalled { what: READ, stall_ms }),
    }
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
