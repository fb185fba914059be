//! What webhooks are told, held against what happened: an outsider's reading of `docs/webhooks.md`.
//!
//! What happened is told to whoever is to hear of it, at least once, in order per recording, always
//! with the same id; or it is given up by the schedule. Nothing else is told to anyone.

mod reading;
mod request;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_core::RecordingId;
use holdfast_core::recording::{Metadata, Recording};
use jiff::{SignedDuration, Timestamp};

use super::Now;
use crate::node::Node;
use crate::simulation::receivers::{Heard, Receivers, Told};
use crate::simulation::world::Line;
use crate::webhooks::Webhook;
use crate::webhooks::event::Event;
use reading::Happened;

/// Waits after the first failure, the second, and so on, in seconds.
const WAITS_S: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 72_000];
const WINDOW: SignedDuration = SignedDuration::from_hours(72);
/// Attempts take some seconds, and instants are told in whole milliseconds.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

/// What the oracle knows of webhooks.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Webhooks {
    hooks: BTreeMap<String, Hook>,
    entries: Vec<Entry>,
    /// Entries by webhook and recording, in the order in which they happened.
    queues: BTreeMap<(String, RecordingId), Vec<usize>>,
    by_id: BTreeMap<String, usize>,
    /// Entries by the number of the request that is to be answered.
    asked: BTreeMap<u64, usize>,
    /// Someone may be changing a webhook just now.
    is_changing: bool,
    /// What happened since the last look.
    news: Vec<News>,
    /// Recordings that kept nothing of a person at the last look.
    wiped: BTreeSet<RecordingId>,
}

/// What a change of a recording means.
#[derive(Debug)]
struct News {
    recording: RecordingId,
    env_id: String,
    told: Vec<Happened>,
    made: Timestamp,
    made_for_real: Duration,
    is_wiped: bool,
}

/// A webhook, as it stood at the last look.
#[derive(Debug)]
struct Hook {
    env_id: String,
    events: BTreeSet<Event>,
    is_on: bool,
    /// Its receiver said that it is gone, and nobody has mended that yet.
    is_gone: bool,
    /// When it was last known to be off or gone, in real time.
    off_at: Option<Duration>,
}

/// Something that a webhook is to be told.
#[derive(Debug)]
struct Entry {
    hook: String,
    recording: RecordingId,
    what: Happened,
    made: Timestamp,
    made_for_real: Duration,
    /// It must be told; otherwise it may be, since the webhook was just being changed.
    is_due: bool,
    /// It went with an older ledger.
    is_lost: bool,
    id: Option<String>,
    attempts: Vec<Attempt>,
    /// Since when its receiver's yes has reached the node.
    taken_at: Option<Duration>,
    is_refused: bool,
    /// What it was told the first time, without what is kept of a person.
    payload: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    elapsed: Duration,
    now: Timestamp,
}

impl Hook {
    /// One that nobody has seen before.
    fn new(hook: &Webhook) -> Self {
        Self {
            env_id: hook.env_id.clone(),
            events: hook.events.clone(),
            is_on: false,
            is_gone: false,
            off_at: None,
        }
    }
}

impl Webhooks {
    /// Someone is about to change a webhook.
    pub(in crate::simulation) fn are_changed(&mut self) {
        self.is_changing = true;
    }

    /// The ledger was made anew: what waited is not told any more.
    pub(super) fn begin_anew(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.taken_at.is_none()) {
            entry.is_lost = true;
        }
        self.hooks.values_mut().for_each(|hook| hook.is_gone = false);
    }

    /// A recording changed.
    pub(super) fn note(
        &mut self,
        (before, after): (&Recording, &Recording),
        made: Timestamp,
        made_for_real: Duration,
    ) {
        let told = reading::happened(before, after);
        let is_wiped = after.metadata == Metadata::default();
        if !told.is_empty() || is_wiped {
            let (recording, env_id) = (after.id, after.env_id.clone());
            self.news.push(News { recording, env_id, told, made, made_for_real, is_wiped });
        }
    }

    /// Takes in what happened since the last look, and what receivers have seen meanwhile.
    pub(in crate::simulation) fn look(
        &mut self,
        node: &Node,
        receivers: &Receivers,
        is_changing: bool,
        outside: Now,
    ) -> Vec<Line> {
        let hooks: Vec<_> = node.settings.webhooks().into_iter().map(|found| found.of).collect();
        let mut wiped = Vec::new();
        for news in std::mem::take(&mut self.news) {
            wiped.extend(news.is_wiped.then_some(news.recording));
            for hook in hooks.iter().filter(|hook| hook.env_id == news.env_id) {
                self.expect(hook, &news);
            }
        }
        let mut lines = Vec::new();
        for heard in receivers.take_heard() {
            lines.push(Line::Words(heard.tell()));
            match heard {
                Heard::Asked { number, elapsed, request } => {
                    let now = request.sent_at();
                    self.asked(number, &request, Attempt { elapsed, now }, outside);
                }
                Heard::Answered { number, status } => self.answered(number, status, outside),
            }
        }
        for hook in hooks {
            let known = self.hooks.entry(hook.id.clone()).or_insert_with(|| Hook::new(&hook));
            known.is_on = hook.enabled;
            if known.is_gone {
                let health = node.webhooks.health(node, &hook.id);
                known.is_gone = health.is_ok_and(|health| health.gone_at.is_some());
            }
            if !hook.enabled || known.is_gone {
                known.off_at = Some(outside.elapsed);
            }
        }
        self.is_changing = is_changing;
        self.wiped.extend(wiped);
        lines
    }

    /// A webhook hears of this, if it is on and wants to.
    fn expect(&mut self, hook: &Webhook, news: &News) {
        let was_on = self.hooks.get(&hook.id).is_some_and(|was| was.is_on);
        let is_sure = was_on == hook.enabled && !self.is_changing;
        if is_sure && !hook.enabled {
            return;
        }
        for what in news.told.iter().filter(|what| what.is_heard_by(&hook.events)) {
            let queue = self.queues.entry((hook.id.clone(), news.recording)).or_default();
            queue.push(self.entries.len());
            self.entries.push(Entry {
                hook: hook.id.clone(),
                recording: news.recording,
                what: what.clone(),
                made: news.made,
                made_for_real: news.made_for_real,
                is_due: is_sure,
                is_lost: false,
                id: None,
                attempts: Vec::new(),
                taken_at: None,
                is_refused: false,
                payload: None,
            });
        }
    }

    fn asked(&mut self, number: u64, request: &Told, at: Attempt, outside: Now) {
        let body = request::body(request);
        let hook = self.hooks.get(&request.hook).expect("a webhook that was made");
        assert_eq!(body["data"]["env_id"], hook.env_id, "{}: {body}", request.hook);
        if body["event"] == "webhook.ping" {
            return;
        }
        let which = self.which(request, &body);
        let hook = &self.hooks[&request.hook];
        let entry = &self.entries[which];
        assert!(entry.what.is_heard_by(&hook.events), "{}: not chosen: {body}", request.hook);
        assert!(!entry.is_lost, "{}: told of what its ledger has lost: {body}", request.hook);
        self.is_its_turn(which, at, outside);
        self.is_in_time(which, at, outside);
        let entry = &mut self.entries[which];
        request::says_what_happened(&body, &entry.what, entry.recording, entry.made);
        request::keeps_the_person(&body, &entry.what, self.wiped.contains(&entry.recording));
        let payload = request::without_the_person(body);
        let first = entry.payload.get_or_insert_with(|| payload.clone());
        assert_eq!(*first, payload, "{}: told something else than before", request.id);
        entry.attempts.push(at);
        self.asked.insert(number, which);
    }

    /// What it is that is told.
    fn which(&mut self, request: &Told, body: &serde_json::Value) -> usize {
        let Told { hook, id, .. } = request;
        if let Some(which) = self.by_id.get(id) {
            let entry = &self.entries[*which];
            assert_eq!(&entry.hook, hook, "{id} belongs to another webhook");
            return *which;
        }
        let of = body["data"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let queue = self.queues.get(&(hook.clone(), of)).map(Vec::as_slice).unwrap_or_default();
        let may_be = |which: &usize| {
            let entry = &self.entries[*which];
            entry.id.is_none() && !entry.is_lost && entry.what.is_told_by(body)
        };
        // The same can happen twice, the first time to a webhook that had gone away.
        let is_it = |which: &usize| body["timestamp"] == self.entries[*which].made.to_string();
        let all: Vec<usize> = queue.iter().copied().filter(may_be).collect();
        let found = all.iter().copied().find(is_it).or_else(|| all.first().copied());
        let which = found.unwrap_or_else(|| panic!("{hook}: told of what did not happen: {body}"));
        self.entries[which].id = Some(id.clone());
        self.by_id.insert(id.clone(), which);
        which
    }

    /// Entries of the same recording and webhook that come before this one.
    fn before(&self, which: usize) -> impl Iterator<Item = usize> + '_ {
        let entry = &self.entries[which];
        let queue = &self.queues[&(entry.hook.clone(), entry.recording)];
        queue.iter().copied().take_while(move |before| *before != which)
    }

    /// In order per recording: what happened before was taken or given up.
    fn is_its_turn(&self, which: usize, at: Attempt, outside: Now) {
        for number in self.before(which) {
            let before = &self.entries[number];
            let is_settled = before.is_lost
                || before.taken_at.is_some()
                || !before.is_due && before.id.is_none()
                || self.may_be_given_up(number, at.now, outside);
            assert!(is_settled, "told out of order: {:?} before {before:?}", self.entries[which]);
        }
    }

    /// Repeats wait their time, and come only where the one before did not get through.
    fn is_in_time(&self, which: usize, at: Attempt, outside: Now) {
        let entry = &self.entries[which];
        let Some(last) = entry.attempts.last() else { return };
        if outside.troubled.is_some_and(|at| at >= entry.attempts[0].elapsed) {
            // The node may not have been able to note how an attempt went.
            return;
        }
        assert!(entry.taken_at.is_none(), "told again although it was taken: {entry:?}");
        let wait = WAITS_S.get(entry.attempts.len() - 1).copied();
        let wait = wait.unwrap_or_else(|| panic!("an eleventh attempt: {entry:?}"));
        let least = SignedDuration::from_millis(wait * 800 - 100);
        let waited = SignedDuration::try_from(at.elapsed - last.elapsed).expect("a duration");
        assert!(waited >= least, "told again after {waited} instead of {least}: {entry:?}");
    }

    fn answered(&mut self, number: u64, status: u16, outside: Now) {
        let Some(which) = self.asked.remove(&number) else { return };
        let entry = &mut self.entries[which];
        let hook = self.hooks.get_mut(&entry.hook).expect("it is there");
        if (200..300).contains(&status) {
            entry.taken_at.get_or_insert(outside.elapsed);
        } else if status == 410 {
            entry.is_refused = true;
            hook.is_gone = true;
            hook.off_at = Some(outside.elapsed);
        }
    }

    /// Whether the schedule lets the node give this up.
    fn may_be_given_up(&self, which: usize, now: Timestamp, outside: Now) -> bool {
        let entry = &self.entries[which];
        let hook = &self.hooks[&entry.hook];
        let was_off = hook.off_at.is_some_and(|off_at| off_at >= entry.made_for_real);
        let is_by_wrong_clock = outside.clock_was_off.is_some_and(|at| at >= entry.made_for_real);
        if entry.is_refused || was_off || is_by_wrong_clock {
            return true;
        }
        let over = entry.made + WINDOW - SLACK;
        let Some(last) = entry.attempts.last() else {
            // It had no turn: others of its recording had all the time, and were not taken.
            let others = || self.before(which).map(|before| &self.entries[before]);
            return now > over && others().any(|other| !other.is_lost && other.taken_at.is_none());
        };
        let wait = WAITS_S.get(entry.attempts.len() - 1);
        wait.is_none_or(|wait| last.now + SignedDuration::from_secs(*wait) > over)
    }

    /// After a while in which everything was well: what had to be told was, or was given up.
    pub(in crate::simulation) fn everything_was_told(&self, now: Timestamp, outside: Now) {
        for (which, entry) in self.entries.iter().enumerate() {
            let is_told = !entry.is_due
                || entry.is_lost
                || entry.taken_at.is_some()
                || self.may_be_given_up(which, now, outside);
            assert!(is_told, "never told, nor given up: {entry:?}");
        }
    }

    /// Nothing waits to be told any more.
    pub(in crate::simulation) fn nothing_waits(&self, node: &Node) {
        for id in self.hooks.keys() {
            let health = node.webhooks.health(node, id).expect("the ledger can be read");
            assert_eq!(health.waiting, 0, "{id}: something waits to be told");
        }
    }

    /// How much was told and taken.
    pub(in crate::simulation) fn told(&self) -> usize {
        self.entries.iter().filter(|entry| entry.taken_at.is_some()).count()
    }
}
