//! `holdfast webhooks`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Settings, Sure};

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// List webhooks
    List {
        /// Only those of this environment
        #[arg(long, value_name = "ID")]
        env: Option<String>,
    },
    /// Show everything about a webhook but its secret
    Show {
        /// The webhook
        id: String,
    },
    /// Make a webhook, and print its secret: this once
    Create {
        /// Its id; one is made where none is given
        id: Option<String>,
        /// Its settings
        #[command(flatten)]
        flags: WebhookFlags,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
    },
    /// Change a webhook; what is not named stays as it is
    Set {
        /// The webhook
        id: String,
        /// What to change
        #[command(flatten)]
        flags: WebhookFlags,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
    },
    /// Delete a webhook, and what waits to be delivered to it
    Delete {
        /// The webhook
        id: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
    /// List what was sent to a webhook, newest first: when, how often, what it answered
    Deliveries {
        /// The webhook
        id: String,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Send something once more, now
    Redeliver {
        /// The webhook
        id: String,
        /// The delivery
        delivery: String,
    },
    /// Send a webhook something that it may ignore, to see that it answers
    Ping {
        /// The webhook
        id: String,
    },
    /// Give a webhook a new secret, and print it: this once
    RotateSecret {
        /// The webhook
        id: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
}

/// A webhook's settings.
#[derive(Debug, Clone, Args)]
pub struct WebhookFlags {
    /// The environment whose recordings it hears of
    #[arg(long, value_name = "ID")]
    pub env: Option<String>,
    /// Where to
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// What it hears of, such as video_converted; repeat it for several, none for everything
    #[arg(long = "event", value_name = "NAME")]
    pub events: Vec<String>,
    /// How: as JSON, or as the form field `payload`
    #[arg(long, value_parser = ["json", "form"])]
    pub format: Option<String>,
    /// Whether it is told anything
    #[arg(long, value_name = "BOOL")]
    pub enabled: Option<bool>,
    /// Read the key of X-Pipe-Signature from this file; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub pipe_key_from: Option<PathBuf>,
}
