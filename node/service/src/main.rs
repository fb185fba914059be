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
            ExitCode::from(cli::exit_code(&error))
        }
    }
}

fn run(config: &Path) -> anyhow::Result<()> {
    keep_freed_memory();
    log::start()?;
    let config = Config::load(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(service::run(config));
    runtime.shutdown_timeout(THREADS_WAIT);
    done
}

/// Teaches the allocator to keep buffers that an upload frees and takes again at once.
///
/// glibc hands freed memory back to the kernel above a threshold that grows with the largest block
/// freed so far (mallopt(3), `M_MMAP_THRESHOLD`). Without this an upload of 1 GiB takes 100,000
/// page faults, which cost a sixth of its CPU time.
fn keep_freed_memory() {
    drop(std::hint::black_box(vec![0_u8; 8 << 20]));
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
