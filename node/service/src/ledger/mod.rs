//! The ledger: what the node knows of its recordings, durably, in one redb file.
//!
//! Invariants:
//! - One thread writes. It gathers what is waiting into one transaction, commits it in two phases,
//!   and only then answers: whoever got an answer has it on disk, and many share one sync.
//! - A recording changes only through [`holdfast_core::step`], inside that transaction.
//! - The table `due` is derived from the recordings: for each lane at most one entry each. A claim
//!   moves the entry to the end of the claim's lease, so that work whose worker died comes due again.
//!
//! Format: see [`schema`].

mod before;
mod correction;
mod depth;
mod place;
mod rebuild;
mod schema;
mod store;
mod turns;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use holdfast_core::recording::{Event, Recording, State};
use holdfast_core::{Effect, Lane, RecordingId};
use jiff::Timestamp;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};

use crate::queue::fair::Rounds;
pub use correction::ClockStep;
pub use depth::Depth;
pub(crate) use place::Place;
#[cfg(test)]
pub(crate) use rebuild::from_vault;
pub(crate) use rebuild::salvage;
pub use rebuild::{RebuildError, RebuildReport, after_restart, rebuild};
pub use schema::VERSION;
use writer::Op;

/// Operations that may wait for the writer; more make their callers wait.
const OPS_WAITING_MAX: usize = 4_096;

/// What can go wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be opened.
    #[error("cannot open the ledger {path}: {reason}")]
    Open {
        /// Its file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// It cannot be read.
    #[error("cannot read the ledger: {0}")]
    Read(String),
    /// It cannot be written; nothing of the operation was done.
    #[error("cannot write the ledger: {0}")]
    Write(String),
    /// An entry is not what was written.
    #[error("the ledger's entry for recording {id} is damaged: {reason}")]
    Damaged {
        /// Which recording.
        id: RecordingId,
        /// How.
        reason: String,
    },
    /// It has no such recording.
    #[error("the ledger has no recording {0}")]
    NoSuchRecording(RecordingId),
    /// The node is stopping.
    #[error("the ledger is closed")]
    Closed,
}

/// A recording after an event, with what is to be done.
pub type Stepped = (Recording, Vec<Effect>);

/// Which recordings to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this environment.
    pub env_id: Option<String>,
    /// Only those of one of these environments, whatever else is asked for.
    pub env_ids: Option<Vec<String>>,
    /// Only those of this account.
    pub account_id: Option<String>,
    /// Only those that began at this instant or later, to the millisecond.
    pub from: Option<Timestamp>,
    /// Only those that began before this instant, to the millisecond.
    pub to: Option<Timestamp>,
}

impl Filter {
    fn fits(&self, recording: &Recording) -> bool {
        self.state.is_none_or(|state| state == recording.state)
            && self.env_id.as_ref().is_none_or(|env_id| *env_id == recording.env_id)
            && self.env_ids.as_ref().is_none_or(|env_ids| env_ids.contains(&recording.env_id))
            && (self.account_id.is_none() || self.account_id == recording.account_id)
    }
}

/// A recording that was entered or changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What it was; nothing for a new one.
    pub before: Option<&'a Recording>,
    /// What it is.
    pub after: &'a Recording,
    /// What happened to it, in order; nothing for a new one.
    pub events: &'a [Event],
    /// When.
    pub now: Timestamp,
}

/// Told of each change of a recording, inside the transaction that commits it: what an observer writes
/// is committed together with the change, or neither is.
///
/// It runs in the writer's thread, so it must be quick.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// A recording was entered or changed.
    ///
    /// # Errors
    /// [`LedgerError`] where it could not write; nothing of the whole batch is then done.
    fn changed(&self, write: &WriteTransaction, change: &Change<'_>) -> Result<(), LedgerError>;

    /// A recording's entry was removed.
    ///
    /// # Errors
    /// As [`changed`](Self::changed).
    fn forgotten(&self, _write: &WriteTransaction, _id: RecordingId) -> Result<(), LedgerError> {
        Ok(())
    }
}

/// The ledger's file under this configuration.
#[must_use]
pub fn path(config: &crate::config::Config) -> PathBuf {
    config.node.state_path.join("ledger.redb")
}

/// A handle to the ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    ops: mpsc::Sender<Op>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    /// `None` only while the writer opens it anew after an I/O error.
    database: RwLock<Option<Arc<Database>>>,
    counts: Mutex<[u64; State::ALL.len()]>,
    changed: watch::Sender<u64>,
    observers: Vec<Arc<dyn Observer>>,
    /// The last correction of the clock, for as long as late operations may arrive.
    correction: Mutex<Option<ClockStep>>,
    /// Who was given how much of the transcoders, since the node started.
    rounds: Mutex<Rounds>,
}

impl Shared {
    fn correction(&self) -> std::sync::MutexGuard<'_, Option<ClockStep>> {
        self.correction.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instant that a caller read, as the clock would tell it now.
    fn corrected(&self, at: Timestamp) -> Timestamp {
        self.correction().map_or(at, |step| step.corrected(at))
    }
}

impl Shared {
    /// The ledger, opened anew if it is not open.
    fn reopen(&self) -> Result<Arc<Database>, LedgerError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*slot {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(schema::open(&self.place)?);
        *slot = Some(Arc::clone(&database));
        Ok(database)
    }
}

impl Ledger {
    /// Opens or makes the ledger, brings its schema up to date, and starts its writer.
    ///
    /// Work that was under way when the node last ended is due again at once, and no client counts
    /// as connected any more. The observers are told of every change from here on.
    ///
    /// # Errors
    /// [`LedgerError::Open`] where it is held by another process, damaged, or too new.
    pub fn open(
        path: &Path,
        now: Timestamp,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Result<Self, LedgerError> {
        Self::open_at(&Place::File(path.into()), |_, _| Ok(now), observers)
    }

    /// Like [`open`](Self::open), for a ledger that lies there, and for a clock that has to know what
    /// the ledger knows of it: `now` is answered with a look at tables of its own and at the latest
    /// instant that was recorded.
    ///
    /// # Errors
    /// As `open`, or what `now` answers.
    pub(crate) fn open_at(
        place: &Place,
        now: impl FnOnce(&ReadTransaction, Timestamp) -> Result<Timestamp, LedgerError>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Result<Self, LedgerError> {
        let database = schema::open(place)?;
        let now = now(&database.begin_read()?, store::latest_instant(&database)?)?;
        store::restart(&database, now, &observers)?;
        let counts = store::counts(&database)?;
        let shared = Arc::new(Shared {
            place: place.clone(),
            database: RwLock::new(Some(Arc::new(database))),
            counts: Mutex::new(counts),
            changed: watch::Sender::new(0),
            observers,
            correction: Mutex::default(),
            rounds: Mutex::default(),
        });
        let (ops, waiting) = mpsc::channel(OPS_WAITING_MAX);
        place.start_writer(Arc::clone(&shared), waiting)?;
        Ok(Self { shared, ops })
    }

    /// Enters a new recording.
    ///
    /// # Errors
    /// [`LedgerError::Write`] when it was not entered.
    pub async fn insert(&self, recording: Recording) -> Result<(), LedgerError> {
        self.ask(|reply| Op::Insert { recording: Box::new(recording), reply }).await
    }

    /// Steps a recording and commits the outcome.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was done.
    pub async fn apply(
        &self,
        id: RecordingId,
        event: Event,
        now: Timestamp,
    ) -> Result<Stepped, LedgerError> {
        self.apply_all(id, vec![event], now).await
    }

    /// Steps a recording through several events in one transaction; answers with the effects of all.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was done.
    pub async fn apply_all(
        &self,
        id: RecordingId,
        events: Vec<Event>,
        now: Timestamp,
    ) -> Result<Stepped, LedgerError> {
        self.ask(|reply| Op::Apply { id, events, now, release: None, reply }).await
    }

    /// Like [`apply`](Self::apply), and ends the claim on the recording's work in a lane.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was done; the claim then ends with its lease.
    pub async fn settle(
        &self,
        id: RecordingId,
        lane: Lane,
        events: Vec<Event>,
        now: Timestamp,
    ) -> Result<Stepped, LedgerError> {
        self.ask(|reply| Op::Apply { id, events, now, release: Some(lane), reply }).await
    }

    /// Notes how far streams are durable in their files.
    ///
    /// # Errors
    /// [`LedgerError::Write`] when it was not noted, so that nothing may be acknowledged.
    pub async fn note_offsets(
        &self,
        offsets: Vec<(RecordingId, u64)>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.ask(|reply| Op::Offsets { offsets, now, reply }).await
    }

    /// Claims the work in a lane that has been due longest, or to transcode, whose turn it is
    /// ([`crate::queue`]), if any is due. Where it answers without
    /// effects there was nothing to do after all, and there may be more that is due.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was claimed.
    pub async fn claim(
        &self,
        lane: Lane,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Option<Stepped>, LedgerError> {
        self.ask(|reply| Op::Claim { lane, now, lease_until, reply }).await
    }

    /// Extends the lease of a claim. Harmless where the claim has ended.
    ///
    /// # Errors
    /// [`LedgerError`] when it was not extended.
    pub async fn extend(
        &self,
        id: RecordingId,
        lane: Lane,
        until: Timestamp,
    ) -> Result<(), LedgerError> {
        self.ask(|reply| Op::Extend { id, lane, until, reply }).await
    }

    /// Removes a recording's entry. Harmless where there is none.
    ///
    /// # Errors
    /// [`LedgerError`] when it was not removed.
    pub async fn forget(&self, id: RecordingId) -> Result<(), LedgerError> {
        self.ask(|reply| Op::Forget { id, reply }).await
    }

    /// Lets a room write tables of its own in the writer's next transaction; answers after its commit.
    ///
    /// Others share the transaction: `act` checks first and writes then, and says no as a value. An
    /// `Err` undoes the whole transaction.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was written.
    pub async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&WriteTransaction) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.ask(|reply| {
            Op::Write(Box::new(move |write, batch| {
                let done = act(write);
                batch.answer(reply, done);
            }))
        })
        .await
    }

    /// Puts right what a wrong clock stamped, all of it or nothing.
    ///
    /// `correct` corrects the clock itself and answers with what it tells now; it may write tables of
    /// its own. It runs in the writer's thread, first of all: what is stamped meanwhile is stamped
    /// right. Operations that read the clock before are corrected when they arrive, until
    /// [`end_correction`](Self::end_correction). Answers which recordings changed.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was written; the clock is then to be set back.
    pub async fn correct_clock(
        &self,
        step: ClockStep,
        correct: impl FnOnce(&WriteTransaction) -> Result<Timestamp, LedgerError> + Send + 'static,
    ) -> Result<Vec<RecordingId>, LedgerError> {
        let shared = Arc::clone(&self.shared);
        let done = self
            .ask(|reply| {
                Op::Write(Box::new(move |write, batch| {
                    let done = correct(write).and_then(|now| {
                        *shared.correction() = Some(step);
                        correction::apply(write, step, now, &shared.observers)
                    });
                    batch.answer(reply, done);
                }))
            })
            .await;
        if done.is_err() {
            self.end_correction();
        }
        done
    }

    /// Whether operations that read the clock before it was corrected are still corrected.
    #[must_use]
    pub fn is_correcting(&self) -> bool {
        self.shared.correction().is_some()
    }

    /// No operation will arrive any more that read the clock before it was corrected.
    pub fn end_correction(&self) {
        *self.shared.correction() = None;
    }

    /// Reads tables of a room's own, as they stood after the last commit.
    ///
    /// # Errors
    /// [`LedgerError::Read`], or what `act` answers.
    pub fn read<T>(
        &self,
        act: impl FnOnce(&ReadTransaction) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        act(&self.database()?.begin_read()?)
    }

    /// A recording, if the ledger has it.
    ///
    /// # Errors
    /// [`LedgerError::Read`] or [`LedgerError::Damaged`].
    pub fn get(&self, id: RecordingId) -> Result<Option<Recording>, LedgerError> {
        store::get(&*self.database()?, id)
    }

    /// Recordings, newest first, that come after `before` (exclusive) and fit the filter.
    ///
    /// Answers with at most `limit` of them, and where to go on, if there may be more.
    ///
    /// # Errors
    /// [`LedgerError::Read`] or [`LedgerError::Damaged`].
    pub fn list(
        &self,
        filter: &Filter,
        before: Option<RecordingId>,
        limit: usize,
    ) -> Result<(Vec<Recording>, Option<RecordingId>), LedgerError> {
        store::list(&*self.database()?, filter, before, limit)
    }

    /// How many recordings are in each state, in the order of [`State::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; State::ALL.len()] {
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much work there is in each lane, in the order of [`Lane::ALL`].
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn depths(&self, now: Timestamp) -> Result<[Depth; Lane::ALL.len()], LedgerError> {
        depth::depths(&*self.database()?, now)
    }

    /// When work in a lane is due next.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn next_due(&self, lane: Lane) -> Result<Option<Timestamp>, LedgerError> {
        store::next_due(&*self.database()?, lane)
    }

    /// When work is due next in each lane, in the order of [`Lane::ALL`], in one look.
    #[cfg(test)]
    pub(crate) fn next_dues(&self) -> Result<[Option<Timestamp>; Lane::ALL.len()], LedgerError> {
        store::next_dues(&*self.database()?)
    }

    /// The latest instant that any entry was made at. A clock that stands before it is wrong (rule 10).
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn latest_instant(&self) -> Result<Timestamp, LedgerError> {
        store::latest_instant(&*self.database()?)
    }

    /// Wakes with every commit.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    fn database(&self) -> Result<Arc<Database>, LedgerError> {
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner).clone();
        // The writer could not open it anew after an I/O error; it may be possible now.
        let database = database.map_or_else(|| self.shared.reopen(), Ok);
        database.map_err(|error| LedgerError::Read(error.to_string()))
    }

    async fn ask<T>(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Op,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.ops.send(op(reply)).await.map_err(|_| LedgerError::Closed)?;
        // Nobody answers where not even a transaction could be begun.
        let unbegun = |_| LedgerError::Write("it cannot be opened anew after an I/O error".into());
        answer.await.map_err(unbegun)?
    }
}

#[cfg(test)]
pub(crate) mod tests;
