//! The command line. What runs against a running node goes over its admin socket; what people read
//! is words, what programs read is the API's JSON (`--json`).
//!
//! `arguments` says what can be asked for, `resources` has one file for each kind of thing that the
//! API has. Exit codes are in `failure`; clap's own for being called wrongly is the same 2.

pub mod arguments;
mod client;
mod failure;
mod headers;
mod health;
mod input;
mod output;
mod provision;
mod pushes;
mod resources;
mod show;
mod table;
mod transcode;
mod words;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::log;
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger;
use crate::node::Node;
pub use arguments::{Arguments, Command};
use arguments::{Ask, Audit, LedgerCommand, On, Shell};
use client::{Client, Target};
pub use failure::{Failure, exit_code};
use output::{print, print_json};
use resources::Desk;
use words::Lines;

/// Made by `build.rs` from `arguments`: each page's name and text.
const MAN_PAGES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/man_pages.rs"));
const BASH: &str = include_str!(concat!(env!("OUT_DIR"), "/completion.bash"));
const ZSH: &str = include_str!(concat!(env!("OUT_DIR"), "/completion.zsh"));
const FISH: &str = include_str!(concat!(env!("OUT_DIR"), "/completion.fish"));

/// Does what the arguments say, except running the node.
///
/// # Errors
/// What went wrong, in a sentence for whoever called; [`exit_code`] says with which status to end.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let desk = |ask: &Ask| desk(arguments, ask);
    match &arguments.command {
        Command::Run => anyhow::bail!("running the node is the program's own part"),
        Command::CheckConfig => print(&show::config(&Config::load(&arguments.config)?)),
        Command::Ledger(LedgerCommand::Rebuild) => rebuild(arguments),
        Command::Completions { shell } => print(match shell {
            Shell::Bash => BASH,
            Shell::Zsh => ZSH,
            Shell::Fish => FISH,
        }),
        Command::Man { to } => man(to),
        Command::Status(ask) => status(&desk(ask)?),
        Command::Health { ask, wait } => health::say(&desk(ask)?, wait.map(Duration::from_secs)),
        Command::Selftest { ask, only } => resources::selftest::run(&desk(ask)?, only.as_deref()),
        Command::Openapi(ask) => {
            print_json(&desk(ask)?.client.get(&Target::new(["openapi.json"])?)?)
        }
        Command::Recordings(on) => resources::recordings::act(&desk(&on.ask)?, &on.act),
        Command::Environments(on) => resources::environments::act(&desk(&on.ask)?, &on.act),
        Command::Accounts(on) => resources::accounts::act(&desk(&on.ask)?, &on.act),
        Command::Destinations(on) => resources::destinations::act(&desk(&on.ask)?, &on.act),
        Command::Keys(on) => resources::keys::act(&desk(&on.ask)?, &on.act),
        Command::Webhooks(on) => resources::webhooks::act(&desk(&on.ask)?, &on.act),
        Command::Policy(on) => resources::policy::act(&desk(&on.ask)?, &on.act),
        Command::Clock(On { act: arguments::Clock::Witness { to }, .. }) => {
            crate::clock::witness(to).with_context(|| to.display().to_string())
        }
        Command::Clock(on) => resources::clock::act(&desk(&on.ask)?, &on.act),
        Command::Volumes(on) => resources::volumes::act(&desk(&on.ask)?, &on.act),
        Command::Transcode(asked) => transcode::act(asked),
        Command::Provision(asked) => provision::act(asked),
        Command::Hardware(ask) => resources::hardware::show(&desk(ask)?),
        Command::SupportBundle { ask, out } => resources::support::bundle(&desk(ask)?, out),
        Command::Evidence(asked) => match &asked.check {
            Some(file) => resources::volumes::check(file, asked),
            None => resources::volumes::evidence(&desk(&asked.ask)?),
        },
        Command::Audit(on) => match &on.act {
            Audit::Verify { file, key, known } => {
                resources::audit::verify(file, key.as_deref(), known.as_deref(), on.ask.json)
            }
            act => resources::audit::act(&desk(&on.ask)?, act),
        },
    }
}

fn desk(arguments: &Arguments, ask: &Ask) -> anyhow::Result<Desk> {
    let socket =
        match &ask.socket {
            Some(socket) => socket.clone(),
            None => Node::socket_path(&Config::load(&arguments.config).context(
                "name the node's configuration with --config, or its socket with --socket",
            )?),
        };
    Ok(Desk { client: Client::new(socket)?, json: ask.json })
}

fn status(desk: &Desk) -> anyhow::Result<()> {
    let status = desk.client.get(&Target::new(["status"])?)?;
    if desk.json {
        return print_json(&status);
    }
    let mut text = show::status(&status);
    let volumes = status["vault"].as_array().into_iter().flatten();
    if volumes.clone().any(|volume| volume["encrypted"] == true) {
        // What the headers say takes a while, and the status is worth something without it.
        let mut lines = Lines::default();
        match desk.client.get(&Target::new(["volumes"])?) {
            Ok(all) => {
                headers::lines(&mut lines, all["luks"].as_array().map_or(&[], Vec::as_slice));
            }
            Err(error) => lines.line("headers:", error),
        }
        text.push_str(&lines.0);
    }
    print(&text)
}

fn man(to: &Path) -> anyhow::Result<()> {
    let written = std::fs::create_dir_all(to).and_then(|()| {
        MAN_PAGES.iter().try_for_each(|(name, page)| std::fs::write(to.join(name), page))
    });
    written.with_context(|| format!("cannot write into {}", to.display()))
}

fn rebuild(arguments: &Arguments) -> anyhow::Result<()> {
    log::start()?;
    let config = Config::load(&arguments.config)?;
    let report = ledger::rebuild(&config, Clock::new().now())?;
    print(&show::rebuilt(&report))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use holdfast_core::recording::State;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_state_can_be_asked_for() {
        for state in State::ALL {
            assert!(arguments::RECORDING_STATES.contains(&state.as_str()), "{}", state.as_str());
        }
    }

    #[test]
    fn every_check_of_a_self_test_can_be_asked_for() {
        let all = super::super::selftest::Check::ALL.map(super::super::selftest::Check::as_str);
        assert_eq!(all, arguments::SELFTEST_CHECKS);
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let names: Vec<&str> = MAN_PAGES.iter().map(|(name, _)| *name).collect();
        for name in ["holdfast.1", "holdfast-run.1", "holdfast-recordings-explain.1"] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
    }
}
