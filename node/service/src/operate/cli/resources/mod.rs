//! What the API has, one file each: which columns a list has, what is said of one, what can be
//! done. What they share is here, so that a new kind costs its columns and its flags.

pub(super) mod accounts;
pub(super) mod audit;
pub(super) mod clock;
pub(super) mod destinations;
pub(super) mod environments;
pub(super) mod hardware;
pub(super) mod keys;
pub(super) mod policy;
pub(super) mod recordings;
pub(super) mod selftest;
pub(super) mod support;
pub(super) mod volumes;
pub(super) mod webhooks;

use serde_json::{Map, Value};

use super::arguments::Sure;
use super::client::{Client, Target};
use super::input::confirm;
use super::output::{print, print_json, terminal_width};
use super::table::{Column, table};
use super::words::{Lines, shown, words};

/// Most things on a page of the API.
const PAGE_MAX: usize = 200;

/// A running node, and how to answer.
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) json: bool,
}

/// A kind of thing that the API has.
pub(super) struct Kind {
    /// Its name in the API's addresses and lists.
    many: &'static str,
    /// What one is called.
    one: &'static str,
    /// The member that names one.
    id: &'static str,
    /// A list's columns.
    columns: &'static [Column],
    /// What is said first of one; the rest follows.
    first: &'static [&'static str],
}

impl Kind {
    fn all(&self) -> anyhow::Result<Target> {
        Target::new([self.many])
    }

    fn target(&self, id: &str) -> anyhow::Result<Target> {
        Target::new([self.many, id])
    }

    fn below(&self, id: &str, what: &str) -> anyhow::Result<Target> {
        Target::new([self.many, id, what])
    }

    /// Lists at most so many, over as many pages as that takes.
    fn list(&self, desk: &Desk, target: &Target, limit: usize) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        let mut next = None;
        loop {
            let page = (limit - rows.len()).min(PAGE_MAX).to_string();
            let asked = target.clone().query("limit", Some(&page)).query("cursor", next.as_deref());
            let mut answer = desk.client.get(&asked)?;
            if let Some(Value::Array(more)) = answer.get_mut(self.many).map(Value::take) {
                rows.extend(more);
            }
            next = words(&answer, "/next").map(str::to_owned);
            if next.is_none() || rows.len() >= limit {
                break;
            }
        }
        if desk.json {
            return print_json(&Value::from_iter([
                (self.many, Value::Array(rows)),
                ("next", next.into()),
            ]));
        }
        let mut text = table(self.columns, &rows, terminal_width());
        if next.is_some() {
            text.push_str("There are more; ask for more with --limit.\n");
        }
        print(&text)
    }

    fn show(&self, desk: &Desk, id: &str) -> anyhow::Result<()> {
        let thing = desk.client.get(&self.target(id)?)?;
        self.answer(desk, &thing)
    }

    fn create(&self, desk: &Desk, settings: Map<String, Value>) -> anyhow::Result<()> {
        let made = desk.client.post(&self.all()?, &Value::Object(settings))?;
        self.answer(desk, &made)
    }

    fn set(&self, desk: &Desk, id: &str, settings: Map<String, Value>) -> anyhow::Result<()> {
        if settings.is_empty() {
            anyhow::bail!(super::failure::Failure::called_wrongly(format!(
                "say what to change of {} {id}: with flags, or with --settings FILE",
                self.one
            )));
        }
        let now = desk.client.patch(&self.target(id)?, &Value::Object(settings))?;
        self.answer(desk, &now)
    }

    fn delete(&self, desk: &Desk, id: &str, sure: Sure, so: &str) -> anyhow::Result<()> {
        confirm(&format!("Delete {} {id}? {so}", self.one), sure)?;
        self.done(desk, &desk.client.delete(&self.target(id)?)?, "deleted")
    }

    /// Everything about one.
    fn answer(&self, desk: &Desk, thing: &Value) -> anyhow::Result<()> {
        if desk.json { print_json(thing) } else { print(&self.words(thing)) }
    }

    fn words(&self, thing: &Value) -> String {
        let mut lines = Lines::default();
        if let Some(id) = thing.get(self.id) {
            lines.line(self.one, shown(id));
        }
        let members = thing.as_object().into_iter().flatten();
        let rest = members.map(|(name, _)| name.as_str());
        let rest = rest.filter(|name| *name != self.id && !self.first.contains(name));
        for name in self.first.iter().copied().chain(rest) {
            if let Some(value) = thing.get(name) {
                lines.line(&name.replace('_', " "), shown(value));
            }
        }
        lines.0
    }

    /// What came of something that was done.
    fn done(&self, desk: &Desk, answer: &Value, said: &str) -> anyhow::Result<()> {
        if !desk.json {
            return print(&format!("{said}\n"));
        }
        if answer.is_null() { Ok(()) } else { print_json(answer) }
    }
}

/// Settings, collected from flags.
struct Given(Map<String, Value>);

impl Given {
    fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.into(), value.into());
        }
    }

    fn put_list(&mut self, name: &str, list: &[String]) {
        if !list.is_empty() {
            self.0.insert(name.into(), list.to_vec().into());
        }
    }
}

/// An instant as it was given, or nothing for `never`.
fn instant_or_never(text: &str) -> anyhow::Result<Value> {
    match text {
        "never" => Ok(Value::Null),
        _ => Ok(instant(text)?.into()),
    }
}

/// An instant, as the API takes it.
fn instant(text: &str) -> anyhow::Result<String> {
    let at: Result<jiff::Timestamp, _> = text.parse();
    let at = at.map_err(|_| {
        super::failure::Failure::called_wrongly(format!(
            "{text:?} is no instant; write it with its zone, such as 2026-11-24T00:00:00Z"
        ))
    })?;
    Ok(at.to_string())
}

#[cfg(test)]
mod tests;
