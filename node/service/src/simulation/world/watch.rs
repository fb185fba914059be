//! How the oracle watches a world.

use super::{Life, WELL, World};
use crate::node::Node;
use crate::simulation::chores::Chore;
use crate::simulation::oracle::Now;

impl World {
    /// The oracle takes in what has happened.
    pub(super) fn look(&mut self, node: &Node) {
        if self.disk.is_off() {
            return;
        }
        let (now, ledger) = (self.now(), &node.ledger);
        let told = self.oracle.look(now, ledger, &self.disk, &self.stores, &self.sent);
        for line in told {
            self.journal.note(line);
        }
        self.oracle.decoded(self.decoder.take_started());
        if !self.oracle.is_blind {
            let mut chores = self.errands.chores.iter();
            let is_changing = chores.any(|(chore, _)| chore.is_about_webhooks());
            let webhooks = &mut self.oracle.webhooks;
            for line in webhooks.look(node, &self.receivers, is_changing, now) {
                self.journal.note(line);
            }
        }
    }

    /// The time as an outsider knows it.
    pub(super) fn now(&self) -> Now {
        let is_vouched_for = self.is_synchronised || self.places.is_as_is;
        Now {
            elapsed: self.elapsed,
            wall: self.wall(),
            is_vouched_for,
            troubled: self.troubled,
            clock_was_off: self.clock_was_off,
        }
    }

    /// The node may forget something, or count its time wrongly.
    pub(super) fn is_in_trouble(&mut self) {
        self.troubled = Some(self.elapsed);
        if self.off_by_s != 0 {
            self.clock_was_off = Some(self.elapsed);
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.disk.is_well() && self.elapsed() >= self.ill_at + WELL && self.off_by_s == 0
    }

    pub(super) fn nothing_is_late(&self, life: &Life) {
        let is_trusted = life.node.clock_is_trusted().unwrap_or(false);
        if self.is_well() && is_trusted && self.errands.turns.is_empty() {
            self.oracle.nothing_too_late(self.clock.now(), &self.disk);
        }
    }

    /// What was promised was kept; then everything is deleted.
    pub(super) async fn account(&mut self, life: &Life) {
        self.nothing_is_late(life);
        assert!(self.is_well(), "a world that was mended is well");
        let (now, ledger) = (self.clock.now(), &life.node.ledger);
        self.oracle.everything_is_accounted_for(now, ledger, &self.disk, &self.stores, &self.sent);
        self.oracle.promises_to_clients(&self.clients);
        self.oracle.webhooks.everything_was_told(now, self.now());
        self.oracle.receipts_are_right(&life.node);
        for id in self.oracle.known.keys().copied().collect::<Vec<_>>() {
            self.begin_chore(life, Chore::Delete(id));
        }
    }
}
