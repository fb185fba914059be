//! Rules tried out before they are set.

use serde_json::Value;

use super::super::arguments::Policy;
use super::super::client::Target;
use super::super::output::{print, print_json, terminal_width};
use super::super::table::{Column, table};
use super::super::words::{Lines, shown};
use super::Desk;

const COLUMNS: [Column; 5] = [
    Column::whole("RECORDING", "/id"),
    Column::cut("ENVIRONMENT", "/env_id"),
    Column::whole("RECEIVED", "/received_at"),
    Column::bytes("SIZE", "/bytes"),
    Column::whole("WOULD GO", "/at"),
];

pub(in super::super) fn act(desk: &Desk, act: &Policy) -> anyhow::Result<()> {
    let Policy::Preview { lifecycle_days, env } = act;
    let target = Target::new(["policy", "preview"])?
        .query("lifecycle_days", Some(&lifecycle_days.to_string()))
        .query("env_id", env.as_deref());
    let answer = desk.client.get(&target)?;
    if desk.json {
        return print_json(&answer);
    }
    let mut lines = Lines::default();
    let mut rows = Vec::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::Array(list) if list.iter().all(Value::is_object) => rows.extend(list.clone()),
            _ => lines.line(&name.replace('_', " "), shown(value)),
        }
    }
    print(&format!("{}{}", lines.0, table(&COLUMNS, &rows, terminal_width())))
}
