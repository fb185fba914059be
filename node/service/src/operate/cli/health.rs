//! Whether the node is healthy: it answers and lacks nothing, and an encoder has made a film that was
//! looked at. Who waits for it, as a supervisor does before a new version of the system is kept, waits for
//! more: a test recording has gone the way of every recording and become a film.

use std::time::Duration;

use anyhow::{anyhow, bail};
use serde_json::Value;

use super::client::Target;
use super::output::{print, print_json};
use super::resources::{Desk, selftest};
use super::words::shown;
use crate::clock::Clock;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two films.
const FILM_EVERY: Duration = Duration::from_secs(10);
/// Shortest time that a film is given, also where the wait is over.
const FILM_MIN: Duration = Duration::from_secs(30);

/// Says it as it is now, or waits for it at most so long, and for a film that is being made.
///
/// # Errors
/// What is missing still, when the time is over.
pub(super) fn say(desk: &Desk, wait: Option<Duration>) -> anyhow::Result<()> {
    let Some(most) = wait else {
        look(desk).map_err(|lacks| anyhow!("not healthy: {lacks:#}"))?;
        return healthy(desk);
    };
    let clock = Clock::new();
    let end = clock.boottime() + most;
    let left = || end.saturating_sub(clock.boottime());
    loop {
        let (pause, lacks) = match look(desk) {
            Err(lacks) => (LOOK_EVERY, lacks),
            // What is cheap comes first; a film every second would keep a small box from its work.
            Ok(()) => match selftest::film(desk, left().max(FILM_MIN)) {
                Ok(()) => return healthy(desk),
                Err(lacks) => (FILM_EVERY, lacks),
            },
        };
        if left().is_zero() {
            bail!("not healthy within {} s: {lacks:#}", most.as_secs());
        }
        std::thread::sleep(pause.min(left()));
    }
}

fn healthy(desk: &Desk) -> anyhow::Result<()> {
    if desk.json {
        return print_json(&serde_json::json!({ "healthy": true }));
    }
    print("healthy\n")
}

fn look(desk: &Desk) -> anyhow::Result<()> {
    let status = desk.client.get(&Target::new(["status"])?)?;
    if status["ready"] != true {
        bail!("{}", missing(&status));
    }
    let hardware = desk.client.get(&Target::new(["hardware"])?)?;
    if let Some(problem) = hardware["problem"].as_str() {
        bail!("transcoding cannot be tried: {problem}");
    }
    let chains = hardware["chains"].as_array().cloned().unwrap_or_default();
    if chains.iter().any(|chain| chain["state"] == "proven") {
        return Ok(());
    }
    if hardware["proving"] == true {
        bail!("no encoder has made a film yet");
    }
    let why =
        chains.iter().map(|chain| format!("{}: {}", shown(&chain["name"]), shown(&chain["why"])));
    bail!("no encoder makes a film ({})", why.collect::<Vec<_>>().join("; "))
}

fn missing(status: &Value) -> String {
    let missing = status["missing"].as_array().into_iter().flatten();
    let said = missing.map(|it| format!("{}: {}", shown(&it["need"]), shown(&it["detail"])));
    said.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_is_missing_is_named_with_what_was_found() {
        let status = json!({"missing": [
            {"need": "vault", "detail": "no volume is open"},
            {"need": "space", "detail": "3 bytes"},
        ]});
        assert_eq!(super::missing(&status), "vault: no volume is open; space: 3 bytes");
    }
}
