use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// Members that are left out of a bundle: names, addresses, paths, ids that people chose.
const LEFT_OUT: [&str; 13] = [
    "address", "by", "from", "id", "inbox", "key", "location", "name", "names", "of", "path",
    "region", "was",
];

/// The lines that this process has logged meanwhile, as a bundle has them.
fn logged(act: impl FnOnce()) -> String {
    let subscriber = tracing_subscriber::registry().with(Taker::new(Clock::new()));
    tracing::subscriber::with_default(subscriber, act);
    let (lines, _) = RING.lines();
    let mut plain = Plain::default();
    plain.call("archive", "destination-1");
    let name = |_, name| if name == "archive" { "destination-1" } else { "nobody's" };
    lines.iter().map(|line| line.text(&plain, name) + "\n").collect()
}

#[test]
fn a_line_has_what_is_named_and_nothing_else() {
    let said = logged(|| {
        let error = std::io::Error::other("no route to 192.0.2.7 for \"anna\"");
        tracing::warn!(
            recording = "0199f0a0-1b2c-7d3e-8f40-123456789abc",
            destination = "archive",
            attempt = 3,
            %error,
            location = "https://store.example.net/anna",
            secret_of_tomorrow = "hunter2",
            "not pushed to archive"
        );
        tracing::debug!("too fine for a bundle");
        tracing::warn!(target: "h2::codec", "a library says hunter3");
        tracing::info!(webhook = "hook-of-anna", "sent once more to 192.0.2.7");
    });
    assert!(said.contains("WARN  holdfast::operate::log::ring::tests:"), "{said}");
    assert!(said.contains("not pushed to destination-1"), "{said}");
    assert!(said.contains("recording=0199f0a0-1b2c-7d3e-8f40-123456789abc"), "{said}");
    assert!(said.contains("attempt=3"), "{said}");
    assert!(said.contains("error=[no route to (left out) for (left out)]"), "{said}");
    assert!(said.contains("webhook=nobody's"), "{said}");
    for never in ["anna", "192.0.2.7", "hunter", "example.net", "too fine"] {
        assert!(!said.contains(never), "{never}: {said}");
    }
}

#[test]
fn the_oldest_lines_go_first_and_are_counted() {
    let ring = Ring::default();
    let line = |message: &str| Line {
        at: Timestamp::UNIX_EPOCH,
        level: Level::INFO,
        from: "holdfast:1".into(),
        message: message.into(),
        members: Vec::new(),
    };
    let long = "x".repeat(10_000);
    (0..300).for_each(|_| ring.put(line(&long)));
    ring.put(line("the last"));
    let (lines, gone) = ring.lines();
    assert!(lines.iter().map(Line::bytes).sum::<usize>() <= RING_BYTES_MAX);
    assert_eq!(lines.len() as u64 + gone, 301);
    assert!(gone > 0);
    assert_eq!(lines.last().unwrap().message, "the last");
}

/// What is logged anywhere in the service is put into one of the lists.
#[test]
fn every_member_that_is_logged_is_known_to_be_fit_or_not() {
    let mut all = BTreeSet::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path, text| {
        if !path.components().any(|part| part.as_os_str() == "simulation")
            && !path.ends_with("ring/tests.rs")
        {
            for level in ["error", "warn", "info"] {
                calls(text, &format!("tracing::{level}!("), &mut all);
            }
        }
    });
    assert!(all.len() > 30, "the sources were not understood: {all:?}");
    let known: BTreeSet<String> = PLAIN
        .iter()
        .chain(&TEXT)
        .chain(NUMBERED.iter().map(|(name, _)| name))
        .chain(&LEFT_OUT)
        .map(|name| (*name).to_owned())
        .collect();
    let unknown: Vec<_> = all.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "{unknown:?} is logged, and nobody said whether it may be sent away in a support bundle: put it \
         into PLAIN, TEXT or NUMBERED in operate/log/ring.rs, or into LEFT_OUT here"
    );
}

fn sources(folder: PathBuf, look: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(path, look);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            look(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names of the members in calls of a macro: what stands before the message.
fn calls(text: &str, call: &str, into: &mut BTreeSet<String>) {
    for (at, _) in text.match_indices(call) {
        let rest = &text[at + call.len()..];
        let Some(end) = rest.find('"') else { continue };
        for member in rest[..end].split(',') {
            let name = member.split('=').next().unwrap_or_default().trim();
            let name = name.trim_start_matches(['%', '?']).trim();
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                into.insert(name.to_owned());
            }
        }
    }
}
