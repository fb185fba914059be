//! Placeholders in `prefix` and in the values of `tags`: `{env}`, `{year}`, `{month}`, `{day}`, `{name}`.
//!
//! They stand for the environment, for the day on which the recording was saved in the node's zone, and
//! for the file's name as it is at every destination (`{folder}/{name}.mp4`). All of that is the same at
//! every attempt, so a repeated push finds its key again.

use crate::deliver::{FileToPush, names};

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Of(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Env,
    Year,
    Month,
    Day,
    Name,
}

const KNOWN: [(&str, Placeholder); 5] = [
    ("env", Placeholder::Env),
    ("year", Placeholder::Year),
    ("month", Placeholder::Month),
    ("day", Placeholder::Day),
    ("name", Placeholder::Name),
];

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// Which placeholder is unknown and which there are, or that a brace stands alone.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let alone = || "a brace stands alone; placeholders are written like {year}".to_owned();
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let (word, after) =
                from.strip_prefix('{').and_then(|from| from.split_once('}')).ok_or_else(alone)?;
            let found = KNOWN.iter().find(|(known, _)| *known == word);
            let (_, placeholder) = found.ok_or_else(|| unknown(word))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Of(*placeholder));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Reads the setting `prefix`.
    ///
    /// # Errors
    /// The same, or that `{name}` is not its end, or that no key can begin like this.
    pub(super) fn of_prefix(prefix: &str) -> Result<Self, String> {
        let template = Self::read(prefix).map_err(|problem| format!("prefix: {problem}"))?;
        let name = Piece::Of(Placeholder::Name);
        if template.0.iter().rev().skip(1).any(|piece| *piece == name) {
            return Err("prefix: {name} is the file's whole name and can only be its end".into());
        }
        let sample = template.filled(|placeholder| match placeholder {
            Placeholder::Year => "2026",
            Placeholder::Month | Placeholder::Day => "01",
            Placeholder::Env | Placeholder::Name => "x",
        });
        names::parts(&format!("{sample}x"))
            .map_err(|problem| format!("prefix: {prefix:?} cannot be used: {problem}"))?;
        Ok(template)
    }

    /// Whether it has no placeholders.
    pub(super) fn is_plain(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The characters between its placeholders.
    pub(super) fn text(&self) -> impl Iterator<Item = char> {
        self.0.iter().flat_map(|piece| match piece {
            Piece::Text(text) => text.chars(),
            Piece::Of(_) => "".chars(),
        })
    }

    /// What it says of a file.
    pub(super) fn fill(&self, file: &FileToPush) -> String {
        let (year, month, day) = (file.saved_on.year(), file.saved_on.month(), file.saved_on.day());
        let (year, month, day) = (format!("{year:04}"), format!("{month:02}"), format!("{day:02}"));
        self.filled(|placeholder| match placeholder {
            Placeholder::Env => &file.env_id,
            Placeholder::Year => &year,
            Placeholder::Month => &month,
            Placeholder::Day => &day,
            Placeholder::Name => &file.name,
        })
    }

    /// A file's key, where this is the setting `prefix`.
    pub(super) fn key(&self, file: &FileToPush) -> String {
        let filled = self.fill(file);
        if self.0.last() == Some(&Piece::Of(Placeholder::Name)) {
            filled
        } else {
            format!("{filled}{}", file.name)
        }
    }

    fn filled<'a>(&'a self, of: impl Fn(Placeholder) -> &'a str) -> String {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Of(placeholder) => of(*placeholder),
        });
        texts.collect()
    }
}

fn unknown(word: &str) -> String {
    let known: Vec<_> = KNOWN.iter().map(|(known, _)| format!("{{{known}}}")).collect();
    format!("{{{word}}} is no placeholder; there are {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(prefix: &str) -> String {
        let on = jiff::civil::date(2026, 3, 2);
        let mut file = FileToPush::alone("/x".into(), "demo/a.mp4".into(), 1, on);
        file.env_id = "acme".into();
        Template::of_prefix(prefix).unwrap().key(&file)
    }

    #[test]
    fn a_prefix_is_filled_from_the_recording() {
        assert_eq!(key(""), "demo/a.mp4");
        assert_eq!(key("node 7/"), "node 7/demo/a.mp4");
        assert_eq!(key("{env}/{year}/{month}/{day}/"), "acme/2026/03/02/demo/a.mp4");
        assert_eq!(key("{env}/{year}/{month}/{name}"), "acme/2026/03/demo/a.mp4");
        assert_eq!(key("{name}"), "demo/a.mp4");
        assert_eq!(key("x-{year}{month}-"), "x-202603-demo/a.mp4");
    }

    #[test]
    fn what_cannot_be_filled_is_refused_with_what_can() {
        for (prefix, problem) in [
            (
                "{week}/",
                "{week} is no placeholder; there are {env}, {year}, {month}, {day}, {name}",
            ),
            ("{}/", "{} is no placeholder"),
            ("{year", "a brace stands alone"),
            ("a}b", "a brace stands alone"),
            ("{name}/{year}", "can only be its end"),
            ("/{year}/", "empty part"),
            ("{env}/../", "the part \"..\""),
        ] {
            let said = Template::of_prefix(prefix).unwrap_err();
            assert!(said.contains(problem) && said.starts_with("prefix: "), "{prefix}: {said}");
        }
    }
}
