//! Waiting until the node is healthy: it answers and lacks nothing, and an encoder has made a film that
//! was looked at. For the supervisor, before a new version of the system is kept.

use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use super::client::Target;
use super::output::{print, print_json};
use super::resources::Desk;
use super::words::shown;
use crate::clock::Clock;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Waits at most so long.
///
/// # Errors
/// What is missing still, when the time is over.
pub(super) fn wait(desk: &Desk, most: Duration) -> anyhow::Result<()> {
    let clock = Clock::new();
    let end = clock.boottime() + most;
    loop {
        let lacks = look(desk);
        match lacks {
            Ok(()) if desk.json => return print_json(&serde_json::json!({ "healthy": true })),
            Ok(()) => return print("healthy\n"),
            Err(lacks) if clock.boottime() >= end => {
                bail!("not healthy within {} s: {lacks:#}", most.as_secs())
            }
            Err(_) => std::thread::sleep(LOOK_EVERY.min(end.saturating_sub(clock.boottime()))),
        }
    }
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
