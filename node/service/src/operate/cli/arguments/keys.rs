//! `holdfast keys`

use clap::Subcommand;

use super::Sure;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List keys; nothing shows a key itself again
    List,
    /// Show whose a key is, and what it may
    Show {
        /// The key's id
        id: String,
    },
    /// Make a key, and print it: this once
    Create {
        /// Whose it is
        #[arg(long, value_name = "TEXT")]
        name: String,
        /// What it may: read, also manage recordings and environments, or everything
        #[arg(long, value_parser = ["read", "manage", "admin"])]
        scope: String,
        /// Only in this environment; repeat it for several
        #[arg(long = "env", value_name = "ID")]
        envs: Vec<String>,
    },
    /// Revoke a key: it opens nothing any more, at once
    Revoke {
        /// The key's id
        id: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
}
