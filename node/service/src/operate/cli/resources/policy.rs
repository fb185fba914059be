//! Rules tried out before they are set.

use serde_json::Value;

use super::super::arguments::Policy;
use super::super::client::Target;
use super::super::output::{print, print_json, terminal_width};
use super::super::show::all;
use super::super::table::{Column, table};
use super::super::words::{Bytes, Lines, shown};
use super::Desk;

pub(super) const COLUMNS: [Column; 5] = [
    Column::whole("RECORDING", "/id"),
    Column::cut("ENVIRONMENT", "/env_id"),
    Column::whole("SAVED", "/saved_at"),
    Column::whole("GOES", "/goes_at"),
    Column::whole("WOULD GO", "/would_go_at"),
];

pub(in super::super) fn act(desk: &Desk, act: &Policy) -> anyhow::Result<()> {
    let Policy::Preview { lifecycle_days, env } = act;
    // The API's way to ask for no rule is to name none.
    let days = lifecycle_days.0.map(|days| days.to_string());
    let target = Target::new(["policy", "preview"])?
        .query("lifecycle_days", days.as_deref())
        .query("env_id", env.as_deref());
    let answer = desk.client.get(&target)?;
    if desk.json { print_json(&answer) } else { print(&said(&answer, terminal_width())) }
}

/// How many recordings the rule would concern, and which of them would go sooner.
pub(super) fn said(answer: &Value, width: Option<usize>) -> String {
    let mut lines = Lines::default();
    let count = |name: &str| shown(&answer[name]);
    lines.line(
        "rule",
        match answer["lifecycle_days"].as_u64() {
            Some(days) => format!("recordings go after {days} days"),
            None => "none".into(),
        },
    );
    let cut = if answer["is_cut"] == true { ", the newest; there are more" } else { "" };
    lines.line("looked at", format!("{}{cut}", count("looked_at")));
    let bytes = Bytes(answer["at_once_bytes"].as_u64().unwrap_or(0));
    lines.line("go at once", format!("{}, {bytes}", count("at_once")));
    lines.line("go sooner", format!("{}, those at once included", count("sooner")));
    lines.line("stay longer", count("later"));
    let rows = all(answer, "recordings");
    if rows.is_empty() {
        lines.0.push_str("\nNothing would go sooner than it does now.\n");
        return lines.0;
    }
    let mut text = format!("{}\n{}", lines.0, table(&COLUMNS, rows, width));
    if answer["sooner"].as_u64() > u64::try_from(rows.len()).ok() {
        text.push_str(&format!("The newest {} of them are named.\n", rows.len()));
    }
    text
}
