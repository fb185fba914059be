//! A test drives the clock of a running node by a file; only in a build with the feature `test-clock`.
//!
//! The environment variable `HOLDFAST_TEST_CLOCK` names it. It holds one line of four words, and is
//! replaced as a whole: what the wall clock shows (RFC 3339), milliseconds since the machine started,
//! the number of its boot, and `synchronised` or `unsynchronised`. It outlives the node, so a node
//! that is killed and started again finds the time where it was left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::driven::{Face, Hands};

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// The hands that the file moves, if one is named.
pub(super) fn hands() -> Option<Hands> {
    let path = PathBuf::from(std::env::var_os("HOLDFAST_TEST_CLOCK")?);
    let first = read(&path);
    let Some(face) = first else { panic!("{} is no test clock", path.display()) };
    let hands = Hands::showing(face);
    let moved = hands.clone();
    let watching = move || {
        loop {
            std::thread::sleep(PAUSE);
            if let Some(face) = read(&path) {
                moved.show(face);
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("test clock".into()).spawn(watching) {
        panic!("the test clock cannot be watched: {error}");
    }
    Some(hands)
}

fn read(path: &Path) -> Option<Face> {
    let text = std::fs::read_to_string(path).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [wall, boot_ms, boot_id, kept] = words.as_slice() else { return None };
    Some(Face {
        wall: wall.parse().ok()?,
        boot: Duration::from_millis(boot_ms.parse().ok()?),
        boot_id: boot_id.parse().ok()?,
        is_synchronised: *kept == "synchronised",
    })
}
