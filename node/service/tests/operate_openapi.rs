//! The API's description, as it is committed and as it is served.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use std::collections::BTreeSet;

use axum::http::StatusCode;
use holdfast::operate::api::openapi;
use operate_node::{Home, send};
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
const WRITE: &str = "HOLDFAST_WRITE_OPENAPI";

#[test]
fn the_committed_description_is_that_of_the_code() {
    let text = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let committed = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is not what the code says; make it anew and look at what changed:\n  \
         {WRITE}=1 cargo test -p holdfast --test operate_openapi"
    );
}

fn described() -> Value {
    serde_json::to_value(openapi()).unwrap()
}

fn operations(whole: &Value) -> Vec<(String, String, Value)> {
    let paths = whole["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let operations = item.as_object().unwrap().clone();
        let path = path.clone();
        operations.into_iter().map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn every_call_says_its_key_its_name_and_what_it_is_refused_with() {
    let whole = described();
    assert_eq!(whole["openapi"], "3.1.0");
    let (mut names, mut scopes) = (BTreeSet::new(), BTreeSet::new());
    let tags = whole["tags"].as_array().unwrap();
    for (method, path, operation) in operations(&whole) {
        let call = format!("{method} {path}");
        assert!(names.insert(operation["operationId"].to_string()), "{call}: named like another");
        for tag in operation["tags"].as_array().unwrap() {
            assert!(
                tags.iter().any(|known| known["name"] == *tag),
                "{call}: {tag} is not described"
            );
        }
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{call}");
        let responses = operation["responses"].as_object().unwrap();
        if !path.starts_with("/api/v1/") || path == "/api/v1/openapi.json" {
            continue;
        }
        scopes.insert(operation["security"][0]["key"][0].to_string());
        for status in ["400", "401", "403", "429", "500", "503"] {
            let problem = &responses[status]["content"]["application/problem+json"]["schema"];
            assert_eq!(problem["$ref"], "#/components/schemas/Problem", "{call}: {status}");
        }
        if method == "post" {
            let headers = operation["parameters"].as_array().unwrap();
            assert!(headers.iter().any(|header| header["name"] == "Idempotency-Key"), "{call}");
        }
    }
    assert_eq!(scopes, BTreeSet::from(["\"read\"", "\"manage\"", "\"admin\""].map(String::from)));
}

/// A reference to nothing would make the description useless to every tool.
#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let whole = described();
    let mut found = BTreeSet::new();
    references(&whole, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(whole.pointer(place).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test]
async fn anyone_may_read_the_description() {
    let home = Home::new();
    let answer = send(&home.router(), "192.0.2.1", "GET", "/api/v1/openapi.json", &[]).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::OK, "application/json")
    );
    assert_eq!(answer.json(), described());
}
