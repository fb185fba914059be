//! The node's program: arguments, log, configuration; the service builds, runs and drains.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use holdfast::config::Config;
use holdfast::operate::cli::{self, Arguments, Command};
use holdfast::operate::log;
use holdfast::service;

/// Longest that threads which a hanging disk holds up may delay the end.
const THREADS_WAIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Run => run(&arguments.config),
        _ => cli::execute(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Path) -> anyhow::Result<()> {
    log::start()?;
    let config = Config::load(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(service::run(config));
    runtime.shutdown_timeout(THREADS_WAIT);
    done
}

/// An error with its causes, as far as it does not name them itself.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
