//! Comparing what lies at the server with what is here.

use suppaftp::Status;
use tokio::io::AsyncReadExt;

use super::client::{Connection, Way};
use super::error::Error;
use super::source::Source;

/// How much of the end of a file is read back, in bytes.
const TAIL_BYTES: u64 = 256 << 10;

/// Whether the first `bytes` bytes of a file at the server end like those here. `None` where it
/// cannot be read.
pub(super) async fn ends_alike(
    connection: &mut Connection,
    path: &str,
    source: &Source,
    bytes: u64,
) -> Result<Option<bool>, Error> {
    let what = "read back";
    let start = bytes.saturating_sub(TAIL_BYTES);
    let opened = connection.transfer(what, Way::Get, path, start).await;
    let mut transfer = match opened {
        Ok(transfer) => transfer,
        Err(Error::Refused(refusal)) if refusal.code >= 500 || refusal.code == 451 => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let length = usize::try_from(bytes - start).unwrap_or_default();
    let mut there = Vec::with_capacity(length);
    let read = (&mut transfer).take(bytes - start).read_to_end(&mut there).await;
    match read {
        Ok(read) if read == length => {}
        Ok(_) => return Ok(Some(false)),
        Err(error) => {
            return Err(Error::Broken { what, problem: error.to_string() });
        }
    }
    let finished = transfer.finish().await.map_err(|error| connection.error(what, path, error));
    match finished {
        // A server may say that it was broken off before it saw that the file had ended.
        Ok(()) | Err(Error::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    let here = source.read(Vec::new(), start, length).await?;
    Ok(Some(here == there))
}

/// Whether a file at the server is the one here, as far as its size and its end tell.
pub(super) async fn is_same(
    connection: &mut Connection,
    path: &str,
    source: &Source,
) -> Result<bool, Error> {
    if connection.size(path).await? != Some(source.bytes) {
        return Ok(false);
    }
    Ok(ends_alike(connection, path, source, source.bytes).await? == Some(true))
}

/// Whether the server says that it can tell a SHA-256.
pub(super) fn knows_sha256(connection: &Connection) -> bool {
    has_hash(connection) || connection.feature("XSHA256").is_some()
}

fn has_hash(connection: &Connection) -> bool {
    connection.feature("HASH").is_some_and(|kinds| kinds.contains("SHA-256"))
}

/// The SHA-256 of a file at the server in hex, where the server can say it.
pub(super) async fn sha256(
    connection: &mut Connection,
    path: &str,
) -> Result<Option<String>, Error> {
    let what = "ask for the checksum of";
    let command = if has_hash(connection) {
        let choose = "OPTS HASH SHA-256".to_owned();
        match connection.ask(what, path, choose, &[Status::CommandOk]).await {
            Ok(_) => format!("HASH {path}"),
            Err(Error::Refused(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
    } else if connection.feature("XSHA256").is_some() {
        format!("XSHA256 {path}")
    } else {
        return Ok(None);
    };
    let expected = [Status::File, Status::RequestedFileActionOk];
    match connection.ask(what, path, command, &expected).await {
        Ok(response) => {
            let text = String::from_utf8_lossy(&response.body);
            Ok(text.split_whitespace().find(|word| is_sha256(word)).map(str::to_ascii_lowercase))
        }
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_sha256(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit())
}
