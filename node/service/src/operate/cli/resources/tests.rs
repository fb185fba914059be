//! Every table shows what the API sends: its columns are held against the answers that the API's own
//! description has.

use serde_json::{Map, Value, json};

use super::super::table::Column;
use super::super::{pushes, show};
use super::{Kind, accounts, destinations, environments, hardware, keys, policy, recordings};
use super::{volumes, webhooks};
use crate::operate::api::openapi;

/// How deep a description may go before it is one that contains itself.
const DEPTH_MAX: usize = 64;
/// What an example has for a number, a text and an instant.
const NUMBER: u64 = 77;
const TEXT: &str = "words";
const INSTANT: &str = "2026-11-24T02:00:00Z";

/// What a call answers with where everything is there that may be: every member, and one of each list.
fn answer(method: &str, path: &str) -> Value {
    let whole = serde_json::to_value(openapi()).unwrap();
    let call = &whole["paths"][path][method];
    let schema = &call["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path} has no answer in JSON");
    example(&whole, schema, 0)
}

fn example(whole: &Value, schema: &Value, depth: usize) -> Value {
    assert!(depth < DEPTH_MAX, "it contains itself: {schema}");
    let of = |schema: &Value| example(whole, schema, depth + 1);
    if let Some(reference) = schema["$ref"].as_str() {
        let place = reference.strip_prefix('#').unwrap();
        return of(whole.pointer(place).unwrap());
    }
    for several in ["allOf", "oneOf", "anyOf"] {
        if let Some(parts) = schema[several].as_array() {
            return merged(parts.iter().map(of));
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    let one_of = |kinds: &Value| kinds.as_array()?.iter().find(|kind| *kind != "null").cloned();
    let kind = one_of(&schema["type"]).unwrap_or_else(|| schema["type"].clone());
    match (kind.as_str(), schema["format"].as_str()) {
        (Some("object"), _) => {
            let members = schema["properties"].as_object().into_iter().flatten();
            members.map(|(name, schema)| (name.clone(), of(schema))).collect::<Map<_, _>>().into()
        }
        (Some("array"), _) => json!([of(&schema["items"])]),
        (Some("integer" | "number"), _) => NUMBER.into(),
        (Some("boolean"), _) => true.into(),
        (Some("string"), Some("date-time")) => INSTANT.into(),
        (Some("string"), _) => TEXT.into(),
        _ => Value::Null,
    }
}

/// All that any part has; the first part decides where several have the same.
fn merged(parts: impl Iterator<Item = Value>) -> Value {
    let both = |mut all: Value, part: Value| {
        if let (Value::Object(all), Value::Object(part)) = (&mut all, part) {
            for (name, value) in part {
                all.entry(name).or_insert(value);
            }
        }
        all
    };
    parts.filter(|part| !part.is_null()).reduce(both).unwrap_or_default()
}

/// Asserts that each column of a table has something to show of a row that has everything.
fn filled(columns: &[Column], row: &Value) {
    assert!(row.is_object(), "no row: {row}");
    for Column { head, place, .. } in columns {
        let value = row.pointer(place).unwrap_or(&Value::Null);
        assert!(!value.is_null() && value != "", "{head} shows {place}, which is not in {row}");
    }
}

#[test]
fn every_column_of_a_list_is_something_that_the_api_sends() {
    let lists: [(&str, &Kind); 7] = [
        ("/api/v1/recordings", &recordings::KIND),
        ("/api/v1/environments", &environments::KIND),
        ("/api/v1/accounts", &accounts::KIND),
        ("/api/v1/destinations", &destinations::KIND),
        ("/api/v1/keys", &keys::KIND),
        ("/api/v1/webhooks", &webhooks::KIND),
        ("/api/v1/webhooks/{id}/deliveries", &webhooks::DELIVERIES),
    ];
    for (path, kind) in lists {
        let row = &answer("get", path)[kind.many][0];
        filled(kind.columns, row);
        for member in kind.first.iter().chain([&kind.id]) {
            assert!(!row[*member].is_null(), "{path}: there is no {member} in {row}");
        }
    }
    filled(&policy::COLUMNS, &answer("get", "/api/v1/policy/preview")["recordings"][0]);
    filled(volumes::COLUMNS, &answer("get", "/api/v1/volumes")["volumes"][0]);
}

#[test]
fn every_column_that_is_put_together_is_made_of_what_the_api_sends() {
    let chain = &answer("get", "/api/v1/hardware")["chains"][0];
    let row = hardware::row(chain);
    filled(hardware::COLUMNS, &row);
    assert_eq!(row["jobs"], "77 of 77");
    assert_eq!(row["decodes"], TEXT);

    let step = &answer("post", "/api/v1/destinations/{name}/test")["steps"][0];
    let row = pushes::step_row(step);
    filled(&pushes::STEPS, &row);
    assert_eq!(
        (&row["time"], &row["why"], &row["ok"]),
        (&"0.077 s".into(), &TEXT.into(), &false.into())
    );

    let tried = &answer("get", "/api/v1/recordings/{id}/attempts")["attempts"][0];
    let row = pushes::attempt_row(tried);
    filled(&pushes::ATTEMPTS, &row);
    assert_eq!((&row["time"], &row["outcome"]), (&"0.077 s".into(), &TEXT.into()));
    assert_eq!(
        (&row["sent"], &row["attempt"]),
        (&"77 bytes of 77 bytes".into(), &"by hand".into())
    );

    let file = &answer("get", "/api/v1/recordings/{id}/explain")["files"][0];
    let row = show::outlook_row(file);
    filled(&show::OUTLOOK, &row);
    assert_eq!((&row["at"], &row["why"]), (&INSTANT.into(), &TEXT.into()));
}

#[test]
fn what_a_rule_would_do_is_counted_from_what_the_api_sends() {
    let said = policy::said(&answer("get", "/api/v1/policy/preview"), None);
    for line in [
        "rule          recordings go after 77 days\n",
        "looked at     77, the newest; there are more\n",
        "go at once    77, 77 bytes\n",
        "go sooner     77, those at once included\n",
        "stay longer   77\n",
        "The newest 1 of them are named.\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
