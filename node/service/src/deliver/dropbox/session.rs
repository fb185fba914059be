//! A file that is too large for one request: an upload session, gone on with after whatever cut it.
//!
//! A parallel session (`concurrent`) begins without data, takes parts at multiples of 4 MiB in any
//! order, is closed with the last part, and is finished without data. Where one turns out to be
//! broken, the push starts over with a sequential session: there Dropbox itself says how far it is. A
//! session that nobody finishes ends by itself after 7 days; there is no way to abort one.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::client::Payload;
use super::error::{Error, Meaning};
use super::hash::BLOCK_BYTES;
use super::push::Push;
use crate::deliver::source::Range;

/// Most parts, as far as they need not be larger than Dropbox takes.
const PARTS_MAX: u64 = 4_000;
/// Largest part, in bytes: the most of 4 MiB that fit into Dropbox's 150 MiB.
pub(super) const PART_BYTES_MAX: u64 = 148 << 20;
/// Most sessions, and corrections of where one is, within a push.
const TURNS_MAX: u32 = 5;

/// The memo of a push: which session, and what of the file it has.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noted {
    session_id: String,
    bytes: u64,
    part_bytes: u64,
    /// When it was begun, by Dropbox's own clock, in seconds since 1970.
    begun_s: Option<i64>,
    has: Has,
}

/// What a session has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Has {
    /// These parts, a bit for each from the lowest of the first byte. The session is a parallel one.
    Parts(Vec<u8>),
    /// So many bytes. The session is a sequential one.
    Bytes(u64),
}

impl Noted {
    fn is_usable(&self, bytes: u64, now_s: Option<i64>, age_s_max: i64) -> bool {
        let is_young = match (self.begun_s, now_s) {
            (Some(begun), Some(now)) => now.saturating_sub(begun) <= age_s_max,
            // Dropbox itself will say so if it is too old.
            _ => true,
        };
        let are_parts_good = self.part_bytes > 0
            && self.part_bytes <= PART_BYTES_MAX
            && self.part_bytes.is_multiple_of(BLOCK_BYTES);
        is_young && self.bytes == bytes && are_parts_good
    }

    fn parts(&self) -> u64 {
        self.bytes.div_ceil(self.part_bytes)
    }

    /// The bytes of a part.
    fn range(&self, part: u64) -> Range {
        let offset = part * self.part_bytes;
        Range { offset, bytes: self.part_bytes.min(self.bytes.saturating_sub(offset)) }
    }

    fn has_part(&self, part: u64) -> bool {
        let Has::Parts(bits) = &self.has else { return false };
        let byte = usize::try_from(part / 8).ok().and_then(|index| bits.get(index));
        byte.is_some_and(|byte| byte & (1 << (part % 8)) != 0)
    }

    fn add_part(&mut self, part: u64) {
        let Has::Parts(bits) = &mut self.has else { return };
        let Ok(index) = usize::try_from(part / 8) else { return };
        if bits.len() <= index {
            bits.resize(index + 1, 0);
        }
        bits[index] |= 1 << (part % 8);
    }

    /// How many bytes it has.
    fn bytes_there(&self) -> u64 {
        match self.has {
            Has::Bytes(bytes) => bytes,
            Has::Parts(_) => {
                let has = (0..self.parts()).filter(|part| self.has_part(*part));
                has.map(|part| self.range(part).bytes).sum()
            }
        }
    }
}

impl Push<'_> {
    /// Pushes the file in parts; answers its path.
    pub(super) async fn in_parts(&self) -> Result<String, Error> {
        if let Some(path) = self.find(1).await? {
            self.source.pace().start_at(self.source.bytes());
            return Ok(path);
        }
        let now_s = self.client.now_s();
        let age_s_max = self.client.limits.session_age_s_max;
        let mut noted = self.memo.read::<Noted>();
        let mut is_parallel = self.client.limits.parts_parallel_max > 1;
        let mut said = String::new();
        for _ in 0..TURNS_MAX {
            noted = noted.filter(|n| n.is_usable(self.source.bytes(), now_s, age_s_max));
            let mut session = match noted.take() {
                Some(noted) => noted,
                None => match self.begin(is_parallel).await {
                    Err(error) if is_parallel && error.meaning() == Some(Meaning::Parallel) => {
                        is_parallel = false;
                        continue;
                    }
                    begun => begun?,
                },
            };
            let result = match self.fill(&mut session).await {
                Ok(()) => self.finish(&session.session_id, 1).await,
                Err(error) => Err(error),
            };
            let Err(error) = result else { return result };
            let correct = error.refusal().and_then(|refusal| refusal.correct_offset);
            match (error.meaning(), &mut session.has, correct) {
                (Some(Meaning::Offset), Has::Bytes(has), Some(correct))
                    if correct <= self.source.bytes() =>
                {
                    *has = correct;
                    self.note(&session).await?;
                    noted = Some(session);
                }
                (Some(Meaning::Session | Meaning::Closed), ..) => self.forget().await?,
                (Some(Meaning::Offset | Meaning::Parallel), ..) => {
                    is_parallel = false;
                    self.forget().await?;
                }
                _ => return Err(error),
            }
            tracing::debug!(%error, "an upload session is not where it was left");
            said = error.to_string();
        }
        self.forget().await?;
        Err(Error::Lost { said })
    }

    async fn begin(&self, is_parallel: bool) -> Result<Noted, Error> {
        let (what, route) = ("begin the upload", "files/upload_session/start");
        let session_type = if is_parallel { "concurrent" } else { "sequential" };
        let argument = json!({ "close": false, "session_type": session_type });
        let call = self.call(what, route, argument, Payload::Nothing);
        let answer = self.client.send(&call, &self.waits).await?;
        let session_id = answer["session_id"].as_str().ok_or(Error::Unreadable { what })?;
        let bytes = self.source.bytes();
        let needed = bytes.div_ceil(PARTS_MAX).next_multiple_of(BLOCK_BYTES);
        let noted = Noted {
            session_id: session_id.into(),
            bytes,
            part_bytes: self.client.limits.part_bytes.max(needed).min(PART_BYTES_MAX),
            begun_s: self.client.now_s(),
            has: if is_parallel { Has::Parts(Vec::new()) } else { Has::Bytes(0) },
        };
        self.note(&noted).await?;
        Ok(noted)
    }

    async fn note(&self, noted: &Noted) -> Result<(), Error> {
        self.memo.write(noted).await.map_err(|error| Error::Memo(error.sentence))
    }

    async fn forget(&self) -> Result<(), Error> {
        let cleared = self.memo.clear().await;
        cleared.map_err(|error| Error::Memo(format!("the push cannot start over: {error}")))
    }

    /// Sends what the session has not.
    async fn fill(&self, session: &mut Noted) -> Result<(), Error> {
        self.source.pace().start_at(session.bytes_there());
        match session.has {
            Has::Parts(_) => self.fill_in_parallel(session).await,
            Has::Bytes(_) => self.fill_in_order(session).await,
        }
    }

    async fn fill_in_parallel(&self, session: &mut Noted) -> Result<(), Error> {
        let last = session.parts() - 1;
        let missing: Vec<u64> = (0..last).filter(|part| !session.has_part(*part)).collect();
        let noted = Mutex::new(session.clone());
        let sent = stream::iter(missing)
            .map(|part| self.send_part(&noted, part, false))
            .buffer_unordered(self.client.limits.parts_parallel_max.max(1))
            .try_for_each(|()| std::future::ready(Ok(())))
            .await;
        let sent = match sent {
            // The session is closed with the last part, which alone need not be a multiple of 4 MiB.
            Ok(()) if !session.has_part(last) => self.send_part(&noted, last, true).await,
            sent => sent,
        };
        *session = noted.into_inner();
        sent
    }

    async fn send_part(&self, noted: &Mutex<Noted>, part: u64, close: bool) -> Result<(), Error> {
        let (session_id, range) = {
            let noted = noted.lock().await;
            (noted.session_id.clone(), noted.range(part))
        };
        match self.append(&session_id, range, close).await {
            Ok(()) => {}
            // As Dropbox answers where an earlier answer to the same was lost. Whether it is so, the
            // file's hash tells in the end.
            Err(error) if error.meaning() == Some(Meaning::Offset) => {}
            Err(error) if error.meaning() == Some(Meaning::Closed) && close => {}
            Err(error) => return Err(error),
        }
        let mut noted = noted.lock().await;
        noted.add_part(part);
        self.note(&noted).await
    }

    async fn fill_in_order(&self, session: &mut Noted) -> Result<(), Error> {
        loop {
            let Has::Bytes(offset) = session.has else { return Ok(()) };
            if offset >= session.bytes {
                return Ok(());
            }
            // Up to where a part ends, also where Dropbox has got only half of the last one.
            let end = (offset + 1).next_multiple_of(session.part_bytes).min(session.bytes);
            let range = Range { offset, bytes: end - offset };
            let there = match self.append(&session.session_id, range, false).await {
                Ok(()) => end,
                Err(error) => further(&error, range).ok_or(error)?,
            };
            session.has = Has::Bytes(there);
            self.source.pace().start_at(there);
            self.note(session).await?;
        }
    }

    async fn append(&self, session_id: &str, range: Range, close: bool) -> Result<(), Error> {
        let argument = json!({
            "cursor": { "session_id": session_id, "offset": range.offset },
            "close": close,
            "content_hash": self.hash(range).await?,
        });
        let payload = Payload::File(self.source, range);
        let call = self.call("upload a part", "files/upload_session/append_v2", argument, payload);
        self.client.send(&call, &self.waits).await.map(drop)
    }
}

/// How far a session is that has got more of a part than we know, as after an answer that was lost.
fn further(error: &Error, range: Range) -> Option<u64> {
    let correct = error.refusal()?.correct_offset?;
    (correct > range.offset && correct <= range.offset + range.bytes).then_some(correct)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(bytes: u64, part_bytes: u64) -> Noted {
        let (session_id, begun_s) = ("s".into(), Some(1_000));
        Noted { session_id, bytes, part_bytes, begun_s, has: Has::Parts(Vec::new()) }
    }

    #[test]
    fn parts_cover_the_file_and_are_remembered_one_by_one() {
        let mut noted = noted((20 << 20) + 5, 4 << 20);
        assert_eq!(noted.parts(), 6);
        assert_eq!(noted.range(5), Range { offset: 20 << 20, bytes: 5 });
        assert_eq!((0..6).map(|part| noted.range(part).bytes).sum::<u64>(), noted.bytes);
        for part in [5, 1] {
            noted.add_part(part);
        }
        let noted: Noted = serde_json::from_value(serde_json::to_value(&noted).unwrap()).unwrap();
        let has: Vec<_> = (0..6).filter(|part| noted.has_part(*part)).collect();
        assert_eq!(has, [1, 5]);
        assert_eq!(noted.bytes_there(), (4 << 20) + 5);
    }

    #[test]
    fn the_memo_of_the_largest_file_is_small() {
        let bytes = (1 << 41) - (1 << 22);
        let mut noted = noted(bytes, PART_BYTES_MAX);
        for part in 0..noted.parts() {
            noted.add_part(part);
        }
        assert_eq!(noted.bytes_there(), bytes);
        assert!(serde_json::to_vec(&noted).unwrap().len() < crate::deliver::memo::BYTES_MAX / 4);
    }

    #[test]
    fn what_is_old_or_of_another_file_is_not_gone_on_with() {
        let noted = noted(100, 4 << 20);
        assert!(noted.is_usable(100, Some(2_000), 1_000));
        assert!(noted.is_usable(100, None, 1_000));
        assert!(!noted.is_usable(100, Some(2_001), 1_000));
        assert!(!noted.is_usable(101, Some(2_000), 1_000));
        assert!(!Noted { part_bytes: 5, ..noted }.is_usable(100, Some(2_000), 1_000));
    }
}
