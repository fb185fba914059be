//! A test recording is made into a film, a snapshot and a filmstrip by what does every recording
//! ([`Transcoder::try_out`]), and what came of it is looked at: what the child says, and what the files say.
//!
//! `recording.webm` is a second of FFmpeg's test picture and a tone, made with
//!
//! ```text
//! ffmpeg -f lavfi -i testsrc=size=320x180:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000 -t 1 \
//!     -c:v libvpx -b:v 100k -pix_fmt yuv420p -c:a libopus -b:a 24k \
//!     -fflags +bitexact -flags +bitexact -map_metadata -1 recording.webm
//! ```

mod boxes;
mod picture;

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::job::{Made, MadePicture, Treatment};
use holdfast_core::recording::FileKind;
use tokio_util::sync::CancellationToken;

use super::{ANSWER_MAX, Check, SelftestCheck};
use crate::node::{Node, NodeError};
use crate::transcode::{TranscodeError, Transcoder};
use crate::vault::{Trial, Vault, VaultError};
use boxes::Film;

/// The test recording.
const RECORDING: &[u8] = include_bytes!("recording.webm");
/// Its length, and how far from that a film's may be, in milliseconds.
const LENGTH_MS: u64 = 1_000;
const LENGTH_OFF_MS_MAX: u64 = 150;
/// Its pictures, in pixels.
const SIZE: (u32, u32) = (320, 180);
/// Longest that a film may take: a box with little power, and a device that has to be given up first.
const TIME_MAX: Duration = Duration::from_secs(90);
/// Longest that one may take to end which is cancelled.
const END_MAX: Duration = Duration::from_secs(20);
/// Largest file that may come of it, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What was made.
struct Files {
    film: Vec<u8>,
    snapshot: Vec<u8>,
    filmstrip: Vec<u8>,
}

/// What kept it from being made.
enum Fault {
    Node(NodeError),
    Transcode(TranscodeError),
    /// It took too long.
    Late,
    /// The volume took too long.
    Disk,
    /// The node stops.
    Stopping,
    /// It was made, and is not what was wanted.
    Wrong(String),
}

pub(super) async fn check(node: &Arc<Node>) -> SelftestCheck {
    let began = node.clock.boottime();
    let tried = attempt(node).await;
    let took = node.clock.boottime().saturating_sub(began);
    match tried {
        Ok(made) => told(&made, took),
        Err(fault) => failed(&fault),
    }
}

async fn attempt(node: &Arc<Node>) -> Result<Made, Fault> {
    let trial = in_vault(node, |vault| vault.begin_trial(RECORDING)).await?;
    let made = make(node, &trial).await;
    let volume = trial.volume;
    drop(trial);
    if let Err(fault) = in_vault(node, move |vault| vault.end_trial(volume)).await {
        let why = failed(&fault).found;
        tracing::warn!("what the self-test made is still there; the next one removes it: {why}");
    }
    made
}

/// Does something with the vault, for as long as a disk may take to answer.
async fn in_vault<T: Send + 'static>(
    node: &Node,
    act: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::time::timeout(ANSWER_MAX, node.with_vault(act)).await;
    done.map_err(|_| Fault::Disk)?.map_err(Fault::Node)
}

/// Ends only once nothing makes files any more, as far as that can be waited for.
async fn make(node: &Arc<Node>, trial: &Trial) -> Result<Made, Fault> {
    let transcoder = Transcoder::new(Arc::clone(node));
    let cancel = node.stop.child_token();
    let made = until_late(transcoder.try_out(trial, &cancel), &cancel).await.ok_or(Fault::Late)?;
    let made = made.map_err(|error| match error {
        TranscodeError::Cancelled if node.stop.is_cancelled() => Fault::Stopping,
        TranscodeError::Cancelled => Fault::Late,
        error => Fault::Transcode(error),
    })?;
    let volume = trial.volume;
    let files = in_vault(node, move |vault| {
        let read = |kind| vault.trial_file(volume, kind, FILE_BYTES_MAX);
        Ok(Files {
            film: read(FileKind::Main)?,
            snapshot: read(FileKind::Snapshot)?,
            filmstrip: read(FileKind::Filmstrip)?,
        })
    });
    let files = files.await?;
    judge(&made, &files).map_err(Fault::Wrong)?;
    Ok(made)
}

/// Cancels it when its time is over, and waits for its end all the same; nothing where even that is late.
async fn until_late<T>(done: impl Future<Output = T>, cancel: &CancellationToken) -> Option<T> {
    tokio::pin!(done);
    if let Ok(done) = tokio::time::timeout(TIME_MAX, &mut done).await {
        return Some(done);
    }
    cancel.cancel();
    tokio::time::timeout(END_MAX, done).await.ok()
}

/// Whether it is what was wanted, by what was said of it and by the files themselves.
fn judge(made: &Made, files: &Files) -> Result<(), String> {
    let codecs = made.source.video.as_ref().zip(made.source.audio.as_ref());
    let codecs = codecs.map(|(video, audio)| (video.codec.as_str(), audio.codec.as_str()));
    if codecs != Some(("vp8", "opus")) {
        return Err("the test recording was read as something else".into());
    }
    is_long("the test recording, as it was read,", made.source.duration_ms)?;
    let mp4 = made.mp4.as_ref().ok_or("no .mp4 was made")?;
    if (mp4.video, mp4.audio) != (Treatment::Converted, Treatment::Converted) {
        return Err("picture or sound of the .mp4 was not converted".into());
    }
    is_long("the .mp4, as it was said,", mp4.duration_ms)?;
    is_as_large(".mp4", mp4.bytes, &files.film)?;
    let film = Film::of(&files.film).map_err(|why| format!("the .mp4 is none: {why}"))?;
    is_long("the .mp4, by its own word,", film.duration_ms)?;
    film.has_picture_and_sound()?;
    if (mp4.width, mp4.height) != SIZE || film.size != Some(SIZE) {
        return Err(format!("the .mp4 has {} x {} pixels", mp4.width, mp4.height));
    }
    is_picture("snapshot", made.snapshot.as_ref(), &files.snapshot)?;
    is_picture("filmstrip", made.filmstrip.as_ref(), &files.filmstrip)
}

fn is_long(what: &str, ms: u64) -> Result<(), String> {
    if ms.abs_diff(LENGTH_MS) <= LENGTH_OFF_MS_MAX {
        return Ok(());
    }
    Err(format!("{what} is {ms} ms long, and not about {LENGTH_MS}"))
}

fn is_as_large(what: &str, said: u64, file: &[u8]) -> Result<(), String> {
    if said == file.len() as u64 && said > 0 {
        return Ok(());
    }
    Err(format!("the {what} has {} bytes, and {said} were said", file.len()))
}

fn is_picture(what: &str, made: Option<&MadePicture>, file: &[u8]) -> Result<(), String> {
    let made = made.ok_or_else(|| format!("no {what} was made"))?;
    is_as_large(what, made.bytes, file)?;
    let size = picture::size(file).ok_or_else(|| format!("the {what} is no whole JPEG"))?;
    if size == (made.width, made.height) && size.0 > 0 && size.1 > 0 {
        return Ok(());
    }
    Err(format!("the {what} has {} x {} pixels, and others were said", size.0, size.1))
}

fn told(made: &Made, took: Duration) -> SelftestCheck {
    let encoder = made.mp4.as_ref().and_then(|mp4| mp4.encoder.as_deref());
    let found = format!(
        "a second of VP8 and Opus was made into an .mp4, a snapshot and a filmstrip in {} ms, with {}",
        took.as_millis(),
        encoder.unwrap_or("an encoder without a name")
    );
    if made.remarks.is_empty() {
        return SelftestCheck::passed(Check::Film, &found);
    }
    let found = format!("{found}. {}", made.remarks.join(" "));
    SelftestCheck::warning(Check::Film, &found, "see `holdfast hardware` and docs/hardware.md")
}

fn failed(fault: &Fault) -> SelftestCheck {
    const LOG: &str = "see the node's log; recordings are taken in and wait until this is mended";
    let (found, todo) = match fault {
        Fault::Late => (
            format!("the test recording was no film within {} s", TIME_MAX.as_secs()),
            "see what else the machine does, and `holdfast hardware`",
        ),
        Fault::Disk => (
            format!("the volume did not answer within {} s", ANSWER_MAX.as_secs()),
            "see what the check of the volume says",
        ),
        Fault::Stopping => ("the node is stopping".to_owned(), "try again once it has started"),
        Fault::Node(error) => (error.to_string(), "see what the check of the volume says"),
        Fault::Wrong(why) => (why.clone(), LOG),
        Fault::Transcode(error) => (
            error.to_string(),
            match error {
                TranscodeError::Start { .. } => {
                    "install holdfast-transcode anew, or name it in transcode.program"
                }
                TranscodeError::Connect { .. } => {
                    "start holdfast-transcode.socket, or install its unit"
                }
                TranscodeError::Unconfined => "use a kernel that has both",
                _ => LOG,
            },
        ),
    };
    SelftestCheck::failed(Check::Film, &found, todo)
}

#[cfg(test)]
mod tests {
    use holdfast_core::job::{AudioFacts, MadeMp4, SourceFacts, VideoFacts};
    use holdfast_core::names::Container;
    use holdfast_core::sniff::sniff;

    use super::*;

    #[test]
    fn the_test_recording_is_small_and_a_recording() {
        assert!(RECORDING.len() < 30 << 10);
        assert_eq!(sniff(RECORDING), Some(Container::Webm));
    }

    fn made() -> (Made, Files) {
        let film = boxes::tests::film(1_007, SIZE);
        let picture = picture::tests::jpeg(320, 180);
        let said = MadePicture { bytes: picture.len() as u64, width: 320, height: 180 };
        let video = VideoFacts { codec: "vp8".into(), width: 320, height: 180, rotation: 0 };
        let audio = AudioFacts { codec: "opus".into(), channels: 1, rate_hz: 48_000 };
        let made = Made {
            source: SourceFacts {
                container: "matroska".into(),
                video: Some(video),
                audio: Some(audio),
                duration_ms: 1_008,
            },
            mp4: Some(MadeMp4 {
                bytes: film.len() as u64,
                duration_ms: 1_007,
                video: Treatment::Converted,
                audio: Treatment::Converted,
                encoder: Some("x264enc".into()),
                decoder: None,
                width: 320,
                height: 180,
            }),
            snapshot: Some(said.clone()),
            filmstrip: Some(said),
            filmstrip_vtt: None,
            remarks: Vec::new(),
            is_damaged: false,
        };
        (made, Files { film, snapshot: picture.clone(), filmstrip: picture })
    }

    #[test]
    fn what_was_wanted_passes_and_each_thing_that_is_not_is_named() {
        let (made, files) = made();
        judge(&made, &files).unwrap();
        let mut other = made.clone();
        other.mp4.as_mut().unwrap().duration_ms = 500;
        assert!(judge(&other, &files).unwrap_err().contains("500 ms"));
        let mut other = made.clone();
        other.mp4.as_mut().unwrap().audio = Treatment::Absent;
        assert!(judge(&other, &files).unwrap_err().contains("not converted"));
        let mut other = made.clone();
        other.filmstrip = None;
        assert!(judge(&other, &files).unwrap_err().contains("no filmstrip"));
        let mut other = made.clone();
        other.snapshot.as_mut().unwrap().width = 640;
        assert!(judge(&other, &files).unwrap_err().contains("the snapshot has 320 x 180"));
        // What is said fits, and the file does not.
        let short = Files { film: boxes::tests::film(400, SIZE), ..self::made().1 };
        assert!(judge(&made, &short).unwrap_err().contains("by its own word, is 400 ms"));
        let empty = Files { snapshot: Vec::new(), ..self::made().1 };
        assert!(judge(&made, &empty).unwrap_err().contains("the snapshot has 0 bytes"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_cancelled_and_its_end_waited_for() {
        let cancel = CancellationToken::new();
        let obeys = async {
            cancel.cancelled().await;
            tokio::time::sleep(END_MAX / 2).await;
            7
        };
        assert_eq!(until_late(obeys, &cancel).await, Some(7));
        let cancel = CancellationToken::new();
        assert_eq!(until_late(std::future::pending::<u8>(), &cancel).await, None);
        assert!(cancel.is_cancelled());
        let cancel = CancellationToken::new();
        assert_eq!(until_late(async { 8 }, &cancel).await, Some(8));
        assert!(!cancel.is_cancelled());
    }

    #[test]
    fn a_film_that_hardware_failed_at_is_warned_of() {
        let (mut made, _) = made();
        let outcome = |made: &Made| told(made, Duration::from_millis(5)).outcome;
        assert_eq!(outcome(&made), super::super::Outcome::Passed);
        made.remarks.push("This was done in software, because va failed.".into());
        assert_eq!(outcome(&made), super::super::Outcome::Warning);
    }
}
