//! What the command line takes, and nothing else: `build.rs` reads these files a second time and
//! makes the man pages and the completions from them. They depend on clap alone, and what is said
//! in a doc comment is what `--help` and the man pages say.

mod accounts;
mod audit;
mod clock;
mod destinations;
mod environments;
mod keys;
mod provision;
mod recordings;
mod transcode;
mod volumes;
mod webhooks;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use accounts::{AccountFlags, Accounts};
pub use audit::Audit;
pub use clock::Clock;
pub use destinations::{DestinationFlags, Destinations};
pub use environments::{EnvironmentFlags, Environments, LifecycleDays, PersonalSwitch};
pub use keys::Keys;
pub use provision::{Provision, SetupPage, TakeFrom};
pub use recordings::{ListFilter, RECORDING_STATES, Recordings};
pub use transcode::TranscodeFile;
pub use volumes::Volumes;
pub use webhooks::{WebhookFlags, Webhooks};

/// What a self-test looks at.
pub const SELFTEST_CHECKS: [&str; 8] =
    ["ledger", "volume", "film", "encoders", "destination", "clock", "certificate", "key"];

/// What a man page ends with.
const AFTER: &str = "\
Exit status: 0 done; 1 failed, or refused by the node; 2 called wrongly; 3 there is no such thing; \
4 no node answers at the socket.";

/// Takes in people's video recordings, has them transcoded, delivers them, deletes them by rule.
///
/// Everything but `run`, `check-config`, `ledger rebuild`, `audit verify`, `evidence --check`, `transcode`,
/// `provision`, `completions` and `man` asks the running node over its Unix socket, which serves root and the node's own user.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, propagate_version = true, after_help = AFTER)]
pub struct Arguments {
    /// The node's configuration
    #[arg(
        long,
        global = true,
        display_order = 902,
        value_name = "FILE",
        default_value = "/etc/holdfast/holdfast.toml"
    )]
    pub config: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node until SIGTERM or SIGINT
    Run,
    /// Check the configuration; say what is wrong and where
    CheckConfig,
    /// Say how the running node is
    Status(Ask),
    /// Say whether the running node does its work, and an encoder made a film
    Health {
        /// How to reach the node and how to answer
        #[command(flatten)]
        ask: Ask,
        /// Wait until it does, and until it has made a film of a test recording as it does of any, at
        /// most so many seconds and what one film takes
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
        wait: Option<u64>,
    },
    /// Have the running node test itself: ledger, volumes, a film, destinations, clock, certificate, key
    ///
    /// Ends with 1 where a check failed, and says of each what was found and what to do.
    Selftest {
        /// How to reach the node and how to answer
        #[command(flatten)]
        ask: Ask,
        /// Only this check
        #[arg(long, value_name = "CHECK", value_parser = SELFTEST_CHECKS)]
        only: Option<String>,
    },
    /// Look at recordings, hold, retry, push, fetch or delete them
    Recordings(On<Recordings>),
    /// Customers' settings
    Environments(On<Environments>),
    /// Customers: trials and subscriptions
    Accounts(On<Accounts>),
    /// Where recordings are pushed to
    Destinations(On<Destinations>),
    /// Keys that open the API
    Keys(On<Keys>),
    /// Who is told what happens to recordings
    Webhooks(On<Webhooks>),
    /// The signed log of deletions, holds, sign-ins and changes
    Audit(On<Audit>),
    /// Try rules out before they are set
    Policy(On<Policy>),
    /// Vouch for the node's clock
    Clock(On<Clock>),
    /// Volumes: how they are, opening them
    Volumes(On<Volumes>),
    /// Transcode one file by hand, as a node would; needs no node
    Transcode(TranscodeFile),
    /// Give a new box its configuration; needs no node
    #[command(subcommand)]
    Provision(Provision),
    /// Show what encodes: hardware and software, each with its proof
    Hardware(Ask),
    /// Show how recordings are kept, signed, for an auditor
    Evidence(Evidence),
    /// Put together what whoever builds the node needs to see when it misbehaves
    ///
    /// A .tar.gz of text: how the node is, what failed, its settings, its newest log lines. It has no
    /// recordings, no secrets and no personal data; read it before you send it all the same.
    SupportBundle {
        /// How to reach the node and how to answer
        #[command(flatten)]
        ask: Ask,
        /// Into this file, which must not be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the API's description, OpenAPI 3.1
    Openapi(Ask),
    /// Mend the ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Print what a shell needs to complete this program's arguments
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Write this program's man pages into a folder
    Man {
        /// The folder; it is made where there is none
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// How to reach the running node, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Ask {
    /// The node's socket, where it is not the one that the configuration says
    #[arg(long, global = true, display_order = 901, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Answer in the API's JSON
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
}

/// What to do with things of one kind, and how to reach the node.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct On<T: Subcommand> {
    /// How to reach the node and how to answer
    #[command(flatten)]
    pub ask: Ask,
    /// What to do
    #[command(subcommand)]
    pub act: T,
}

/// What to do about evidence.
#[derive(Debug, Clone, Args)]
pub struct Evidence {
    /// How to reach the node and how to answer
    #[command(flatten)]
    pub ask: Ask,
    /// Check a file of evidence instead, without a node
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// The public key that has to have signed it, as PEM or base64; else the one that it names
    #[arg(long, value_name = "FILE", requires = "check")]
    pub key: Option<PathBuf>,
}

/// Settings as a JSON object.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Take settings from this file, a JSON object as `show --json` prints it; `-` for standard
    /// input. Flags override what it says
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
}

/// For what asks first.
#[derive(Debug, Clone, Copy, Args)]
pub struct Sure {
    /// Don't ask
    #[arg(long)]
    pub yes: bool,
}

/// What to try out.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Say what a lifecycle rule would delete, and when, without setting it
    Preview {
        /// Recordings would go after so many whole days, or `never`
        #[arg(long, value_name = "N")]
        lifecycle_days: LifecycleDays,
        /// Only in this environment
        #[arg(long, value_name = "ID")]
        env: Option<String>,
    },
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Make a new ledger from the vault alone. The node must not run. The old ledger is kept aside
    Rebuild,
}

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash, with the package bash-completion
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}
