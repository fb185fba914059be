//! JSON in one form only (RFC 8785), so that what is hashed and signed can be made again from what
//! was read: no spaces, members sorted by name, strings escaped no more than they must be.
//!
//! Of numbers only integers occur, and none that a double cannot hold. Names are ASCII.

use serde_json::{Number, Value};

/// Largest integer that every JSON reader reads as it is: 2^53 - 1.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// A value as it is hashed and signed; nothing where it holds what this form has no place for.
pub(crate) fn canonical(value: &Value) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(512);
    put(value, &mut text)?;
    Some(text)
}

fn put(value: &Value, text: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::Null => text.extend_from_slice(b"null"),
        Value::Bool(true) => text.extend_from_slice(b"true"),
        Value::Bool(false) => text.extend_from_slice(b"false"),
        Value::Number(number) => text.extend_from_slice(integer(number)?.as_bytes()),
        Value::String(string) => put_string(string, text)?,
        Value::Array(values) => {
            text.push(b'[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                put(value, text)?;
            }
            text.push(b']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            text.push(b'{');
            for (place, (name, value)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                if !name.is_ascii() {
                    return None;
                }
                put_string(name, text)?;
                text.push(b':');
                put(value, text)?;
            }
            text.push(b'}');
        }
    }
    Some(())
}

fn integer(number: &Number) -> Option<String> {
    let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs))?;
    (size <= INTEGER_MAX).then(|| number.to_string())
}

fn put_string(string: &str, text: &mut Vec<u8>) -> Option<()> {
    serde_json::to_writer(text, string).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_form_that_rfc_8785_describes() {
        let text = r#"{ "b": [1, -2, true, null, {}], "a": "\u20ac$\u000f\u001bA'B\"\\\n/\u007f", "B": 0 }"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let expected =
            "{\"B\":0,\"a\":\"€$\\u000f\\u001bA'B\\\"\\\\\\n/\u{7f}\",\"b\":[1,-2,true,null,{}]}";
        assert_eq!(String::from_utf8(canonical(&value).unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_readers_may_read_differently_has_no_form() {
        for text in ["1.5", "9007199254740992", "-9007199254740992", r#"{"é":1}"#] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(canonical(&value), None, "{text}");
        }
        let value: Value = serde_json::from_str("[9007199254740991,-9007199254740991]").unwrap();
        assert!(canonical(&value).is_some());
    }
}
