//! Settings that are one word: shapes, lengths, moments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A shape: width to height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Aspect {
    /// Its width, 1 to 100.
    pub width: u32,
    /// Its height, 1 to 100.
    pub height: u32,
}

/// A length: pixels, or a share of what it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Length {
    /// Pixels, 0 to 8192.
    Pixels(u32),
    /// Percent, 0 to 100.
    Percent(f32),
}

impl Length {
    /// In pixels, where the whole has `of`.
    #[must_use]
    pub fn of(self, of: u32) -> u32 {
        match self {
            Self::Pixels(pixels) => pixels,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of 0 to 100 percent of at most 16,384 pixels"
            )]
            Self::Percent(percent) => (of as f32 * percent / 100.0).round() as u32,
        }
    }
}

/// A moment of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Moment {
    /// Its first frame that shows something.
    First,
    /// So many seconds after its beginning, 0 and up; its last frame where it is shorter.
    Seconds(f64),
    /// So many percent of the way, 0 to 100.
    Percent(f32),
}

/// A word of a setting that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

fn number<N: FromStr + PartialOrd>(text: &str, range: std::ops::RangeInclusive<N>) -> Option<N> {
    text.trim().parse().ok().filter(|it| range.contains(it))
}

impl FromStr for Aspect {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let sides = text.split_once(':');
        let read = sides.and_then(|(w, h)| Some((number(w, 1..=100)?, number(h, 1..=100)?)));
        let (width, height) = read.ok_or_else(|| {
            Unreadable(format!("{text:?} is no shape; write 16:9, with numbers of 1 to 100"))
        })?;
        Ok(Self { width, height })
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.width, self.height)
    }
}

impl FromStr for Length {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let percent = |it| number(it, 0.0..=100.0).map(Self::Percent);
        let pixels = |it| number(it, 0..=8192).map(Self::Pixels);
        let read = text.strip_suffix('%').and_then(percent);
        read.or_else(|| text.strip_suffix("px").and_then(pixels)).ok_or_else(|| {
            Unreadable(format!("{text:?} is no length; write 16px (0 to 8192) or 2% (0 to 100)"))
        })
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels(pixels) => write!(f, "{pixels}px"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Moment {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let percent = |it| number(it, 0.0..=100.0).map(Self::Percent);
        let seconds = |it| number(it, 0.0..=1e6).map(Self::Seconds);
        match text {
            "first" => Some(Self::First),
            _ => text
                .strip_suffix('%')
                .and_then(percent)
                .or_else(|| text.strip_suffix('s').and_then(seconds)),
        }
        .ok_or_else(|| Unreadable(format!("{text:?} is no moment; write first, 12.5s or 50%")))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

macro_rules! as_text {
    ($($it:ty),*) => {$(
        impl TryFrom<String> for $it {
            type Error = Unreadable;

            fn try_from(text: String) -> Result<Self, Unreadable> {
                text.parse()
            }
        }

        impl From<$it> for String {
            fn from(it: $it) -> Self {
                it.to_string()
            }
        }
    )*};
}
as_text!(Aspect, Length, Moment);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for text in ["first", "12.5s", "50%"] {
            assert_eq!(text.parse::<Moment>().unwrap().to_string(), text);
        }
        for text in ["16px", "2.5%"] {
            assert_eq!(text.parse::<Length>().unwrap().to_string(), text);
        }
        assert_eq!("9:16".parse::<Aspect>().unwrap().to_string(), "9:16");
        for text in ["", "16", "-1px", "101%", "px", "%", "NaN%"] {
            assert!(text.parse::<Length>().is_err(), "{text}");
        }
        for text in ["", "last", "-1s", "infs", "1e9s", "120%"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        for text in ["", "16/9", "0:9", "16:", "16:900"] {
            assert!(text.parse::<Aspect>().is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_are_shares_of_what_they_lie_in() {
        assert_eq!(Length::Percent(2.0).of(1280), 26);
        assert_eq!(Length::Pixels(16).of(1280), 16);
    }
}
