//! Tables of JSON objects for people: aligned, and no wider than the terminal where there is one.

use serde_json::Value;

use super::words::{Bytes, Millis, Plain, columns, cut, shown};

/// Between two columns.
const GAP: &str = "  ";
/// A column that gives way keeps so much.
const WIDTH_MIN: usize = 8;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Its heading.
    pub(super) head: &'static str,
    /// Where its value lies in a row's object (JSON pointer).
    pub(super) place: &'static str,
    /// How to show it.
    pub(super) how: How,
}

/// How to show a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Whole: what identifies something is copied from here.
    Whole,
    /// As much as fits.
    Cut,
    /// A number of bytes.
    Bytes,
    /// How long something took, in milliseconds.
    Millis,
}

impl Column {
    pub(super) const fn whole(head: &'static str, place: &'static str) -> Self {
        Self { head, place, how: How::Whole }
    }

    pub(super) const fn cut(head: &'static str, place: &'static str) -> Self {
        Self { head, place, how: How::Cut }
    }

    pub(super) const fn bytes(head: &'static str, place: &'static str) -> Self {
        Self { head, place, how: How::Bytes }
    }

    pub(super) const fn millis(head: &'static str, place: &'static str) -> Self {
        Self { head, place, how: How::Millis }
    }

    fn cell(&self, row: &Value) -> String {
        let value = row.pointer(self.place).unwrap_or(&Value::Null);
        let text = match (self.how, value.as_u64()) {
            (How::Bytes, Some(bytes)) => Bytes(bytes).to_string(),
            (How::Millis, Some(ms)) => Millis(ms).to_string(),
            // A server's answer has lines; a row is one.
            (How::Cut, _) => shown(value).trim_end().replace(['\n', '\r', '\t'], " "),
            _ => shown(value),
        };
        Plain(text).to_string()
    }
}

/// A table, one row a line; `width` is the terminal's, in columns.
pub(super) fn table(heads: &[Column], rows: &[Value], width: Option<usize>) -> String {
    let mut lines: Vec<Vec<String>> =
        vec![heads.iter().map(|column| column.head.to_owned()).collect()];
    lines.extend(rows.iter().map(|row| heads.iter().map(|column| column.cell(row)).collect()));
    let widest = |at: usize| lines.iter().map(|line| columns(&line[at])).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..heads.len()).map(widest).collect();
    if let Some(width) = width {
        narrow(heads, &mut widths, width);
    }
    let mut text = String::new();
    for line in lines {
        let mut said = String::new();
        for ((column, cell), width) in heads.iter().zip(line).zip(&widths) {
            let cell = cut(&cell, *width);
            let pad = " ".repeat(width - columns(&cell));
            let gap = if said.is_empty() { "" } else { GAP };
            match column.how {
                How::Bytes | How::Millis => said.extend([gap, &pad, &cell]),
                How::Whole | How::Cut => said.extend([gap, &cell, &pad]),
            }
        }
        text.push_str(said.trim_end());
        text.push('\n');
    }
    text
}

/// Takes from the columns that may be cut, the widest first, until all fit or none gives way.
fn narrow(heads: &[Column], widths: &mut [usize], width: usize) {
    let gaps = GAP.len() * heads.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let may = |at: &usize| heads[*at].how == How::Cut && widths[*at] > WIDTH_MIN;
        let Some(at) = (0..heads.len()).filter(may).max_by_key(|at| widths[*at]) else { return };
        widths[at] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::whole("ID", "/id"),
        Column::bytes("SIZE", "/size"),
        Column::millis("TOOK", "/took"),
        Column::cut("TITLE", "/about/title"),
    ];

    fn rows() -> Vec<Value> {
        vec![
            json!({ "id": "one", "size": 2_048, "about": { "title": "A \u{1b}[31mlong title\nof many words\n" } }),
            json!({ "id": "another", "took": 1_050, "about": { "title": "録画" } }),
        ]
    }

    #[test]
    fn columns_are_aligned() {
        let said = table(&COLUMNS, &rows(), None);
        assert_eq!(
            said,
            "ID          SIZE     TOOK  TITLE\n\
             one      2.0 KiB        -  A \u{fffd}[31mlong title of many words\n\
             another        -  1.050 s  録画\n"
        );
    }

    #[test]
    fn a_table_is_no_wider_than_the_terminal() {
        let said = table(&COLUMNS, &rows(), Some(39));
        assert!(said.lines().all(|line| columns(line) <= 39), "{said}");
        assert!(said.lines().nth(1).is_some_and(|line| line.ends_with('…')), "{said}");
        assert!(said.contains("another"), "what identifies a row stays whole: {said}");
        let said = table(&COLUMNS, &rows(), Some(5));
        assert!(said.contains("another"), "{said}");
    }
}
