//! The log: to the journal where the process runs under systemd, or else as lines on stderr.
//!
//! `HOLDFAST_LOG` says how much, as in `debug` or `info,holdfast::ingest=trace`. Whatever it says,
//! the libraries that see headers, and with them keys and tokens, stay at `info`. The newest lines are
//! kept in memory as well, without what names anybody, for a support bundle ([`ring`]).

pub(crate) mod ring;

use std::io::IsTerminal;
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::Clock;

/// The variable that says how much is logged.
pub const VARIABLE: &str = "HOLDFAST_LOG";
const DEFAULT: &str = "info";

/// Libraries whose finer levels show headers.
const HEADERS_SEEN: [&str; 6] = ["h2", "hyper", "hyper_util", "reqwest", "rustls", "tungstenite"];

/// What is wrong with the settings of the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("{VARIABLE}={text:?}: {reason}")]
    Filter {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A log has been started already.
    #[error("cannot start the log: {0}")]
    Start(String),
}

/// Starts the log, for the whole process.
///
/// # Errors
/// [`LogError`], where `HOLDFAST_LOG` is no filter or a log has been started already.
pub fn start() -> Result<(), LogError> {
    let wanted = filter(std::env::var(VARIABLE).ok())?;
    let secret = filter_fn(|metadata| shows_no_headers(metadata.target(), *metadata.level()));
    let kept = ring::Taker::new(Clock::new());
    let registry = tracing_subscriber::registry().with(wanted).with(secret).with(kept);
    let journal = is_journal().then(tracing_journald::layer).and_then(Result::ok);
    let started = match journal {
        Some(journal) => registry.with(journal).try_init(),
        None => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal());
            registry.with(lines).try_init()
        }
    };
    started.map_err(|error| LogError::Start(error.to_string()))
}

fn filter(text: Option<String>) -> Result<EnvFilter, LogError> {
    let text = text.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| DEFAULT.into());
    EnvFilter::builder()
        .parse(&text)
        .map_err(|error| LogError::Filter { text, reason: error.to_string() })
}

fn shows_no_headers(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or(target);
    level <= Level::INFO || !HEADERS_SEEN.contains(&library)
}

/// Whether stderr is the journal, as systemd says with `JOURNAL_STREAM=device:inode`.
fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let stderr = fstat(std::io::stderr().as_fd()).ok();
    named.zip(stderr).is_some_and(|(named, own)| named == format!("{}:{}", own.st_dev, own.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused_by_name() {
        let said = filter(Some("holdfast=loud".into())).unwrap_err().to_string();
        assert!(said.contains("HOLDFAST_LOG") && said.contains("loud"), "{said}");
    }

    #[test]
    fn libraries_that_see_keys_stay_quiet() {
        assert!(!shows_no_headers("h2::codec::framed_read", Level::TRACE));
        assert!(!shows_no_headers("hyper", Level::DEBUG));
        assert!(shows_no_headers("hyper::proto", Level::WARN));
        assert!(shows_no_headers("holdfast::ingest", Level::TRACE));
    }
}
