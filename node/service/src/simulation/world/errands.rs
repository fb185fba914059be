//! What is under way in a life: turns of workers, chores of admins; and how time passes meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::{Lane, RecordingId};
use tokio::task::JoinHandle;

use super::{Act, Ended, Life, World};
use crate::node::NodeError;
use crate::simulation::chores::{Chore, do_chore};
use crate::simulation::people::Client;

/// Most turns within one instant; more are a loop.
const TURNS_MAX: usize = 5_000;
/// How long a lane rests after a turn that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(30);
/// Longest step of time while anything is under way.
const STEP_MS_MAX: u64 = 20_000;
/// Longest step of time while the clock is in doubt.
const DOUBT_STEP: Duration = Duration::from_secs(3_600);
/// How many turns of a lane go on at once.
const TURNS_AT_ONCE: usize = 2;

/// A turn of a worker; it says whether there was work.
pub(super) type Turn = JoinHandle<Result<bool, NodeError>>;

/// Work that is under way in a life.
#[derive(Default)]
pub(super) struct Errands {
    pub(super) turns: Vec<(Lane, Turn)>,
    pub(super) chores: Vec<(Chore, JoinHandle<Result<(), String>>)>,
    /// Until when a lane rests.
    rests: BTreeMap<u8, Duration>,
}

impl World {
    /// Everything that is due gets its turn, until nothing is; answers where the life ends meanwhile.
    pub(super) async fn settle(&mut self, life: &mut Life) -> Option<Ended> {
        for _ in 0..TURNS_MAX {
            let has_begun = self.begin_turns(life);
            if let Some(turns) = self.killed_after.take() {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                return Some(Ended::Killed);
            }
            if !self.disk.is_well() || self.off_by_s != 0 {
                self.is_in_trouble();
            }
            // With its time paused, the runtime gets here when nobody else has anything to do.
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.disk.is_off() {
                return Some(Ended::Unpowered);
            }
            let has_ended = self.end_turns().await;
            for index in 0..self.clients.len() {
                if self.clients[index].is_connected() {
                    self.clients[index].hear().await;
                }
            }
            self.look(&life.node);
            if !has_begun && !has_ended {
                return None;
            }
        }
        panic!("something comes due again and again");
    }

    fn begin_turns(&mut self, life: &mut Life) -> bool {
        let now = self.clock.now();
        let mut lanes = Lane::ALL;
        self.chance.shuffle(&mut lanes);
        let mut has_begun = false;
        for lane in lanes {
            let rests_until =
                self.errands.rests.get(&lane_number(lane)).copied().unwrap_or_default();
            let running = self.errands.turns.iter().filter(|(of, _)| *of == lane).count();
            let is_due = life.due(lane, self.disk.is_well()).is_some_and(|at| at <= now);
            if !is_due || running >= TURNS_AT_ONCE || rests_until > self.elapsed() {
                continue;
            }
            if let Some(turn) = life.turn(lane) {
                self.errands.turns.push((lane, turn));
                has_begun = true;
            }
        }
        if self.sweep_is_due && self.errands.chores.is_empty() {
            self.sweep_is_due = false;
            self.begin_chore(life, Chore::Sweep);
            has_begun = true;
        }
        has_begun
    }

    fn any_recording(&mut self) -> Option<RecordingId> {
        let ids: Vec<RecordingId> = self.oracle.known.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.chance.index(ids.len())])
    }

    pub(super) fn recording_of(&self, client: usize) -> Option<RecordingId> {
        let mut known = self.oracle.known.iter();
        known.find(|(_, known)| known.client == Some(client)).map(|(id, _)| *id)
    }

    /// The recording of a client is evidence from now on.
    pub(super) fn case(&mut self, life: &Life, client: usize, hours: u64) {
        let Some(id) = self.recording_of(client) else { return };
        self.begin_chore(life, Chore::Hold(id));
        let over = self.elapsed() + Duration::from_secs(3_600 * hours);
        self.enter(over, Act::CaseClosed { client });
    }

    pub(super) fn admin(&mut self, life: &Life) {
        if std::mem::take(&mut self.places.sweep_failed) {
            self.sweep_is_due = true;
            return;
        }
        let webhook = self.places.any_webhook(&mut self.chance);
        let chore = match (self.chance.from(0, 14), self.any_recording()) {
            (10, _) => Chore::AcceptClock,
            (0..=1, Some(id)) => Chore::Delete(id),
            (2..=3, Some(id)) => Chore::Hold(id),
            (4..=5, Some(id)) => Chore::Lift(id),
            (6..=7, Some(id)) => Chore::Retry(id),
            (11..=12, _) => self.places.change_webhook(webhook, &mut self.chance),
            (13, _) => webhook.map_or(Chore::Sweep, Chore::Ping),
            _ => self.places.change(self.clock.now(), &mut self.chance),
        };
        self.begin_chore(life, chore);
    }

    pub(super) fn begin_chore(&mut self, life: &Life, chore: Chore) {
        if chore.is_about_webhooks() {
            self.oracle.webhooks.are_changed();
        }
        let node = Arc::clone(&life.node);
        let doing = tokio::spawn(do_chore(node, chore.clone()));
        self.errands.chores.push((chore, doing));
    }

    pub(super) async fn end_turns(&mut self) -> bool {
        let mut has_ended = false;
        for (lane, turn) in std::mem::take(&mut self.errands.turns) {
            if !turn.is_finished() {
                self.errands.turns.push((lane, turn));
                continue;
            }
            has_ended = true;
            match turn.await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    self.note(format!("{lane:?}: {error}"));
                    self.errands.rests.insert(lane_number(lane), self.elapsed() + FAILED_PAUSE);
                }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        for (chore, doing) in std::mem::take(&mut self.errands.chores) {
            if !doing.is_finished() {
                self.errands.chores.push((chore, doing));
                continue;
            }
            has_ended = true;
            match doing.await {
                Ok(done) => self.chore_ended(&chore, &done),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        has_ended
    }

    fn chore_ended(&mut self, chore: &Chore, done: &Result<(), String>) {
        self.note(format!("{chore:?}: {done:?}"));
        match (chore, done) {
            (Chore::Change(..), Ok(())) => self.sweep_is_due = true,
            (Chore::AcceptClock, Ok(())) => self.oracle.clock_was_accepted(self.wall()),
            (Chore::Sweep, Err(_)) => {
                let at = self.elapsed() + FAILED_PAUSE;
                self.enter(at, Act::Admin);
                self.ill_at = self.elapsed();
                self.places.sweep_failed = true;
            }
            _ => {}
        }
    }

    /// Time passes, at most so much of it, up to what comes due next.
    pub(super) async fn pass(&mut self, life: &mut Life, most: Duration) {
        let is_busy = !self.errands.turns.is_empty()
            || !self.errands.chores.is_empty()
            || self.receivers.are_busy()
            || self.clients.iter().any(Client::is_connected);
        let mut step = most;
        for lane in Lane::ALL {
            if lane == Lane::Expire && !life.expires() {
                // Nothing to wait for but what the agenda has, or the clock itself.
                step = step.min(DOUBT_STEP);
                continue;
            }
            let due = life.due(lane, self.disk.is_well());
            let rest = self.errands.rests.get(&lane_number(lane)).copied().unwrap_or_default();
            if let Some(at) = due {
                let wait = self.clock.until(at).max(rest.saturating_sub(self.elapsed()));
                step = step.min(wait);
            }
        }
        if let Some(at) = self.hands.next_alarm() {
            step = step.min(self.clock.until(at));
        }
        if is_busy {
            step = step.min(Duration::from_millis(self.chance.from(500, STEP_MS_MAX)));
        }
        let step = step.max(Duration::from_millis(1));
        self.let_pass(step);
        if is_busy {
            tokio::time::advance(step).await;
        }
    }
}

fn lane_number(lane: Lane) -> u8 {
    match lane {
        Lane::Copy => 0,
        Lane::Process => 1,
        Lane::Deliver => 2,
        Lane::Retain => 3,
        Lane::Expire => 4,
    }
}
