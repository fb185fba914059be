//! The certificate that the node serves with is valid now, and for a while.
//!
//! What is looked at is its file, as the next start takes it.

mod validity;

use std::path::Path;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{ANSWER_MAX, Check, SelftestCheck};
use crate::blocking;
use crate::node::Node;
use crate::tls::{self, TlsError};
use validity::Validity;

/// Days before its end from which on it is warned of.
const DAYS_WARNED: i64 = 14;

pub(super) async fn check(node: &Node) -> SelftestCheck {
    let config = node.config.clone();
    let is_own = config.tls.certificate.is_none();
    let read = blocking::run(move || read(&config));
    match tokio::time::timeout(ANSWER_MAX, read).await {
        Ok(Ok(Ok(validity))) => judge(validity, node.clock.now(), is_own),
        Ok(Ok(Err(found))) => {
            let todo = "put certificate and key in place before the node is started again";
            SelftestCheck::failed(Check::Certificate, &found, todo)
        }
        Ok(Err(_)) | Err(_) => SelftestCheck::late(Check::Certificate, ANSWER_MAX),
    }
}

/// Of the certificate in the files that a start would take, if they make a server.
fn read(config: &crate::config::Config) -> Result<Validity, String> {
    let (certificate, key) = tls::files(config);
    tls::of_files(&certificate, &key).map_err(|error: TlsError| error.to_string())?;
    first(&certificate).map_err(|why| format!("{}: {why}", certificate.display()))
}

fn first(path: &Path) -> Result<Validity, String> {
    let mut all = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let der =
        all.next().ok_or("there is no certificate in it")?.map_err(|error| error.to_string())?;
    Validity::of(&der).map_err(|error| format!("it is not understood: {error}"))
}

fn judge(validity: Validity, now: Timestamp, is_own: bool) -> SelftestCheck {
    let Validity { from, until } = validity;
    let renew = if is_own {
        "move the folder tls in node.state_path away and start the node again: it makes a new one"
    } else {
        "put a new one in its place, and start the node again"
    };
    if now < from {
        let found = format!("it is valid only from {from:.0} on");
        return SelftestCheck::failed(
            Check::Certificate,
            &found,
            "look at the clock, then at the certificate",
        );
    }
    if until <= now {
        return SelftestCheck::failed(
            Check::Certificate,
            &format!("it ended at {until:.0}"),
            renew,
        );
    }
    let days = until.duration_since(now).as_hours() / 24;
    let made = if is_own { "the node made it itself" } else { "it is the configuration's" };
    let found = format!("it is valid until {until:.0}, {days} days more; {made}");
    if days < DAYS_WARNED {
        return SelftestCheck::warning(Check::Certificate, &found, renew);
    }
    SelftestCheck::passed(Check::Certificate, &found)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn it_is_warned_of_before_it_ends() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let validity =
            Validity { from: at("2026-01-01T00:00:00Z"), until: at("2026-03-01T00:00:00Z") };
        let outcome = |now: &str| judge(validity, at(now), false).outcome;
        assert_eq!(outcome("2025-12-31T23:59:59Z"), Outcome::Failed);
        assert_eq!(outcome("2026-01-01T00:00:00Z"), Outcome::Passed);
        assert_eq!(outcome("2026-02-15T00:00:00Z"), Outcome::Passed);
        assert_eq!(outcome("2026-02-15T00:00:01Z"), Outcome::Warning);
        assert_eq!(outcome("2026-03-01T00:00:00Z"), Outcome::Failed);
    }
}
