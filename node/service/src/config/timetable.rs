//! How much of the line may be used when: `mon-fri 08:00-18:00 5 MiB/s`.

use std::fmt;
use std::str::FromStr;

use jiff::ZonedDateTime;
use jiff::civil::{Time, Weekday};
use serde::{Deserialize, Serialize};

/// Most lines of a timetable.
const LINES_MAX: usize = 32;
/// Slowest and fastest rate, in bytes per second.
const RATE_BYTES_PER_S_MIN: u64 = 8 << 10;
const RATE_BYTES_PER_S_MAX: u64 = 1 << 40;
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const UNITS: [(&str, u64); 6] = [
    ("KiB/s", 1 << 10),
    ("MiB/s", 1 << 20),
    ("GiB/s", 1 << 30),
    ("kB/s", 1_000),
    ("MB/s", 1_000_000),
    ("GB/s", 1_000_000_000),
];

/// Rates by weekday and time of day, in the node's time zone. The first line that fits holds; where
/// none fits there is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Timetable(Vec<Line>);

/// One line of a timetable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    text: String,
    /// By Monday-zero offset; all where none is named.
    days: [bool; 7],
    /// From and to, in minutes since midnight. An end at or before its start is on the next day.
    minutes: Option<(u16, u16)>,
    /// Bytes per second; nothing for `unlimited`.
    rate: Option<u64>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{line:?}: {problem}; write it like \"mon-fri 08:00-18:00 5 MiB/s\", \"22:00-06:00 unlimited\" or \
     \"500 KiB/s\""
)]
pub struct TimetableError {
    line: String,
    problem: String,
}

impl Timetable {
    /// Whether nothing is ever limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rate at a moment, in bytes per second; nothing where there is no limit.
    #[must_use]
    pub fn rate_at(&self, local: &ZonedDateTime) -> Option<u64> {
        self.0.iter().find(|line| line.fits(local)).and_then(|line| line.rate)
    }
}

impl Line {
    fn fits(&self, local: &ZonedDateTime) -> bool {
        let minute = minute_of(local.time());
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let yesterday = (today + 6) % 7;
        match self.minutes {
            None => self.days[today],
            Some((from, to)) if from < to => self.days[today] && (from..to).contains(&minute),
            // Over midnight: the part after it belongs to the day on which it began.
            Some((from, to)) => {
                (self.days[today] && minute >= from) || (self.days[yesterday] && minute < to)
            }
        }
    }
}

fn minute_of(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

impl FromStr for Line {
    type Err = TimetableError;

    fn from_str(text: &str) -> Result<Self, TimetableError> {
        let failed = |problem: String| TimetableError { line: text.to_owned(), problem };
        let mut words = text.split_whitespace().peekable();
        let days = match words.next_if(|word| {
            word.starts_with(|c: char| c.is_ascii_alphabetic()) && *word != "unlimited"
        }) {
            Some(word) => days(word).map_err(failed)?,
            None => [true; 7],
        };
        let minutes = match words.next_if(|word| word.contains(':')) {
            Some(word) => Some(hours(word).map_err(failed)?),
            None => None,
        };
        let rate: Vec<&str> = words.collect();
        let rate = rate_of(&rate.join(" ")).map_err(failed)?;
        Ok(Self { text: text.to_owned(), days, minutes, rate })
    }
}

fn days(word: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        DAYS.iter().position(|(known, _)| *known == name.to_ascii_lowercase()).ok_or_else(|| {
            format!("{name:?} is no day; days are mon, tue, wed, thu, fri, sat, sun")
        })
    };
    let mut days = [false; 7];
    for part in word.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `sat-mon` goes over the end of the week.
        let length = (last + 7 - first) % 7;
        (0..=length).for_each(|after| days[(first + after) % 7] = true);
    }
    Ok(days)
}

fn hours(word: &str) -> Result<(u16, u16), String> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let two = |part: &str| (part.len() == 2).then(|| part.parse::<u16>().ok())?;
        let (hour, minute) = (two(hour)?, two(minute)?);
        (minute < 60 && (hour < 24 || (hour, minute) == (24, 0))).then_some(hour * 60 + minute)
    };
    let (from, to) = word.split_once('-').ok_or("hours go from-to")?;
    match (minute(from), minute(to)) {
        (Some(from), Some(to)) if from != to && from < 24 * 60 => Ok((from, to)),
        (Some(_), Some(_)) => Err("the hours begin and end at the same time".into()),
        _ => Err(format!("{word:?} are no hours; they go from 00:00 to 24:00")),
    }
}

fn rate_of(text: &str) -> Result<Option<u64>, String> {
    if text == "unlimited" {
        return Ok(None);
    }
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..at], text[at..].trim());
    let number: u64 = number.parse().map_err(|_| "no rate, a whole number of bytes, is given")?;
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let units = || UNITS.map(|(name, _)| name).join(", ");
    let factor = factor.ok_or_else(|| format!("{unit:?} is no unit; units are {}", units()))?;
    let rate = number.saturating_mul(factor);
    if (RATE_BYTES_PER_S_MIN..=RATE_BYTES_PER_S_MAX).contains(&rate) {
        Ok(Some(rate))
    } else {
        Err("the rate must be 8 KiB/s to 1024 GiB/s".into())
    }
}

impl TryFrom<Vec<String>> for Timetable {
    type Error = TimetableError;

    fn try_from(lines: Vec<String>) -> Result<Self, TimetableError> {
        if lines.len() > LINES_MAX {
            let problem = format!("there are more than {LINES_MAX} lines");
            return Err(TimetableError { line: lines[LINES_MAX].clone(), problem });
        }
        lines.iter().map(|line| line.parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Timetable> for Vec<String> {
    fn from(timetable: Timetable) -> Self {
        timetable.0.into_iter().map(|line| line.text).collect()
    }
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.0.iter().map(|line| line.text.as_str()).collect();
        f.write_str(&lines.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(lines: &[&str], local: &str) -> Option<u64> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let local: ZonedDateTime = format!("{local}[Europe/Bucharest]").parse().unwrap();
        Timetable::try_from(lines).unwrap().rate_at(&local)
    }

    #[test]
    fn the_first_line_that_fits_holds() {
        let lines = ["mon-fri 08:00-18:00 5 MiB/s", "sat,sun 20MB/s", "100 KiB/s"];
        // 2026-03-02 is a Monday.
        assert_eq!(rate(&lines, "2026-03-02T08:00:00"), Some(5 << 20));
        assert_eq!(rate(&lines, "2026-03-02T07:59:59"), Some(100 << 10));
        assert_eq!(rate(&lines, "2026-03-06T17:59:59"), Some(5 << 20));
        assert_eq!(rate(&lines, "2026-03-06T18:00:00"), Some(100 << 10));
        assert_eq!(rate(&lines, "2026-03-07T12:00:00"), Some(20_000_000));
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_began() {
        let lines = ["fri 22:00-06:00 1 MiB/s"];
        assert_eq!(rate(&lines, "2026-03-06T21:59:00"), None);
        assert_eq!(rate(&lines, "2026-03-06T22:00:00"), Some(1 << 20));
        assert_eq!(rate(&lines, "2026-03-07T05:59:00"), Some(1 << 20));
        assert_eq!(rate(&lines, "2026-03-07T06:00:00"), None);
        assert_eq!(rate(&lines, "2026-03-07T22:00:00"), None);
        let lines = ["sat-mon 18:00-24:00 1 MiB/s", "unlimited"];
        assert_eq!(rate(&lines, "2026-03-02T23:59:59"), Some(1 << 20));
        assert_eq!(rate(&lines, "2026-03-03T18:00:00"), None);
    }

    #[test]
    fn what_is_no_line_is_refused_with_the_reason() {
        for (line, reason) in [
            ("", "no rate"),
            ("5", "is no unit"),
            ("5 Mbit/s", "is no unit"),
            ("mo 5 MiB/s", "is no day"),
            ("08:00 5 MiB/s", "from-to"),
            ("8:00-18:00 5 MiB/s", "are no hours"),
            ("08:00-25:00 5 MiB/s", "are no hours"),
            ("08:00-08:00 5 MiB/s", "same time"),
            ("1 KiB/s", "must be"),
            ("99999999999 GiB/s", "must be"),
            ("-5 MiB/s", "no rate"),
        ] {
            let error = line.parse::<Line>().unwrap_err().to_string();
            assert!(error.contains(reason), "{line:?}: {error}");
        }
        let many = vec!["1 MiB/s".to_owned(); LINES_MAX + 1];
        assert!(Timetable::try_from(many).unwrap_err().to_string().contains("more than"));
    }
}
