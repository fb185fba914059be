//! The command line. What runs against a running node goes over its admin socket; what people read
//! is words, what programs read is the API's JSON (`--json`).
//!
//! Exit codes: 0 done, 1 failed, 2 called wrongly.

mod client;
mod show;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use holdfast_core::RecordingId;
use holdfast_core::recording::State;
use serde::Serialize;

use super::api::{DeleteOutcome, RecordingsView};
use super::log;
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger;
use crate::node::Node;
use client::Client;

/// Takes in people's video recordings, has them transcoded, delivers them, deletes them by rule.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, propagate_version = true)]
pub struct Arguments {
    /// The node's configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/holdfast/holdfast.toml")]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node until SIGTERM or SIGINT.
    Run,
    /// Check the configuration; say what is wrong and where.
    CheckConfig,
    /// Say how the running node is.
    Status {
        /// How to reach it and how to answer.
        #[command(flatten)]
        ask: Ask,
    },
    /// Look at recordings, or delete them.
    #[command(subcommand)]
    Recordings(Recordings),
    /// Mend the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
}

/// What to do with recordings.
#[derive(Debug, Subcommand)]
pub enum Recordings {
    /// List recordings, newest first.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.map(State::as_str)))]
        state: Option<String>,
        /// Only those of this environment.
        #[arg(long, value_name = "ID")]
        env: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// How to reach the node and how to answer.
        #[command(flatten)]
        ask: Ask,
    },
    /// Show everything about a recording: what holds it, what happens next, when its files go.
    Show {
        /// The recording.
        id: RecordingId,
        /// How to reach the node and how to answer.
        #[command(flatten)]
        ask: Ask,
    },
    /// Delete what this node holds of a recording. There is no way back.
    Delete {
        /// The recording.
        id: RecordingId,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
        /// How to reach the node and how to answer.
        #[command(flatten)]
        ask: Ask,
    },
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Make a new ledger from the vault alone. The node must not run. The old ledger is kept aside.
    Rebuild,
}

/// How to reach the running node, and how to answer.
#[derive(Debug, Args)]
pub struct Ask {
    /// The node's socket, where it is not the one that the configuration says.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Answer in the API's JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does what the arguments say, except running the node.
///
/// # Errors
/// What went wrong, in a sentence for whoever called.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Run => anyhow::bail!("running the node is the program's own part"),
        Command::CheckConfig => print(&show::config(&Config::load(&arguments.config)?)),
        Command::Ledger(LedgerCommand::Rebuild) => rebuild(arguments),
        Command::Status { ask } => status(&client(arguments, ask)?, ask),
        Command::Recordings(Recordings::List { state, env, limit, ask }) => {
            list(&client(arguments, ask)?, ask, state.as_deref(), env.as_deref(), *limit)
        }
        Command::Recordings(Recordings::Show { id, ask }) => {
            let recording = client(arguments, ask)?.recording(*id)?;
            if ask.json { print_json(&recording) } else { print(&show::recording(&recording)) }
        }
        Command::Recordings(Recordings::Delete { id, yes, ask }) => {
            delete(&client(arguments, ask)?, ask, *id, *yes)
        }
    }
}

fn client(arguments: &Arguments, ask: &Ask) -> anyhow::Result<Client> {
    if let Some(socket) = &ask.socket {
        return Client::new(socket.clone());
    }
    let config = Config::load(&arguments.config)
        .context("name the node's configuration with --config, or its socket with --socket")?;
    Client::new(Node::socket_path(&config))
}

fn status(client: &Client, ask: &Ask) -> anyhow::Result<()> {
    let status = client.status()?;
    if ask.json { print_json(&status) } else { print(&show::status(&status)) }
}

fn list(
    client: &Client,
    ask: &Ask,
    state: Option<&str>,
    env: Option<&str>,
    limit: u32,
) -> anyhow::Result<()> {
    let limit = usize::try_from(limit)?;
    let mut all = RecordingsView { recordings: Vec::new(), next: None };
    loop {
        let page = client.recordings(state, env, all.next, limit - all.recordings.len())?;
        all.recordings.extend(page.recordings);
        all.next = page.next;
        if all.next.is_none() || all.recordings.len() >= limit {
            break;
        }
    }
    if ask.json { print_json(&all) } else { print(&show::recordings(&all)) }
}

fn delete(client: &Client, ask: &Ask, id: RecordingId, yes: bool) -> anyhow::Result<()> {
    if !yes {
        let recording = client.recording(id)?;
        if !confirmed(&show::question(&recording))? {
            anyhow::bail!("nothing was deleted");
        }
    }
    let deleted = client.delete(id)?;
    if ask.json {
        return print_json(&deleted);
    }
    print(match deleted.outcome {
        DeleteOutcome::Deleted => "deleted\n",
        DeleteOutcome::AlreadyGone => "already gone\n",
    })
}

/// Asks whoever sits at the terminal. Without a terminal, the command was called wrongly.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let text = "deleting asks first, and there is nobody to ask: add --yes";
        Arguments::command().error(ErrorKind::MissingRequiredArgument, text).exit();
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn rebuild(arguments: &Arguments) -> anyhow::Result<()> {
    log::start()?;
    let config = Config::load(&arguments.config)?;
    let report = ledger::rebuild(&config, Clock::new().now())?;
    print(&show::rebuilt(&report))
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints to stdout. That whoever reads has read enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot print")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }
}
