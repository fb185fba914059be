//! Reads the finished .mp4 back before anyone is told that it is done.
//!
//! Checked: index first, streams and codecs as planned, every sample inside the media data, the
//! first frame is a picture of the size that the header says, and the film is as long as the
//! recording. One size for the whole film is held by the scan (remux) and by the sink
//! (conversion), which see every frame.

use std::fs::File;

use holdfast_core::job::{MadeMp4, Treatment};

use crate::error::Error;
use crate::mp4::reader::{self, TrackFacts};
use crate::plan::{Plan, VideoPlan};
use crate::probe::Scan;
use crate::watch::ms;

/// How far the film's length may be from the recording's.
const LENGTH_NS_MAX: i64 = 100_000_000;
/// What a sentence calls it.
const SOUND: &str = "sound";

/// What was found, and remarks for people.
pub(crate) struct Verified {
    /// The facts.
    pub(crate) mp4: MadeMp4,
    /// Sentences for people.
    pub(crate) remarks: Vec<String>,
}

/// What is known of how the film was made.
pub(crate) struct MadeWith {
    /// The encoder.
    pub(crate) encoder: Option<String>,
    /// The decoder, where it was hardware.
    pub(crate) decoder: Option<String>,
    /// The recording could not be read or decoded to its end, so that a shorter film is expected.
    pub(crate) cut: bool,
    /// Not every frame or sample came out as the recording says.
    pub(crate) lost: bool,
}

/// Checks a finished .mp4.
///
/// # Errors
/// A film of another length is a damaged recording's ([`Error::Length`]) only where something speaks for
/// that: frames that did not come out, times that are missing, an end that is. Else it is ours.
pub(crate) fn verify(
    file: &File,
    source: &Scan,
    plan: &Plan,
    with: MadeWith,
) -> Result<Verified, Error> {
    let wrong = |what: String| Error::Internal(format!("The finished .mp4 is wrong: {what}."));
    let MadeWith { encoder, decoder, cut, lost } = with;
    let is_damage = lost || source.is_in_doubt();
    let another_length = |of: &str, what: String| match plan.audio {
        Some(Treatment::Remuxed) if of == SOUND => Error::Drift { what, is_damage },
        _ if is_damage => Error::Length(what),
        _ => wrong(what),
    };
    let bytes = file.metadata().map_err(Error::disk("cannot look at the .mp4"))?.len();
    let made = reader::read(file, bytes).map_err(wrong)?;
    let track = |handler: &[u8; 4]| made.tracks.iter().find(|t| t.handler == *handler);
    let (video, audio) = (track(b"vide"), track(b"soun"));
    if plan.video.is_some() && video.is_none_or(|t| t.codec != *b"avc1") {
        return Err(wrong("it has no H.264".into()));
    }
    if audio.is_none_or(|t| t.codec != *b"mp4a") && plan.audio.is_some() && !cut {
        return Err(wrong("it has no AAC".into()));
    }
    let mut remarks = Vec::new();
    let base = source.base_ns();
    let wants = [
        (video, source.video.as_ref().map(|v| v.end_ns - base), "picture"),
        (
            audio.filter(|_| plan.audio.is_some()),
            source.audio.as_ref().map(|a| a.end_ns - base),
            SOUND,
        ),
    ];
    for (track, want, what) in wants {
        if let (Some(track), Some(want)) = (track, want) {
            remarks.extend(compare(track, want, what, cut).map_err(|e| another_length(what, e))?);
        }
    }
    let duration_ns = made.tracks.iter().map(|t| t.end_ns).max().unwrap_or(0);
    let (w, h) = video.map_or((0, 0), |t| t.size);
    let (width, height) = if plan.rotation % 180 == 90 { (h, w) } else { (w, h) };
    let mp4 = MadeMp4 {
        bytes,
        duration_ms: ms(duration_ns),
        video: match plan.video {
            Some(VideoPlan::Remux) => Treatment::Remuxed,
            Some(_) => Treatment::Converted,
            None => Treatment::Absent,
        },
        audio: audio.and(plan.audio).unwrap_or(Treatment::Absent),
        encoder,
        decoder,
        width,
        height,
    };
    Ok(Verified { mp4, remarks })
}

/// The end of a stream against the recording's.
fn compare(track: &TrackFacts, want: i64, what: &str, cut: bool) -> Result<Option<String>, String> {
    let differs = track.end_ns - want;
    // Sound may end later or earlier by its drift against its own times; see `retime`.
    let allowed = if what == SOUND { LENGTH_NS_MAX * 2 } else { LENGTH_NS_MAX };
    if differs.abs() <= allowed {
        return Ok(None);
    }
    let sentence = format!(
        "its {what} ends at {:.1} s, the recording's at {:.1} s",
        track.end_ns as f64 / 1e9,
        want as f64 / 1e9
    );
    if cut {
        Ok(Some(format!("The film was made as far as possible: {sentence}.")))
    } else {
        Err(sentence)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_core::job::{FailureKind, Outputs};
    use holdfast_core::transform::Transform;

    use super::*;
    use crate::mp4::{Format, Writer};
    use crate::plan::plan;
    use crate::probe::tests::audio;
    use crate::watch::Activity;

    /// Half a second of sound, of a recording that has a second.
    fn half(scan: &Scan) -> File {
        let file = tempfile::tempfile().unwrap();
        let activity = Arc::new(Activity::default());
        let mut writer =
            Writer::new(file.try_clone().unwrap(), 64, scan.duration_ns(), 1 << 20, activity);
        let track = writer.track();
        writer
            .format(track, Format::Aac { config: vec![0x11, 0x88], channels: 1, rate_hz: 48_000 });
        for i in 0..24 {
            writer.push(track, &[&[0x21; 16]], i * 1024 * 1_000_000 / 48, true).unwrap();
        }
        writer.finish().unwrap();
        file
    }

    #[test]
    fn another_length_is_the_recordings_damage_only_where_something_speaks_for_that() {
        let mut scan = Scan { audio: Some(audio("audio/mpeg,mpegversion=4")), ..Scan::default() };
        let outputs = Outputs { mp4: true, snapshot: false, filmstrip: false };
        let plan = plan(&scan, outputs, &Transform::default(), None).unwrap();
        let film = half(&scan);
        let end = |scan: &Scan, cut, lost| {
            let with = MadeWith { encoder: None, decoder: None, cut, lost };
            verify(&film, scan, &plan, with).map(|it| it.remarks).map_err(|e| e.failure())
        };
        let failed = |scan: &Scan, lost| end(scan, false, lost).unwrap_err();
        let ours = failed(&scan, false);
        assert_eq!(ours.kind, FailureKind::Internal, "{}", ours.message);
        assert!(ours.message.contains("0.5 s, the recording's at 1.0 s"), "{}", ours.message);
        assert_eq!(failed(&scan, true).kind, FailureKind::Damaged);
        assert_eq!(end(&scan, true, false).unwrap().len(), 1);
        scan.cut = true;
        assert_eq!(failed(&scan, false).kind, FailureKind::Damaged);
        scan.cut = false;
        scan.audio.as_mut().unwrap().pts_missing = true;
        assert_eq!(failed(&scan, false).kind, FailureKind::Damaged);
        scan.audio.as_mut().unwrap().end_ns = 512_000_000;
        assert_eq!(end(&scan, false, false).unwrap(), [""; 0]);
    }
}
