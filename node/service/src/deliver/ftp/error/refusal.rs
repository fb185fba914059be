//! What a server says when it says no.

use std::fmt;

use holdfast_core::attempts::Fault;
use suppaftp::types::Response;

/// Most characters of a server's own words.
const WORDS_CHARS_MAX: usize = 200;

/// Logging in, as a step that may fail.
pub(in crate::deliver::ftp) const LOG_IN: &str = "log in";

/// What a server says when it says no.
#[derive(Debug)]
pub(in crate::deliver::ftp) struct Refusal {
    what: &'static str,
    path: String,
    /// The reply's three digits.
    pub(in crate::deliver::ftp) code: u16,
    words: String,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    WantsTls,
    Session,
    Login,
    Full,
    Denied,
    Missing,
    Name,
    Exists,
    Busy,
    DataConnection,
    Interrupted,
    Server,
    Unsupported,
    Other,
}

impl Refusal {
    /// Reads a refusal from a reply; `secret` is cut out of it.
    pub(in crate::deliver::ftp) fn read(
        what: &'static str,
        path: &str,
        response: &Response,
        secret: Option<&str>,
    ) -> Self {
        let text = String::from_utf8_lossy(&response.body);
        let code = code(response);
        let words = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let words = words.trim_start_matches(['-', ' ']);
        let words = match secret {
            Some(secret) => words.replace(secret, "***"),
            None => words.to_owned(),
        };
        Self { what, path: path.to_owned(), code, words: plain(&words) }
    }

    /// Whether the same may well succeed in a second, over another connection.
    pub(super) fn is_hiccup(&self) -> bool {
        use Meaning::{Busy, DataConnection, Interrupted, Server};
        matches!(self.meaning(), Busy | DataConnection | Interrupted | Server)
    }

    /// Whether it says that something is not there, or does not say why it said no.
    pub(in crate::deliver::ftp) fn may_be_missing(&self) -> bool {
        self.code == 550 && matches!(self.meaning(), Meaning::Missing | Meaning::Denied)
    }

    /// Whether the server does not know the command.
    pub(in crate::deliver::ftp) fn is_unsupported(&self) -> bool {
        self.meaning() == Meaning::Unsupported
    }

    /// Whose fault it is.
    pub(super) fn fault(&self) -> Fault {
        use Meaning::{Busy, DataConnection, Interrupted, Server, Session};
        match self.meaning() {
            Session => Fault::Ours,
            Busy | DataConnection | Interrupted | Server => Fault::Networks,
            _ => Fault::Customers,
        }
    }

    fn says(&self, any_of: &[&str]) -> bool {
        let words = self.words.to_ascii_lowercase();
        any_of.iter().any(|said| words.contains(said))
    }

    pub(super) fn meaning(&self) -> Meaning {
        let is_about_tls = self.says(&["tls", "ssl", "encrypt", "secure"]);
        if self.says(&["session reuse", "session not reused", "reuse required"]) {
            return Meaning::Session;
        }
        match self.code {
            421 | 120 => Meaning::Busy,
            425 => Meaning::DataConnection,
            426 => Meaning::Interrupted,
            452 | 552 => Meaning::Full,
            _ if self.says(&["no space", "quota", "disk full", "disk is full"]) => Meaning::Full,
            // vsftpd says no more than this of a full disk.
            451 if self.says(&["writing to local file", "short write"]) => Meaning::Full,
            // Each server has a code of its own for this.
            503 | 522 | 530 | 534 | 550 if is_about_tls => Meaning::WantsTls,
            430 | 332 | 530 | 532 => Meaning::Login,
            450 | 451 | 434 => Meaning::Server,
            500 | 501 | 502 | 504 | 522 => Meaning::Unsupported,
            550 | 553 | 521 if self.says(&["exist"]) && !self.says(&["not exist", "n't exist"]) => {
                Meaning::Exists
            }
            550 if self.says(&["no such", "not found", "not exist", "n't exist"]) => {
                Meaning::Missing
            }
            550 if self.says(&["name too long"]) => Meaning::Name,
            553 if self.says(&["name"]) && !self.says(&["denied", "permission"]) => Meaning::Name,
            550 | 553 => Meaning::Denied,
            _ => Meaning::Other,
        }
    }

    /// What to do about it.
    pub(super) fn advice(&self, user: &str, is_protected: bool) -> String {
        match self.meaning() {
            Meaning::WantsTls if is_protected => {
                "the server wants its connections protected in another way; see its log".into()
            }
            Meaning::WantsTls => "the server takes protected connections only: use kind = \
                                  \"ftps\" instead of \"ftp\""
                .into(),
            Meaning::Session => {
                "the server did not take the TLS session of the control connection \
                                 for the data; please report this to the node's vendor"
                    .into()
            }
            Meaning::Login => {
                format!("put the password of user {user:?} into password, and check user")
            }
            Meaning::Full => {
                "the server's disk is full or the quota used up: make room there".into()
            }
            Meaning::Denied => format!(
                "let user {user:?} write, rename and make folders there, or check directory"
            ),
            Meaning::Missing => "check directory, and that nothing else removes files there".into(),
            Meaning::Name => "the server does not take this name".into(),
            Meaning::Exists => "something else stands under that name: move it away, or let the \
                                server allow overwriting"
                .into(),
            Meaning::Busy => "the server is busy, stopping, or has too many connections: if it \
                              goes on, raise its limit for this user and address"
                .into(),
            Meaning::DataConnection => {
                "the data connection did not come about: open the server's passive ports in \
                 firewalls between"
                    .into()
            }
            Meaning::Interrupted => "the line is too slow or broke off".into(),
            Meaning::Server => "the server has trouble at the moment; see its log".into(),
            Meaning::Unsupported => "the server cannot do this, and it is needed".into(),
            Meaning::Other => "see the server's log".into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, code, words } = self;
        write!(f, "cannot {what}")?;
        if !path.is_empty() {
            write!(f, " {path:?}")?;
        }
        write!(f, ": the server answers {code}")?;
        if words.is_empty() { Ok(()) } else { write!(f, " {words:?}") }
    }
}

/// The three digits of a reply. The library knows some codes only.
pub(in crate::deliver::ftp) fn code(response: &Response) -> u16 {
    let digits = response.body.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A server's words in one line, shortened.
pub(in crate::deliver::ftp) fn plain(words: &str) -> String {
    let words = words.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use suppaftp::Status;

    use super::*;

    fn refusal(what: &'static str, text: &str) -> Refusal {
        let response = Response::new(Status::Unknown, text.as_bytes().to_vec());
        Refusal::read(what, "/a/b.mp4", &response, Some("hunter2"))
    }

    #[test]
    fn replies_of_known_servers_are_told_apart() {
        for (what, text, meaning, fault) in [
            (LOG_IN, "530 Login incorrect.", Meaning::Login, Fault::Customers),
            (LOG_IN, "430 Invalid username", Meaning::Login, Fault::Customers),
            (
                LOG_IN,
                "530 Anonymous sessions must use encryption.",
                Meaning::WantsTls,
                Fault::Customers,
            ),
            (LOG_IN, "421 Too many users", Meaning::Busy, Fault::Networks),
            (
                LOG_IN,
                "550 SSL/TLS required on the control channel",
                Meaning::WantsTls,
                Fault::Customers,
            ),
            (
                "send",
                "522 SSL connection failed; session reuse required: see require_ssl_reuse",
                Meaning::Session,
                Fault::Ours,
            ),
            ("send", "552 Quota exceeded", Meaning::Full, Fault::Customers),
            ("send", "451 Failure writing to local file.", Meaning::Full, Fault::Customers),
            ("send", "451 b.mp4: No space left on device", Meaning::Full, Fault::Customers),
            ("send", "550 b.mp4: Permission denied", Meaning::Denied, Fault::Customers),
            ("send", "553 Could not create file.", Meaning::Denied, Fault::Customers),
            ("send", "550 b.mp4: No such file or directory", Meaning::Missing, Fault::Customers),
            ("send", "550 The file does not exist", Meaning::Missing, Fault::Customers),
            ("rename", "550 Rename: File exists", Meaning::Exists, Fault::Customers),
            (
                "send",
                "425 Failed to establish connection.",
                Meaning::DataConnection,
                Fault::Networks,
            ),
            ("send", "426 Failure reading network stream.", Meaning::Interrupted, Fault::Networks),
        ] {
            let refusal = refusal(what, text);
            assert_eq!((refusal.meaning(), refusal.fault()), (meaning, fault), "{text}");
        }
    }

    #[test]
    fn words_are_short_and_hold_no_secret_and_no_line_end() {
        let said = refusal(LOG_IN, "530-no hunter2\r\n530 Login\u{7} failed").to_string();
        assert_eq!(
            said,
            "cannot log in \"/a/b.mp4\": the server answers 530 \"no *** 530 Login failed\""
        );
        assert!(refusal("send", &format!("550 {}", "x".repeat(9_000))).to_string().len() < 300);
    }
}
