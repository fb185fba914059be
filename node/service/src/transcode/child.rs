//! One transcoding child: started with its job, listened to, ended when dropped.
//!
//! In development the node starts it and kills it. On an appliance systemd starts one for each
//! connection, in a unit of its own ([`Start::Connect`]): the node can only close the connection,
//! which the child answers by ending, and the unit ends what does not.
//!
//! A child may make files for as long as it lives, so a job is over when its child has ended
//! ([`Child::end`]), whatever it said.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_core::job::{
    Confinement, Jail, Job, PACKET_BYTES_MAX, PROGRESS_INTERVAL_MS_MAX, Report,
};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
    socket, socketpair,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::{Child as Process, ChildStderr, Command};
use tokio::time::Instant;

use super::{TranscodeError, lend};

/// A child is given so many times its promised interval before it counts as hanging.
const SILENCE_FACTOR: u64 = 30;
/// Most bytes of a child's complaints that are logged.
const STDERR_BYTES_MAX: u64 = 64 * 1024;
/// Longest that listing GStreamer's plugins may take.
const WARM_MAX: Duration = Duration::from_secs(120);
/// How long a child may take to end once it is to. It ends itself within ten seconds.
const END_WAIT: Duration = Duration::from_secs(15);
/// How long a child that closed its socket may take to be gone.
const EXIT_WAIT: Duration = Duration::from_secs(5);

/// Where a child comes from.
pub(super) enum Start<'a> {
    /// The node runs the program itself.
    Spawn(Spawn<'a>),
    /// Whoever listens at this socket runs it.
    Connect(&'a Path),
}

/// How to start a child.
pub(super) struct Spawn<'a> {
    pub(super) program: &'a Path,
    pub(super) state_path: &'a Path,
}

/// The raw file, the output folder and the watermark that a child is given.
type Handed<'a> = (&'a File, &'a Path, Option<&'a File>);

/// A running child.
pub(super) struct Child {
    process: Option<Process>,
    /// A sequenced-packet socket; receiving from it is the same as from a datagram socket.
    socket: UnixDatagram,
    deadline: Instant,
    wall: Duration,
}

impl Start<'_> {
    /// Starts a child and hands it its job, the raw file, its output folder and its watermark.
    pub(super) fn start(&self, job: &Job, handed: Handed<'_>) -> Result<Child, TranscodeError> {
        match self {
            Self::Spawn(spawn) => {
                let failed =
                    |source| TranscodeError::Start { program: spawn.program.into(), source };
                let (ours, process) = spawn.run().map_err(failed)?;
                hand_over(ours, Some(process), job, handed).map_err(failed)
            }
            Self::Connect(path) => {
                let failed = |source| TranscodeError::Connect { socket: (*path).into(), source };
                let ours = connected(path).map_err(failed)?;
                lend::to_the_group_of(handed.1, path).map_err(failed)?;
                hand_over(ours, None, job, handed).map_err(failed)
            }
        }
    }

    /// Makes ready what every child needs, and says what confines one here.
    pub(super) async fn warm(&self, jail: Jail) -> Result<(), TranscodeError> {
        match self {
            Self::Spawn(spawn) => spawn.warm(jail).await,
            // Its unit does that before the first connection.
            Self::Connect(_) => Ok(()),
        }
    }
}

/// Whether a child that is confined like this may read a recording. An honest one that may not ends by
/// itself; here it is held to what this node says.
pub(super) fn check(confinement: &Confinement, jail: Jail) -> Result<(), TranscodeError> {
    let whole = confinement.landlock > 0 && confinement.seccomp;
    if whole || jail == Jail::BestEffort { Ok(()) } else { Err(TranscodeError::Unconfined) }
}

/// A connection to a child that somebody else starts.
pub(crate) fn connected(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ours = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(ours.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(ours)
}

fn hand_over(
    ours: OwnedFd,
    process: Option<Process>,
    job: &Job,
    (raw, work, watermark): Handed<'_>,
) -> io::Result<Child> {
    let folder = File::open(work)?;
    let packet = serde_json::to_vec(job)?;
    let descriptors = [Some(raw), Some(&folder), watermark];
    let descriptors: Vec<_> = descriptors.into_iter().flatten().map(File::as_raw_fd).collect();
    sendmsg::<()>(
        ours.as_raw_fd(),
        &[IoSlice::new(&packet)],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    let wall = Duration::from_millis(job.limits.wall_ms_max);
    let socket = UnixDatagram::from_std(ours.into())?;
    Ok(Child { process, socket, deadline: Instant::now() + wall, wall })
}

impl Spawn<'_> {
    /// Starts the program with one end of a socket as its standard input.
    fn run(&self) -> io::Result<(OwnedFd, Process)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        // The child's end blocks: it reads one job, then only writes.
        let flags = nix::fcntl::OFlag::empty();
        nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFL(flags))?;
        let mut process = self.command(theirs).spawn()?;
        if let Some(stderr) = process.stderr.take() {
            tokio::spawn(log(stderr, process.id()));
        }
        Ok((ours, process))
    }

    fn command(&self, socket: OwnedFd) -> Command {
        let mut command = self.bare();
        command.env("GST_REGISTRY_UPDATE", "no").stdin(Stdio::from(socket)).stderr(Stdio::piped());
        command
    }

    /// Makes the list of GStreamer's plugins that the children read (a child without it makes its
    /// own, which takes it longer), and has the jail tried.
    async fn warm(&self, jail: Jail) -> Result<(), TranscodeError> {
        self.once("--warm").await?;
        let said = self.once("--jail").await?;
        let Ok(confinement) = serde_json::from_slice::<Confinement>(&said) else {
            let how = format!("it said nonsense: {}", String::from_utf8_lossy(&said));
            return Err(TranscodeError::Crashed { how });
        };
        let Confinement { landlock, seccomp, network } = confinement;
        if landlock > 0 && seccomp {
            tracing::info!(landlock, seccomp, network, "transcoding is confined");
        } else if check(&confinement, jail).is_ok() {
            tracing::warn!(
                landlock,
                seccomp,
                network,
                "this kernel cannot confine transcoding fully; recordings are read nevertheless, as \
                 transcode.jail says"
            );
        } else {
            return Err(TranscodeError::Unconfined);
        }
        Ok(())
    }

    /// Runs the program for something other than a job; gives what it says.
    async fn once(&self, what: &str) -> Result<Vec<u8>, TranscodeError> {
        let failed = |source| TranscodeError::Start { program: self.program.into(), source };
        let mut command = self.bare();
        command.env("GST_REGISTRY_UPDATE", if what == "--warm" { "yes" } else { "no" });
        command.arg(what).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::time::timeout(WARM_MAX, command.output()).await;
        let output = output.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            let how = match last_line(&output.stderr) {
                Some(line) => format!("{}: {line}", output.status),
                None => output.status.to_string(),
            };
            Err(TranscodeError::Crashed { how })
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

    /// Has the child end and waits until it has: one of our own is killed; another's is told by the
    /// end of the connection, and closes it by ending. To be called before anyone else uses its
    /// folder.
    ///
    /// # Errors
    /// [`TranscodeError::Overdue`] where it goes on. What is in the folder may still change then.
    pub(super) async fn end(mut self) -> Result<(), TranscodeError> {
        let ended = tokio::time::timeout(END_WAIT, async {
            if let Some(process) = &mut self.process {
                // One that has ended cannot be killed, and is waited for all the same.
                let _ = process.start_kill();
                return process.wait().await.map(drop);
            }
            // Refused where the connection is gone.
            let _ = self.socket.shutdown(Shutdown::Write);
            // What it still says goes nowhere.
            while self.receive().await.is_ok_and(|packet| !packet.is_empty()) {}
            Ok(())
        });
        match ended.await {
            Ok(Ok(())) => Ok(()),
            _ => {
                let what = format!("did not end within {} s of its job", END_WAIT.as_secs());
                Err(TranscodeError::Overdue { what })
            }
        }
    }

    async fn exit(&mut self) -> String {
        let Some(process) = &mut self.process else {
            return "it closed its connection; the journal of holdfast-transcode@… says why".into();
        };
        match tokio::time::timeout(EXIT_WAIT, process.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its socket and went on".into(),
        }
    }
}

/// The last thing that a child complained of.
fn last_line(stderr: &[u8]) -> Option<String> {
    const CHARS_MAX: usize = 500;
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.chars().take(CHARS_MAX).collect())
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Another's child, and the other end of its connection.
    fn connected() -> (Child, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let socket = UnixDatagram::from_std(ours.into()).unwrap();
        let wall = Duration::from_secs(60);
        (Child { process: None, socket, deadline: Instant::now() + wall, wall }, theirs)
    }

    #[tokio::test]
    async fn a_job_is_over_when_its_child_has_ended() {
        let (child, theirs) = connected();
        let gone = std::sync::Arc::new(AtomicBool::new(false));
        let told = std::sync::Arc::clone(&gone);
        let other = tokio::spawn(async move {
            let socket = UnixDatagram::from_std(theirs.into()).unwrap();
            socket.send(b"a report that nobody waits for").await.unwrap();
            // The end of the connection, which it notices late.
            assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 0);
            tokio::time::sleep(Duration::from_millis(300)).await;
            told.store(true, Ordering::SeqCst);
        });
        child.end().await.unwrap();
        assert!(gone.load(Ordering::SeqCst), "it was not waited for");
        other.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_goes_on_is_told_of() {
        let (child, _theirs) = connected();
        let error = child.end().await.unwrap_err();
        assert!(matches!(error, TranscodeError::Overdue { .. }), "{error}");
    }

    #[test]
    fn only_a_child_that_is_confined_goes_on_where_that_is_required() {
        let confinement = |landlock, seccomp| Confinement { landlock, seccomp, network: true };
        for (it, whole) in [
            (confinement(1, true), true),
            (confinement(0, true), false),
            (confinement(6, false), false),
        ] {
            assert_eq!(check(&it, Jail::Required).is_ok(), whole, "{it:?}");
            check(&it, Jail::BestEffort).unwrap();
        }
    }

    #[test]
    fn the_last_line_is_the_reason() {
        assert_eq!(last_line(b"a warning\nno landlock \n\n").as_deref(), Some("no landlock"));
        assert_eq!(last_line(b" \n"), None);
        assert_eq!(last_line(&[b'x'; 9999]).unwrap().len(), 500);
    }
}
