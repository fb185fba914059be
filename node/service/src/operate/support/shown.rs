//! What is shown of a thing: members that a table names, and no others.
//!
//! A member that no table names is left out, so one that is new, and may be a secret, is not sent
//! away until somebody wrote down that it may be.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::plain::{LEFT_OUT, Plain};

/// Longest word that is shown as it is, in bytes.
const WORD_BYTES_MAX: usize = 96;

/// How a member is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// As it is: a number, a switch, or one of the node's own words.
    Is,
    /// A text of any kind, made fit ([`Plain::text`]).
    Text,
    /// A name that people chose: its number in this bundle.
    Number(Kind),
    /// Whether it is given.
    Given,
}

/// What has numbers in place of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Account,
    Destination,
    Environment,
    Webhook,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Destination => "destination",
            Self::Environment => "environment",
            Self::Webhook => "webhook",
        }
    }
}

/// A member, as `a.b.*.c` where `*` is any place in a list, and how it is shown.
pub(super) type Rule = (&'static str, As);

/// What may be told of a node, and under which names.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) plain: Plain,
    names: BTreeMap<(Kind, String), String>,
    counts: BTreeMap<Kind, u64>,
}

impl Shown {
    /// Gives this the next number of its kind.
    pub(super) fn number(&mut self, kind: Kind, name: &str) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let shown = format!("{}-{count}", kind.as_str());
        self.plain.call(name, &shown);
        self.names.entry((kind, name.to_owned())).or_insert(shown);
    }

    /// What this is called in the bundle.
    pub(super) fn name(&self, kind: Kind, name: &str) -> &str {
        self.names.get(&(kind, name.to_owned())).map_or(LEFT_OUT, String::as_str)
    }

    /// A thing, as far as these rules name its members.
    pub(super) fn thing(&self, thing: &Value, rules: &[Rule]) -> Value {
        self.part(thing, "", rules).unwrap_or(Value::Null)
    }

    fn part(&self, part: &Value, path: &str, rules: &[Rule]) -> Option<Value> {
        let below = |name: &str| {
            if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
        };
        // Where a whole thing counts as one, such as a schedule, its rule is met first.
        if let Some((_, how)) = rules.iter().find(|(of, _)| *of == path) {
            return Some(self.member(part, *how));
        }
        match part {
            Value::Object(members) => {
                let shown = members.iter().filter_map(|(name, member)| {
                    Some((name.clone(), self.part(member, &below(name), rules)?))
                });
                let shown: Map<String, Value> = shown.collect();
                (!shown.is_empty()).then_some(Value::Object(shown))
            }
            Value::Array(all) => {
                let path = below("*");
                let shown = all.iter().filter_map(|each| self.part(each, &path, rules));
                Some(Value::Array(shown.collect::<Vec<_>>())).filter(|_| is_named(&path, rules))
            }
            _ => None,
        }
    }

    fn member(&self, member: &Value, how: As) -> Value {
        match (how, member) {
            (As::Given, member) => is_given(member).into(),
            (_, Value::Null | Value::Bool(_) | Value::Number(_)) => member.clone(),
            (As::Is, Value::String(word)) => self::word(word).into(),
            (As::Text, Value::String(text)) => self.plain.text(text).into(),
            (As::Number(kind), Value::String(name)) => self.name(kind, name).into(),
            (how, Value::Array(all)) => {
                Value::Array(all.iter().map(|each| self.member(each, how)).collect())
            }
            (_, Value::Object(_)) => LEFT_OUT.into(),
        }
    }

    /// Leaves out of all texts what these rules do not show of a thing as it is.
    pub(super) fn hide_rest(&mut self, thing: &Value, rules: &[Rule]) {
        hide(&mut self.plain, thing, "", rules);
    }
}

fn hide(plain: &mut Plain, part: &Value, path: &str, rules: &[Rule]) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match part {
        Value::String(text) => {
            let how = rules.iter().find(|(of, _)| *of == path).map(|(_, how)| *how);
            if !matches!(how, Some(As::Is | As::Number(_))) {
                plain.hide(text);
                // Of a URL, its host too; of settings of several words, each.
                text.split(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | '@'))
                    .filter(|part| part.contains('.') || part.len() >= 8)
                    .for_each(|part| plain.hide(part));
            }
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| hide(plain, member, &below(name), rules));
        }
        Value::Array(all) => all.iter().for_each(|each| hide(plain, each, &below("*"), rules)),
        _ => {}
    }
}

/// Whether rules name anything at this path or below it.
fn is_named(path: &str, rules: &[Rule]) -> bool {
    rules.iter().any(|(of, _)| {
        of.strip_prefix(path).is_some_and(|it| it.starts_with(['.', '*']) || it.is_empty())
    })
}

fn is_given(member: &Value) -> bool {
    match member {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// One of the node's own words, which are short and plain. Anything else is left out.
pub(crate) fn word(word: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _-.:+/()[]%,@#=".contains(&byte);
    let is_fine = word.len() <= WORD_BYTES_MAX && word.bytes().all(is_plain);
    if is_fine { word } else { LEFT_OUT }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULES: [Rule; 6] = [
        ("name", As::Number(Kind::Destination)),
        ("port", As::Is),
        ("limits.files_max", As::Is),
        ("slots.*.purpose", As::Is),
        ("error", As::Text),
        ("password_file", As::Given),
    ];

    #[test]
    fn a_member_that_no_rule_names_is_left_out_wherever_it_is() {
        let mut shown = Shown::default();
        shown.number(Kind::Destination, "archive");
        let thing = json!({
            "name": "archive", "port": 22, "secret_of_tomorrow": "hunter2",
            "limits": {"files_max": 3, "secret_of_tomorrow": "hunter2"},
            "slots": [{"purpose": "machine", "secret_of_tomorrow": "hunter2"}],
            "more": [{"secret_of_tomorrow": "hunter2"}],
            "error": "archive said hunter2", "password_file": "/etc/hunter2",
        });
        assert_eq!(
            shown.thing(&thing, &RULES),
            json!({
                "name": "destination-1", "port": 22, "limits": {"files_max": 3},
                "slots": [{"purpose": "machine"}],
                "error": "destination-1 said (left out)", "password_file": true,
            })
        );
    }

    #[test]
    fn what_is_not_shown_is_left_out_of_texts_too() {
        let mut shown = Shown::default();
        let thing =
            json!({"endpoint": "https://Store.example.net:9000/x", "user": "anna", "port": 22});
        shown.hide_rest(&thing, &RULES);
        let said = shown.plain.text("Anna cannot log in at store.example.net");
        assert_eq!(said, "(left out) cannot log in at (left out)");
    }

    #[test]
    fn a_word_that_is_none_of_ours_is_left_out() {
        assert_eq!(
            word("Intel(R) Xeon(R) E-2388G @ 3.20GHz"),
            "Intel(R) Xeon(R) E-2388G @ 3.20GHz"
        );
        assert_eq!(word("Müller"), LEFT_OUT);
        assert_eq!(word(&"a".repeat(200)), LEFT_OUT);
    }
}
