//! Reads a file and hands its bytes on, as fast as they are taken.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use tokio::io::AsyncReadExt;

use super::client::{Connection, Transfer, Way};
use super::error::Error;
use super::pool::Pool;
use super::{Ftp, Protection};
use crate::config::FtpDestination;
use crate::deliver::progress::Progress;
use crate::deliver::{Pieces, PushError, Reading};

/// How much is handed on at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

const READ: &str = "read";

/// What is still to come, and over what.
struct Rest {
    connection: Connection,
    transfer: Transfer,
    left: u64,
    stall_ms: u64,
    path: String,
    pool: Pool,
    idle_ms: u64,
    settings: FtpDestination,
    protection: Protection,
}

/// Opens a file, or a part of it.
pub(super) async fn open(ftp: &Ftp, location: &str, range: Option<&str>) -> Result<Reading, Error> {
    let name = ftp.name_of(location)?;
    let mut connection = ftp.connection().await?;
    let path = ftp.place(&connection.home, name)?.path();
    let progress = Progress::default();
    let Some(size) = ftp.watch(READ, &progress, connection.size(&path)).await? else {
        ftp.give_back(connection);
        return Ok(Reading::Gone);
    };
    let part = match range.map_or(Asked::Whole, |range| asked(range, size)) {
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
        Asked::Beyond => {
            ftp.give_back(connection);
            return Ok(Reading::Beyond { size: Some(size) });
        }
    };
    let Range { start, end } = part.clone().unwrap_or(0..size);
    let opening = connection.transfer(READ, Way::Get, &path, start);
    let transfer = ftp.watch(READ, &progress, opening).await?;
    let rest = Rest {
        connection,
        transfer,
        left: end - start,
        stall_ms: ftp.limits.stall_ms_max,
        path,
        pool: ftp.pool.clone(),
        idle_ms: ftp.limits.idle_ms_max,
        settings: ftp.settings.clone(),
        protection: ftp.protection,
    };
    let pieces = pieces(rest);
    Ok(match part {
        Some(part) => Reading::Part { part, size, pieces },
        None => Reading::Whole { size, pieces },
    })
}

fn pieces(rest: Rest) -> Pieces {
    try_unfold(Some(rest), |rest| async move {
        let Some(mut rest) = rest else { return Ok(None) };
        if rest.left == 0 {
            rest.finish().await;
            return Ok(None);
        }
        match rest.next().await {
            Ok(piece) => Ok(Some((piece, Some(rest)))),
            Err(error) => Err(rest.failure(error)),
        }
    })
    .boxed()
}

impl Rest {
    async fn next(&mut self) -> Result<Bytes, Error> {
        let room = usize::try_from(self.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut piece = BytesMut::with_capacity(room);
        let limit = Duration::from_millis(self.stall_ms);
        let mut limited = (&mut self.transfer).take(room as u64);
        let read = tokio::time::timeout(limit, limited.read_buf(&mut piece)).await;
        let problem = match read {
            Err(_) => return Err(Error::Stalled { what: READ, stall_ms: self.stall_ms }),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(0)) => "it ended too early".to_owned(),
            Ok(Ok(read)) => {
                self.left -= read as u64;
                return Ok(piece.freeze());
            }
        };
        Err(Error::Broken { what: READ, problem })
    }

    /// Keeps the connection, if the server agrees that this was all.
    async fn finish(self) {
        let limit = Duration::from_secs(5);
        if let Ok(Ok(())) = tokio::time::timeout(limit, self.transfer.finish()).await {
            self.pool.put(self.connection, self.idle_ms);
        } else {
            tracing::debug!(path = self.path, "read, and the connection given up");
        }
    }

    fn failure(&self, error: Error) -> PushError {
        error.into_push_error(&self.settings, self.protection)
    }
}

/// What a range asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Beyond,
}

/// One range as in HTTP; of what it does not understand it hands out the whole, as HTTP wants.
fn asked(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Asked::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last < first => return Asked::Whole,
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Asked::Whole,
    };
    if part.start < part.end { Asked::Part(part) } else { Asked::Beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_means_them() {
        for (range, expected) in [
            ("bytes=0-9", Asked::Part(0..10)),
            ("bytes=90-", Asked::Part(90..100)),
            ("bytes=-5", Asked::Part(95..100)),
            ("bytes=-500", Asked::Part(0..100)),
            ("bytes=50-5000", Asked::Part(50..100)),
            ("bytes=100-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=9-1", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            assert_eq!(asked(range, 100), expected, "{range}");
        }
    }
}
