//! The newest lines of the log, in memory, for a support bundle.
//!
//! Invariants:
//! - At most [`RING_BYTES_MAX`] bytes; the oldest lines go first.
//! - Only the service's own lines, at `info` and above. What libraries say is not taken in.
//! - A line has members that [`PLAIN`], [`TEXT`] or [`NUMBERED`] name, and no others. A test goes
//!   through the sources: a member that is new has to be put into one of these, or into the list of
//!   those that are left out.
//! - Messages and errors are made fit by their shape when they come in. Names that people chose wait
//!   for the bundle, which knows their numbers; one that it does not know is left out.

use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock::Clock;
use crate::operate::support::{Kind, Plain, word};

/// Most bytes of all lines.
const RING_BYTES_MAX: usize = 1 << 20;
/// Bytes that a line takes beside its texts.
const LINE_BYTES: usize = 128;

/// Members that are the node's own: numbers, random ids, words of which the code has a list.
const PLAIN: [&str; 35] = [
    "area",
    "attempt",
    "bytes",
    "chain",
    "changed",
    "check",
    "connections",
    "container",
    "count",
    "deletion",
    "delivery",
    "destroyed",
    "device",
    "driver",
    "epoch",
    "event",
    "keys",
    "keys_max",
    "kind",
    "kinds",
    "landlock",
    "lane",
    "last_byte_at",
    "need",
    "network",
    "newer",
    "probe_at",
    "psnr_db",
    "recording",
    "recordings",
    "seccomp",
    "state",
    "uid",
    "volume",
    "volume_name",
];
/// Members that are free text.
const TEXT: [&str; 6] = ["detail", "error", "problem", "reason", "sentence", "why"];
/// Members that are names of what has numbers in a bundle.
const NUMBERED: [(&str, Kind); 2] =
    [("destination", Kind::Destination), ("webhook", Kind::Webhook)];

static RING: LazyLock<Ring> = LazyLock::new(Ring::default);

/// The newest lines.
#[derive(Debug, Default)]
pub(crate) struct Ring(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<Line>,
    bytes: usize,
    gone: u64,
}

/// A line of the log.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    at: Timestamp,
    level: Level,
    /// Where in the sources it comes from.
    from: String,
    message: String,
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
enum Member {
    Fit(&'static str, String),
    Named(&'static str, Kind, String),
}

/// Takes lines into the process's ring.
#[derive(Debug)]
pub(super) struct Taker(Clock);

impl Taker {
    pub(super) fn new(clock: Clock) -> Self {
        Self(clock)
    }
}

impl<S: Subscriber> Layer<S> for Taker {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if is_taken(event.metadata()) {
            RING.put(Line::of(event, self.0.wall()));
        }
    }
}

fn is_taken(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours = target == "holdfast" || target.starts_with("holdfast::");
    is_ours && *metadata.level() <= Level::INFO
}

impl Ring {
    /// The process's own.
    pub(crate) fn of_process() -> &'static Self {
        &RING
    }

    /// All lines, the oldest first, and how many there were before these.
    pub(crate) fn lines(&self) -> (Vec<Line>, u64) {
        let all = self.all();
        (all.lines.iter().cloned().collect(), all.gone)
    }

    fn put(&self, line: Line) {
        let mut all = self.all();
        all.bytes += line.bytes();
        all.lines.push_back(line);
        while all.bytes > RING_BYTES_MAX {
            let Some(oldest) = all.lines.pop_front() else { break };
            all.bytes -= oldest.bytes();
            all.gone += 1;
        }
    }

    fn all(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn of(event: &Event<'_>, at: Timestamp) -> Self {
        let metadata = event.metadata();
        let from = match metadata.line() {
            Some(line) => format!("{}:{line}", metadata.target()),
            None => metadata.target().to_owned(),
        };
        let new = Self {
            at,
            level: *metadata.level(),
            from,
            message: String::new(),
            members: Vec::new(),
        };
        let mut reading = Reading { plain: Plain::default(), line: new };
        event.record(&mut reading);
        reading.line
    }

    fn bytes(&self) -> usize {
        let members = self.members.iter().map(|member| match member {
            Member::Fit(name, value) | Member::Named(name, _, value) => name.len() + value.len(),
        });
        LINE_BYTES + self.from.len() + self.message.len() + members.sum::<usize>()
    }

    /// As it stands in a bundle. `name` says what something is called there.
    pub(crate) fn text<'a>(
        &'a self,
        plain: &Plain,
        name: impl Fn(Kind, &'a str) -> &'a str,
    ) -> String {
        let message = plain.text(&self.message);
        let mut text = format!("{} {:5} {} {message}", self.at, self.level, self.from);
        for member in &self.members {
            let _ = match member {
                Member::Fit(of, value) if TEXT.contains(of) => {
                    write!(text, " {of}=[{}]", plain.text(value))
                }
                Member::Fit(of, value) => write!(text, " {of}={value}"),
                Member::Named(of, kind, value) => write!(text, " {of}={}", name(*kind, value)),
            };
        }
        text
    }
}

struct Reading {
    plain: Plain,
    line: Line,
}

impl Reading {
    fn take(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == "message" {
            self.line.message = self.plain.text(value);
        } else if TEXT.contains(&name) {
            self.line.members.push(Member::Fit(name, self.plain.text(value)));
        } else if PLAIN.contains(&name) {
            self.line.members.push(Member::Fit(name, word(value).to_owned()));
        } else if let Some((_, kind)) = NUMBERED.iter().find(|(of, _)| *of == name) {
            self.line.members.push(Member::Named(name, *kind, value.to_owned()));
        }
    }
}

impl Visit for Reading {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }
}

#[cfg(test)]
mod tests;
