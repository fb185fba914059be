//! What goes wrong in a world, and its mending.

use std::path::Path;
use std::time::Duration;

use holdfast_core::{Recording, RecordingId};

use super::{Act, Ended, Life, World};
use crate::simulation::chores::Chore;
use crate::simulation::faults::Fault;
use crate::simulation::oracle::RECORDINGS;
use crate::simulation::receivers::{self, HOOKS};
use crate::simulation::storage::Mood;

impl World {
    pub(super) async fn fault(&mut self, life: &Life, fault: Fault) -> Option<Ended> {
        self.note(format!("{fault:?}"));
        self.ill_at = self.elapsed();
        self.is_in_trouble();
        if fault.is_of_the_clock() || fault == Fault::ClockRight {
            self.clock_was_off = Some(self.elapsed());
        }
        let now = self.elapsed();
        let later = |minutes: u64| now + Duration::from_secs(60 * minutes);
        match fault {
            Fault::Store { which, mood, minutes } => {
                self.stores[which].set_mood(mood);
                self.enter(later(minutes), Act::Fault(Fault::StoreWell { which }));
            }
            Fault::StoreWell { which } => self.stores[which].set_mood(Mood::Well),
            Fault::Receiver { which, mood, minutes } => {
                self.receivers.set_mood(HOOKS[which], mood);
                self.enter(later(minutes), Act::Fault(Fault::ReceiverWell { which }));
            }
            Fault::ReceiverWell { which } => {
                self.receivers.set_mood(HOOKS[which], receivers::Mood::Well);
            }
            Fault::Decoder { percent, minutes } => {
                self.decoder.set_failing(percent);
                self.enter(later(minutes), Act::Fault(Fault::DecoderWell));
            }
            Fault::DecoderWell => self.decoder.set_failing(0),
            Fault::Full { minutes } => {
                self.disk.set_full(true);
                self.enter(later(minutes), Act::Fault(Fault::Room));
            }
            Fault::Room => self.disk.set_full(false),
            Fault::Syncs { files, ledger } => {
                self.disk.fail_syncs(files, ledger);
                self.enter(later(60), Act::Fault(Fault::SyncsWell));
            }
            Fault::SyncsWell => self.disk.fail_syncs(0, 0),
            Fault::Power { operations } => self.disk.cut_power_after(operations),
            Fault::Killed { turns } => self.killed_after = Some(turns),
            Fault::Stopped => {
                self.stop(life).await;
                return Some(Ended::Stopped);
            }
            Fault::LedgerLost => return self.lose_the_ledger(life).await,
            Fault::Clock { off_by_s, minutes } => {
                self.oracle.may_run_ahead |= off_by_s > 0;
                self.set_clock(off_by_s);
                self.enter(later(minutes), Act::Fault(Fault::ClockRight));
            }
            Fault::NoTimeService { off_by_s, minutes } => {
                // Something else keeps it, or nothing does; then it may show anything.
                let off_by_s = if self.places.is_as_is { 0 } else { off_by_s };
                self.hands.synchronise(false);
                self.is_synchronised = false;
                self.set_clock(off_by_s);
                self.enter(later(minutes), Act::Fault(Fault::ClockRight));
            }
            Fault::ClockRight => self.set_clock_right(life),
        }
        None
    }

    fn set_clock(&mut self, off_by_s: i64) {
        self.off_by_s = off_by_s;
        self.hands.set(self.wall());
    }

    fn set_clock_right(&mut self, life: &Life) {
        // One that a time service set back, and that has caught up with what was recorded, is believed;
        // then it jumps ahead.
        let is_believed = self.off_by_s < 0 && life.node.clock_is_trusted().unwrap_or(true);
        self.oracle.may_run_ahead |= is_believed;
        self.set_clock(0);
        self.hands.synchronise(true);
        self.is_synchronised = true;
    }

    /// An orderly stop, as the service has it: nothing new is begun, and what runs is broken off.
    async fn stop(&mut self, life: &Life) {
        life.node.stop.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        life.node.halt.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !self.disk.is_off() {
            self.end_turns().await;
            self.look(&life.node);
        }
    }

    /// The ledger is lost. What the vault does not say is then forgotten; a deletion that could not be
    /// noted there is not risked here.
    async fn lose_the_ledger(&mut self, life: &Life) -> Option<Ended> {
        let is_noted = |id: &RecordingId, is_ended: bool| {
            let path = Path::new(RECORDINGS).join(id.to_string()).join("manifest.json");
            let manifest = self.disk.bytes_of(&path);
            let manifest = manifest.and_then(|bytes| Recording::from_json(&bytes).ok());
            manifest.is_none_or(|rec| rec.is_ended() == is_ended)
        };
        let known = &self.oracle.known;
        if !self.disk.is_well() || !known.iter().all(|(id, k)| is_noted(id, k.rec.is_ended())) {
            let at = self.elapsed() + Duration::from_secs(7_200);
            self.enter(at, Act::Fault(Fault::LedgerLost));
            return None;
        }
        self.stop(life).await;
        if self.disk.is_off() { Some(Ended::Unpowered) } else { Some(Ended::WithoutLedger) }
    }

    pub(super) fn mend(&mut self, life: &Life) {
        self.note("everything is mended");
        self.ill_at = self.elapsed();
        self.agenda.retain(|_, act| {
            !matches!(act, Act::Fault(_) | Act::Admin | Act::Case { .. } | Act::Expiry)
        });
        self.stores.iter().for_each(|store| store.set_mood(Mood::Well));
        self.decoder.set_failing(0);
        self.receivers.mend();
        self.disk.set_full(false);
        self.disk.fail_syncs(0, 0);
        self.disk.rest();
        self.set_clock_right(life);
        self.sweep_is_due = true;
        self.begin_chore(life, Chore::AcceptClock);
        for chore in self.places.turn_webhooks_on().collect::<Vec<_>>() {
            self.begin_chore(life, chore);
        }
        for id in self.oracle.known.keys().copied().collect::<Vec<_>>() {
            self.begin_chore(life, Chore::Lift(id));
        }
    }
}
