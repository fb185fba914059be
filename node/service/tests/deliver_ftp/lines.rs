//! Pushing over lines that break, stall and lose. The line stands at another address of this machine
//! with the ports of the server, for the control connection and for each passive port.

use std::time::Duration;

use holdfast::config::FtpDestination;
use holdfast::deliver::ftp::{Ftp, Limits};
use holdfast::deliver::{Destination, FileToPush};
use holdfast_core::attempts::Fault;

use super::deliver_common::line::{Line, Then};
use super::server::{BOTH, Kind, Server, Setup};
use super::{MIB, bytes, fails, file, impatient, quick};

/// What may be sent beyond what the server lacks: what TLS adds, with its handshakes.
const AGAIN_BYTES_MAX: u64 = MIB as u64;

/// A server behind a line.
struct Behind {
    server: Server,
    control: Line,
    data: Vec<Line>,
}

impl Behind {
    async fn new(setup: Setup) -> Self {
        let server = Server::start(setup).await;
        let line = async |port| {
            let address = format!("127.0.0.2:{port}");
            Line::at(&address, port, u64::MAX, Then::Good, b"RNTO").await
        };
        let control = line(server.port).await;
        let mut data = Vec::new();
        for port in server.passive_ports() {
            data.push(line(port).await);
        }
        Self { server, control, data }
    }

    fn ftp(&self, limits: Limits) -> Ftp {
        let settings = FtpDestination { host: "127.0.0.2".into(), ..self.server.settings() };
        self.server.at(&settings, limits)
    }

    /// What every data connection does after as many bytes.
    fn turn_data(&self, bytes: u64, then: Then) {
        self.data.iter().for_each(|line| line.turn(bytes, then));
    }

    fn mend(&self) {
        self.turn_data(u64::MAX, Then::Good);
        self.control.turn(u64::MAX, Then::Good);
    }

    fn carried(&self) -> u64 {
        self.data.iter().map(Line::carried).sum()
    }

    /// Mends the line and pushes `a.mp4` again. Answers how many bytes were sent beyond those that the
    /// server lacked: what it had not written of what came to it is for it to know, and not ours.
    async fn goes_on(&self, ftp: &Ftp, file: &FileToPush) -> u64 {
        // Or what the line still holds of the push before would be counted.
        for line in &self.data {
            line.cut_all().await;
        }
        let had = std::fs::metadata(self.server.path(".a.mp4.part")).unwrap().len();
        assert!(had > 0, "the server has nothing to go on with");
        let before = self.carried();
        self.mend();
        ftp.push(file).await.unwrap();
        (self.carried() - before).saturating_sub(file.bytes - had)
    }

    /// Waits until the server has the first bytes of a file.
    async fn has(&self, name: &str, bytes: u64) {
        let path = self.server.path(name);
        for _ in 0..6_000 {
            if std::fs::metadata(&path).is_ok_and(|found| found.len() >= bytes) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} did not get {bytes} bytes");
    }
}

fn all() -> impl Iterator<Item = Setup> {
    BOTH.map(Setup::of).into_iter().chain(BOTH.map(Setup::plain))
}

#[tokio::test]
async fn after_a_cut_the_next_push_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(24 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let limits = || Limits { hiccups_max: 0, ..quick() };
    for setup in all() {
        for then in [Then::Reset, Then::EndToServer] {
            let behind = Behind::new(setup.clone()).await;
            behind.turn_data(16 * MIB as u64, then);
            let error = fails(&behind.ftp(limits()), &file).await;
            assert_eq!(error.fault, Fault::Networks, "{setup:?} {then:?}");
            assert_eq!(behind.server.read("a.mp4"), None, "half a file appeared");
            let again = behind.goes_on(&behind.ftp(limits()), &file).await;
            assert!(behind.server.read("a.mp4").unwrap() == content, "{setup:?} {then:?}");
            assert_eq!(behind.server.names(""), ["a.mp4"]);
            println!("{:?} {then:?}: {again} bytes again", setup.kind);
            assert!(again < AGAIN_BYTES_MAX, "{setup:?} {then:?}: {again} bytes again");
        }
    }
}

#[tokio::test]
async fn within_a_push_a_line_that_breaks_again_and_again_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(20 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for kind in BOTH {
        let behind = Behind::new(Setup::of(kind)).await;
        // Each passive port breaks once, somewhere else.
        for (number, line) in behind.data.iter().enumerate() {
            line.turn((3 * MIB + number * MIB / 3) as u64, Then::Reset);
        }
        let ftp = behind.ftp(quick());
        let mend = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                for line in behind.data.iter().filter(|line| line.carried() > 2 * MIB as u64) {
                    line.turn(u64::MAX, Then::Good);
                }
            }
        };
        tokio::select! {
            pushed = ftp.push(&file) => drop(pushed.unwrap()),
            () = mend => {}
        }
        assert!(behind.server.read("a.mp4").unwrap() == content);
        assert_eq!(behind.server.names(""), ["a.mp4"]);
    }
}

#[tokio::test]
async fn a_line_that_stalls_is_given_up_and_the_next_push_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(24 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for kind in BOTH {
        for then in [Then::Stall, Then::Mute] {
            let behind = Behind::new(Setup::of(kind)).await;
            // So early that buffers on the way do not hold the rest.
            behind.turn_data(4 * MIB as u64, then);
            if then == Then::Mute {
                behind.control.turn(0, Then::Good);
            }
            let ftp = behind.ftp(impatient());
            if then == Then::Mute {
                // The data goes through; the control connection has been forgotten on the way.
                let forget = async {
                    behind.has(".a.mp4.part", 2 * MIB as u64).await;
                    behind.control.fall_silent();
                    std::future::pending::<()>().await;
                };
                behind.turn_data(u64::MAX, Then::Good);
                let error = tokio::select! {
                    error = fails(&ftp, &file) => error,
                    () = forget => unreachable!(),
                };
                assert_eq!(error.fault, Fault::Networks);
                assert!(error.sentence.contains("everything was sent"), "{error}");
            } else {
                let error = fails(&ftp, &file).await;
                assert_eq!(error.fault, Fault::Networks);
                assert!(error.sentence.contains("nothing moved for 1000 ms"), "{error}");
            }
            assert_eq!(behind.server.read("a.mp4"), None, "half a file appeared");
            let again = behind.goes_on(&behind.ftp(quick()), &file).await;
            assert!(behind.server.read("a.mp4").unwrap() == content);
            assert!(again < AGAIN_BYTES_MAX, "{kind:?} {then:?}: {again} bytes again");
        }
    }
}

#[tokio::test]
async fn a_control_connection_that_is_cut_after_the_data_costs_nothing_but_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(24 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for kind in BOTH {
        let behind = Behind::new(Setup::of(kind)).await;
        let limits = Limits { stall_ms_max: 3_000, ..quick() };
        let ftp = behind.ftp(limits);
        let forget = async {
            behind.has(".a.mp4.part", 2 * MIB as u64).await;
            behind.control.fall_silent();
            behind.has(".a.mp4.part", content.len() as u64).await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            behind.control.turn(u64::MAX, Then::Good);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            pushed = ftp.push(&file) => drop(pushed.unwrap()),
            () = forget => {}
        }
        assert!(behind.server.read("a.mp4").unwrap() == content);
        let again = behind.carried().saturating_sub(content.len() as u64);
        assert!(again < MIB as u64, "{again} bytes again");
    }
}

#[tokio::test]
async fn a_lost_answer_to_the_renaming_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(4 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for kind in BOTH {
        let behind = Behind::new(Setup::plain(kind)).await;
        behind.control.turn(u64::MAX, Then::LoseCompletion);
        behind.ftp(quick()).push(&file).await.unwrap();
        assert!(!behind.control.is(Then::LoseCompletion), "no answer was lost");
        assert!(behind.server.read("a.mp4").unwrap() == content);
        assert_eq!(behind.server.names(""), ["a.mp4"]);
        let again = behind.carried() - content.len() as u64;
        assert!(again < MIB as u64, "{again} bytes again");
    }
}

#[tokio::test]
async fn data_connections_that_do_not_come_about_are_the_networks() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(100_000));
    for kind in BOTH {
        let server = Server::of(kind).await;
        // A line for the control connection alone.
        let address = format!("127.0.0.2:{}", server.port);
        let _control = Line::at(&address, server.port, u64::MAX, Then::Good, b"RNTO").await;
        let settings = FtpDestination { host: "127.0.0.2".into(), ..server.settings() };
        let error = fails(&server.at(&settings, impatient()), &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert!(error.sentence.contains("the data connection to port"), "{error}");
        assert!(error.sentence.contains("passive ports"), "{error}");
    }
}

#[tokio::test]
async fn slow_lines_and_late_answers_are_let_be() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(100_000);
    let file = file(dir.path(), "a.mp4", &content);
    for kind in BOTH {
        for (data, control) in [(Then::Trickle, Then::Good), (Then::Good, Then::Late)] {
            let behind = Behind::new(Setup::of(kind)).await;
            behind.turn_data(0, data);
            behind.control.turn(0, control);
            behind.ftp(quick()).push(&file).await.unwrap();
            assert!(behind.server.read("a.mp4").unwrap() == content);
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_cut_meanwhile_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let behind = Behind::new(Setup::of(Kind::Vsftpd)).await;
    let ftp = behind.ftp(Limits { hiccups_max: 0, ..quick() });
    let push = async |name| ftp.push(&file(dir.path(), name, &bytes(10))).await;
    push("a.mp4").await.unwrap();
    push("b.mp4").await.unwrap();
    assert_eq!(behind.control.connections(), 1, "it was not kept");
    // Seen before anything is asked: no attempt is lost.
    behind.control.cut_all().await;
    push("c.mp4").await.unwrap();
    assert_eq!(behind.control.connections(), 2);
    // Seen only by asking; it is not kept for the next.
    behind.control.turn(0, Then::Reset);
    let error = push("d.mp4").await.unwrap_err();
    assert_eq!(error.fault, Fault::Networks, "{error}");
    behind.mend();
    push("e.mp4").await.unwrap();
    assert_eq!(behind.control.connections(), 3);
    assert_eq!(behind.server.names(""), ["a.mp4", "b.mp4", "c.mp4", "e.mp4"]);

    // A server that closes what is quiet: its goodbye is seen before anything is asked.
    let more = "idle_session_timeout=1\n";
    let server = Server::start(Setup { more, ..Setup::of(Kind::Vsftpd) }).await;
    let ftp = server.at(&server.settings(), Limits { hiccups_max: 0, ..quick() });
    for number in 0..3 {
        ftp.push(&file(dir.path(), &format!("{number}"), &bytes(40))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    assert_eq!(server.names("").len(), 3);
}

#[tokio::test]
async fn a_dropped_push_stops_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(24 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for kind in BOTH {
        let behind = Behind::new(Setup::of(kind)).await;
        behind.turn_data(8 * MIB as u64, Then::Stall);
        let ftp = behind.ftp(quick());
        tokio::select! {
            result = ftp.push(&file) => panic!("{result:?}"),
            () = behind.has(".a.mp4.part", 7 * MIB as u64) => {}
        }
        behind.mend();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(behind.server.names(""), [".a.mp4.part"]);
        ftp.push(&file).await.unwrap();
        assert!(behind.server.read("a.mp4").unwrap() == content);
        let again = behind.carried().saturating_sub(content.len() as u64);
        assert!(again < 8 * MIB as u64, "{again} bytes again");
    }
}

#[tokio::test]
async fn a_byte_altered_within_tls_is_the_networks_and_no_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(12 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    for kind in BOTH {
        for control in [false, true] {
            let behind = Behind::new(Setup::of(kind)).await;
            let ftp = behind.ftp(Limits { hiccups_max: 0, ..quick() });
            if control {
                // Its first connection is good and kept; then a byte of its next command is altered.
                ftp.push(&file).await.unwrap();
                behind.control.turn(0, Then::Flip);
            } else {
                behind.turn_data(5 * MIB as u64, Then::Flip);
            }
            let other = FileToPush { name: "b.mp4".into(), ..file.clone() };
            let error = fails(&ftp, &other).await;
            assert_eq!(error.fault, Fault::Networks, "{kind:?}: {error}");
            assert!(!error.sentence.contains("certificate"), "{error}");
            assert_eq!(behind.server.read("b.mp4"), None, "half a file appeared");
            behind.mend();
            ftp.push(&other).await.unwrap();
            assert!(behind.server.read("b.mp4").unwrap() == content);
        }
    }
}
