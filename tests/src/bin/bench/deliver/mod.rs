//! What delivering costs, beside rclone and OpenSSH's own client: the same files to the same server, in
//! turn, on this machine and over a long line.
//!
//! The node has taken the files in before, with pushing turned off, and is then started to push them:
//! its figures are those of the whole process from its start until it knows that everything is stored.
//! Those of the others are of their whole process too. Beside them stands what the whole machine took
//! meanwhile: the sender, the server, and what the kernel does for both.

mod line;
mod peer;
mod server;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use holdfast_tests::media::webm_noise;
use holdfast_tests::{Environment, Node, Settings};

use self::line::Line;
use self::peer::Peer;
use self::server::{Protocol, Server};
use crate::process::{Cost, cpu_seconds, cpu_seconds_of_machine, memory_kib};

const MIB: usize = 1 << 20;
/// Round trip of the long line.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// How often it is looked whether the node is done.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Longest wait for one round.
const PATIENCE: Duration = Duration::from_secs(900);
const DESTINATION: &str = "there";

/// What to measure.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) mib: u64,
    pub(crate) files: usize,
    pub(crate) file_kib: usize,
    pub(crate) rounds: u32,
    /// Files at once, of either side.
    pub(crate) at_once: usize,
    /// Nothing: all of them.
    pub(crate) only: Option<String>,
}

/// What is sent: one large file, or many small ones.
#[derive(Debug)]
struct Cargo {
    name: String,
    folder: PathBuf,
    files: usize,
    bytes: u64,
}

impl Cargo {
    fn large(dir: &Path, mib: u64) -> Result<Self> {
        let folder = dir.join("large");
        fs::create_dir(&folder)?;
        let mut writer =
            BufWriter::with_capacity(MIB, File::create(folder.join("recording.webm"))?);
        let mut random = fastrand::Rng::with_seed(1);
        let mut piece = webm_noise(1, MIB);
        for _ in 0..mib {
            writer.write_all(&piece)?;
            random.fill(&mut piece);
        }
        writer.flush()?;
        Ok(Self { name: format!("1 file of {mib} MiB"), folder, files: 1, bytes: mib << 20 })
    }

    fn small(dir: &Path, files: usize, kib: usize) -> Result<Self> {
        let folder = dir.join("small");
        fs::create_dir(&folder)?;
        let bytes = kib << 10;
        for file in 0..files {
            fs::write(folder.join(format!("{file}.webm")), webm_noise(file as u64, bytes))?;
        }
        let name = format!("{files} files of {kib} KiB");
        Ok(Self { name, folder, files, bytes: (files * bytes) as u64 })
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect()
    }
}

/// What a sender took for the cargo.
#[derive(Debug, Clone, Copy)]
struct Round {
    cost: Cost,
    /// CPU time of the whole machine, in seconds.
    machine_s: f64,
}

/// A node that has taken the cargo in and pushes nothing.
async fn loaded(cargo: &Cargo, server: &Server, at: IpAddr, at_once: usize) -> Result<Node> {
    let environment = Environment::raw_only("here").set("destinations", vec![DESTINATION]);
    let settings = Settings::new()
        .environment(environment)
        .destination(server.destination(DESTINATION, at)?)
        .set("operate.requests_per_minute", 1_000_000)
        .set("operate.requests_burst", 100_000)
        .set("deliver.pushes_max", 0);
    let mut node = Node::start(settings).await?;
    let upload = async |path: PathBuf| {
        let body = reqwest::Body::wrap_stream(pieces(path).await?);
        node.upload("here", body).await
    };
    stream::iter(cargo.paths()?).map(upload).buffer_unordered(16).try_collect::<Vec<_>>().await?;
    until(async || Ok(waiting(&node).await? == cargo.files)).await.context("taking in")?;
    node.stop().await?;
    node.set("deliver.pushes_max", i64::try_from(at_once)?)?;
    Ok(node)
}

async fn pieces(
    path: PathBuf,
) -> Result<impl stream::TryStream<Ok = bytes::Bytes, Error = std::io::Error> + Send + 'static> {
    use tokio::io::AsyncReadExt;
    let file = tokio::fs::File::open(path).await?;
    Ok(stream::try_unfold(file, async |mut file| {
        let mut piece = bytes::BytesMut::with_capacity(MIB);
        let read = file.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), file)))
    }))
}

/// How many recordings wait to be pushed, or are being pushed.
async fn waiting(node: &Node) -> Result<usize> {
    let status = node.get("/status").await?;
    let count = status["counts"]["delivering"].as_u64().unwrap_or(0);
    Ok(usize::try_from(count)?)
}

async fn until(mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let looking = async {
        while !is_so().await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(looked) => looked,
        Err(_) => bail!("nothing came of it in {} s", PATIENCE.as_secs()),
    }
}

async fn holdfast(cargo: &Cargo, server: &Server, at: IpAddr, at_once: usize) -> Result<Round> {
    let mut node = loaded(cargo, server, at, at_once).await?;
    let (begun, machine_s) = (Instant::now(), cpu_seconds_of_machine()?);
    node.launch().await?;
    until(async || Ok(waiting(&node).await? == 0)).await.context("pushing")?;
    let (wall_s, pid) = (begun.elapsed().as_secs_f64(), node.pid()?);
    let cost = Cost { wall_s, cpu_s: cpu_seconds(pid)?, peak_kib: memory_kib(pid, "VmHWM")? };
    let round = Round { cost, machine_s: cpu_seconds_of_machine()? - machine_s };
    let stored = node.get("/recordings?state=stored&limit=1").await?;
    ensure!(stored["recordings"][0].is_object(), "nothing was stored: {stored}");
    node.stop().await?;
    Ok(round)
}

/// Runs every sender in turn, as often as is asked for, and prints what each round took.
async fn compare(plan: &Plan, cargo: &Cargo, server: &Server, is_long: bool) -> Result<()> {
    let at = if is_long { line::NEAR } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let _line = if is_long { Some(Line::lay(server.ports(), ROUND_TRIP).await?) } else { None };
    let distance =
        if is_long { format!("{} ms", ROUND_TRIP.as_millis()) } else { "loopback".into() };
    let peers = Peer::of(server.protocol(), cargo.files > 1);
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); 1 + peers.len()];
    for _ in 0..plan.rounds {
        let ours = holdfast(cargo, server, at, plan.at_once).await?;
        check(cargo, server).await.context("Holdfast")?;
        rounds[0].push(ours);
        for (peer, rounds) in peers.iter().zip(&mut rounds[1..]) {
            let machine_s = cpu_seconds_of_machine()?;
            let cost = peer.send(&cargo.folder, server, at, plan.at_once).await?;
            rounds.push(Round { cost, machine_s: cpu_seconds_of_machine()? - machine_s });
            check(cargo, server).await.context(peer.name())?;
        }
    }
    let ours = median(&rounds[0]);
    let names = std::iter::once("Holdfast").chain(peers.iter().map(|peer| peer.name()));
    for (name, rounds) in names.zip(&rounds) {
        let Round { cost: it, machine_s } = median(rounds);
        println!(
            "| {:?} | {distance} | {} | {name} | {:.2} | {:.2} | {machine_s:.2} | {:.0} | {:.2} | {:.2} | {:.2} |",
            server.protocol(),
            cargo.name,
            it.wall_s,
            it.cpu_s,
            it.peak_kib as f64 / 1024.0,
            ours.cost.wall_s / it.wall_s,
            ours.cost.cpu_s / it.cpu_s,
            ours.cost.peak_kib as f64 / it.peak_kib as f64,
        );
    }
    Ok(())
}

/// Each figure's own median.
fn median(rounds: &[Round]) -> Round {
    let of = |figure: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let cost = Cost {
        wall_s: of(|round| round.cost.wall_s),
        cpu_s: of(|round| round.cost.cpu_s),
        peak_kib: of(|round| round.cost.peak_kib as f64) as u64,
    };
    Round { cost, machine_s: of(|round| round.machine_s) }
}

/// That the server has as many files and bytes; they are deleted there.
async fn check(cargo: &Cargo, server: &Server) -> Result<()> {
    let (bytes, files) = server.take().await?;
    ensure!(
        (bytes, files) == (cargo.bytes, cargo.files),
        "{files} files with {bytes} bytes arrived, of {} with {}",
        cargo.files,
        cargo.bytes
    );
    Ok(())
}

pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut cargos = Vec::new();
    if plan.mib > 0 {
        cargos.push(Cargo::large(dir.path(), plan.mib)?);
    }
    if plan.files > 0 {
        cargos.push(Cargo::small(dir.path(), plan.files, plan.file_kib)?);
    }
    println!(
        "{} rounds, each figure's median; {} files at once; ratios are Holdfast's to the sender's",
        plan.rounds, plan.at_once
    );
    println!(
        "| to | line | what | sender | wall s | CPU s | machine's CPU s | peak MiB | wall | CPU | peak |\n\
         | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for (name, protocol) in
        [("s3", Protocol::S3), ("sftp", Protocol::Sftp), ("ftps", Protocol::Ftps)]
    {
        if plan.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let server = Server::start(protocol).await?;
        for cargo in &cargos {
            for is_long in [false, true] {
                compare(plan, cargo, &server, is_long).await?;
            }
        }
    }
    Ok(())
}
