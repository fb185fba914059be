//! `[ingest]`, `[transcode]` and `[deliver]`: how a node works.

use std::path::PathBuf;

use holdfast_core::job::Jail;
use serde::Deserialize;

use super::{Profile, Timetable, check_range};

/// `[ingest]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Largest recording, in bytes.
    pub recording_bytes_max: u64,
    /// Longest silence of a client, in milliseconds.
    pub stall_ms_max: u64,
    /// Most recordings arriving at once.
    pub recordings_max: usize,
    /// How long a client may take to come back, in milliseconds.
    pub reconnect_ms: u64,
    /// How long after SAVED the recorder can still play back the raw file, in milliseconds.
    pub playback_ms: u64,
    /// Longest time from a byte's arrival to its fsync round, in milliseconds.
    pub commit_ms: u64,
    /// Largest chunk of a stream, in bytes.
    pub chunk_bytes_max: usize,
    /// Most bytes of a stream under way unacknowledged, in bytes.
    pub window_bytes_max: u64,
    /// Origins that may embed the recorder; `*` for any.
    pub origins: Vec<String>,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            recording_bytes_max: 50 << 30,
            stall_ms_max: 60_000,
            recordings_max: 1_000,
            reconnect_ms: 300_000,
            playback_ms: 60_000,
            commit_ms: 200,
            chunk_bytes_max: 1 << 20,
            window_bytes_max: 8 << 20,
            origins: vec!["*".into()],
        }
    }
}

/// `[transcode]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transcode {
    /// The transcoding program; beside the node's own where none is given.
    pub program: Option<PathBuf>,
    /// Where a unit of its own answers with one transcoding program for each connection, such as
    /// `/run/holdfast-transcode.socket`. The node starts the program itself where none is given.
    pub socket: Option<PathBuf>,
    /// Whether recordings are read where the kernel lacks what confines the program; as the
    /// profile says where none is given.
    pub jail: Option<Jail>,
    /// Whether streams are transcoded while they come in, where there is room.
    pub live: bool,
    /// Jobs at once; half the cores, at least one, where none is given.
    pub jobs_max: Option<usize>,
    /// Longest any job may take, in milliseconds.
    pub wall_ms_max: u64,
    /// How many times its own length a recording may take; at least ten minutes.
    pub wall_factor: u32,
    /// Longest a job may stand still, in milliseconds.
    pub stall_ms_max: u64,
    /// Largest memory of a job, in bytes.
    pub memory_bytes_max: u64,
}

impl Default for Transcode {
    fn default() -> Self {
        Self {
            program: None,
            socket: None,
            jail: None,
            live: true,
            jobs_max: None,
            wall_ms_max: 6 * 3600 * 1000,
            wall_factor: 30,
            stall_ms_max: 60_000,
            memory_bytes_max: 2 << 30,
        }
    }
}

impl Transcode {
    /// What a job is told: `required` on an appliance, `best_effort` in development, unless the
    /// configuration says otherwise.
    #[must_use]
    pub fn jail(&self, profile: Profile) -> Jail {
        self.jail.unwrap_or(match profile {
            Profile::Appliance => Jail::Required,
            Profile::Development => Jail::BestEffort,
        })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(socket) = self.socket.as_ref().filter(|path| !path.is_absolute()) {
            return Err(format!("transcode.socket = {socket:?}: give the whole path"));
        }
        if self.socket.is_some() && self.program.is_some() {
            let why = "the program that answers at the socket is named in its unit";
            return Err(format!("transcode: give socket or program, not both: {why}"));
        }
        check_range("transcode.wall_factor", self.wall_factor.into(), 1, 10_000)
    }
}

/// `[deliver]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deliver {
    /// Recordings pushed at once. 0 pushes nothing and deletes nothing from our own storage, while
    /// one is moved say; the rules go on counting.
    pub pushes_max: usize,
    /// How fast, over all destinations together, by weekday and time of day in the node's zone:
    /// `mon-fri 08:00-18:00 5 MiB/s`. The first line that fits holds.
    pub bandwidth: Timetable,
    /// Below which folders a destination that is made over the API may lie.
    pub directories: Vec<PathBuf>,
    /// Whether a destination that is made over the API may be spoken to without TLS.
    pub plain_http: bool,
}

impl Default for Deliver {
    fn default() -> Self {
        Self {
            pushes_max: 4,
            bandwidth: Timetable::default(),
            directories: Vec::new(),
            plain_http: false,
        }
    }
}
