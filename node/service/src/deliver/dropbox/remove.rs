//! Deletes a file that the node wrote to try a destination. Dropbox deletes folders with all that is in
//! them, so what is deleted is looked at first, and only that revision of that file goes.

use serde_json::{Value, json};

use super::client::{Call, Client, Payload, Waits};
use super::error::{Error, Meaning};
use crate::deliver::progress::Progress;

/// Longest that Dropbox may have somebody wait who tries it, in milliseconds.
const WAIT_MS_MAX: u64 = 10_000;

/// Deletes a file; one that is not there is deleted.
pub(super) async fn remove(client: &Client, path: &str) -> Result<(), Error> {
    let (what, route) = ("look at what is to be deleted", "files/get_metadata");
    let Some(found) = ask(client, what, route, json!({ "path": path })).await? else {
        return Ok(());
    };
    let rev = found["rev"].as_str().filter(|_| found[".tag"] == "file");
    let rev = rev.ok_or_else(|| Error::NoFile { path: path.into() })?;
    let argument = json!({ "path": path, "parent_rev": rev });
    ask(client, "delete the file", "files/delete_v2", argument).await.map(drop)
}

/// Asks for something about a path; nothing where there is nothing at it.
async fn ask(
    client: &Client,
    what: &'static str,
    route: &'static str,
    argument: Value,
) -> Result<Option<Value>, Error> {
    let stall_ms_max = client.limits.connect_ms_max;
    let call = Call { what, route, argument, payload: Payload::Argument, stall_ms_max };
    let waits = Waits::new(client.limits.wait_ms_max.min(WAIT_MS_MAX), Progress::default());
    match client.send(&call, &waits).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.meaning() == Some(Meaning::Gone) => Ok(None),
        Err(error) => Err(error),
    }
}
