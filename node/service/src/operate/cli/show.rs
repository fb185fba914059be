//! Answers in words, for people at a terminal.
//!
//! What came from outside (names, browsers, destinations' errors) may hold control characters that
//! a terminal would obey; none gets through.

use std::fmt::{self, Display, Write};

use holdfast_core::attempts::Fault;
use holdfast_core::recording::State;
use holdfast_core::retention::Rule;
use jiff::Timestamp;

use super::super::api::RecordingsView;
use super::super::status::{StatusView, VolumeView};
use super::super::view::{FileView, MediaView, RecordingView, StepView};
use crate::config::{Config, Destination};
use crate::ledger::RebuildReport;

/// Collects lines of `label  text`.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, label: &str, text: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{label:<13} {}", Plain(text));
    }

    fn maybe(&mut self, label: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.line(label, text);
        }
    }
}

/// Text without control characters.
struct Plain<T>(T);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let plain: String = text
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        f.pad(&plain)
    }
}

/// A size, in the unit that suits it.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        let mut at = 0;
        while at + 1 < units.len() && self.0 >> (10 * (at + 1)) > 0 {
            at += 1;
        }
        let one = 1_u64 << (10 * at);
        let text = match at {
            0 => format!("{} bytes", self.0),
            _ => format!("{:.1} {}", self.0 as f64 / one as f64, units[at]),
        };
        f.pad(&text)
    }
}

/// What a configuration says, once it was found to make sense.
pub(super) fn config(config: &Config) -> String {
    let mut lines = Lines("ok\n".into());
    lines.line("vault", config.vault.path.display());
    lines.line("state", config.node.state_path.display());
    for address in &config.node.listen {
        lines.line("listens at", address);
    }
    lines.line("zone", &config.node.zone);
    lines.line("environments", names(config.environments.iter().map(|each| each.id.as_str())));
    lines.line("destinations", names(config.destinations.iter().map(Destination::name)));
    lines.line("API keys", names(config.operate.keys.iter().map(|each| each.name.as_str())));
    lines.0
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// How the node is.
pub(super) fn status(status: &StatusView) -> String {
    let mut lines = Lines::default();
    let up = Elapsed(status.uptime_s);
    lines.line("node:", format!("{}, version {}, up {up}", status.node, status.version));
    for missing in &status.missing {
        lines.line("NOT READY:", &missing.detail);
    }
    if status.ready {
        lines.line("ready:", "yes");
    }
    for volume in &status.vault {
        lines.line("vault:", volume_line(volume));
    }
    let behind = if status.clock.trusted { "" } else { ", BEHIND what the ledger has noted" };
    lines.line(
        "clock:",
        format!("{}, days count in {}{behind}", Instant(status.clock.now), status.zone),
    );
    lines.line("arriving:", status.arriving);
    let count = |state: State| status.counts.get(state.as_str()).filter(|count| **count > 0);
    let counts = State::ALL.iter().filter_map(|s| count(*s).map(|n| format!("{n} {}", s.as_str())));
    let counts: Vec<String> = counts.collect();
    lines.line("recordings:", names(counts.iter().map(String::as_str)));
    let destinations: Vec<String> =
        status.destinations.iter().map(|to| format!("{} ({})", to.name, to.kind)).collect();
    lines.line("destinations:", names(destinations.iter().map(String::as_str)));
    lines.0
}

fn volume_line(volume: &VolumeView) -> String {
    let free = match volume.free_bytes {
        Some(bytes) => format!("{} free", Bytes(bytes)),
        None => "free space unknown".into(),
    };
    let kept = Bytes(volume.free_bytes_min);
    format!("{}, {}, {free} ({kept} are kept free)", volume.path.display(), volume.encryption)
}

/// A table of recordings.
pub(super) fn recordings(list: &RecordingsView) -> String {
    let mut text = String::new();
    let mut row = |columns: [&str; 5]| {
        let [id, state, received, size, env] = columns.map(Plain);
        let _ = writeln!(text, "{id:<36}  {state:<10}  {received:<20}  {size:>10}  {env}");
    };
    row(["RECORDING", "STATE", "RECEIVED", "SIZE", "ENVIRONMENT"]);
    for rec in &list.recordings {
        let (id, size) = (rec.id.to_string(), Bytes(rec.bytes).to_string());
        let received = Instant(rec.received_at).to_string();
        row([&id, rec.state.as_str(), &received, &size, &rec.env_id]);
    }
    if list.next.is_some() {
        text.push_str("There are more; ask for more with --limit.\n");
    }
    text
}

/// Everything about a recording.
pub(super) fn recording(rec: &RecordingView) -> String {
    let mut lines = Lines::default();
    let recovered = if rec.recovered { " (recovered: the client never came back)" } else { "" };
    lines.line("recording", rec.id);
    lines.line("state", format!("{}{recovered}", rec.state.as_str()));
    lines.line("environment", &rec.env_id);
    lines.line("source", word(&rec.source));
    lines.line("received", Instant(rec.received_at));
    lines.maybe("saved", rec.saved_at.map(Instant));
    lines.line("size", format!("{} ({} bytes)", Bytes(rec.bytes), rec.bytes));
    lines.maybe("sha256", rec.sha256.as_ref());
    lines.maybe("container", rec.container.map(|container| word(&container)));
    lines.maybe("media", rec.media.as_ref().map(media));
    lines.maybe("progress", rec.progress.map(|done| format!("{:.0} %", done * 100.0)));
    lines.line("transcode", step(&rec.transcode));
    lines.line("push", step(&rec.push));
    for of in &rec.files {
        lines.line(of.kind.as_str(), file(of));
        for to in &of.pushed {
            let (at, location) = (Instant(to.at), &to.location);
            lines.line("", format!("pushed to {} at {at}: {location}", to.destination));
        }
    }
    let about = &rec.metadata;
    lines.maybe("title", about.title.as_ref());
    lines.maybe("address", about.ip.as_ref());
    lines.maybe("browser", about.user_agent.as_ref());
    lines.maybe("page", about.referrer.as_ref());
    lines.maybe("camera", about.camera.as_ref());
    lines.maybe("microphone", about.microphone.as_ref());
    for remark in &rec.remarks {
        lines.line("remark", remark);
    }
    lines.line("now", &rec.explain);
    lines.0
}

/// What to ask before a recording is deleted.
pub(super) fn question(rec: &RecordingView) -> String {
    let (id, env, state) = (rec.id, Plain(&rec.env_id), rec.state.as_str());
    let (received, size) = (Instant(rec.received_at), Bytes(rec.bytes));
    format!("Delete recording {id} of {env} ({state}, received {received}, {size}) for good?")
}

/// What a rebuild of the ledger found.
pub(super) fn rebuilt(report: &RebuildReport) -> String {
    let mut text = format!("The new ledger has {} recordings.\n", report.recordings);
    if let Some(old) = &report.kept_aside {
        let _ = writeln!(text, "The old one is kept at {}.", old.display());
    }
    if !report.damaged.is_empty() {
        text.push_str(
            "Not understood; of unknown status, so kept for 6 hours once the node runs:\n",
        );
    }
    for damaged in &report.damaged {
        let _ = writeln!(text, "  {}", Plain(damaged));
    }
    text
}

fn media(media: &MediaView) -> String {
    let ms = media.duration_ms;
    let mut parts = vec![format!("{}.{:03} s", ms / 1_000, ms % 1_000)];
    if let (Some(width), Some(height)) = (media.width, media.height) {
        parts.push(format!("{width}x{height}"));
    }
    parts.extend(media.video.iter().chain(&media.audio).cloned());
    parts.join(", ")
}

fn step(step: &StepView) -> String {
    let mut text = format!("{} of {} attempts", step.attempts, step.attempts_max);
    if let Some(at) = step.next_at {
        let _ = write!(text, "; the next one at {}", Instant(at));
    }
    if let Some(error) = &step.error {
        let _ =
            write!(text, "; at {}: {} ({})", Instant(error.at), error.sentence, fault(error.fault));
    }
    text
}

fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Ours => "the node's fault",
        Fault::Customers => "the customer's to mend",
        Fault::Networks => "the network's fault",
    }
}

fn file(file: &FileView) -> String {
    let by =
        |rule: Option<Rule>| rule.map_or(String::new(), |rule| format!(" by {}", rule.describe()));
    let size = Bytes(file.bytes);
    if let Some(at) = file.deleted_at {
        return format!("{size}, deleted here at {}{}", Instant(at), by(file.deleted_by_rule));
    }
    let here = if file.local { "here" } else { "being deleted" };
    match file.delete_at {
        Some(at) => format!("{size}, {here}, goes at {}{}", Instant(at), by(file.delete_by_rule)),
        None => format!("{size}, {here}"),
    }
}

/// The API's word for one of a few.
fn word(of: &impl serde::Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// An instant, to the second.
struct Instant(Timestamp);

impl Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
    }
}

/// How long something has been going on, in seconds, to the two largest units.
struct Elapsed(u64);

impl Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes) = (self.0 / 86_400, self.0 / 3_600 % 24, self.0 / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{} s", self.0),
            (0, 0, _) => write!(f, "{minutes} min"),
            (0, ..) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(Bytes(1_023).to_string(), "1023 bytes");
        assert_eq!(Bytes(1_536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(512 << 20).to_string(), "512.0 MiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16777216.0 TiB");
        assert_eq!(Elapsed(59).to_string(), "59 s");
        assert_eq!(Elapsed(90_000).to_string(), "1 d 1 h");
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(Plain("a\x1b[2Jb\n").to_string(), "a\u{fffd}[2Jb\u{fffd}");
    }
}
