//! The node's test of itself, in words that a console shows line by line.

use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use super::super::client::Target;
use super::super::output::{print, print_json};
use super::super::show::all;
use super::super::words::{Lines, Millis, shown, words};
use super::Desk;

/// Longest that a test may take: two minutes, and what its last child takes to end.
const TIME_MAX: Duration = Duration::from_secs(180);

pub(in super::super) fn run(desk: &Desk, only: Option<&str>) -> anyhow::Result<()> {
    let target = Target::new(["selftest"])?.query("only", only);
    let tested = desk.client.post_within(&target, &json!({}), TIME_MAX)?;
    if desk.json {
        print_json(&tested)?;
    } else {
        print(&said(&tested))?;
    }
    if tested["ok"] == true {
        return Ok(());
    }
    bail!(
        "the self-test failed: {} of {} checks",
        count(&tested, "failed"),
        all(&tested, "checks").len()
    )
}

/// Has the node make a film of its test recording.
///
/// # Errors
/// Why it was none, in the node's words.
pub(in super::super) fn film(desk: &Desk, most: Duration) -> anyhow::Result<()> {
    let target = Target::new(["selftest"])?.query("only", Some("film"));
    let tested = desk.client.post_within(&target, &json!({}), most)?;
    let checks = all(&tested, "checks");
    match checks.iter().find(|check| check["outcome"] == "failed") {
        Some(failed) => bail!("a test recording became no film: {}", shown(&failed["found"])),
        None if checks.is_empty() => bail!("the node made no film of its test recording"),
        None => Ok(()),
    }
}

fn count(tested: &Value, outcome: &str) -> usize {
    all(tested, "checks").iter().filter(|check| check["outcome"] == outcome).count()
}

fn said(tested: &Value) -> String {
    let mut lines = Lines::default();
    for check in all(tested, "checks") {
        let label = match words(check, "/outcome") {
            Some("passed") => "passed",
            Some("warning") => "WARNING",
            Some("failed") => "FAILED",
            _ => "-",
        };
        let name = match words(check, "/of") {
            Some(of) => format!("{} {of}", shown(&check["name"])),
            None => shown(&check["name"]),
        };
        lines.line(label, format!("{name}: {}", shown(&check["found"])));
        lines.maybe("", words(check, "/todo").map(|todo| format!("What to do: {todo}")));
    }
    let (failed, warned) = (count(tested, "failed"), count(tested, "warning"));
    let took = Millis(tested["duration_ms"].as_u64().unwrap_or(0));
    lines.line("self-test:", format!("{failed} failed, {warned} with a warning, in {took}"));
    lines.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_stands_out_with_what_to_do() {
        let tested = json!({"ok": false, "duration_ms": 1_050, "checks": [
            {"name": "ledger", "of": null, "outcome": "passed", "found": "It took one.", "todo": null},
            {"name": "destination", "of": "shelf\u{1b}", "outcome": "failed", "found": "No route.",
             "todo": "Look at the line."},
            {"name": "clock", "of": null, "outcome": "not_applicable", "found": "As is.", "todo": null},
        ]});
        let said = said(&tested);
        for line in [
            "passed        ledger: It took one.\n",
            "FAILED        destination shelf\u{fffd}: No route.\n",
            "What to do: Look at the line.\n",
            "-             clock: As is.\n",
            "self-test:    1 failed, 0 with a warning, in 1.050 s\n",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }
}
