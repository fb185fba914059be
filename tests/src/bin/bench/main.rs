//! What taking recordings in and delivering them costs; `scripts/bench --help` says what is measured and how.

mod deliver;
mod live;
mod process;
mod streams;
mod transcode;
mod uploads;
mod vault;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What to measure of taking in.
#[derive(Debug, Clone, Copy)]
struct Ingest {
    mib: u64,
    rounds: u32,
    streams: usize,
    seconds: u64,
    idle: usize,
}

/// Calls `set` with each `--name value` there is.
fn read(
    arguments: impl Iterator<Item = String>,
    mut set: impl FnMut(&str, &str) -> Result<()>,
) -> Result<()> {
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        set(&name, &value).with_context(|| format!("{name} {value}; see scripts/bench --help"))?;
    }
    Ok(())
}

fn ingest(arguments: impl Iterator<Item = String>) -> Result<Ingest> {
    let mut plan = Ingest { mib: 2_048, rounds: 3, streams: 200, seconds: 20, idle: 1_000 };
    read(arguments, |name, value| {
        match name {
            "--mib" => plan.mib = value.parse()?,
            "--rounds" => plan.rounds = value.parse()?,
            "--streams" => plan.streams = value.parse()?,
            "--seconds" => plan.seconds = value.parse()?,
            "--idle" => plan.idle = value.parse()?,
            _ => bail!("unknown argument"),
        }
        Ok(())
    })?;
    Ok(plan)
}

fn deliver(arguments: impl Iterator<Item = String>) -> Result<deliver::Plan> {
    let mut plan = deliver::Plan {
        mib: 1_024,
        files: 2_000,
        file_kib: 30,
        rounds: 3,
        at_once: 16,
        only: None,
    };
    read(arguments, |name, value| {
        match name {
            "--mib" => plan.mib = value.parse()?,
            "--rounds" => plan.rounds = value.parse()?,
            "--files" => plan.files = value.parse()?,
            "--file-kib" => plan.file_kib = value.parse()?,
            "--at-once" => plan.at_once = value.parse()?,
            "--only" => plan.only = Some(value.to_owned()),
            _ => bail!("unknown argument"),
        }
        Ok(())
    })?;
    Ok(plan)
}

fn transcode(arguments: impl Iterator<Item = String>) -> Result<transcode::Plan> {
    let (media, only) = ("tests/media".into(), None);
    let mut plan = transcode::Plan { media, rounds: 3, repeats: 30, only };
    read(arguments, |name, value| {
        match name {
            "--media" => plan.media = value.into(),
            "--rounds" => plan.rounds = value.parse()?,
            "--repeats" => plan.repeats = value.parse()?,
            "--only" => plan.only = Some(value.to_owned()),
            _ => bail!("unknown argument"),
        }
        Ok(())
    })?;
    Ok(plan)
}

fn live(arguments: impl Iterator<Item = String>) -> Result<live::Plan> {
    let (minutes, afterwards) = (vec![1, 10], 10);
    let mut plan = live::Plan { media: "tests/media".into(), minutes, rounds: 1, afterwards };
    read(arguments, |name, value| {
        match name {
            "--media" => plan.media = value.into(),
            "--minutes" => {
                let numbers = value.split(',').map(str::parse::<u64>);
                plan.minutes = numbers.collect::<Result<_, _>>()?;
                ensure!(!plan.minutes.contains(&0), "a minute at least");
            }
            "--rounds" => plan.rounds = value.parse()?,
            "--afterwards" => plan.afterwards = value.parse()?,
            _ => bail!("unknown argument"),
        }
        Ok(())
    })?;
    Ok(plan)
}

fn vault(arguments: impl Iterator<Item = String>) -> Result<vault::Plan> {
    let mut plan = vault::Plan { mib: 256, rounds: 3 };
    read(arguments, |name, value| {
        match name {
            "--mib" => plan.mib = value.parse()?,
            "--rounds" => plan.rounds = value.parse()?,
            _ => bail!("unknown argument"),
        }
        Ok(())
    })?;
    Ok(plan)
}

#[tokio::main]
async fn main() -> Result<()> {
    // Each stream is a file or two in the node and a socket on either side.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("ingest") => measure_ingest(ingest(arguments)?).await,
        Some("deliver") => deliver::measure(&deliver(arguments)?).await,
        Some("transcode") => transcode::measure(&transcode(arguments)?),
        Some("live") => live::measure(&live(arguments)?).await,
        Some("vault") => vault::measure(vault(arguments)?),
        _ => bail!("what is to be measured? See scripts/bench --help"),
    }
}

async fn measure_ingest(plan: Ingest) -> Result<()> {
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
