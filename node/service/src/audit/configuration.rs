//! What the configuration file says differently since the last start.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `audit_configuration` | section of the file | SHA-256 of what it said |
//!
//! Accounts, environments, destinations and webhooks are told of by the settings, one by one. A newer program
//! may see more in the same section, which then counts as changed.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Act, Configured};
use crate::config::Config;
use crate::digest;
use crate::ledger::LedgerError;

const SECTIONS: TableDefinition<'_, &str, &str> = TableDefinition::new("audit_configuration");

/// A section, and the digest of what it says.
pub(super) type Section = (&'static str, String);

/// The sections of the file.
pub(super) fn sections(config: &Config) -> Vec<Section> {
    // All members by name, so that a new one does not compile before it is told of here or there.
    let Config {
        node,
        vault,
        tls,
        ingest,
        transcode,
        deliver,
        operate,
        notify,
        destinations: _,
        accounts: _,
        environments: _,
        webhooks: _,
    } = config;
    let of = |name, told: String| (name, digest::of(told.as_bytes()));
    vec![
        of("node", format!("{node:?}")),
        of("vault", format!("{vault:?}")),
        of("tls", format!("{tls:?}")),
        of("ingest", format!("{ingest:?}")),
        of("transcode", format!("{transcode:?}")),
        of("deliver", format!("{deliver:?}")),
        of("operate", format!("{operate:?}")),
        of("notify", format!("{notify:?}")),
    ]
}

/// Notes what the file says now; answers with what is to be told of it.
pub(super) fn note(
    write: &WriteTransaction,
    node: String,
    sections: &[Section],
) -> Result<Option<Act>, LedgerError> {
    let mut table = write.open_table(SECTIONS)?;
    let is_new = table.first()?.is_none();
    let mut members = Vec::new();
    for (name, told) in sections {
        let before = table.insert(*name, told.as_str())?.map(|before| before.value().to_owned());
        if before.as_ref() != Some(told) {
            members.push((*name).to_owned());
        }
    }
    if members.is_empty() {
        return Ok(None);
    }
    let change = if is_new { Configured::Created } else { Configured::Changed };
    Ok(Some(Act::Configured { kind: "node".into(), id: node, change, members }))
}
