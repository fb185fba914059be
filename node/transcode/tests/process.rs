//! The child as a process: it speaks, it stops when nobody listens, it dies with its parent.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{ALL, job, media, start};
use holdfast_core::job::{Job, Limits, Report};
use holdfast_core::transform::Transform;
use nix::sys::socket::{Shutdown, shutdown};

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Waits up to ten seconds for a process to go.
fn wait_for_the_end_of(pid: &str) {
    for _ in 0..100 {
        if !is_alive(pid) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("process {pid} is still there");
}

#[test]
fn progress_comes_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job {
        outputs: ALL,
        transform: Transform::default(),
        filmstrip_link: String::new(),
        limits: Limits::default(),
        hardware: None,
        live: false,
    };
    let mut running = start(&media("vp9.webm"), folder.path(), &job);
    let first = running.next().unwrap();
    assert!(matches!(first, Report::Started(_)), "{first:?}");
    let second = running.next().unwrap();
    let Report::Progress { duration_ms, .. } = second else { panic!("{second:?}") };
    assert!(duration_ms.is_none_or(|d| (19_000..21_000).contains(&d)));
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}

#[test]
fn a_closed_socket_ends_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job {
        outputs: ALL,
        transform: Transform::default(),
        filmstrip_link: String::new(),
        limits: Limits::default(),
        hardware: None,
        live: false,
    };
    let running = start(&media("av1.webm"), folder.path(), &job);
    let (mut child, socket) = (running.child, running.socket);
    drop(socket);
    for _ in 0..100 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the child goes on without a listener");
}

#[test]
fn a_service_that_will_say_no_more_ends_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&media("av1.webm"), folder.path(), &job(ALL, Limits::default()));
    assert!(matches!(running.next(), Some(Report::Started(_))));
    shutdown(running.socket.as_raw_fd(), Shutdown::Write).unwrap();
    // Its end is the connection's.
    while let Some(report) = running.next() {
        assert!(matches!(report, Report::Progress { .. }), "{report:?}");
    }
    let mut child = running.child;
    assert!(!child.wait().unwrap().success());
}

#[test]
fn the_child_dies_with_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    // A shell stands in for the service; it says the child's number and waits for it.
    let mut shell = Command::new("sh")
        .args(["-c", "\"$0\" --input \"$1\" --output \"$2\" >/dev/null & echo $!; wait"])
        .arg(env!("CARGO_BIN_EXE_holdfast-transcode"))
        .args([media("av1.webm").as_os_str(), folder.path().as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = shell.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let pid = line.trim().to_owned();
    std::thread::sleep(Duration::from_millis(500));
    assert!(is_alive(&pid), "the child ended too soon");
    shell.kill().unwrap();
    shell.wait().unwrap();
    wait_for_the_end_of(&pid);
}
