//! What encodes: hardware and software, each with its proof.

use serde_json::{Value, json};

use super::super::client::Target;
use super::super::output::{print, print_json, terminal_width};
use super::super::table::{Column, table};
use super::super::words::{Lines, instant, shown, words};
use super::Desk;

pub(super) const COLUMNS: &[Column] = &[
    Column::whole("NAME", "/name"),
    Column::whole("STATE", "/state"),
    Column::whole("DEVICE", "/device"),
    Column::whole("DRIVER", "/driver"),
    Column::whole("ENCODER", "/encoder"),
    Column::cut("DECODERS", "/decodes"),
    Column::whole("MPIXEL/S", "/megapixels_per_s"),
    Column::whole("JOBS", "/jobs"),
];

pub(in super::super) fn show(desk: &Desk) -> anyhow::Result<()> {
    let answer: Value = desk.client.get(&Target::new(["hardware"])?)?;
    if desk.json {
        return print_json(&answer);
    }
    print(&said(&answer, terminal_width()))
}

fn said(answer: &Value, width: Option<usize>) -> String {
    let chains = answer["chains"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Value> = chains.iter().map(row).collect();
    let mut text = table(COLUMNS, &rows, width);
    let mut lines = Lines::default();
    for chain in &chains {
        let name = words(chain, "/name").unwrap_or("?");
        match (words(chain, "/state"), words(chain, "/why")) {
            (Some("aside"), why) => {
                let until = instant(&chain["aside_until"]).unwrap_or_default();
                let why = why.unwrap_or("it failed too often");
                lines.line("SET ASIDE:", format!("{name}, proven anew at {until}: {why}"));
            }
            (_, Some(why)) => lines.line("NOT USED:", format!("{name}: {why}")),
            _ => {}
        }
        let decoders = chain["decoders"].as_array().into_iter().flatten();
        for decoder in decoders.filter(|decoder| !works(decoder, "decode")) {
            let why = words(decoder, "/decode/reason").unwrap_or("?");
            lines.line("NOT USED:", format!("{}: {why}", shown(&decoder["element"])));
        }
    }
    if let Some(problem) = words(answer, "/problem") {
        lines.line("NOT KNOWN:", problem);
    }
    if answer["proving"] == true {
        lines.line("proving:", "not done yet; software does the work meanwhile");
    }
    let (all, software) = (shown(&answer["jobs_max"]), shown(&answer["software_jobs_max"]));
    lines.line("jobs at once:", format!("{all}, of which {software} in software"));
    lines.line("GStreamer:", words(answer, "/gstreamer").unwrap_or("?"));
    text.push_str(&lines.0);
    text
}

fn works(decoder: &Value, how: &str) -> bool {
    decoder[how]["verdict"] == "works"
}

pub(super) fn row(chain: &Value) -> Value {
    let decoders = chain["decoders"].as_array().into_iter().flatten();
    let codecs: Vec<&str> = decoders
        .filter(|decoder| works(decoder, "decode"))
        .filter_map(|decoder| decoder["codec"].as_str())
        .collect();
    let mut row = chain.clone();
    row["decodes"] = json!(codecs.join(" "));
    row["megapixels_per_s"] = json!(chain["pixels_per_s"].as_u64().unwrap_or(0) / 1_000_000);
    row["jobs"] = match chain["hardware"] == true {
        true => {
            json!(format!("{} of {}", shown(&chain["jobs_running"]), shown(&chain["jobs_max"])))
        }
        false => Value::Null,
    };
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_is_said_with_its_reason() {
        let chain = |name: &str, state: &str, why: Option<&str>| {
            json!({"name": name, "state": state, "why": why, "hardware": true, "jobs_running": 1,
            "jobs_max": 3, "pixels_per_s": 200_000_000, "aside_until": "2026-01-01T00:00:00Z",
            "decoders": [
                {"codec": "vp8", "element": "vavp8dec", "decode": {"verdict": "works"}},
                {"codec": "vp9", "element": "vavp9dec", "decode": {"verdict": "fails", "reason": "it is green"}},
            ]})
        };
        let said = said(
            &json!({"chains": [
                chain("va", "proven", None),
                chain("nvcodec", "aside", Some("it hung")),
                chain("vaapi", "failed", Some("no driver")),
            ], "jobs_max": 4, "software_jobs_max": 1}),
            None,
        );
        for text in [
            "1 of 3",
            "200",
            "vp8\u{20}",
            "SET ASIDE:",
            "it hung",
            "vaapi: no driver",
            "vavp9dec: it is green",
        ] {
            assert!(said.contains(text), "{text}: {said}");
        }
    }
}
