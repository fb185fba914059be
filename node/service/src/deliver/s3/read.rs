//! Reads an object and hands its bytes on, as fast as they are taken.

use reqwest::Method;
use reqwest::header::RANGE;

use super::ask::Ask;
use super::client::{self, Client};
use super::error::{Error, READ, Refusal};
use crate::config::S3Destination;
use crate::deliver::Reading;
use crate::deliver::http::{self, Ended};
use crate::deliver::progress::{Progress, Stalled};

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
    let settings = settings.clone();
    let judge = move |ended| {
        let error = match ended {
            Ended::Stalled => Error::Stalled { what: READ, stall_ms },
            Ended::Broken(error) => Error::from_transport(READ, error),
        };
        error.into_push_error(&settings)
    };
    let unreadable = || Error::Unreadable { what: READ };
    let read = |response| http::reading(response, stall_ms, judge).ok_or_else(unreadable);
    match response.status().as_u16() {
        200 | 206 => read(response),
        416 if range.is_some() => read(response),
        status => {
            let headers = response.headers().clone();
            let reading = client::read(READ, response, &progress);
            let text = progress.watch(stall_ms, reading).await.map_err(stalled)??;
            let refusal = Refusal::read(READ, status, &headers, &text);
            if refusal.is_gone() { Ok(Reading::Gone) } else { Err(Error::Refused(refusal)) }
        }
    }
}
