//! The contract's socket: one job in with its descriptors, reports out; or a question in, an answer out.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use holdfast_core::job::{Answer, Asked, Job, PACKET_BYTES_MAX, Question, Report};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use rustix::event;

use crate::error::Error;
use crate::watch::Reporter;
use crate::work::Files;

/// What came.
#[allow(clippy::large_enum_variant)] // one is made in a process
pub(crate) enum Received {
    /// A job, with the descriptors that came along.
    Job(Job, Files),
    /// A question.
    Question(Question),
}

/// Longest wait for the job, which comes with the connection.
const JOB_WAIT_MS: u16 = 60_000;
/// How long the main thread may take to end after the service has gone.
const END_WAIT: Duration = Duration::from_secs(10);

/// Waits for the job or the question on standard input.
pub(crate) fn receive() -> Result<Received, Error> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(JOB_WAIT_MS)) {
        Ok(0) => return Err(Error::Internal("no job came".into())),
        Ok(_) => {}
        Err(e) => return Err(Error::internal("cannot wait for the job")(e)),
    }
    let mut bytes = vec![0u8; PACKET_BYTES_MAX];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 4]);
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stdin.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)
        .map_err(Error::internal("cannot receive the job (is standard input a socket?)"))?;
    let mut descriptors = Vec::new();
    let control = message.cmsgs().map_err(Error::internal("the job's descriptors were cut off"))?;
    for c in control {
        if let ControlMessageOwned::ScmRights(raw) = c {
            // SAFETY: the kernel has just made these descriptors for this process; nothing else
            // knows of them.
            #[allow(unsafe_code)]
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let len = message.bytes;
    if len == 0 {
        return Err(Error::Abandoned);
    }
    let job: Job = match serde_json::from_slice(&bytes[..len]) {
        Ok(Asked::Question(question)) if descriptors.is_empty() => {
            return Ok(Received::Question(question));
        }
        Ok(Asked::Job(job)) => job,
        // Which field is wrong is said only by a reading as the one thing that it then has to be.
        Ok(Asked::Question(_)) | Err(_) => {
            serde_json::from_slice(&bytes[..len]).map_err(Error::internal("cannot read the job"))?
        }
    };
    let wanted = if job.transform.watermark.is_some() { 3 } else { 2 };
    let came = descriptors.len();
    let mut descriptors = descriptors.into_iter();
    let (Some(input), Some(output), watermark, None) =
        (descriptors.next(), descriptors.next(), descriptors.next(), descriptors.next())
    else {
        return Err(Error::Internal(format!("{came} descriptors came with the job, not {wanted}")));
    };
    if came != wanted {
        return Err(Error::Internal(format!("{came} descriptors came with the job, not {wanted}")));
    }
    Ok(Received::Job(job, Files { input, output, watermark }))
}

/// Answers a question.
pub(crate) fn answer<T: serde::Serialize>(answer: &Answer<T>) -> Result<(), Error> {
    let packet = serde_json::to_vec(answer).map_err(Error::internal("cannot write an answer"))?;
    if packet.len() > PACKET_BYTES_MAX {
        return Err(Error::Internal(format!("an answer of {} bytes", packet.len())));
    }
    let stdin = io::stdin();
    send(stdin.as_fd().as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL)
        .map(|_| ())
        .map_err(|_| Error::Abandoned)
}

/// Ends this process when the service has gone, even where the main thread hangs in a pipeline
/// that does not stop. Where systemd started it, nobody else would before its unit's time is up.
pub(crate) fn end_with_the_service() -> Result<(), Error> {
    let wait = || {
        let stdin = io::stdin();
        let mut fds = [event::PollFd::new(&stdin, event::PollFlags::RDHUP)];
        // The other end says nothing after the job; only its going ends this.
        while event::poll(&mut fds, None).is_err() {
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(END_WAIT);
        std::process::abort();
    };
    let thread = std::thread::Builder::new().name("end".into()).spawn(wait);
    thread.map(drop).map_err(Error::internal("cannot start a thread"))
}

/// Reports to the service.
pub(crate) struct SocketReporter;

impl Reporter for SocketReporter {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        let packet =
            serde_json::to_vec(report).map_err(Error::internal("cannot write a report"))?;
        let stdin = io::stdin();
        send(stdin.as_fd().as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL)
            .map(|_| ())
            .map_err(|_| Error::Abandoned)
    }

    fn is_open(&self) -> bool {
        let stdin = io::stdin();
        // The service ends a job by saying that it will say no more, and waits for the end.
        let mut fds = [event::PollFd::new(&stdin, event::PollFlags::RDHUP)];
        let gone = event::PollFlags::HUP | event::PollFlags::RDHUP | event::PollFlags::ERR;
        match event::poll(&mut fds, Some(&event::Timespec::default())) {
            Ok(_) => !fds[0].revents().intersects(gone),
            Err(_) => true,
        }
    }

    fn is_remote(&self) -> bool {
        true
    }
}

/// Reports as lines of JSON on standard output, for a developer.
pub(crate) struct LineReporter;

impl Reporter for LineReporter {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        use io::Write as _;
        let line =
            serde_json::to_string(report).map_err(Error::internal("cannot write a report"))?;
        writeln!(io::stdout(), "{line}").map_err(|_| Error::Abandoned)
    }

    fn is_open(&self) -> bool {
        true
    }

    fn is_remote(&self) -> bool {
        false
    }
}
