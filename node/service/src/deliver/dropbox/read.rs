//! Reads a file and hands its bytes on, as fast as they are taken.

use serde_json::json;

use super::client::{Call, Client, Payload, Waits};
use super::error::{Error, Meaning};
use crate::config::DropboxDestination;
use crate::deliver::Reading;
use crate::deliver::http::{self, Ended};
use crate::deliver::progress::Progress;

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
    let settings = settings.clone();
    let judge = move |ended| {
        let error = match ended {
            Ended::Stalled => Error::Stalled { what: WHAT, stall_ms },
            Ended::Broken(error) => Error::from_transport(WHAT, error),
        };
        error.into_push_error(&settings)
    };
    http::reading(response, stall_ms, judge).ok_or(Error::Unreadable { what: WHAT })
}
