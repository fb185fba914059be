//! The clock: vouched for by a person, where it ran ahead before.

use serde_json::{Value, json};

use super::super::arguments::Clock;
use super::super::client::Target;
use super::super::input::confirm;
use super::super::output::{print, print_json};
use super::super::words::words;
use super::Desk;

pub(in super::super) fn act(desk: &Desk, act: &Clock) -> anyhow::Result<()> {
    let Clock::Accept { sure } = act else {
        anyhow::bail!("a witness asks no node");
    };
    let status = desk.client.get(&Target::new(["status"])?)?;
    let shows = words(&status, "/clock/wall").unwrap_or("?");
    confirm(&format!("The clock shows {shows}. Is that right?"), *sure)?;
    let clock: Value = desk.client.post(&Target::new(["clock", "accept"])?, &json!({}))?;
    if desk.json {
        return print_json(&clock);
    }
    print(&format!("the clock is trusted: {}\n", words(&clock, "/now").unwrap_or("?")))
}
