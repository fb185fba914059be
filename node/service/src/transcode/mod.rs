//! Having recordings transcoded, each by a child process that can be killed at any moment.
//!
//! The contract with the child is in [`holdfast_core::job`]. A crash costs one attempt of one
//! recording; nothing of an attempt counts before its files are renamed into the recording's folder.

pub mod by_hand;
mod child;
mod fallback;
mod lend;
pub(crate) mod live;
mod trial;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::job::{FailureKind, Jail, Job, Limits, Made, Outputs, Report};
use holdfast_core::names;
use holdfast_core::recording::{Event, FileKind, Recording, State};
use holdfast_core::transform::Transform;
use holdfast_core::{Effect, Lane};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::config::{self, watermark};
use crate::node::{Node, NodeError};
use crate::queue::Work;
#[cfg(test)]
use crate::simulation::decoder as simulated;
use crate::vault::{Home, VaultFile};
use crate::volumes::AWAY_PAUSE;
use trial::For;

pub(crate) use child::connected;

/// Name of the transcoding program, beside the node's own.
const PROGRAM: &str = "holdfast-transcode";

/// The worker of the lane [`Lane::Process`].
#[derive(Debug)]
pub struct Transcoder {
    node: Arc<Node>,
    decoder: Decoder,
}

/// What runs a job.
#[derive(Debug)]
enum Decoder {
    /// This program, as a child.
    Program(PathBuf),
    /// What a unit of its own starts for each connection to this socket.
    Socket(PathBuf),
    /// The simulation.
    #[cfg(test)]
    Simulated(simulated::Decoder),
}

/// A job that runs. It is broken off by dropping it.
enum Running {
    Child(child::Child),
    #[cfg(test)]
    Simulated(simulated::Job),
}

impl Running {
    async fn next(&mut self) -> Result<Report, TranscodeError> {
        match self {
            Self::Child(child) => child.next().await,
            #[cfg(test)]
            Self::Simulated(job) => job.next().await,
        }
    }

    /// Waits until nothing makes files any more.
    async fn end(self) -> Result<(), TranscodeError> {
        match self {
            Self::Child(child) => child.end().await,
            #[cfg(test)]
            Self::Simulated(_) => Ok(()),
        }
    }
}

/// What a job is given: the raw file, its folder, and the PNG of a watermark.
type Given<'a> = (&'a VaultFile, &'a Path, Option<&'a File>);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The child could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody answers where children are to be had.
    #[error(
        "cannot have a transcoder at {socket}: {source}; see systemctl status \
         holdfast-transcode.socket"
    )]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel has no means to confine it, and the configuration asks for that.
    #[error(
        "this kernel has no landlock or no seccomp to confine the transcoder with: use one that \
         has, or set transcode.jail to \"best_effort\""
    )]
    Unconfined,
    /// The child broke off.
    #[error("the transcoder ended without a result ({how})")]
    Crashed {
        /// Its exit status or signal.
        how: String,
    },
    /// The child said nothing for too long, or took too long.
    #[error("the transcoder {what} and was ended")]
    Overdue {
        /// Which limit.
        what: String,
    },
    /// The child said what is wrong.
    #[error("{}", .0.message)]
    Failed(holdfast_core::job::Failure),
    /// The environment's watermark cannot be had.
    #[error("the environment's watermark: {0}")]
    Watermark(String),
    /// The node's own disk or ledger.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl TranscodeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Failed(failure) => match failure.kind {
                FailureKind::NoMedia | FailureKind::Damaged | FailureKind::Unsupported => {
                    Fault::Customers
                }
                FailureKind::Limit
                | FailureKind::Stalled
                | FailureKind::Disk
                | FailureKind::Hardware
                | FailureKind::Internal
                | FailureKind::NotLive => Fault::Ours,
            },
            _ => Fault::Ours,
        }
    }
}

/// The transcoding program that a configuration means.
#[must_use]
pub fn program(config: &config::Transcode) -> PathBuf {
    config.program.clone().unwrap_or_else(|| {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(|folder| folder.join(PROGRAM));
        beside.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
    })
}

impl Transcoder {
    /// A worker for a node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        let settings = &node.config.transcode;
        let decoder = match &settings.socket {
            Some(socket) => Decoder::Socket(socket.clone()),
            None => Decoder::Program(program(settings)),
        };
        Self { node, decoder }
    }

    /// A worker whose jobs the simulation runs.
    #[cfg(test)]
    pub(crate) fn simulated(node: Arc<Node>, decoder: simulated::Decoder) -> Self {
        Self { node, decoder: Decoder::Simulated(decoder) }
    }

    fn start(
        &self,
        job: &Job,
        raw: &VaultFile,
        work: &Path,
        watermark: Option<&File>,
    ) -> Result<Running, TranscodeError> {
        match (&self.decoder, raw) {
            #[cfg(test)]
            (Decoder::Simulated(decoder), raw) => {
                Ok(Running::Simulated(decoder.start(job, raw, work)))
            }
            (real, VaultFile::Machine(raw)) => {
                self.real(real).start(job, (raw, work, watermark)).map(Running::Child)
            }
            #[cfg(test)]
            (_, VaultFile::Simulated(_)) => {
                panic!("a real decoder cannot read what only the simulation has")
            }
        }
    }

    fn real<'a>(&'a self, decoder: &'a Decoder) -> child::Start<'a> {
        match decoder {
            Decoder::Program(program) => {
                let state_path = &self.node.config.node.state_path;
                child::Start::Spawn(child::Spawn { program, state_path })
            }
            Decoder::Socket(socket) => child::Start::Connect(socket),
            #[cfg(test)]
            Decoder::Simulated(_) => panic!("the simulation starts no program"),
        }
    }

    fn jail(&self) -> Jail {
        self.node.config.transcode.jail(self.node.config.node.profile)
    }

    /// Makes ready what every child needs. Without it they start more slowly.
    ///
    /// # Errors
    /// [`TranscodeError`] where the transcoding program cannot be run, or not be confined as the
    /// configuration asks.
    pub async fn warm(&self) -> Result<(), TranscodeError> {
        match &self.decoder {
            #[cfg(test)]
            Decoder::Simulated(_) => Ok(()),
            real => self.real(real).warm(self.jail()).await,
        }
    }

    /// What the recording's environment wants now, and the PNG of its watermark.
    async fn transform(
        &self,
        recording: &Recording,
    ) -> Result<(Transform, Option<File>), TranscodeError> {
        let environment = self.node.settings.environment(&recording.env_id);
        let mut wanted = environment.map(|it| it.transcoding.clone()).unwrap_or_default();
        let Some(mark) = &mut wanted.watermark else { return Ok((wanted, None)) };
        let image = std::mem::take(&mut mark.image);
        let png = blocking::run(move || in_memory(&image)).await;
        let png = png.unwrap_or_else(|error| Err(error.to_string()));
        Ok((wanted, Some(png.map_err(TranscodeError::Watermark)?)))
    }

    /// Runs a job to its end in a child of its own.
    async fn run(
        &self,
        whose: For,
        job: &Job,
        (raw, work, watermark): Given<'_>,
        cancel: &CancellationToken,
    ) -> Result<Made, TranscodeError> {
        let mut child = self.start(job, raw, work, watermark)?;
        let said = self.listen(whose, &mut child, job.limits.jail, cancel).await;
        // Whoever called holds the folder until then.
        let ended = child.end().await;
        if let Err(error) = &ended {
            tracing::error!(recording = %whose, %error, "a transcoder goes on");
        }
        // Files that somebody may still write to are not taken over.
        said.and_then(|made| ended.map(|()| made))
    }

    async fn listen(
        &self,
        whose: For,
        child: &mut Running,
        jail: Jail,
        cancel: &CancellationToken,
    ) -> Result<Made, TranscodeError> {
        let mut confined = false;
        loop {
            let report = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(TranscodeError::Cancelled),
                report = child.next() => report?,
            };
            match report {
                Report::Started(confinement) => {
                    tracing::debug!(recording = %whose, ?confinement, "the transcoder began");
                    child::check(&confinement, jail)?;
                    confined = true;
                }
                Report::Progress { position_ms, duration_ms } => {
                    let done = duration_ms.filter(|all| *all > 0).map_or(0.0, |all| {
                        #[expect(
                            clippy::cast_precision_loss,
                            reason = "a share of a bar on a screen"
                        )]
                        let share = position_ms as f32 / all as f32;
                        share
                    });
                    if let For::Recording(Home { id, .. }) = whose {
                        self.node.progress.set(id, Some(done));
                    }
                }
                Report::Done(_) if !confined && jail == Jail::Required => {
                    return Err(TranscodeError::Unconfined);
                }
                Report::Done(made) => return Ok(made),
                Report::Failed(failure) => return Err(TranscodeError::Failed(failure)),
            }
        }
    }

    /// What a child is told, as the configuration says.
    fn job(&self, outputs: Outputs, transform: Transform, filmstrip_link: String) -> Job {
        let settings = &self.node.config.transcode;
        let limits = Limits {
            wall_ms_max: settings.wall_ms_max,
            wall_factor: settings.wall_factor,
            jail: self.jail(),
            stall_ms_max: settings.stall_ms_max,
            memory_bytes_max: settings.memory_bytes_max,
            ..Limits::default()
        };
        Job { outputs, transform, filmstrip_link, limits, hardware: None, live: false }
    }

    async fn attempt(
        &self,
        recording: &Recording,
        cancel: &CancellationToken,
    ) -> Result<Event, TranscodeError> {
        let (id, home) = (recording.id, Home::from(recording));
        if let Some(made) = self.take_live(recording, cancel).await? {
            return self.adopt(home, made).await;
        }
        let opened = self.node.with_vault(move |vault| {
            // For as long as the child may make files.
            let lease = vault.lease(home)?;
            Ok((lease, vault.read_raw(home)?, vault.work_folder(home)?))
        });
        let (_lease, raw, work) = opened.await?;
        let (transform, watermark) = self.transform(recording).await?;
        let link = names::at_destination("", &id.to_string(), FileKind::Filmstrip, None);
        let job = self.job(recording.policy.outputs, transform, link);
        let whose = (For::Recording(home), recording.transcode.made <= 1);
        let made = self.make(whose, job, (&raw, &work, watermark.as_ref()), cancel).await?;
        self.adopt(home, made).await
    }

    /// Gives what was made its names.
    async fn adopt(&self, home: Home, made: Made) -> Result<Event, TranscodeError> {
        let id = home.id;
        let kinds = kinds_made(&made);
        // A deletion waits until the files have their names, or has happened.
        let _lock = self.node.locks.lock(id).await;
        let current = self.node.ledger.get(id).map_err(NodeError::from)?;
        if current.is_none_or(|current| current.state != State::Processing) {
            return Err(TranscodeError::Cancelled);
        }
        let files = self.node.with_vault(move |vault| vault.adopt(home, &kinds)).await?;
        Ok(Event::Transcoded { media: Some(made.source), files, remarks: made.remarks })
    }
}

/// A file without a name that holds a watermark's PNG, for the child.
fn in_memory(image: &str) -> Result<File, String> {
    let png = watermark::read(image)?;
    let make = || -> std::io::Result<File> {
        let mut file = File::from(memfd_create(c"watermark", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&png)?;
        Ok(file)
    };
    make().map_err(|error| format!("cannot hand it on: {error}"))
}

fn kinds_made(made: &Made) -> Vec<FileKind> {
    [
        (made.mp4.is_some(), FileKind::Main),
        (made.snapshot.is_some(), FileKind::Snapshot),
        (made.filmstrip.is_some(), FileKind::Filmstrip),
        (made.filmstrip_vtt.is_some(), FileKind::FilmstripVtt),
    ]
    .into_iter()
    .filter_map(|(is_made, kind)| is_made.then_some(kind))
    .collect()
}

impl Work for Transcoder {
    fn lane(&self) -> Lane {
        Lane::Process
    }

    fn is_open(&self) -> bool {
        self.node.hardware.has_room()
    }

    fn enter(&self) -> Option<Box<dyn Send>> {
        self.node.hardware.enter().map(|place| Box::new(place) as Box<dyn Send>)
    }

    async fn work(
        &self,
        recording: Recording,
        _effects: Vec<Effect>,
        cancel: CancellationToken,
    ) -> Vec<Event> {
        let id = recording.id;
        let result = self.attempt(&recording, &cancel).await;
        self.node.progress.set(id, None);
        match result {
            Ok(event) => {
                tracing::info!(recording = %id, attempt = recording.transcode.made, "transcoded");
                vec![event]
            }
            Err(TranscodeError::Cancelled) => Vec::new(),
            Err(error) if let Some(away) = self.node.away(&recording).await => {
                tracing::warn!(recording = %id, %error, "transcoding waits: {away}");
                let until = self.node.clock.now() + AWAY_PAUSE;
                vec![Event::TranscodePutOff { until, waits_for: away.to_string() }]
            }
            Err(error) => {
                let (fault, sentence) = (error.fault(), error.to_string());
                tracing::warn!(recording = %id, attempt = recording.transcode.made, %error, "transcoding failed");
                let at = self.node.clock.now();
                vec![Event::TranscodeFailed(Failure { fault, sentence, at })]
            }
        }
    }
}
