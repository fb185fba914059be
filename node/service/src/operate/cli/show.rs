//! What is said of the node, of a recording and of what becomes of it, in words.

use std::fmt::Write;

use serde_json::Value;

use super::table::{Column, table};
use super::words::{Bytes, Elapsed, Lines, Millis, Plain, instant, shown, words};
use crate::audit::Carried;
use crate::config::{Config, Destination};
use crate::ledger::RebuildReport;

/// What a configuration says, once it was found to make sense.
pub(super) fn config(config: &Config) -> String {
    let mut lines = Lines("ok\n".into());
    lines.line("vault", config.vault.places());
    lines.line("state", config.node.state_path.display());
    for address in &config.node.listen {
        lines.line("listens at", address);
    }
    lines.line("zone", &config.node.zone);
    lines.line("environments", names(config.environments.iter().map(|each| each.id.as_str())));
    lines.line("destinations", names(config.destinations.iter().map(Destination::name)));
    lines.line("webhooks", names(config.webhooks.iter().map(|each| each.id.as_str())));
    lines.line("API keys", names(config.operate.keys.iter().map(|each| each.name.as_str())));
    lines.0
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// How the node is.
pub(super) fn status(status: &Value) -> String {
    let mut lines = Lines::default();
    let word = |place| words(status, place).unwrap_or("?");
    let up = Elapsed(status["uptime_s"].as_u64().unwrap_or(0));
    lines.line("node:", format!("{}, version {}, up {up}", word("/node"), word("/version")));
    for missing in all(status, "missing") {
        lines.line("NOT READY:", words(missing, "/detail").unwrap_or("?"));
    }
    if status["ready"] == true {
        lines.line("ready:", "yes");
    }
    for volume in all(status, "vault") {
        lines.line("vault:", volume_line(volume));
    }
    let mut clock = format!("{}, days count in {}", shown(&status["clock"]["now"]), word("/zone"));
    if status["clock"]["trusted"] == false {
        let why = words(status, "/clock/detail");
        clock.push_str(", NOT TRUSTED: nothing is deleted by a rule of time");
        clock.push_str(&why.map(|why| format!(" ({why})")).unwrap_or_default());
    }
    lines.line("clock:", clock);
    lines.line("arriving:", shown(&status["arriving"]));
    let counts = status["counts"].as_object().into_iter().flatten();
    let counts = counts.filter(|(_, count)| count.as_u64() != Some(0));
    let counts: Vec<String> = counts.map(|(state, count)| format!("{count} {state}")).collect();
    lines.line("recordings:", names(counts.iter().map(String::as_str)));
    let to = all(status, "destinations").iter();
    let to: Vec<String> =
        to.map(|to| format!("{} ({})", shown(&to["name"]), shown(&to["kind"]))).collect();
    lines.line("destinations:", names(to.iter().map(String::as_str)));
    let proven = all(status, "encoders").iter().filter(|with| with["state"] == "proven");
    let proven: Vec<String> = proven.map(|with| shown(&with["name"])).collect();
    lines.line("encoders:", names(proven.iter().map(String::as_str)));
    for with in all(status, "encoders").iter().filter(|with| with["state"] == "aside") {
        lines.line("SET ASIDE:", format!("{}: {}", shown(&with["name"]), shown(&with["why"])));
    }
    let warned = all(status, "destinations").iter().filter(|to| to["warning"].is_string());
    for to in warned {
        lines.line("warning:", format!("{}: {}", shown(&to["name"]), shown(&to["warning"])));
    }
    for to in all(status, "destinations").iter().filter(|to| to["health"]["open"] == false) {
        let health = &to["health"];
        let (name, since, probe_at) = (&to["name"], &health["shut_since"], &health["probe_at"]);
        lines.line(
            "DOWN:",
            format!(
                "{}, since {}, probed again at {}: {}",
                shown(name),
                shown(since),
                shown(probe_at),
                shown(&health["error"])
            ),
        );
    }
    lines.0
}

fn volume_line(volume: &Value) -> String {
    let free = match volume["free_bytes"].as_u64() {
        Some(bytes) => format!("{} free", Bytes(bytes)),
        None => "free space unknown".into(),
    };
    let kept = Bytes(volume["free_bytes_min"].as_u64().unwrap_or(0));
    let (path, how) = (shown(&volume["path"]), shown(&volume["encryption"]));
    let why = words(volume, "/why").map(|why| format!(", {}: {why}", shown(&volume["state"])));
    format!("{path}, {how}, {free} ({kept} are kept free){}", why.unwrap_or_default())
}

/// Everything about a recording.
pub(super) fn recording(rec: &Value) -> String {
    let mut lines = Lines::default();
    let word = |place| words(rec, place);
    let when = |place| rec.pointer(place).and_then(instant);
    let recovered = match rec["recovered"].as_bool() {
        Some(true) => " (recovered: the client never came back)",
        _ => "",
    };
    lines.line("recording", shown(&rec["id"]));
    lines.line("state", format!("{}{recovered}", shown(&rec["state"])));
    lines.line("environment", shown(&rec["env_id"]));
    lines.maybe("account", word("/account_id"));
    lines.line("source", shown(&rec["source"]));
    lines.line("received", shown(&rec["received_at"]));
    lines.maybe("saved", when("/saved_at"));
    lines.maybe("legal hold", rec.get("hold").filter(|hold| hold.is_object()).map(hold));
    let bytes = rec["bytes"].as_u64().unwrap_or(0);
    lines.line("size", format!("{} ({bytes} bytes)", Bytes(bytes)));
    lines.maybe("sha256", word("/sha256"));
    lines.maybe("container", word("/container"));
    lines.maybe("media", rec.get("media").filter(|media| media.is_object()).map(media));
    lines.maybe("progress", rec["progress"].as_f64().map(|done| format!("{:.0} %", done * 100.0)));
    let so_far =
        |ms: u64| format!("{}:{:02} so far, while it comes in", ms / 60_000, ms / 1000 % 60);
    lines.maybe("transcoded", rec["live_ms"].as_u64().map(so_far));
    for name in ["copy", "transcode", "push"] {
        lines.maybe(name, rec.get(name).filter(|step| step["attempts"].is_number()).map(step));
    }
    for of in all(rec, "pushing") {
        let bytes = |name: &str| Bytes(of[name].as_u64().unwrap_or(0));
        let (to, kind) = (shown(&of["destination"]), shown(&of["kind"]));
        let (sent, whole) = (bytes("sent_bytes"), bytes("bytes"));
        lines.line("pushing", format!("{kind} to {to}: {sent} of {whole}"));
    }
    for of in all(rec, "files") {
        lines.line(&shown(&of["kind"]), file(of));
        for to in all(of, "pushed") {
            let (name, at, location) = (&to["destination"], &to["at"], &to["location"]);
            let (name, at, location) = (shown(name), shown(at), shown(location));
            lines.line("", format!("pushed to {name} at {at}: {location}"));
            lines.maybe(
                "",
                to.get("withdrawn_at")
                    .and_then(instant)
                    .map(|at| format!("deleted again from {name} at {at}")),
            );
        }
    }
    for (label, name) in [
        ("title", "title"),
        ("address", "ip"),
        ("browser", "user_agent"),
        ("page", "referrer"),
        ("camera", "camera"),
        ("microphone", "microphone"),
    ] {
        lines.maybe(label, words(&rec["metadata"], &format!("/{name}")));
    }
    for remark in all(rec, "remarks") {
        lines.line("remark", shown(remark));
    }
    lines.maybe("now", word("/explain"));
    lines.0
}

/// What becomes of a recording: what holds it, what happens next, when each file goes.
pub(super) fn outlook(id: &str, outlook: &Value) -> String {
    let mut lines = Lines::default();
    lines.line("recording", id);
    lines.maybe("now", words(outlook, "/sentence"));
    lines.maybe("legal hold", outlook.get("hold").filter(|hold| hold.is_object()).map(hold));
    if let Some(what) = words(outlook, "/next/what") {
        let at = outlook.pointer("/next/at").and_then(instant);
        lines.line(
            "next",
            at.map_or_else(|| format!("{what}, now"), |at| format!("{what}, at {at}")),
        );
    }
    lines.maybe("ends", outlook.get("ends").filter(|ends| ends.is_object()).map(goes));
    let files: Vec<Value> = all(outlook, "files").iter().map(outlook_row).collect();
    if !files.is_empty() {
        lines.0.push('\n');
        lines.0.push_str(&table(&OUTLOOK, &files, super::output::terminal_width()));
    }
    lines.0
}

pub(super) const OUTLOOK: [Column; 4] = [
    Column::whole("FILE", "/kind"),
    Column::whole("HERE", "/present"),
    Column::whole("GOES", "/at"),
    Column::cut("WHY", "/why"),
];

/// A file as a row: when it goes or went, and by which rule; else what holds it.
pub(super) fn outlook_row(file: &Value) -> Value {
    let goes = [&file["goes"], &file["gone"]].into_iter().find(|goes| goes.is_object());
    let goes = goes.unwrap_or(&Value::Null);
    let why = words(goes, "/why").or_else(|| words(file, "/sentence")).unwrap_or("-");
    serde_json::json!({
        "kind": file["kind"], "present": file["present"], "at": goes["at"], "why": why,
    })
}

fn goes(goes: &Value) -> String {
    format!("{} by {}", shown(&goes["at"]), words(goes, "/why").unwrap_or("?"))
}

fn hold(hold: &Value) -> String {
    format!(
        "since {}, set by {}: {}",
        shown(&hold["at"]),
        shown(&hold["by"]),
        shown(&hold["reason"])
    )
}

/// What a rebuild of the ledger found.
pub(super) fn rebuilt(report: &RebuildReport) -> String {
    let mut text = format!("The new ledger has {} recordings.\n", report.recordings);
    if let Some(old) = &report.kept_aside {
        let _ = writeln!(text, "The old one is kept at {}.", old.display());
    }
    let Carried { entries, is_whole } = report.audit;
    text.push_str(&match (entries, is_whole) {
        (0, _) => "No audit log could be taken over; it begins anew.\n".into(),
        (_, true) => format!("The audit log's {entries} entries were taken over.\n"),
        (_, false) => format!(
            "Only the first {entries} entries of the audit log could be taken over; keep the old ledger.\n"
        ),
    });
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

fn media(media: &Value) -> String {
    let ms = media["duration_ms"].as_u64().unwrap_or(0);
    let mut parts = vec![Millis(ms).to_string()];
    if let (Some(width), Some(height)) = (media["width"].as_u64(), media["height"].as_u64()) {
        parts.push(format!("{width}x{height}"));
    }
    parts.extend(["/video", "/audio"].iter().filter_map(|at| words(media, at)).map(str::to_owned));
    parts.join(", ")
}

fn step(step: &Value) -> String {
    let mut text =
        format!("{} of {} attempts", shown(&step["attempts"]), shown(&step["attempts_max"]));
    if let Some(at) = step.get("next_at").and_then(instant) {
        let _ = write!(text, "; the next one at {at}");
    }
    if let Some(waits_for) = words(step, "/waits_for") {
        let _ = write!(text, "; waiting, {waits_for}");
    }
    if let Some(error) = step.get("error").filter(|error| error.is_object()) {
        let fault = match words(error, "/fault") {
            Some("customers") => "the customer's to mend",
            Some("networks") => "the network's fault",
            _ => "the node's fault",
        };
        let (at, sentence) = (shown(&error["at"]), shown(&error["sentence"]));
        let _ = write!(text, "; at {at}: {sentence} ({fault})");
    }
    text
}

fn file(file: &Value) -> String {
    let by = |name| words(file, name).map(|rule| format!(" by {}", described(rule)));
    let size = Bytes(file["bytes"].as_u64().unwrap_or(0));
    if let Some(at) = file.get("deleted_at").and_then(instant) {
        return format!(
            "{size}, deleted here at {at}{}",
            by("/deleted_by_rule").unwrap_or_default()
        );
    }
    let here = if file["local"] == true { "here" } else { "being deleted" };
    match file.get("delete_at").and_then(instant) {
        Some(at) => {
            format!("{size}, {here}, goes at {at}{}", by("/delete_by_rule").unwrap_or_default())
        }
        None => format!("{size}, {here}"),
    }
}

/// A rule's number and gist; the API's own word where this program knows no such rule.
fn described(rule: &str) -> String {
    let known: Result<holdfast_core::retention::Rule, _> =
        serde_json::from_value(Value::String(rule.into()));
    known.map_or_else(|_| format!("the rule {rule}"), |rule| rule.describe().into())
}

pub(super) fn all<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
