//! The contract between the service and the transcoding child.
//!
//! One job per child, over one `SOCK_SEQPACKET` Unix socket that the child finds as its standard
//! input. Each packet is one JSON document of at most [`PACKET_BYTES_MAX`].
//!
//! 1. service → child: one [`Job`], with two descriptors attached (`SCM_RIGHTS`): the raw recording,
//!    opened read-only, and the output folder; and a third where there is a watermark: its PNG, opened
//!    read-only. The child is given no path.
//! 2. child → service: one [`Report::Started`] when the child has confined itself, before it looks
//!    at the recording; any number of [`Report::Progress`], at least one every
//!    [`PROGRESS_INTERVAL_MS_MAX`] while the job gets on; then exactly one [`Report::Done`] or
//!    [`Report::Failed`], then end of stream. A child that cannot confine itself as the job asks
//!    says [`Report::Failed`] alone.
//!
//! A job with [`Job::live`] is about a recording that is still coming in. The service then goes on
//! talking: any number of [`Fed::Durable`] as bytes become durable, and [`Fed::Ended`] once it is known
//! where the recording ends. The child reads no byte before it is told that it is durable, says
//! [`Report::Progress`] while it waits as at any time, and says [`Report::Done`] only if what it made is
//! what a job without `live` would have made; else [`Report::Failed`], mostly with
//! [`FailureKind::NotLive`], and that job is done then.
//!
//! Instead of a job the service may send a [`Question`], without descriptors. The child confines itself,
//! gives one [`Answer`] and ends.
//!
//! The child may be killed at any moment; whatever it left in the output folder is then worthless
//! and the service empties the folder before the next attempt. A child whose socket closes ends.

use serde::{Deserialize, Serialize};

use crate::hardware::Chain;
use crate::transform::Transform;

/// Largest packet, in bytes.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Longest silence of a child that is getting on with its job, in milliseconds.
pub const PROGRESS_INTERVAL_MS_MAX: u64 = 2_000;

/// Name of the H.264/AAC file in the output folder.
pub const MAIN_NAME: &str = "main.mp4";
/// Name of the snapshot in the output folder.
pub const SNAPSHOT_NAME: &str = "snapshot.jpg";
/// Name of the filmstrip in the output folder.
pub const FILMSTRIP_NAME: &str = "filmstrip.jpg";
/// Name of the filmstrip's WebVTT file in the output folder.
pub const FILMSTRIP_VTT_NAME: &str = "filmstrip.vtt";

/// What is wanted of one recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Which files to make. At least one is on.
    pub outputs: Outputs,
    /// What is wanted of them.
    #[serde(default)]
    pub transform: Transform,
    /// What the WebVTT file calls the filmstrip: its name at destinations, without a folder.
    #[serde(default)]
    pub filmstrip_link: String,
    /// Limits that the child holds itself to; the service enforces the wall time as well.
    pub limits: Limits,
    /// The proven chain to decode and encode with; software where none is given. Where it lets the job
    /// down the answer is [`FailureKind::Hardware`], and a new child does the job without it.
    #[serde(default)]
    pub hardware: Option<Chain>,
    /// The recording is still coming in: more of it is told of by [`Fed`].
    #[serde(default)]
    pub live: bool,
}

/// What the service says of a recording that is still coming in. Each packet is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fed {
    /// So many bytes of the raw file are durable, and may be read.
    Durable {
        /// Bytes from the file's beginning; never fewer than before.
        bytes: u64,
    },
    /// The recording has ended; all of it is durable.
    Ended {
        /// The raw file's size in bytes.
        bytes: u64,
    },
}

/// What a child is asked about hardware: see [`crate::hardware`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// What there is: the answer is a [`crate::hardware::Listing`].
    Candidates,
    /// Whether this candidate works: the answer is a [`crate::hardware::Proof`].
    Prove {
        /// Its name.
        name: String,
    },
}

/// What comes first over the socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant)] // one is made in a process
pub enum Asked {
    /// A question.
    Question(Question),
    /// A job.
    Job(Job),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// What was asked for.
    Answer(T),
    /// Why there is none, as a sentence.
    Failed(String),
}

/// Which files processing makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// The `.mp4` (H.264 + AAC).
    pub mp4: bool,
    /// The `.jpg` snapshot.
    pub snapshot: bool,
    /// The `.jpg` filmstrip.
    pub filmstrip: bool,
}

/// Limits of one job. A job may take [`Limits::wall_ms`], which depends on the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest any job may take, in milliseconds of wall time.
    pub wall_ms_max: u64,
    /// How many times its own length a recording of up to 1920x1080 at 30 frames a second may take,
    /// once that is known; see [`Limits::wall_ms`].
    pub wall_factor: u32,
    /// Longest a job may go without getting on in the recording, in the file or in its output, in
    /// milliseconds. Reading the same part again and again is not getting on.
    pub stall_ms_max: u64,
    /// Largest single output file, in bytes.
    pub output_bytes_max: u64,
    /// Largest frame, in pixels (width times height).
    pub frame_pixels_max: u64,
    /// Largest resident memory of the child, in bytes.
    pub memory_bytes_max: u64,
    /// Whether the child may go on where a kernel lacks what its jail is made of.
    pub jail: Jail,
}

/// What a child does where it cannot be confined fully.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jail {
    /// It fails.
    Required,
    /// It says so and goes on.
    #[default]
    BestEffort,
}

impl Limits {
    /// Longest that a recording may take, in milliseconds of wall time: ten minutes or
    /// `wall_factor` times its length, whichever is more, a second for each 10 MiB of it, and never
    /// more than `wall_ms_max`. Larger or more pictures than those of 1920x1080 at 30 frames a second
    /// may take longer in the same measure. `length_ms` and `pixels_per_s` are 0 while they are not
    /// known.
    #[must_use]
    pub fn wall_ms(&self, bytes: u64, length_ms: u64, pixels_per_s: u64) -> u64 {
        const LEAST_MS: u64 = 600_000;
        const BYTES_PER_MS: u64 = (10 << 20) / 1000;
        const FULL_HD: u64 = 1920 * 1080 * 30;
        let factor = u128::from(self.wall_factor) * u128::from(pixels_per_s.max(FULL_HD));
        let by_length = u128::from(length_ms).saturating_mul(factor) / u128::from(FULL_HD);
        let by_length = u64::try_from(by_length).unwrap_or(u64::MAX).max(LEAST_MS);
        by_length.saturating_add(bytes / BYTES_PER_MS).min(self.wall_ms_max)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_ms_max: 6 * 3600 * 1000,
            wall_factor: 30,
            stall_ms_max: 60_000,
            output_bytes_max: 64 << 30,
            frame_pixels_max: 8192 * 4352,
            memory_bytes_max: 2 << 30,
            jail: Jail::BestEffort,
        }
    }
}

/// What a child says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)] // one at a time is made, and sent
pub enum Report {
    /// The child is confined and begins.
    Started(Confinement),
    /// The job gets on.
    Progress {
        /// How far into the recording, in milliseconds.
        position_ms: u64,
        /// Its whole length in milliseconds, where it is known.
        duration_ms: Option<u64>,
    },
    /// Every file asked for that this recording can have was made and checked.
    Done(Made),
    /// Nothing usable was made.
    Failed(Failure),
}

/// What confines a child, as it found it in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Version of landlock's rules: which files it can open. 0 where the kernel has none.
    pub landlock: u32,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Whether its network has any interface besides loopback. With seccomp it has no way to
    /// a socket in either case.
    pub network: bool,
}

/// What a job made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// What the recording turned out to be.
    pub source: SourceFacts,
    /// The `.mp4`, where one was asked for.
    pub mp4: Option<MadeMp4>,
    /// The snapshot, where one was asked for and there is video.
    pub snapshot: Option<MadePicture>,
    /// The filmstrip, where one was asked for and there is video.
    pub filmstrip: Option<MadePicture>,
    /// Size of the filmstrip's WebVTT file in bytes, where one was asked for and there is a filmstrip.
    #[serde(default)]
    pub filmstrip_vtt: Option<u64>,
    /// Sentences for people: what was odd and what was done about it. At most 16.
    pub remarks: Vec<String>,
    /// The recording is damaged: not all of it could be read or decoded, or its end is missing.
    #[serde(default)]
    pub is_damaged: bool,
}

/// Facts about a recording, learnt by decoding it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// Container, such as `matroska` or `quicktime`.
    pub container: String,
    /// The first video stream.
    pub video: Option<VideoFacts>,
    /// The first audio stream.
    pub audio: Option<AudioFacts>,
    /// Length in milliseconds as found by reading to the end.
    pub duration_ms: u64,
}

/// Facts about a video stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoFacts {
    /// Codec, such as `vp8`, `vp9`, `av1`, `h264`.
    pub codec: String,
    /// Width of the first frame, in pixels.
    pub width: u32,
    /// Height of the first frame, in pixels.
    pub height: u32,
    /// Clockwise rotation to apply for showing, in degrees: 0, 90, 180 or 270.
    pub rotation: u16,
}

/// Facts about an audio stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioFacts {
    /// Codec, such as `opus` or `aac`.
    pub codec: String,
    /// Channels, 1 and up.
    pub channels: u32,
    /// Samples per second.
    pub rate_hz: u32,
}

/// How a stream came into the `.mp4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// Decoded and encoded.
    Converted,
    /// Taken over as it was.
    Remuxed,
    /// There is no such stream.
    Absent,
}

/// The `.mp4`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeMp4 {
    /// Size in bytes.
    pub bytes: u64,
    /// Length in milliseconds, read back from the file.
    pub duration_ms: u64,
    /// What happened to the video.
    pub video: Treatment,
    /// What happened to the audio.
    pub audio: Treatment,
    /// The H.264 encoder used, such as `x264enc`, where one was.
    pub encoder: Option<String>,
    /// The decoder of the video, where it was one of hardware.
    #[serde(default)]
    pub decoder: Option<String>,
    /// Width for showing, in pixels; 0 without video.
    pub width: u32,
    /// Height for showing, in pixels; 0 without video.
    pub height: u32,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadePicture {
    /// Size in bytes.
    pub bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Why a job made nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which kind of failure.
    pub kind: FailureKind,
    /// A sentence for people: what, and where in the recording.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// There is no audio and no video in it.
    NoMedia,
    /// The container or the streams are damaged beyond what can be read.
    Damaged,
    /// A codec or container that this node cannot read.
    Unsupported,
    /// A limit of the job was reached.
    Limit,
    /// It stopped getting on.
    Stalled,
    /// The disk is full or failed.
    Disk,
    /// The hardware failed, or what it made is wrong; software may do better.
    Hardware,
    /// Our own fault: a missing plugin, a failed encoder, a bug.
    Internal,
    /// A recording that cannot be transcoded while it comes in, or of which something else would have
    /// been made afterwards. To be done again without [`Job::live`].
    NotLive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_no_job() {
        let read = |text: &str| serde_json::from_str::<Asked>(text);
        let name = "va".to_owned();
        let asked = read(r#"{"ask":"prove","name":"va"}"#).unwrap();
        assert_eq!(asked, Asked::Question(Question::Prove { name }));
        let asked = read(r#"{"ask":"candidates"}"#).unwrap();
        assert_eq!(asked, Asked::Question(Question::Candidates));
        read(r#"{"ask":"prove","name":"va","path":"/"}"#).unwrap_err();
        read(r#"{"ask":"everything"}"#).unwrap_err();
    }

    #[test]
    fn a_recording_may_take_as_long_as_its_length_and_its_size_say() {
        let limits = Limits::default();
        let minute = 60_000;
        assert_eq!(limits.wall_ms(1 << 20, 0, 0), 10 * minute + 100);
        assert_eq!(limits.wall_ms(0, 19 * 1000, 0), 10 * minute);
        assert_eq!(limits.wall_ms(0, 2 * minute, 0), 60 * minute);
        assert_eq!(limits.wall_ms(u64::MAX, u64::MAX, u64::MAX), limits.wall_ms_max);
    }

    #[test]
    fn a_recording_may_take_as_long_as_its_pictures_say() {
        let limits = Limits::default();
        let (minute, full_hd) = (60_000, 1920 * 1080 * 30);
        // A small one takes what any may.
        assert_eq!(limits.wall_ms(0, 2 * minute, 640 * 480 * 15), 60 * minute);
        assert_eq!(limits.wall_ms(0, 2 * minute, full_hd), 60 * minute);
        // 2160p at 30 and at 60 frames.
        assert_eq!(limits.wall_ms(0, minute, 4 * full_hd), 120 * minute);
        assert_eq!(limits.wall_ms(0, minute, 8 * full_hd), 240 * minute);
        assert_eq!(limits.wall_ms(0, 2 * minute, 8 * full_hd), limits.wall_ms_max);
    }
}
