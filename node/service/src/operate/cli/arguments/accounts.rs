//! `holdfast accounts`

use clap::{Args, Subcommand};

use super::{Settings, Sure};

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub enum Accounts {
    /// List accounts
    List,
    /// Show everything about an account
    Show {
        /// The account
        id: String,
    },
    /// Make an account
    Create {
        /// Its id
        id: Option<String>,
        /// Its settings
        #[command(flatten)]
        flags: AccountFlags,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
    },
    /// Change an account. Once it has expired, all its recordings are deleted after 28 days
    Set {
        /// The account
        id: String,
        /// What to change
        #[command(flatten)]
        flags: AccountFlags,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
    /// Delete an account that no environment belongs to
    Delete {
        /// The account
        id: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
}

/// An account's settings.
#[derive(Debug, Clone, Args)]
pub struct AccountFlags {
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// What it has
    #[arg(long, value_parser = ["trial", "paid"])]
    pub plan: Option<String>,
    /// Until when, such as 2026-12-31T22:00:00Z, or `never`
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<String>,
}
