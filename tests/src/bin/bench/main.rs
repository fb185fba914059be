//! What taking recordings in costs; `scripts/bench --help` says what is measured and how.

mod process;
mod streams;
mod uploads;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What to measure.
#[derive(Debug, Clone, Copy)]
struct Plan {
    mib: u64,
    rounds: u32,
    streams: usize,
    seconds: u64,
    idle: usize,
}

fn plan(arguments: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan { mib: 2_048, rounds: 3, streams: 200, seconds: 20, idle: 1_000 };
    let mut arguments = arguments.skip(1);
    if arguments.next().as_deref() != Some("ingest") {
        bail!("what is to be measured? See scripts/bench --help");
    }
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a number"))?;
        let number: u64 = value.parse().with_context(|| format!("{name} {value}"))?;
        match name.as_str() {
            "--mib" => plan.mib = number,
            "--rounds" => plan.rounds = number.try_into()?,
            "--streams" => plan.streams = number.try_into()?,
            "--seconds" => plan.seconds = number,
            "--idle" => plan.idle = number.try_into()?,
            _ => bail!("unknown argument {name}; see scripts/bench --help"),
        }
    }
    Ok(plan)
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = plan(std::env::args())?;
    // Each stream is a file or two in the node and a socket on either side.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if plan.mib > 0 && plan.rounds > 0 {
        uploads::measure(plan.mib, plan.rounds).await?;
    }
    if plan.streams > 0 && plan.seconds > 0 {
        streams::busy(plan.streams, plan.seconds).await?;
    }
    if plan.idle > 0 {
        streams::idle(plan.idle).await?;
    }
    Ok(())
}
