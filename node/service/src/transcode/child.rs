//! One transcoding child: started with its job, listened to, killed when dropped.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_core::job::{Job, PACKET_BYTES_MAX, PROGRESS_INTERVAL_MS_MAX, Report};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::{Child as Process, ChildStderr, Command};
use tokio::time::Instant;

use super::TranscodeError;

/// A child is given so many times its promised interval before it counts as hanging.
const SILENCE_FACTOR: u64 = 30;
/// Most bytes of a child's complaints that are logged.
const STDERR_BYTES_MAX: u64 = 64 * 1024;
/// Longest that listing GStreamer's plugins may take.
const WARM_MAX: Duration = Duration::from_secs(120);
/// How long a child that closed its socket may take to be gone.
const EXIT_WAIT: Duration = Duration::from_secs(5);

/// How to start a child.
pub(super) struct Spawn<'a> {
    pub(super) program: &'a Path,
    pub(super) state_path: &'a Path,
}

/// A running child.
pub(super) struct Child {
    process: Process,
    /// A sequenced-packet socket; receiving from it is the same as from a datagram socket.
    socket: UnixDatagram,
    deadline: Instant,
    wall: Duration,
}

impl Spawn<'_> {
    /// Starts a child and hands it its job, the raw file, its output folder and its watermark.
    pub(super) fn start(
        &self,
        job: &Job,
        (raw, work, watermark): (&File, &Path, Option<&File>),
    ) -> Result<Child, TranscodeError> {
        let failed = |source| TranscodeError::Start { program: self.program.into(), source };
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )
        .map_err(|error| failed(error.into()))?;
        // The child's end blocks: it reads one job, then only writes.
        let flags = nix::fcntl::OFlag::empty();
        nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFL(flags))
            .map_err(|error| failed(error.into()))?;
        let folder = File::open(work).map_err(failed)?;
        let mut process = self.command(theirs).spawn().map_err(failed)?;
        if let Some(stderr) = process.stderr.take() {
            tokio::spawn(log(stderr, process.id()));
        }
        let packet = serde_json::to_vec(job).map_err(|error| failed(error.into()))?;
        let descriptors = [Some(raw), Some(&folder), watermark];
        let descriptors: Vec<_> = descriptors.into_iter().flatten().map(File::as_raw_fd).collect();
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(&packet)],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|error| failed(error.into()))?;
        let wall = Duration::from_millis(job.limits.wall_ms_max);
        let socket = UnixDatagram::from_std(ours.into()).map_err(failed)?;
        Ok(Child { process, socket, deadline: Instant::now() + wall, wall })
    }

    fn command(&self, socket: OwnedFd) -> Command {
        let mut command = self.bare();
        command.env("GST_REGISTRY_UPDATE", "no").stdin(Stdio::from(socket)).stderr(Stdio::piped());
        command
    }

    /// Makes the list of GStreamer's plugins that the children read. A child without it makes its
    /// own, which takes it longer.
    pub(super) async fn warm(&self) -> Result<(), TranscodeError> {
        let failed = |source| TranscodeError::Start { program: self.program.into(), source };
        let mut command = self.bare();
        command.arg("--warm").stdin(Stdio::null()).stderr(Stdio::null());
        let status = tokio::time::timeout(WARM_MAX, command.status()).await;
        let status = status.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        if status.success() {
            Ok(())
        } else {
            Err(TranscodeError::Crashed { how: status.to_string() })
        }
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("GST_REGISTRY", self.state_path.join("gstreamer-registry.bin"))
            .env("GST_REGISTRY_FORK", "no")
            .env("GST_DEBUG_NO_COLOR", "1")
            .current_dir("/")
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

impl Child {
    /// The child's next report.
    pub(super) async fn next(&mut self) -> Result<Report, TranscodeError> {
        let silence = Duration::from_millis(PROGRESS_INTERVAL_MS_MAX * SILENCE_FACTOR);
        let limit = (Instant::now() + silence).min(self.deadline);
        let packet = match tokio::time::timeout_at(limit, self.receive()).await {
            Ok(packet) => packet.unwrap_or_default(),
            Err(_) if Instant::now() >= self.deadline => {
                let what = format!("took longer than {} s", self.wall.as_secs());
                return Err(TranscodeError::Overdue { what });
            }
            Err(_) => {
                let what = format!("said nothing for {} s", silence.as_secs());
                return Err(TranscodeError::Overdue { what });
            }
        };
        if packet.is_empty() {
            return Err(TranscodeError::Crashed { how: self.exit().await });
        }
        serde_json::from_slice(&packet)
            .map_err(|error| TranscodeError::Crashed { how: format!("it said nonsense: {error}") })
    }

    async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let length = self.socket.recv(&mut packet).await?;
        packet.truncate(length);
        Ok(packet)
    }

    async fn exit(&mut self) -> String {
        match tokio::time::timeout(EXIT_WAIT, self.process.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its socket and went on".into(),
        }
    }
}

/// A child's complaints go to the log, as far as there is reason to read them.
async fn log(stderr: ChildStderr, pid: Option<u32>) {
    let mut lines = BufReader::new(stderr.take(STDERR_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(transcoder = pid, "{line}");
    }
    // Read on, or the child would hang on a full pipe.
    let mut rest = lines.into_inner().into_inner().into_inner();
    drop(tokio::io::copy(&mut rest, &mut tokio::io::sink()).await);
}
