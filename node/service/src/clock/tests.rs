use std::sync::Arc;

use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::names::Container;
use holdfast_core::recording::{Event, Metadata, Recording, Source, State};
use holdfast_core::{Effect, Lane, RecordingId};
use tempfile::TempDir;

use super::trust::Doubt;
use super::watch::{Refused, look};
use super::*;
use crate::config::Config;
use crate::node::Node;

const LEASE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A machine: its clock, its disk, and the node that runs on it.
struct Machine {
    hands: Hands,
    disk: TempDir,
    source: &'static str,
    node: Option<Arc<Node>>,
}

impl Machine {
    async fn start(source: &'static str, wall: &str) -> Self {
        let disk = tempfile::tempdir().unwrap();
        std::fs::create_dir(disk.path().join("vault")).unwrap();
        let mut machine = Self { hands: Hands::at(at(wall)), disk, source, node: None };
        machine.run().await;
        machine
    }

    /// Starts the node, again if it ran: as after `kill -9`.
    async fn run(&mut self) {
        if let Some(node) = self.node.take() {
            assert_eq!(Arc::strong_count(&node), 1);
            drop(node);
        }
        let file = self.disk.path().join("node.toml");
        let text = format!(
            "[node]\nstate_path = \"{at}/state\"\nclock = \"{}\"\n[vault]\npath = \"{at}/vault\"\nfree_bytes_min = 1\n\
             [[environments]]\nid = \"demo\"\nhash = \"demo\"\n",
            self.source,
            at = self.disk.path().display(),
        );
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        // The thread that holds the ledger ends a moment after the node that used it.
        for _ in 0..1_000 {
            match Node::open(config.clone(), Clock::driven(&self.hands).steered()) {
                Ok(node) => {
                    self.node = Some(node);
                    break;
                }
                Err(error) if error.to_string().contains("another process") => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error:#}"),
            }
        }
        self.look().await;
    }

    fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    async fn look(&self) {
        look(self.node()).await.unwrap();
    }

    async fn pass(&self, time: Duration) {
        self.hands.pass(time);
        self.look().await;
    }

    async fn set(&self, wall: &str) {
        self.hands.set(at(wall));
        self.look().await;
    }

    async fn synchronise(&self, is_synchronised: bool) {
        self.hands.synchronise(is_synchronised);
        self.look().await;
    }

    fn now(&self) -> Timestamp {
        self.node().clock.now()
    }

    fn is_trusted(&self) -> bool {
        self.node().clock_is_trusted().unwrap()
    }

    fn doubt(&self) -> Doubt {
        self.node().clock_doubt().unwrap().expect("it is in doubt")
    }

    /// A recording that was saved just now, with its folder.
    async fn save(&self, seed: u8) -> RecordingId {
        let node = self.node();
        let now = node.clock.now();
        let id = RecordingId::new(u64::try_from(now.as_millisecond()).unwrap(), [seed; 10]);
        let policy = node.settings.policy(&node.settings.environment("demo").unwrap());
        let new =
            Recording::new(id, "demo".into(), Source::Upload, policy, Metadata::default(), now);
        node.ledger.insert(new.clone()).await.unwrap();
        node.with_vault(move |vault| vault.create(&new, 10)).await.unwrap();
        let sha256 = "00".into();
        let stopped = Event::Stopped { bytes: 10, sha256, container: Some(Container::Webm) };
        node.step_all(id, [stopped, Event::Saved]).await.unwrap();
        id
    }

    /// Lets its attempt to transcode fail.
    async fn fail(&self, id: RecordingId) {
        let (node, now) = (self.node(), self.now());
        let claimed = node.ledger.claim(Lane::Process, now, now + LEASE).await.unwrap().unwrap();
        assert_eq!((claimed.0.id, &claimed.1[..]), (id, &[Effect::Transcode][..]));
        let failure = Failure { fault: Fault::Ours, sentence: "no".into(), at: now };
        let failed = Event::TranscodeFailed(failure);
        node.settle(&node.ledger, id, Lane::Process, vec![failed]).await.unwrap();
    }

    fn recording(&self, id: RecordingId) -> Recording {
        self.node().ledger.get(id).unwrap().unwrap()
    }

    fn saved_at(&self, id: RecordingId) -> Timestamp {
        self.recording(id).saved_at.unwrap()
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Node time may be a millisecond beside: in doubt it begins just after the latest recorded instant.
#[track_caller]
fn assert_near(found: Timestamp, expected: &str) {
    assert_eq!(
        found.duration_since(at(expected)).as_millis().abs() / 10,
        0,
        "{found}, not {expected}"
    );
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[tokio::test]
async fn a_clock_that_is_kept_is_followed_and_trusted() {
    let machine = Machine::start("synchronised", "2026-01-01T00:00:00Z").await;
    assert!(machine.is_trusted());
    let id = machine.save(1).await;
    machine.pass(HOUR).await;
    assert_eq!(machine.now(), at("2026-01-01T01:00:00Z"));
    // As a time service does it.
    machine.set("2026-01-01T01:00:02Z").await;
    assert_eq!(machine.now(), at("2026-01-01T01:00:02Z"));
    assert!(machine.is_trusted());
    assert_eq!(machine.saved_at(id), at("2026-01-01T00:00:00Z"));
}

#[tokio::test]
async fn without_a_time_service_it_counts_on_and_is_in_doubt() {
    let machine = Machine::start("synchronised", "2026-01-01T00:00:00Z").await;
    let before = machine.save(1).await;
    machine.synchronise(false).await;
    assert_eq!(machine.doubt(), Doubt::NotSynchronised);
    machine.pass(HOUR).await;
    let during = machine.save(2).await;
    // Whoever sets the clock now vouches for nothing.
    machine.set("2035-01-01T00:00:00Z").await;
    machine.pass(HOUR).await;
    assert_near(machine.now(), "2026-01-01T02:00:00Z");
    // A time service finds that 2 h and 10 min have passed.
    machine.set("2026-01-01T02:10:00Z").await;
    assert!(!machine.is_trusted());
    machine.synchronise(true).await;
    assert!(machine.is_trusted());
    assert_eq!(machine.now(), at("2026-01-01T02:10:00Z"));
    assert_eq!(machine.saved_at(before), at("2026-01-01T00:00:00Z"), "stamped by a right clock");
    assert_near(machine.saved_at(during), "2026-01-01T01:10:00Z");
}

#[tokio::test]
async fn booted_in_2020_it_loses_nothing_when_it_is_2026() {
    for source in ["synchronised", "as_is"] {
        let mut machine = Machine::start(source, "2020-01-01T00:00:00Z").await;
        if source == "synchronised" {
            machine.synchronise(false).await;
            assert!(!machine.is_trusted());
        }
        let id = machine.save(1).await;
        machine.fail(id).await;
        machine.pass(Duration::from_secs(60)).await;
        // The node is killed, and the clock set before it runs again.
        machine.hands.pass(Duration::from_secs(30));
        machine.hands.set(at("2026-06-01T12:00:00Z"));
        machine.hands.synchronise(true);
        machine.run().await;
        assert!(machine.is_trusted(), "{source}");
        assert_eq!(machine.now(), at("2026-06-01T12:00:00Z"));
        let rec = machine.recording(id);
        assert_eq!(rec.saved_at, Some(at("2026-06-01T11:58:30Z")), "{source}");
        assert_eq!(rec.transcode.next_at, Some(at("2026-06-01T12:00:30Z")), "{source}");
        assert_eq!(rec.state, State::Processing);
        // The vault knows it too, for a ledger that is made anew.
        let manifest = machine.node().vault.manifest(id).unwrap();
        assert_eq!(manifest.saved_at, rec.saved_at, "{source}");
        machine.pass(Duration::from_secs(30)).await;
        machine.fail(id).await;
        assert_eq!(machine.recording(id).transcode.made, 2);
    }
}

#[tokio::test]
async fn a_battery_that_died_while_it_was_off_stops_deletions_and_no_attempt() {
    for source in ["synchronised", "as_is"] {
        let mut machine = Machine::start(source, "2026-05-01T12:00:00Z").await;
        let id = machine.save(1).await;
        machine.fail(id).await;
        machine.hands.reboot(at("1970-01-01T00:00:10Z"));
        machine.hands.synchronise(false);
        machine.run().await;
        assert!(!machine.is_trusted());
        // Nothing is stamped before what was recorded, and the retry comes after its wait.
        machine.pass(Duration::from_secs(120)).await;
        assert!(machine.now() >= at("2026-05-01T12:02:00Z"));
        machine.fail(id).await;
        let new = machine.save(2).await;
        // It was off for eight hours.
        machine.hands.set(at("2026-05-01T20:02:00Z"));
        machine.hands.synchronise(true);
        machine.look().await;
        assert!(machine.is_trusted(), "{source}");
        // With `as_is`, what the boot before stamped counts as stamped by the same wrong clock.
        let old = if source == "as_is" { "2026-05-01T20:00:00Z" } else { "2026-05-01T12:00:00Z" };
        assert_near(machine.saved_at(id), old);
        assert_near(machine.saved_at(new), "2026-05-01T20:02:00Z");
        let next_at = machine.recording(id).transcode.next_at.unwrap();
        assert_near(next_at, "2026-05-01T20:07:00Z");
    }
}

#[tokio::test]
async fn a_clock_that_nobody_keeps_and_runs_ahead_uses_up_nothing() {
    let mut machine = Machine::start("synchronised", "2026-05-01T12:00:00Z").await;
    let old = machine.save(1).await;
    machine.hands.reboot(at("2035-01-01T00:00:00Z"));
    machine.hands.synchronise(false);
    machine.run().await;
    let new = machine.save(2).await;
    machine.pass(HOUR).await;
    assert!(machine.now() < at("2026-05-01T13:01:00Z"));
    machine.hands.set(at("2026-05-02T12:00:00Z"));
    machine.hands.synchronise(true);
    machine.look().await;
    assert!(machine.is_trusted());
    assert_eq!(machine.saved_at(old), at("2026-05-01T12:00:00Z"));
    assert_eq!(machine.saved_at(new), at("2026-05-02T11:00:00Z"));
    let latest = machine.node().ledger.latest_instant().unwrap();
    assert!(latest <= machine.now());
}

#[tokio::test]
async fn one_that_ran_ahead_with_a_voucher_waits_for_a_person() {
    let machine = Machine::start("synchronised", "2035-01-01T00:00:00Z").await;
    let first = machine.save(1).await;
    machine.pass(HOUR).await;
    let last = machine.save(2).await;
    assert!(matches!(machine.node().accept_clock("someone").await, Err(Refused::Trusted)));
    machine.set("2026-01-01T10:00:00Z").await;
    assert!(matches!(machine.doubt(), Doubt::Behind { .. }));
    machine.pass(HOUR).await;
    assert!(!machine.is_trusted(), "though a time service keeps it");
    let during = machine.save(3).await;
    machine.synchronise(false).await;
    let refused = machine.node().accept_clock("someone").await;
    assert!(matches!(refused, Err(Refused::Other(Doubt::NotSynchronised))));
    machine.synchronise(true).await;
    machine.node().accept_clock("someone").await.unwrap();
    assert!(machine.is_trusted());
    machine.look().await;
    assert!(machine.is_trusted());
    assert_eq!(machine.now(), at("2026-01-01T11:00:00Z"));
    assert_near(machine.saved_at(during), "2026-01-01T11:00:00Z");
    assert_near(machine.saved_at(last), "2026-01-01T10:00:00Z");
    assert_near(machine.saved_at(first), "2026-01-01T09:00:00Z");
}

#[tokio::test]
async fn set_back_by_mistake_and_forward_again_moves_nothing() {
    for source in ["synchronised", "as_is"] {
        let machine = Machine::start(source, "2026-01-01T12:00:00Z").await;
        let before = machine.save(1).await;
        machine.set("2026-01-01T11:00:00Z").await;
        assert!(!machine.is_trusted(), "{source}");
        assert!(machine.doubt().to_string().contains("set it right"), "{}", machine.doubt());
        machine.pass(Duration::from_secs(600)).await;
        let during = machine.save(2).await;
        machine.set("2026-01-01T12:10:00Z").await;
        assert!(machine.is_trusted(), "{source}");
        assert_eq!(machine.saved_at(before), at("2026-01-01T12:00:00Z"));
        assert_near(machine.saved_at(during), "2026-01-01T12:10:00Z");
    }
}

#[tokio::test]
async fn a_correction_by_an_hour_mends_itself_within_the_hour() {
    let machine = Machine::start("as_is", "2026-01-01T12:00:00Z").await;
    machine.save(1).await;
    machine.set("2026-01-01T11:00:00Z").await;
    machine.pass(HOUR / 2).await;
    let during = machine.save(2).await;
    assert!(!machine.is_trusted());
    machine.pass(HOUR / 2).await;
    assert!(machine.is_trusted(), "it has come to where it was");
    assert_eq!(machine.now(), at("2026-01-01T12:00:00Z"));
    assert_near(machine.saved_at(during), "2026-01-01T11:30:00Z");
}

#[tokio::test]
async fn a_machine_that_was_paused_has_grown_older_where_its_clock_is_kept() {
    for (source, saved_at) in
        [("synchronised", "2026-01-01T00:00:00Z"), ("as_is", "2026-01-02T00:00:00Z")]
    {
        let machine = Machine::start(source, "2026-01-01T00:00:00Z").await;
        let id = machine.save(1).await;
        machine.set("2026-01-02T00:00:00Z").await;
        assert!(machine.is_trusted());
        assert_eq!(machine.now(), at("2026-01-02T00:00:00Z"));
        assert_eq!(machine.saved_at(id), at(saved_at), "{source}");
    }
}

#[tokio::test]
async fn a_new_boot_with_a_plausible_clock_is_believed_and_what_was_stays() {
    let mut machine = Machine::start("as_is", "2026-01-01T00:00:00Z").await;
    let id = machine.save(1).await;
    machine.hands.reboot(at("2026-01-03T00:00:00Z"));
    machine.run().await;
    assert!(machine.is_trusted());
    let new = machine.save(2).await;
    machine.set("2026-01-03T05:00:00Z").await;
    assert_eq!(machine.saved_at(id), at("2026-01-01T00:00:00Z"));
    assert_eq!(machine.saved_at(new), at("2026-01-03T05:00:00Z"));
}

#[tokio::test]
async fn what_read_the_clock_before_it_was_corrected_is_corrected_when_it_comes() {
    let machine = Machine::start("synchronised", "2020-01-01T00:00:00Z").await;
    machine.synchronise(false).await;
    let id = machine.save(1).await;
    let before = machine.now();
    machine.hands.set(at("2026-01-01T00:00:00Z"));
    machine.synchronise(true).await;
    let late = Event::HoldSet { by: "someone".into(), reason: "late".into() };
    machine.node().ledger.apply(id, late, before).await.unwrap();
    assert_near(machine.recording(id).hold.unwrap().at, "2026-01-01T00:00:00Z");
    machine.node().ledger.end_correction();
    let late = Event::HoldSet { by: "someone".into(), reason: "too late".into() };
    machine.node().ledger.apply(id, late, before).await.unwrap();
    assert_eq!(machine.recording(id).hold.unwrap().at, before);
}

#[tokio::test]
async fn leases_and_offsets_move_along() {
    let machine = Machine::start("synchronised", "2020-01-01T00:00:00Z").await;
    machine.synchronise(false).await;
    let id = machine.save(1).await;
    let (node, now) = (machine.node(), machine.now());
    node.ledger.claim(Lane::Process, now, now + LEASE).await.unwrap().unwrap();
    machine.hands.set(at("2026-01-01T00:00:00Z"));
    machine.synchronise(true).await;
    let due = node.ledger.next_due(Lane::Process).unwrap().unwrap();
    assert_eq!(due, at("2026-01-01T00:01:00Z"));
    assert!(node.ledger.claim(Lane::Process, machine.now(), due).await.unwrap().is_none());
    assert_eq!(machine.recording(id).transcode.interruptions, 0);
}

#[tokio::test]
async fn a_sleeper_wakes_when_the_clock_is_moved() {
    let hands = Hands::at(at("2026-01-01T00:00:00Z"));
    let clock = Clock::driven(&hands);
    let until = clock.now() + secs(86_400);
    let sleeping = clock.clone();
    let sleeper = tokio::spawn(async move {
        while sleeping.now() < until {
            sleeping.sleep_until(Some(until), Duration::from_millis(1), HOUR).await;
        }
    });
    tokio::task::yield_now().await;
    hands.pass(HOUR * 24);
    sleeper.await.unwrap();
}

#[test]
fn it_tells_the_time_and_how_long_to_wait() {
    let clock = Clock::new();
    let now = clock.now();
    assert!(now.as_second() > 1_700_000_000);
    assert_eq!(now.as_nanosecond() % 1_000_000, 0);
    assert_eq!(clock.until(Timestamp::UNIX_EPOCH), Duration::ZERO);
    assert!(clock.until(now + SignedDuration::from_hours(1)) > Duration::from_secs(3_000));
}

#[test]
fn a_driven_clock_moves_as_its_hands_are_moved() {
    let start = Timestamp::from_second(1_764_000_000).unwrap();
    let hands = Hands::at(start);
    let clock = Clock::driven(&hands);
    hands.pass(Duration::from_secs(60));
    assert_eq!(clock.now(), start + SignedDuration::from_secs(60));
    assert_eq!(clock.boottime(), Duration::from_secs(60));
    hands.set(start);
    assert_eq!((clock.now(), clock.boottime()), (start, Duration::from_secs(60)));
    assert_eq!(clock.until(start + SignedDuration::from_secs(5)), Duration::from_secs(5));
}
