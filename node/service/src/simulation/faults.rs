//! What goes wrong in a world, and when it is right again.

use std::time::Duration;

use super::chance::Chance;
use super::receivers;
use super::storage::Mood;

/// Something that goes wrong, or is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A store is in this mood for so many minutes.
    Store { which: usize, mood: Mood, minutes: u64 },
    /// It is well again.
    StoreWell { which: usize },
    /// A webhook's receiver is in this mood for so many minutes.
    Receiver { which: usize, mood: receivers::Mood, minutes: u64 },
    /// It is well again.
    ReceiverWell { which: usize },
    /// So many of a hundred jobs of the decoder fail, for so many minutes.
    Decoder { percent: u64, minutes: u64 },
    /// They don't any more.
    DecoderWell,
    /// The disk is full for so many minutes.
    Full { minutes: u64 },
    /// There is room again.
    Room,
    /// So many of the next syncs of files, and of the ledger, fail.
    Syncs { files: u64, ledger: u64 },
    /// Syncs that were to fail and never came are forgiven.
    SyncsWell,
    /// The power goes after so many operations of the disk.
    Power { operations: u64 },
    /// The process is killed after others had so many turns.
    Killed { turns: u64 },
    /// The node is stopped in good order.
    Stopped,
    /// The node is stopped, its ledger is lost, and made anew from the vault.
    LedgerLost,
    /// The wall clock is set, by so many seconds from what is right.
    Clock { off_by_s: i64, minutes: u64 },
    /// No time service keeps it any more, and it shows something else.
    NoTimeService { off_by_s: i64, minutes: u64 },
    /// It is set right, and kept.
    ClockRight,
}

impl Fault {
    /// Whether the wall clock is wrong from then on.
    pub(super) fn is_of_the_clock(self) -> bool {
        matches!(self, Self::Clock { .. } | Self::NoTimeService { .. })
    }
}

/// How much goes wrong in a world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Luck {
    pub(super) faults: u64,
    pub(super) crashes: u64,
    pub(super) receivers: u64,
    pub(super) clocks: u64,
    pub(super) ledgers: u64,
}

impl Luck {
    pub(super) fn of(chance: &mut Chance) -> Self {
        let few = |chance: &mut Chance, most: u64| {
            if chance.percent(25) { 0 } else { chance.from(0, most) }
        };
        Self {
            faults: few(chance, 12),
            crashes: few(chance, 10),
            receivers: few(chance, 12),
            clocks: if chance.percent(55) { 0 } else { chance.from(1, 4) },
            ledgers: u64::from(chance.percent(15)),
        }
    }

    /// All that goes wrong in so many days, each with when.
    pub(super) fn plan(self, days: u64, chance: &mut Chance) -> Vec<(Duration, Fault)> {
        let mut plan = Vec::new();
        let at = |chance: &mut Chance| {
            // Most of what can go wrong has to do so while much goes on.
            let most = if chance.percent(70) { days.min(10) } else { days };
            Duration::from_secs(chance.from(60, most * 86_400))
        };
        for _ in 0..self.faults {
            plan.push((at(chance), fault(chance)));
        }
        for _ in 0..self.receivers {
            plan.push((at(chance), receiver(chance)));
        }
        for _ in 0..self.crashes {
            let fault = match chance.from(0, 5) {
                0 => Fault::Stopped,
                1 => Fault::Killed { turns: chance.from(0, 40) },
                _ => Fault::Power { operations: chance.from(0, 400) },
            };
            plan.push((at(chance), fault));
        }
        for _ in 0..self.clocks {
            let size_s = [40, 4_000, 200_000][chance.index(3)];
            let off_by_s = chance.from(0, 2 * size_s).cast_signed() - size_s.cast_signed();
            let most = if chance.percent(30) { 9_000 } else { 3_000 };
            let minutes = chance.from(1, most);
            let fault = if chance.percent(50) {
                Fault::Clock { off_by_s, minutes }
            } else {
                let years = [0, -50, -1, 10][chance.index(4)];
                Fault::NoTimeService { off_by_s: off_by_s + years * 365 * 86_400, minutes }
            };
            plan.push((at(chance), fault));
        }
        for _ in 0..self.ledgers {
            plan.push((at(chance), Fault::LedgerLost));
        }
        plan
    }
}

/// For how many minutes something goes wrong: little, or longer than anybody tries.
fn some_minutes(chance: &mut Chance) -> u64 {
    match chance.from(0, 4) {
        0 => chance.from(1, 20),
        1 | 2 => chance.from(20, 1_000),
        _ => chance.from(1_000, 8_000),
    }
}

fn receiver(chance: &mut Chance) -> Fault {
    use receivers::Mood::{Broken, Down, Forgetful, Gone, Overrun, Slow};
    let moods = [Down, Down, Broken, Overrun, Slow, Forgetful, Gone];
    let (which, mood) = (chance.index(3), moods[chance.index(moods.len())]);
    Fault::Receiver { which, mood, minutes: some_minutes(chance) }
}

fn fault(chance: &mut Chance) -> Fault {
    let minutes = some_minutes(chance);
    match chance.from(0, 9) {
        0..=3 => {
            let moods = [Mood::Down, Mood::Down, Mood::Refusing, Mood::Forgetful, Mood::Slow];
            let mood = moods[chance.index(moods.len())];
            Fault::Store { which: chance.index(3), mood, minutes }
        }
        4..=6 => Fault::Decoder { percent: [40, 80, 100][chance.index(3)], minutes },
        7 => Fault::Full { minutes: minutes.min(400) },
        _ => Fault::Syncs { files: chance.from(0, 4), ledger: chance.from(0, 3) },
    }
}
