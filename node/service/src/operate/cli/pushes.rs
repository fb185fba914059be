//! What is said of pushes: how a destination did when it was tried, and what was tried for a recording.

use serde_json::{Value, json};

use super::output::terminal_width;
use super::show::all;
use super::table::{Column, table};
use super::words::{Bytes, Millis, shown, words};

pub(super) const STEPS: [Column; 4] = [
    Column::whole("STEP", "/step"),
    Column::whole("TIME", "/time"),
    Column::whole("OK", "/ok"),
    Column::cut("WHY NOT", "/why"),
];

pub(super) const ATTEMPTS: [Column; 7] = [
    Column::whole("BEGAN", "/at"),
    Column::whole("ATTEMPT", "/attempt"),
    Column::whole("DESTINATION", "/destination"),
    Column::whole("FILE", "/kind"),
    Column::whole("SENT", "/sent"),
    Column::whole("TIME", "/time"),
    Column::cut("OUTCOME", "/outcome"),
];

/// How a destination did when it was tried.
pub(super) fn check(done: &Value) -> String {
    let rows: Vec<Value> = all(done, "steps").iter().map(step_row).collect();
    // What went wrong is why somebody asked: it is never cut.
    table(&STEPS, &rows, None)
}

pub(super) fn step_row(step: &Value) -> Value {
    let why = words(step, "/error");
    json!({
        "step": step["step"], "time": time(step), "ok": why.is_none(),
        "why": why.unwrap_or("-"),
    })
}

/// What was tried for a recording.
pub(super) fn attempts(tried: &Value) -> String {
    let rows: Vec<Value> = all(tried, "attempts").iter().map(attempt_row).collect();
    if rows.is_empty() {
        return "nothing was tried yet\n".into();
    }
    table(&ATTEMPTS, &rows, terminal_width())
}

pub(super) fn attempt_row(tried: &Value) -> Value {
    let bytes = |name: &str| Bytes(tried[name].as_u64().unwrap_or(0));
    let attempt = match tried["by_hand"].as_bool() {
        Some(true) => "by hand".into(),
        _ => shown(&tried["attempt"]),
    };
    let outcome = words(tried, "/error").or_else(|| words(tried, "/location")).unwrap_or("-");
    json!({
        "at": tried["at"], "attempt": attempt, "destination": tried["destination"],
        "kind": tried["kind"], "sent": format!("{} of {}", bytes("sent_bytes"), bytes("bytes")),
        "time": time(tried), "outcome": outcome,
    })
}

fn time(of: &Value) -> String {
    Millis(of["duration_ms"].as_u64().unwrap_or(0)).to_string()
}
