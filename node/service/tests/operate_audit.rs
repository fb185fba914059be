//! The audit log as an auditor gets it: exported over the API, verified by the program and by what
//! others wrote, and carried over when the ledger is made anew.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "operate_audit/acts.rs"]
mod acts;
mod operate_node;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use axum::http::{StatusCode, header};
use holdfast::audit::{Act, AuditLog};
use holdfast::config::Config;
use holdfast::digest;
use holdfast::ledger::{self, Ledger, LedgerError};
use holdfast::nodekey::NodeKey;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use operate_node::{Home, KEY, RAW, send};
use redb::ReadableTable;
use serde_json::Value;

const AUDIT: &str = "/api/v1/audit";

/// Someone else's way to check a log, with nothing but the documented format: Python's own library
/// for the chain, OpenSSL for the signatures.
const PYTHON: &str = r#"
import base64, hashlib, json, subprocess, sys, tempfile

export, key = sys.argv[1:]
der = subprocess.run(["openssl", "pkey", "-pubin", "-in", key, "-outform", "DER"],
                     check=True, capture_output=True).stdout
key_id = hashlib.sha256(der[-32:]).hexdigest()[:16]
prev, count = "0" * 64, 0
for number, line in enumerate(open(export, "rb").read().splitlines()):
    entry = json.loads(line)
    said, sig = entry.pop("hash"), base64.b64decode(entry.pop("sig"))
    body = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(body).hexdigest() == said, "digest in line %d" % number
    assert entry["key"] == key_id and entry["v"] == 1
    with tempfile.NamedTemporaryFile() as message, tempfile.NamedTemporaryFile() as signature:
        message.write(body); message.flush()
        signature.write(sig); signature.flush()
        subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin",
                        "-in", message.name, "-sigfile", signature.name],
                       check=True, capture_output=True)
    if number == 0:
        head = entry["export"]
        assert head["first"] == 1
        continue
    count += 1
    assert entry["seq"] == count and entry["prev"] == prev, "chain at line %d" % number
    prev = said
assert (head["last"], head["last_hash"]) == (count, prev)
print(count)
"#;

async fn call(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.args(arguments).stdin(std::process::Stdio::null());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The export and the public key as files.
async fn exported(home: &Home) -> (PathBuf, PathBuf) {
    let answer = home.ask("GET", AUDIT).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/x-ndjson");
    let (export, key) = (home.dir.path().join("export.ndjson"), home.dir.path().join("audit.pem"));
    std::fs::write(&export, answer.body).unwrap();
    let told = home.ask("GET", &format!("{AUDIT}/key")).await.json();
    std::fs::write(&key, told["public_key_pem"].as_str().unwrap()).unwrap();
    (export, key)
}

async fn verify(export: &Path, key: &Path) -> Output {
    let (export, key) = (export.to_str().unwrap(), key.to_str().unwrap());
    call(&["audit", "verify", export, "--key", key]).await
}

/// Lets the first use of the tests' key be noted. A request doesn't wait for that, so that it would
/// stand before or after what the request itself does.
async fn signed_in(home: &Home) {
    let newest = || home.node.audit.head(&home.node.ledger).unwrap().map(|head| head.seq);
    let before = newest();
    home.ask("GET", &format!("{AUDIT}/key")).await;
    while newest() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A node on which a few things were done.
async fn busy() -> Home {
    let home = Home::new();
    home.node.audit.note_start(&home.node.ledger, &home.node.config, now(&home)).await.unwrap();
    signed_in(&home).await;
    let held = home.saved(1, "demo").await;
    let hold = format!("/api/v1/recordings/{held}/hold");
    let reason = r#"{"reason":"Nadia v. Holdfast"}"#;
    assert_eq!(home.tell("PUT", &hold, reason).await.status, StatusCode::OK);
    let deleted = home.saved(2, "demo").await;
    assert_eq!(
        home.ask("DELETE", &format!("/api/v1/recordings/{deleted}")).await.status,
        StatusCode::OK
    );
    home.retain(deleted).await;
    let delivered = home.delivered(3, "shelf").await;
    home.retain(delivered).await;
    home
}

fn now(home: &Home) -> Timestamp {
    home.node.clock.now()
}

fn entries(body: &str) -> Vec<Value> {
    body.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_export_passes_and_tells_what_was_done() {
    let home = busy().await;
    let (export, key) = exported(&home).await;
    let said = verify(&export, &key).await;
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    let body = std::fs::read_to_string(&export).unwrap();
    let entries = entries(&body);
    let acts: Vec<&str> =
        entries.iter().map(|entry| entry["what"]["act"].as_str().unwrap()).collect();
    let expected = [
        "configured",
        "node_started",
        "signed_in",
        "hold_set",
        "deletion_requested",
        "files_deleted",
        "files_deleted",
        "files_deleted",
        "exported",
    ];
    assert_eq!(acts, expected);
    // What docs/audit.md says of a recording that was delivered: two receipts.
    let cost: usize = body.lines().skip(7).take(2).map(str::len).sum();
    assert!((1_000..1_300).contains(&cost), "{cost}");
    let by_hand = &entries[5];
    assert_eq!((&by_hand["by"], &by_hand["what"]["rule"]), (&"tests".into(), &"requested".into()));
    let file = serde_json::json!({"kind": "raw", "bytes": RAW.len(), "sha256": digest::of(RAW)});
    assert_eq!(by_hand["what"]["files"], serde_json::json!([file]));
    for personal in ["title", "Nadia", "192.0.2.1", home.dir.path().to_str().unwrap()] {
        assert!(!body.contains(personal), "{personal}");
    }
    let out = text(&said.stdout);
    assert!(out.starts_with("ok\n") && out.contains("9 (the whole log up to"), "{out}");
    assert!(out.contains(entries[8]["hash"].as_str().unwrap()), "{out}");
    let told = home.ask("GET", &format!("{AUDIT}/key")).await.json();
    assert_eq!(told["head"]["hash"], entries[8]["hash"]);
    assert_eq!(told["head"]["seq"], 9);
}

#[tokio::test]
async fn the_documented_format_is_enough_to_check_it_with_other_peoples_programs() {
    let home = busy().await;
    let (export, key) = exported(&home).await;
    let script = home.dir.path().join("check.py");
    std::fs::write(&script, PYTHON).unwrap();
    let check = || {
        let mut python = Command::new("python3");
        python.arg(&script).arg(&export).arg(&key).output().unwrap()
    };
    let said = check();
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert_eq!(text(&said.stdout), "9\n");
    let body = std::fs::read_to_string(&export).unwrap();
    std::fs::write(&export, body.replace("requested", "requestee")).unwrap();
    assert!(!check().status.success());
}

#[tokio::test]
async fn what_is_wrong_is_named_and_the_exit_status_says_so() {
    let home = busy().await;
    let (export, key) = exported(&home).await;
    let body = std::fs::read_to_string(&export).unwrap();
    let lines: Vec<&str> = body.lines().collect();
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    let mut dropped = lines.clone();
    dropped.remove(3);
    let changed = body.replacen("shelf", "shelg", 1);
    for (wrong, said) in [
        (changed, "entry 7 was changed"),
        (dropped.join("\n"), "entry 3 is missing before entry 4"),
        (swapped.join("\n"), "entry 3 is out of place: it stands after entry 4"),
        (lines[..6].join("\n"), "the end was cut off: entries 6 to 9 are missing"),
    ] {
        std::fs::write(&export, wrong).unwrap();
        let output = verify(&export, &key).await;
        assert_eq!(output.status.code(), Some(1));
        let out = text(&output.stdout);
        assert!(out.contains(said) && out.lines().count() == 1, "{said}: {out}");
    }
    let [export, key] = [&export, &key].map(|path| path.to_str().unwrap());
    let json = call(&["audit", "verify", export, "--key", key, "--json"]).await;
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&report["is_sound"], &report["faults"][0]["kind"]),
        (&false.into(), &"truncated".into())
    );
    std::fs::write(export, &body).unwrap();
    let other = Home::new();
    let (_, foreign) = exported(&other).await;
    let output = verify(Path::new(export), &foreign).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("signed with another key"), "{}", text(&output.stdout));
}

#[tokio::test]
async fn what_verify_is_called_with_is_looked_at() {
    let home = busy().await;
    let (export, key) = exported(&home).await;
    let [export, key] = [&export, &key].map(|path| path.to_str().unwrap());
    let newest = home.ask("GET", &format!("{AUDIT}/key")).await.json();
    let newest = newest["head"]["hash"].as_str().unwrap().to_owned();
    let never = "0".repeat(64);
    for (arguments, code, said) in [
        (&["--known", newest.as_str(), "--key", key][..], 0, "ok"),
        (&["--known", never.as_str(), "--key", key], 1, "no entry has the digest that is known"),
        (&["--known", "abc"], 2, "64 hex digits"),
        (&["--key", export], 2, "no public key"),
        (&[], 0, "No key was given"),
    ] {
        let output = call(&[&["audit", "verify", export], arguments].concat()).await;
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {all}");
        assert!(all.contains(said), "{arguments:?}: {all}");
    }
    let missing = call(&["audit", "verify", "/nowhere/export"]).await;
    assert_eq!(missing.status.code(), Some(1));
}

#[tokio::test]
async fn only_a_stretch_of_time_is_exported_and_it_says_that_it_is_one() {
    let home = Home::new();
    let start: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
    let audit = home.node.audit.clone();
    let writing = home.node.ledger.write(move |write| {
        (0..10).try_for_each(|n| {
            let at = start + SignedDuration::from_hours(n);
            audit.append(write, at, "x", &Act::SignedIn { key: format!("k{n}") })
        })
    });
    writing.await.unwrap();
    let (_, key) = exported(&home).await;
    let export = home.dir.path().join("part");
    for (query, first, last, said) in [
        ("?from=2026-11-24T07:00:00Z&to=2026-11-24T09:00:00Z", 8, 9, "entries 8 to 9"),
        ("?to=2026-11-24T02:00:00Z", 1, 2, "the log's beginning"),
        ("?to=2026-11-20T02:00:00Z", 0, 0, "none in this stretch"),
    ] {
        let answer = home.ask("GET", &format!("{AUDIT}{query}")).await;
        let found = entries(&answer.text());
        let seq = |entry: Option<&Value>| entry.map_or(0, |entry| entry["seq"].as_u64().unwrap());
        assert_eq!((seq(found.first()), seq(found.last())), (first, last), "{query}");
        std::fs::write(&export, answer.body).unwrap();
        let output = verify(&export, &key).await;
        assert!(output.status.success() && text(&output.stdout).contains(said), "{query}");
    }
    for query in ["?from=yesterday", "?since=2026-11-24T00:00:00Z"] {
        home.ask("GET", &format!("{AUDIT}{query}")).await.is_problem(400);
    }
    let router = home.router();
    for target in [AUDIT.to_owned(), format!("{AUDIT}/key")] {
        send(&router, "192.0.2.1", "GET", &target, &[]).await.is_problem(401);
    }
}

/// The writer's thread closes the file a moment after the node is gone.
async fn rebuild(config: &Config) -> ledger::RebuildReport {
    for _ in 0..1_000 {
        match ledger::rebuild(config, "2026-11-25T00:00:00Z".parse().unwrap()) {
            Ok(report) => return report,
            Err(error) => assert!(error.to_string().contains("has it open"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the ledger is not let go");
}

/// Waits until nothing has the ledger open any more.
async fn closed(config: &Config) {
    for _ in 0..1_000 {
        if redb::Database::open(ledger::path(config)).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the ledger is not let go");
}

/// The log of the ledger that is there now, each entry's act.
fn acts(config: &Config) -> Vec<Value> {
    let key = NodeKey::load_or_make(&config.node.state_path).unwrap();
    let audit = AuditLog::new(&key).unwrap();
    let ledger = Ledger::open(&ledger::path(config), Timestamp::UNIX_EPOCH, Vec::new()).unwrap();
    let stretch = audit.stretch(&ledger, None, None).unwrap();
    let mut lines = audit.head_line(&stretch, Timestamp::UNIX_EPOCH).unwrap();
    lines.extend(audit.page(&ledger, &stretch, 1).unwrap().unwrap().0);
    let with =
        holdfast::audit::verify::With { keys: vec![audit.public_key().clone()], known: None };
    let report = holdfast::audit::verify::verify(lines.as_slice(), with).unwrap();
    assert!(report.is_sound, "{:?}", report.faults);
    entries(&text(&lines)).into_iter().map(|entry| entry["what"].clone()).collect()
}

#[tokio::test]
async fn a_ledger_made_anew_takes_the_log_over() {
    let home = busy().await;
    let config = home.node.config.clone();
    let Home { dir, node } = home;
    drop(node);
    let report = rebuild(&config).await;
    assert_eq!((report.audit.entries, report.audit.is_whole), (8, true));
    let all = acts(&config);
    assert_eq!(all.len(), 9);
    let expected = serde_json::json!({"act": "ledger_rebuilt", "carried": 8, "is_whole": true});
    assert_eq!(all[8], expected);
    // Where nothing can be read, the chain begins anew and says so.
    let nothing = serde_json::json!({"act": "ledger_rebuilt", "carried": 0, "is_whole": false});
    closed(&config).await;
    std::fs::write(ledger::path(&config), "no ledger at all, but long enough to look at").unwrap();
    let report = rebuild(&config).await;
    assert_eq!((report.audit.entries, report.audit.is_whole), (0, false));
    assert_eq!(acts(&config), std::slice::from_ref(&nothing));
    // A ledger that opens, and has lost all its pages.
    closed(&config).await;
    let file = std::fs::File::options().write(true).open(ledger::path(&config)).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.set_len(4_096).unwrap();
    file.set_len(bytes).unwrap();
    let report = rebuild(&config).await;
    assert_eq!((report.audit.entries, report.audit.is_whole), (0, false));
    assert_eq!(acts(&config), [nothing]);
    drop(dir);
}

#[tokio::test]
async fn only_what_is_sound_of_an_old_log_is_taken_over() {
    let home = busy().await;
    let config = home.node.config.clone();
    let table: redb::TableDefinition<'_, u64, (i64, [u8; 32], &[u8])> =
        redb::TableDefinition::new("audit");
    let spoiling = home.node.ledger.write(move |write| {
        let mut table = write.open_table(table)?;
        let row = table.get(4)?.map(|row| (row.value().0, row.value().1, row.value().2.to_vec()));
        let (latest_ms, hash, line) = row.ok_or(LedgerError::Closed)?;
        let line = text(&line).replace("tests", "tesst");
        table.insert(4, (latest_ms, hash, line.as_bytes()))?;
        Ok(())
    });
    spoiling.await.unwrap();
    let Home { dir, node } = home;
    drop(node);
    let report = rebuild(&config).await;
    assert_eq!((report.audit.entries, report.audit.is_whole), (3, false));
    let all = acts(&config);
    let expected = serde_json::json!({"act": "ledger_rebuilt", "carried": 3, "is_whole": false});
    assert_eq!((all.len(), &all[3]), (4, &expected));
    drop(dir);
}

/// Memory that this process has in use now, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

#[tokio::test]
async fn a_long_log_is_exported_in_little_memory() {
    const ENTRIES: usize = 30_000;
    /// By then the ledger's cache, 32 MiB, is full.
    const FIRST: usize = 64 << 20;
    let home = Home::new();
    signed_in(&home).await;
    for _ in 0..ENTRIES / 1_000 {
        let (audit, at) = (home.node.audit.clone(), now(&home));
        let writing = home.node.ledger.write(move |write| {
            let act = Act::KeyRevoked { key: "k".repeat(4_000) };
            (0..1_000).try_for_each(|_| audit.append(write, at, "x", &act))
        });
        writing.await.unwrap();
    }
    let key = format!("Bearer {KEY}");
    let mut request = axum::http::Request::get(AUDIT).header(header::AUTHORIZATION, key);
    let from = std::net::SocketAddr::from(([192, 0, 2, 1], 4_000));
    request.extensions_mut().unwrap().insert(axum::extract::ConnectInfo(from));
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(home.router(), request).await.unwrap();
    let (mut body, mut bytes, mut lines) = (answer.into_body(), 0, 0);
    let (mut first, mut most) = (0, 0);
    while let Some(frame) = body.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        bytes += piece.len();
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
        let most_so_far = if bytes < FIRST { &mut first } else { &mut most };
        *most_so_far = resident_bytes().max(*most_so_far);
    }
    // The head, who signed in, what was made, and the export itself.
    assert_eq!(lines, 1 + ENTRIES + 2);
    // What is exported must not pile up: half of it would be 64 MiB more.
    assert!(bytes > 2 * FIRST - (8 << 20), "{bytes}");
    let grown = most.saturating_sub(first);
    assert!(grown < 24 << 20, "{grown} after {first}, of {bytes}");
}
