//! Reads a file and hands its bytes on, as fast as they are taken.
//!
//! A thread reads; it ends when nobody takes its pieces any more.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use ssh2::File;
use tokio::sync::{mpsc, oneshot};

use super::client::{Cut, Limits, Session};
use super::error::Error;
use super::pool::Pool;
use super::remote::{Found, Remote};
use crate::config::SftpDestination;
use crate::deliver::progress::Progress;
use crate::deliver::{Pieces, Reading};
use crate::operate::range::{Asked, Wanted};

/// Read at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces that wait to be taken.
const PIECES_MAX: usize = 2;

/// What the thread found, before it reads.
enum Begun {
    Gone,
    Beyond { size: u64 },
    Reads { part: Option<Range<u64>>, size: u64 },
}

/// A file that is open for reading: its handle, from where, and how many bytes.
type Opened = (File, Range<u64>);

/// Opens a file of the server.
pub(super) async fn open(
    session: Session,
    path: String,
    range: Option<&str>,
    pool: &Arc<Pool>,
    settings: &Arc<SftpDestination>,
    limits: Limits,
) -> Result<Reading, Error> {
    let wanted = range.and_then(Wanted::parse);
    let cut = Cut::new(&session.line);
    let (begins, begun) = oneshot::channel();
    let (pieces, taken) = mpsc::channel(PIECES_MAX);
    let pool = pool.clone();
    let thread = tokio::task::spawn_blocking(move || {
        let opened = begin(&session, &path, wanted);
        let (begun, mut opened) = match opened {
            Ok((begun, opened)) => (Ok(begun), opened),
            Err(error) => (Err(error), None),
        };
        let mut is_sound = begun.as_ref().err().is_none_or(Error::leaves_session);
        drop(begins.send(begun));
        if let Some(opened) = opened.as_mut() {
            is_sound = hand_on(opened, &path, &pieces);
        }
        drop(opened);
        if is_sound {
            pool.put(session, limits.idle_ms_max);
        }
    });
    let stall = Duration::from_millis(limits.stall_ms_max);
    let stalled = |_| Error::Stalled { stall_ms: limits.stall_ms_max };
    let begun = tokio::time::timeout(stall, begun).await.map_err(stalled)?;
    let begun = match begun {
        Ok(begun) => begun,
        Err(_) => Err(Error::Crashed),
    };
    drop(thread);
    match begun {
        Ok(Begun::Reads { part, size }) => {
            let pieces = stream(taken, cut, settings.clone(), limits.stall_ms_max);
            Ok(match part {
                Some(part) => Reading::Part { part, size, pieces },
                None => Reading::Whole { size, pieces },
            })
        }
        Ok(Begun::Beyond { size }) => {
            cut.defuse();
            Ok(Reading::Beyond { size: Some(size) })
        }
        Ok(Begun::Gone) => {
            cut.defuse();
            Ok(Reading::Gone)
        }
        Err(error) => {
            if error.leaves_session() {
                cut.defuse();
            }
            Err(error)
        }
    }
}

fn begin(
    session: &Session,
    path: &str,
    wanted: Option<Wanted>,
) -> Result<(Begun, Option<Opened>), Error> {
    let progress = Progress::default();
    let remote = Remote { sftp: &session.sftp, progress: &progress };
    let size = match remote.look(path)? {
        Found::File { bytes } => bytes,
        _ => return Ok((Begun::Gone, None)),
    };
    let part = match wanted.map_or(Asked::Whole, |wanted| wanted.of(size)) {
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
        Asked::Beyond => return Ok((Begun::Beyond { size }, None)),
    };
    let opened = session.sftp.open(Path::new(path));
    let mut file = opened.map_err(|error| Error::step("read", path, &error))?;
    let bytes = part.clone().unwrap_or(0..size);
    file.seek(SeekFrom::Start(bytes.start)).map_err(|error| Error::moved("read", path, &error))?;
    Ok((Begun::Reads { part, size }, Some((file, bytes))))
}

/// Answers whether the session is as good as before: everything was read and taken.
fn hand_on(
    (file, bytes): &mut Opened,
    path: &str,
    pieces: &mpsc::Sender<Result<Bytes, Error>>,
) -> bool {
    let mut left = bytes.end - bytes.start;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut piece = vec![0; wanted];
        let read = match file.read(&mut piece) {
            Ok(0) => {
                let problem = format!("it ends {left} bytes too soon");
                let altered = Error::Altered { path: path.into(), problem };
                drop(pieces.blocking_send(Err(altered)));
                return false;
            }
            Ok(read) => read,
            Err(error) => {
                drop(pieces.blocking_send(Err(Error::moved("read", path, &error))));
                return false;
            }
        };
        piece.truncate(read);
        left -= read as u64;
        if pieces.blocking_send(Ok(piece.into())).is_err() {
            return false;
        }
    }
    true
}

/// Time counts only while somebody waits for the next bytes.
fn stream(
    taken: mpsc::Receiver<Result<Bytes, Error>>,
    cut: Cut,
    settings: Arc<SftpDestination>,
    stall_ms: u64,
) -> Pieces {
    let next = move |(mut taken, cut): (mpsc::Receiver<_>, Cut)| {
        let settings = settings.clone();
        async move {
            let piece = tokio::time::timeout(Duration::from_millis(stall_ms), taken.recv()).await;
            match piece {
                Ok(Some(Ok(piece))) => Ok(Some((piece, (taken, cut)))),
                Ok(Some(Err(error))) => Err(Error::into_push_error(error, &settings)),
                Ok(None) => {
                    cut.defuse();
                    Ok(None)
                }
                Err(_) => Err(Error::Stalled { stall_ms }.into_push_error(&settings)),
            }
        }
    };
    try_unfold((taken, cut), next).boxed()
}
