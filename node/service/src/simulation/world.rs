//! A world: a node on its make-believe machine, everyone who uses it, and what goes wrong.
//!
//! Time passes from one thing that is due to the next. Whatever is due in a lane gets a turn of its
//! worker; turns, connections and uploads go on side by side, and a kill comes in the middle of them.

mod errands;
mod journal;
mod life;
mod trouble;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::chance::Chance;
use super::chores::Chore;
use super::decoder::Decoder;
use super::disk::Disk;
use super::faults::{Fault, Luck};
use super::oracle::Oracle;
use super::people::Client;
use super::places::{self, Places};
use super::receivers::Receivers;
use super::storage::Store;
use crate::clock::{Clock, Hands};
use errands::{Errands, Turn};
pub(super) use journal::{Journal, Line};
pub(super) use life::Life;

/// How long a service manager waits before it starts a node anew.
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// For so long nothing must have gone wrong before nothing may be late: a lease and some steps.
const WELL: Duration = Duration::from_secs(300);

/// What a world is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) recordings: usize,
    pub(super) days: u64,
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The power went.
    Unpowered,
    /// The process was killed; what it had written to files stays.
    Killed,
    /// It was asked to.
    Stopped,
    /// Likewise, and then its ledger was lost.
    WithoutLedger,
    /// It could not start.
    Unstarted,
    /// The world is over.
    Over,
}

/// What happens next in a world.
#[derive(Debug, Clone)]
enum Act {
    Client(usize),
    Admin,
    /// A client's recording is put under a legal hold, for so many hours.
    Case {
        client: usize,
        hours: u64,
    },
    /// It is lifted.
    CaseClosed {
        client: usize,
    },
    /// An admin's change of settings has things go by the calendar at once.
    Expiry,
    Fault(Fault),
    /// Someone looks whether anything is late.
    Look,
    /// Everything is mended.
    Mend,
    /// Everything is accounted for, and then deleted.
    Account,
    /// Nothing is left.
    End,
}

/// A world.
pub(super) struct World {
    start: Timestamp,
    elapsed: Duration,
    hands: Hands,
    clock: Clock,
    disk: Disk,
    stores: [Store; 3],
    decoder: Decoder,
    receivers: Receivers,
    places: Places,
    chance: Chance,
    clients: Vec<Client>,
    sent: BTreeMap<usize, Vec<u8>>,
    agenda: BTreeMap<(Duration, u64), Act>,
    entered: u64,
    pub(super) oracle: Oracle,
    errands: Errands,
    is_made: bool,
    must_rebuild: bool,
    /// The ledger was made anew, and the oracle does not know yet.
    is_rebuilt: bool,
    /// By how much the wall clock is off, in seconds.
    off_by_s: i64,
    /// A time service keeps it.
    is_synchronised: bool,
    ill_at: Duration,
    /// When anything last went wrong by which the node may have forgotten something.
    troubled: Option<Duration>,
    /// When the wall clock was last off.
    clock_was_off: Option<Duration>,
    /// The process is killed after so many turns.
    killed_after: Option<u64>,
    sweep_is_due: bool,
    pub(super) journal: Journal,
}

impl World {
    pub(super) fn new(seed: u64, size: Size) -> Self {
        let mut chance = Chance::new(seed);
        super::set_here(Some(chance.split()));
        // Around both changes of summer time, and in between.
        let first: Timestamp = "2025-01-01T00:00:00Z".parse().expect("a timestamp");
        let start = first + SignedDuration::from_secs(chance.from(0, 365 * 86_400).cast_signed());
        let hands = Hands::at(start);
        let clock = Clock::driven(&hands);
        let disk = Disk::new(clock.clone(), chance.split());
        let stores = places::stores(&disk, &mut chance);
        let decoder = Decoder::new(&disk, &clock, chance.split());
        let receivers = Receivers::new(&disk, chance.split());
        let places = Places::new(start, &mut chance);
        let mut world = Self {
            start,
            elapsed: Duration::ZERO,
            hands,
            clock,
            disk,
            stores,
            decoder,
            receivers,
            places,
            clients: Vec::new(),
            sent: BTreeMap::new(),
            agenda: BTreeMap::new(),
            entered: 0,
            oracle: Oracle::default(),
            errands: Errands::default(),
            is_made: false,
            must_rebuild: false,
            is_rebuilt: false,
            off_by_s: 0,
            is_synchronised: true,
            ill_at: Duration::ZERO,
            troubled: None,
            clock_was_off: None,
            killed_after: None,
            sweep_is_due: false,
            journal: Journal::new(seed),
            chance,
        };
        world.plan(size);
        world
    }

    fn plan(&mut self, size: Size) {
        let day = Duration::from_secs(86_400);
        let mut chance = self.chance.split();
        for number in 0..size.recordings {
            let env = self.places.any_environment(&mut chance);
            let client = Client::new(number, env, &mut chance);
            self.sent.insert(number, client.bytes.clone());
            self.clients.push(client);
            let most_days = if chance.percent(80) { 8 } else { size.days / 2 };
            let at = Duration::from_millis(chance.from(1_000, most_days * 86_400_000));
            self.enter(at, Act::Client(number));
            if chance.percent(15) {
                // Before its files would go, most of the time.
                let begun = at + Duration::from_secs(chance.from(20, 400));
                let hours = chance.from(1, 24 * size.days);
                self.enter(begun, Act::Case { client: number, hours });
            }
        }
        let luck = Luck::of(&mut chance);
        for (at, fault) in luck.plan(size.days, &mut chance) {
            if fault.is_of_the_clock() && chance.percent(60) {
                self.enter(at + Duration::from_secs(chance.from(1, 7_200)), Act::Expiry);
            }
            self.enter(at, Act::Fault(fault));
        }
        for _ in 0..chance.from(0, 2 + size.recordings as u64) {
            self.enter(Duration::from_secs(chance.from(60, size.days * 86_400)), Act::Admin);
        }
        let days = u32::try_from(size.days).expect("days");
        for number in 1..days {
            self.enter(day * number, Act::Look);
        }
        self.enter(day * days, Act::Mend);
        self.enter(day * (days + 7), Act::Account);
        self.enter(day * (days + 9), Act::End);
    }

    fn enter(&mut self, at: Duration, act: Act) {
        self.entered += 1;
        self.agenda.insert((at, self.entered), act);
    }

    /// Real time since the world began, whatever any clock says.
    fn elapsed(&self) -> Duration {
        self.elapsed
    }

    fn let_pass(&mut self, time: Duration) {
        self.elapsed += time;
        self.receivers.let_pass(time);
        self.hands.pass(time);
    }

    /// What a right wall clock shows, and by how much this one is off.
    fn wall(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed).expect("a duration");
        self.start + elapsed + SignedDuration::from_secs(self.off_by_s)
    }

    fn note(&mut self, line: impl Into<String>) {
        let (now, line) = (self.clock.now(), line.into());
        self.journal.note(Line::Words(format!("{now} {line}")));
    }

    /// Lives through all of it.
    pub(super) fn live(&mut self) {
        loop {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            let ended = runtime.block_on(self.life());
            // Whatever is under way ends here, at the point at which it stands.
            self.errands = Errands::default();
            for client in &mut self.clients {
                client.hang_up();
            }
            drop(runtime);
            // What is written last of all may be what the power went at.
            let is_cut = self.disk.is_off() && ended != Ended::Over;
            let ended = if is_cut { Ended::Unpowered } else { ended };
            self.note(format!("the node is gone: {ended:?}"));
            match ended {
                Ended::Over => break,
                Ended::Unpowered => {
                    self.disk.restart();
                    self.hands.reboot(self.wall());
                }
                Ended::WithoutLedger => {
                    // It was stopped in good order, and all it had written has reached the disk.
                    self.disk.rest();
                    self.disk.sync().expect("a disk without faults");
                    self.must_rebuild = true;
                }
                Ended::Killed | Ended::Stopped | Ended::Unstarted => self.disk.rest(),
            }
            self.ill_at = self.elapsed();
            self.is_in_trouble();
            self.let_pass(RESTART_PAUSE);
            if self.chance.percent(20) {
                // It may not get far.
                self.disk.cut_power_after(self.chance.from(0, 300));
            }
        }
        super::set_here(None);
    }

    /// One life of the node, from its start to its end.
    async fn life(&mut self) -> Ended {
        let mut life = match self.start().await {
            Ok(life) => life,
            Err(_) if self.disk.is_off() => return Ended::Unpowered,
            Err(error) => {
                assert!(!self.disk.is_well() || self.elapsed() < self.ill_at + WELL, "{error:#}");
                self.note(format!("cannot start: {error:#}"));
                // Not for ever.
                self.disk.fail_syncs(0, 0);
                return Ended::Unstarted;
            }
        };
        self.oracle.look_at_everything();
        self.look(&life.node);
        loop {
            if let Some(ended) = self.settle(&mut life).await {
                return ended;
            }
            let next = self.agenda.first_key_value().map(|(key, _)| *key).expect("there is an end");
            if next.0 <= self.elapsed() {
                let act = self.agenda.remove(&next).expect("it is there");
                if let Some(ended) = self.act(&life, act).await {
                    return ended;
                }
            } else {
                self.pass(&mut life, next.0 - self.elapsed()).await;
            }
        }
    }

    async fn act(&mut self, life: &Life, act: Act) -> Option<Ended> {
        match act {
            Act::Client(number) => self.client(life, number).await,
            Act::Admin => self.admin(life),
            Act::Case { client, hours } => self.case(life, client, hours),
            Act::CaseClosed { client } => {
                if let Some(id) = self.recording_of(client) {
                    self.begin_chore(life, Chore::Lift(id));
                }
            }
            Act::Expiry => {
                let chore = self.places.expire(self.clock.now(), &mut self.chance);
                self.begin_chore(life, chore);
            }
            Act::Fault(fault) => return self.fault(life, fault).await,
            Act::Look => self.nothing_is_late(life),
            Act::Mend => self.mend(life),
            Act::Account => self.account(life).await,
            Act::End => {
                self.nothing_is_late(life);
                self.oracle.audit_log_holds(&life.node);
                self.oracle.receipts_are_right(&life.node);
                self.oracle.webhooks.everything_was_told(self.clock.now(), self.now());
                self.oracle.webhooks.nothing_waits(&life.node);
                self.oracle.nothing_is_left(&life.node.ledger, &self.disk, &self.stores);
                return Some(Ended::Over);
            }
        }
        None
    }

    async fn client(&mut self, life: &Life, number: usize) {
        let client = &mut self.clients[number];
        if let Some(after) = client.act(life, &self.disk).await {
            let at = self.elapsed() + after;
            self.enter(at, Act::Client(number));
        }
    }
}
