//! Trying a destination: a small file is written, read back and deleted, and whoever asked is told which
//! step failed and why.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use futures_util::StreamExt;
use holdfast_core::attempts::Fault;
use jiff::Timestamp;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::progress::Progress;
use super::{Destination, FileToPush, PushError, Reading};
use crate::node::Node;

/// Size of the file, in bytes.
const FILE_BYTES: usize = 64 << 10;
/// Longest that a step may take: somebody waits for the answer, and the command line does for a minute.
const STEP_MAX: Duration = Duration::from_secs(18);

/// What trying a destination showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// Whether every step went well.
    pub ok: bool,
    /// The steps that were made, in order; it ends with the first that failed, except that what was
    /// written is deleted.
    pub steps: Vec<CheckStep>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckStep {
    /// Which.
    pub step: Step,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whose fault it is that it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What went wrong, and what to do; nothing where it went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is done with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It is pushed, as a recording's file is.
    Write,
    /// It is read back and compared.
    ReadBack,
    /// It is deleted.
    Delete,
}

/// Tries a destination.
pub async fn run(node: &Arc<Node>, destination: &Arc<dyn Destination>) -> CheckView {
    let mut check = Check { node, steps: Vec::new() };
    if let Err(error) = check.all(destination).await {
        let at = node.clock.now();
        check.note(Step::Write, at, Err::<(), _>(error));
    }
    let ok = check.steps.iter().all(|step| step.error.is_none());
    if ok {
        node.pushing.gates.open(destination.name());
    }
    CheckView { ok, steps: check.steps }
}

struct Check<'a> {
    node: &'a Node,
    steps: Vec<CheckStep>,
}

impl Check<'_> {
    /// Only what has nothing to do with the destination is an error here.
    async fn all(&mut self, destination: &Arc<dyn Destination>) -> Result<(), PushError> {
        let ours = |what: &str, error: &dyn std::fmt::Display| PushError {
            fault: Fault::Ours,
            sentence: format!("cannot {what} on this node: {error}"),
        };
        let mut content = vec![0; FILE_BYTES];
        rand::fill(&mut content).map_err(|error| ours("draw random bytes", &error))?;
        let memory = memfd_create("holdfast-test", MFdFlags::MFD_CLOEXEC);
        let mut memory =
            std::fs::File::from(memory.map_err(|error| ours("make a file in memory", &error))?);
        memory.write_all(&content).map_err(|error| ours("write to memory", &error))?;
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let nonce: String = content[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("holdfast-test-{nonce}.mp4");
        let now = self.node.clock.now();
        let today = now
            .to_zoned_datetime(holdfast_core::retention::zone(&self.node.config.node.zone))
            .date();
        let file = FileToPush {
            progress: self.limited(destination.name()),
            ..FileToPush::alone(path.into(), name, FILE_BYTES as u64, today)
        };

        let wrote = in_time(destination.push(&file)).await;
        let Some(location) = self.note(Step::Write, now, wrote) else { return Ok(()) };
        let began = self.node.clock.now();
        let read = in_time(read_back(destination, &location, &content)).await;
        self.note(Step::ReadBack, began, read);
        let began = self.node.clock.now();
        let deleted = in_time(destination.withdraw(&file.name, Some(&location))).await;
        self.note(Step::Delete, began, deleted);
        Ok(())
    }

    fn limited(&self, destination: &str) -> Progress {
        let limits = self.node.settings.limits(destination);
        Progress::limited(self.node.pushing.bandwidth.limiters(destination, &limits.bandwidth))
    }

    fn note<T>(&mut self, step: Step, began: Timestamp, done: Result<T, PushError>) -> Option<T> {
        let took = self.node.clock.now().duration_since(began);
        let (done, error) = match done {
            Ok(done) => (Some(done), None),
            Err(error) => (None, Some(error)),
        };
        self.steps.push(CheckStep {
            step,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(0),
            fault: error.as_ref().map(|error| error.fault),
            error: error.map(|error| error.sentence),
        });
        done
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, PushError>>) -> Result<T, PushError> {
    let late = |_| PushError {
        fault: Fault::Networks,
        sentence: format!("it was not done within {} s", STEP_MAX.as_secs()),
    };
    tokio::time::timeout(STEP_MAX, step).await.map_err(late)?
}

async fn read_back(
    destination: &Arc<dyn Destination>,
    location: &str,
    content: &[u8],
) -> Result<(), PushError> {
    let altered = |what: String| PushError { fault: Fault::Customers, sentence: what };
    let mut found = Vec::new();
    match destination.read(location, None).await? {
        Reading::Path(path) => {
            let read = tokio::fs::read(&path).await;
            found =
                read.map_err(|error| altered(format!("cannot read {}: {error}", path.display())))?;
        }
        Reading::Whole { mut pieces, .. } | Reading::Part { mut pieces, .. } => {
            while let Some(piece) = pieces.next().await.transpose()? {
                found.extend_from_slice(&piece);
                if found.len() > FILE_BYTES {
                    break;
                }
            }
        }
        Reading::Beyond { .. } | Reading::Gone => {
            return Err(altered("what was written is not there any more".into()));
        }
    }
    if found == content {
        return Ok(());
    }
    Err(altered(format!(
        "what was read back ({} bytes) is not what was written ({FILE_BYTES} bytes)",
        found.len()
    )))
}
