//! Transcoding recordings while they come in.
//!
//! What comes of it is a gift: it is taken over by the recording's first attempt, if the child made what
//! that attempt would make, and given up without a trace if not. No attempt is counted for it, and nothing
//! is entered in the ledger.
//!
//! Invariants:
//! - A child is told of bytes only once they are durable.
//! - While a child may make files, nobody else uses the recording's work folder: whoever wants it takes
//!   the job over first ([`Live::take`]), and waits until the child has ended.
//! - A job is begun only while a place for an ordinary one is free, and takes none: what was recorded
//!   already never waits for what is still being recorded. Its child gives way to others' (`nice`).

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_core::RecordingId;
use holdfast_core::job::{Fed, Jail, Job, Made, Outputs, Report};
use holdfast_core::names;
use holdfast_core::recording::{FileKind, Recording, State};
use holdfast_core::transform::Transform;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Running, TranscodeError, Transcoder, child};
use crate::digest;
use crate::ingest::Standing;
use crate::node::NodeError;
use crate::vault::Home;

/// Bytes of a recording before anything is begun for it: many are given up within a second.
const BYTES_MIN: u64 = 128 << 10;
/// How often it is looked whether a recording is still one that is to be transcoded.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the rooms know of recordings that are transcoded while they come in.
#[derive(Debug)]
pub struct Live {
    jobs: Mutex<HashMap<RecordingId, Arc<Entry>>>,
    /// Jobs at once; 0 where there are to be none.
    jobs_max: usize,
    asked: mpsc::Sender<Asked>,
    asks: Mutex<Option<mpsc::Receiver<Asked>>>,
    /// Somebody does such jobs.
    is_served: AtomicBool,
}

/// A recording that a job is to be begun for.
#[derive(Debug)]
struct Asked {
    home: Home,
    entry: Arc<Entry>,
    standing: watch::Receiver<Standing>,
}

/// A job.
#[derive(Debug)]
struct Entry {
    wish: watch::Sender<Wish>,
    end: watch::Sender<Option<Arc<Outcome>>>,
    position_ms: AtomicU64,
}

/// What is wanted of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wish {
    /// So many bytes are all.
    bytes: Option<u64>,
    /// An attempt waits for it.
    is_taken: bool,
    /// It is to end.
    is_given_up: bool,
}

/// What came of a job. Its child has ended, unless it is said otherwise.
#[derive(Debug)]
enum Outcome {
    /// All was made.
    Made(Box<(Made, Wanted)>),
    /// Nothing was.
    Nothing { why: String },
    /// The child goes on, and may make files.
    Stuck { why: String },
}

/// What was, or is, wanted of a recording.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    outputs: Outputs,
    transform: Transform,
    filmstrip_link: String,
    /// Of the watermark's PNG.
    watermark_sha256: Option<String>,
}

impl Live {
    /// For so many jobs at once.
    #[must_use]
    pub fn new(jobs_max: usize) -> Self {
        let (asked, asks) = mpsc::channel(jobs_max.max(1));
        Self {
            jobs: Mutex::default(),
            jobs_max,
            asked,
            asks: Mutex::new(Some(asks)),
            is_served: AtomicBool::new(false),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<RecordingId, Arc<Entry>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a stream, which has so many durable bytes. Says whether a job was begun for it; one that was
    /// not may be offered again.
    pub(crate) fn offer(
        &self,
        home: Home,
        bytes: u64,
        has_room: bool,
        standing: impl FnOnce() -> watch::Receiver<Standing>,
    ) -> bool {
        if bytes < BYTES_MIN || !has_room || !self.is_served.load(Ordering::Acquire) {
            return false;
        }
        let mut jobs = self.jobs();
        let running = jobs.values().filter(|entry| entry.end.borrow().is_none()).count();
        if running >= self.jobs_max || jobs.contains_key(&home.id) {
            return false;
        }
        let (wish, end) = (watch::Sender::default(), watch::Sender::default());
        let entry = Arc::new(Entry { wish, end, position_ms: AtomicU64::new(0) });
        let asked = Asked { home, entry: Arc::clone(&entry), standing: standing() };
        let begun = self.asked.try_send(asked).is_ok();
        if begun {
            jobs.insert(home.id, entry);
        }
        begun
    }

    fn wish(&self, id: RecordingId, change: impl FnOnce(&mut Wish)) {
        if let Some(entry) = self.jobs().get(&id) {
            entry.wish.send_modify(change);
        }
    }

    /// All of a recording has come: so many bytes, which are durable.
    pub fn ended(&self, id: RecordingId, bytes: u64) {
        self.wish(id, |wish| wish.bytes = Some(bytes));
    }

    /// A recording is deleted.
    pub fn give_up(&self, id: RecordingId) {
        self.wish(id, |wish| wish.is_given_up = true);
    }

    /// How far a recording was transcoded while it came in, in milliseconds, where it is.
    #[must_use]
    pub fn position_ms(&self, id: RecordingId) -> Option<u64> {
        self.jobs().get(&id).map(|entry| entry.position_ms.load(Ordering::Relaxed))
    }

    fn get(&self, id: RecordingId) -> Option<Arc<Entry>> {
        self.jobs().get(&id).cloned()
    }

    fn remove(&self, id: RecordingId) {
        self.jobs().remove(&id);
    }
}

impl Entry {
    /// What came of it, once its child has ended.
    async fn outcome(&self) -> Option<Arc<Outcome>> {
        let mut end = self.end.subscribe();
        end.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }
}

impl Transcoder {
    /// Does jobs until the node stops; each in the tracker.
    pub async fn run_live(self: Arc<Self>, tasks: TaskTracker) {
        let asks = self.node.live.asks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut asks) = asks.filter(|_| self.node.live.jobs_max > 0) else { return };
        self.node.live.is_served.store(true, Ordering::Release);
        loop {
            tokio::select! {
                asked = asks.recv() => match asked {
                    Some(asked) => {
                        tasks.spawn(Arc::clone(&self).do_live(asked));
                    }
                    None => return,
                },
                () = self.node.stop.cancelled() => break,
            }
        }
        self.node.live.is_served.store(false, Ordering::Release);
        asks.close();
        while let Ok(asked) = asks.try_recv() {
            let why = "the node stops".to_owned();
            asked.entry.end.send_replace(Some(Arc::new(Outcome::Nothing { why })));
            self.node.live.remove(asked.home.id);
        }
    }

    /// One job, from its beginning until its result was taken or nobody will.
    async fn do_live(self: Arc<Self>, asked: Asked) {
        let Asked { home, entry, mut standing } = asked;
        let node = &self.node;
        let outcome = match self.live(home, &entry, &mut standing).await {
            Ok(made) => Outcome::Made(Box::new(made)),
            Err(Ended { error, is_stuck: true }) => Outcome::Stuck { why: error.to_string() },
            Err(Ended { error, .. }) => Outcome::Nothing { why: error.to_string() },
        };
        match &outcome {
            Outcome::Made(_) => {
                tracing::debug!(recording = %home.id, "transcoded while it came in; not needed yet");
            }
            Outcome::Nothing { why } => {
                tracing::info!(recording = %home.id, why, "not transcoded while it comes in");
                self.clear(home).await;
            }
            Outcome::Stuck { why } => {
                tracing::error!(recording = %home.id, why, "a transcoder goes on");
            }
        }
        let is_made = matches!(outcome, Outcome::Made(_));
        entry.end.send_replace(Some(Arc::new(outcome)));
        // What was made waits for whoever takes it: the entry goes then, or here.
        while is_made && self.is_wanted(home, &entry).await {
            let mut wish = entry.wish.subscribe();
            let changed = wish.wait_for(|wish| wish.is_taken || wish.is_given_up);
            tokio::select! {
                _ = changed => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = node.stop.cancelled() => break,
            }
        }
        let mut is_taken = false;
        entry.wish.send_modify(|wish| {
            is_taken = wish.is_taken;
            // Too late for whoever comes now.
            wish.is_given_up = true;
        });
        if !is_taken {
            // While the node stops an attempt may have begun, to which the folder belongs.
            if is_made && !node.stop.is_cancelled() {
                self.clear(home).await;
            }
            node.live.remove(home.id);
        }
    }

    /// Removes what a job left, as far as it can be removed.
    async fn clear(&self, home: Home) {
        if let Err(error) = self.node.with_vault(move |vault| vault.clear_work(home)).await {
            tracing::debug!(recording = %home.id, %error, "its work folder stays until it is used");
        }
    }

    /// Whether a recording may still come to be transcoded.
    async fn is_wanted(&self, home: Home, entry: &Entry) -> bool {
        use State::{Copying, Processing, Receiving, Saved, Stopped};
        if entry.wish.borrow().is_taken {
            return true;
        }
        match self.node.ledger.get(home.id) {
            Ok(Some(rec)) => {
                matches!(rec.state, Receiving | Stopped | Saved | Copying | Processing)
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    async fn live(
        &self,
        home: Home,
        entry: &Entry,
        standing: &mut watch::Receiver<Standing>,
    ) -> Result<(Made, Wanted), Ended> {
        let recording = self.node.ledger.get(home.id).map_err(NodeError::from);
        let recording = recording.map_err(TranscodeError::from)?;
        let recording = recording.filter(|it| it.policy.outputs.mp4);
        let recording = recording.ok_or(TranscodeError::Cancelled)?;
        let opened = self.node.with_vault(move |vault| {
            vault.check_room(home)?;
            // For as long as the child may make files.
            let lease = vault.lease(home)?;
            Ok((lease, vault.read_raw(home)?, vault.work_folder(home)?))
        });
        let (_lease, raw, work) = opened.await.map_err(TranscodeError::from)?;
        let (mut job, watermark, wanted) = self.live_job(&recording).await?;
        job.live = true;
        #[cfg_attr(
            not(test),
            expect(clippy::infallible_destructuring_match, reason = "tests have another kind")
        )]
        let mut child = match self.start(&job, &raw, &work, watermark.as_ref())? {
            Running::Child(child) => child,
            #[cfg(test)]
            Running::Simulated(_) => return Err(TranscodeError::Cancelled.into()),
        };
        child.wait_for_its_recording();
        tracing::debug!(recording = %home.id, "transcoding begins while it comes in");
        let said = self.follow(home, entry, standing, &mut child, job.limits.jail).await;
        let ended = child.end().await;
        match (said, ended) {
            (_, Err(error)) => Err(Ended { error, is_stuck: true }),
            (said, Ok(())) => Ok((said?, wanted)),
        }
    }

    /// What a child is told, and what it comes from.
    async fn live_job(
        &self,
        recording: &Recording,
    ) -> Result<(Job, Option<File>, Wanted), TranscodeError> {
        let (transform, watermark) = self.transform(recording).await?;
        let link = names::at_destination("", &recording.id.to_string(), FileKind::Filmstrip, None);
        let job = self.job(recording.policy.outputs, transform, link);
        let wanted = Wanted {
            outputs: job.outputs,
            transform: job.transform.clone(),
            filmstrip_link: job.filmstrip_link.clone(),
            watermark_sha256: watermark.as_ref().map(fingerprint).transpose()?,
        };
        Ok((job, watermark, wanted))
    }

    /// Tells a child how the recording comes in, and hears what comes of it.
    async fn follow(
        &self,
        home: Home,
        entry: &Entry,
        standing: &mut watch::Receiver<Standing>,
        child: &mut child::Child,
        jail: Jail,
    ) -> Result<Made, TranscodeError> {
        let mut wish = entry.wish.subscribe();
        wish.mark_changed();
        standing.mark_changed();
        let (mut confined, mut fed, mut is_open) = (false, false, true);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let stop = if wish.borrow().is_taken { &self.node.halt } else { &self.node.stop };
            tokio::select! {
                () = stop.cancelled() => return Err(TranscodeError::Cancelled),
                changed = wish.changed() => {
                    let wish = *wish.borrow_and_update();
                    if wish.is_given_up || changed.is_err() {
                        return Err(TranscodeError::Cancelled);
                    }
                    if let (Some(bytes), false) = (wish.bytes, fed) {
                        fed = true;
                        child.feed(Fed::Ended { bytes }).await;
                    }
                }
                changed = standing.changed(), if is_open => {
                    is_open = changed.is_ok();
                    let now = standing.borrow_and_update().clone();
                    match now {
                        Standing::Durable(bytes) if !fed => child.feed(Fed::Durable { bytes }).await,
                        Standing::Durable(_) => {}
                        Standing::Failed { .. } if fed => {}
                        Standing::Failed { .. } => return Err(TranscodeError::Cancelled),
                    }
                }
                report = child.next() => match report? {
                    Report::Started(confinement) => {
                        child::check(&confinement, jail)?;
                        confined = true;
                    }
                    Report::Progress { position_ms, .. } => {
                        entry.position_ms.store(position_ms, Ordering::Relaxed);
                    }
                    Report::Done(_) if !confined && jail == Jail::Required => {
                        return Err(TranscodeError::Unconfined);
                    }
                    Report::Done(made) => return Ok(made),
                    Report::Failed(failure) => return Err(TranscodeError::Failed(failure)),
                },
                _ = look.tick() => {
                    if !self.is_wanted(home, entry).await {
                        return Err(TranscodeError::Cancelled);
                    }
                }
            }
        }
    }

    /// What was made of a recording while it came in, if that is what an attempt would make now; waits for
    /// it. Nobody else makes files in its work folder any more then.
    ///
    /// # Errors
    /// [`TranscodeError::Cancelled`], or [`TranscodeError::Overdue`] where somebody does.
    pub(super) async fn take_live(
        &self,
        recording: &Recording,
        cancel: &CancellationToken,
    ) -> Result<Option<Made>, TranscodeError> {
        let id = recording.id;
        let Some(entry) = self.node.live.get(id) else { return Ok(None) };
        let mut was_given_up = false;
        entry.wish.send_modify(|wish| {
            was_given_up = wish.is_given_up;
            wish.is_taken = true;
            wish.bytes = wish.bytes.or(Some(recording.bytes));
        });
        let outcome = tokio::select! {
            biased;
            outcome = entry.outcome() => outcome,
            () = cancel.cancelled() => {
                entry.wish.send_modify(|wish| wish.is_given_up = true);
                entry.outcome().await;
                self.node.live.remove(id);
                return Err(TranscodeError::Cancelled);
            }
        };
        self.node.live.remove(id);
        let why = match outcome.as_deref() {
            Some(Outcome::Made(_)) if was_given_up => "it was given up".to_owned(),
            Some(Outcome::Made(it)) => {
                let (made, wanted) = &**it;
                let (_, _, now) = self.live_job(recording).await?;
                if *wanted == now {
                    tracing::info!(recording = %id, "what was made while it came in is taken over");
                    return Ok(Some(made.clone()));
                }
                "something else is wanted of it since".to_owned()
            }
            Some(Outcome::Nothing { why }) => why.clone(),
            Some(Outcome::Stuck { why }) => {
                return Err(TranscodeError::Overdue { what: why.clone() });
            }
            None => "it came to no end".to_owned(),
        };
        tracing::info!(recording = %id, why, "transcoded after it came in");
        Ok(None)
    }
}

/// Why a job ended.
struct Ended {
    error: TranscodeError,
    /// Its child did not.
    is_stuck: bool,
}

impl From<TranscodeError> for Ended {
    fn from(error: TranscodeError) -> Self {
        Self { error, is_stuck: false }
    }
}

fn fingerprint(png: &File) -> Result<String, TranscodeError> {
    let read = || {
        let mut bytes = vec![0; usize::try_from(png.metadata()?.len()).unwrap_or(0)];
        png.read_exact_at(&mut bytes, 0)?;
        Ok(digest::of(&bytes))
    };
    read().map_err(|error: std::io::Error| TranscodeError::Watermark(error.to_string()))
}

/// Jobs at once: as many as software does of the ordinary ones.
#[must_use]
pub(crate) fn jobs_max(node: &crate::config::Transcode, software_jobs_max: usize) -> usize {
    if node.live { software_jobs_max } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(number: u64) -> Home {
        RecordingId::new(number, [1; 10]).into()
    }

    fn offer(live: &Live, number: u64, bytes: u64, has_room: bool) -> bool {
        let standing = watch::Sender::new(Standing::Durable(bytes));
        live.offer(home(number), bytes, has_room, || standing.subscribe())
    }

    #[tokio::test]
    async fn jobs_are_begun_where_there_is_room_and_only_so_many() {
        let live = Live::new(2);
        assert!(!offer(&live, 1, BYTES_MIN, true), "nobody does them");
        live.is_served.store(true, Ordering::Release);
        assert!(!offer(&live, 1, BYTES_MIN, false), "finished recordings come first");
        assert!(!offer(&live, 1, BYTES_MIN - 1, true), "it has hardly begun");
        assert!(offer(&live, 1, BYTES_MIN, true));
        assert!(!offer(&live, 1, BYTES_MIN, true), "it has a job");
        assert!(offer(&live, 2, BYTES_MIN, true));
        assert!(!offer(&live, 3, BYTES_MIN, true), "there are as many as there may be");
        // One that only waits to be taken over costs nothing any more.
        let why = "it ended".to_owned();
        let entry = live.get(home(1).id).unwrap();
        entry.end.send_replace(Some(Arc::new(Outcome::Nothing { why })));
        let mut asks = live.asks.lock().unwrap().take().unwrap();
        assert_eq!(asks.recv().await.unwrap().home, home(1));
        assert!(offer(&live, 3, BYTES_MIN, true));
        let off = Live::new(0);
        off.is_served.store(true, Ordering::Release);
        assert!(!offer(&off, 1, BYTES_MIN, true));
    }

    #[test]
    fn what_is_wished_for_a_recording_without_a_job_is_nothing() {
        let live = Live::new(1);
        live.ended(home(1).id, 7);
        live.give_up(home(1).id);
        assert_eq!(live.position_ms(home(1).id), None);
    }
}
