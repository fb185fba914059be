//! What must be converted and what only taken over. Pure: facts and wishes in, a plan out.
//!
//! * H.264 of one size, 4:2:0 and 8 bits is taken over; every other picture is converted.
//! * AAC is taken over, every other sound is converted.
//! * A wish converts the stream it changes and no other. Turning alone converts nothing: the .mp4 says
//!   how it is to be turned. Mirroring converts, because players pass over a mirrored matrix.
//! * A film whose size changes is shown in the size with the largest area seen (the first of
//!   equals), so that no detail is lost; smaller pictures are fitted in with black borders.

use holdfast_core::job::{Outputs, Treatment};
use holdfast_core::transform::{Aspect, Channels, Flip, Loudness, SizePolicy, Transform};

use crate::error::{Error, at};
use crate::filmstrip::Share;
use crate::geometry::{Orientation, Size, even, largest, squared, swapped_by, wanted_size};
use crate::loudness::{self, Gain, Measured};
use crate::probe::{AudioScan, Scan, VideoScan};

/// How many times as many frames even distances may take, where they take more than [`EVEN_FRAMES_MAX`].
const EVEN_TIMES_MAX: i128 = 20;
/// Frames that even distances may take however few there were.
const EVEN_FRAMES_MAX: i128 = 100_000;

/// What to do with the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VideoPlan {
    /// Take it over.
    Remux,
    /// Decode it and encode it at this size.
    Convert {
        /// Width in pixels, even.
        width: u32,
        /// Height in pixels, even.
        height: u32,
        /// Frames per second on average, for the encoder's book-keeping only.
        fps: u32,
    },
    /// Decode it for the pictures only.
    PicturesOnly,
}

/// What happens to decoded frames before the film and the pictures see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The shape to cut them to, as they are shown.
    pub(crate) crop: Option<Aspect>,
    /// How they are turned, so that nothing is left to turn.
    pub(crate) turn: Orientation,
    /// The size afterwards, as they are shown.
    pub(crate) size: Size,
}

/// What to do with one recording.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The video, where there is some and it is needed.
    pub(crate) video: Option<VideoPlan>,
    /// What happens to its frames; `None`: nothing but what the codec needs.
    pub(crate) changes: Option<Changes>,
    /// What is left to turn when it is shown, clockwise, in degrees: written into the film, done to
    /// pictures.
    pub(crate) rotation: u16,
    /// Most frames a second, where there are more.
    pub(crate) max_fps: Option<u32>,
    /// Frames in a thousand seconds, where their distances are to be even.
    pub(crate) even_mfps: Option<u32>,
    /// The audio, where there is some and it is needed: taken over or converted.
    pub(crate) audio: Option<Treatment>,
    /// Its channels, where it is converted.
    pub(crate) channels: u32,
    /// What is done to its loudness.
    pub(crate) gain: Option<Gain>,
    /// Whether to make an .mp4.
    pub(crate) mp4: bool,
    /// Whether to make a snapshot.
    pub(crate) snapshot: bool,
    /// Whether to make a filmstrip.
    pub(crate) filmstrip: bool,
    /// Which of its tiles.
    pub(crate) share: Share,
    /// Whether to draw the sound in the snapshot's place.
    pub(crate) waveform: bool,
    /// What is wanted of them.
    pub(crate) want: Transform,
    /// Sentences for people.
    pub(crate) remarks: Vec<String>,
}

/// Makes the plan. `measured`: the sound's loudness, where it was asked for.
pub(crate) fn plan(
    scan: &Scan,
    outputs: Outputs,
    want: &Transform,
    measured: Option<Measured>,
) -> Result<Plan, Error> {
    let mut remarks = scan.remarks.clone();
    let pictures = scan.video.is_some() && (outputs.snapshot || outputs.filmstrip);
    let waveform = scan.video.is_none() && scan.audio.is_some() && outputs.snapshot;
    if scan.video.is_none() && want.audio.mute && outputs.mp4 {
        return Err(Error::NoMedia(
            "There is sound only, and sound is to be left out (audio.mute), so nothing is left for \
             a film."
                .into(),
        ));
    }
    if scan.video.is_none() && outputs.filmstrip {
        remarks.push("There is sound only, so no filmstrip was made.".to_owned());
    }
    if waveform {
        remarks.push("There is sound only; the snapshot shows it as a waveform.".to_owned());
    }
    if scan.audio.is_none() && outputs.mp4 && !want.audio.mute {
        remarks.push("There is no sound in this recording.".to_owned());
    }
    let mut plan = Plan {
        video: None,
        changes: None,
        rotation: 0,
        max_fps: None,
        even_mfps: None,
        audio: None,
        channels: 2,
        gain: None,
        mp4: outputs.mp4,
        snapshot: pictures && outputs.snapshot,
        filmstrip: pictures && outputs.filmstrip,
        share: Share::ALL,
        waveform,
        want: want.clone(),
        remarks,
    };
    if let Some(a) = scan.audio.as_ref().filter(|_| outputs.mp4 && !want.audio.mute) {
        plan.treat_audio(a, measured);
    }
    if let Some(v) = scan.video.as_ref().filter(|_| outputs.mp4 || pictures) {
        plan.treat_video(v);
    }
    Ok(plan)
}

/// The channels that a film gets.
pub(crate) fn channels(a: &AudioScan, want: Channels) -> u32 {
    match want {
        Channels::Mono => 1,
        Channels::Stereo => 2,
        Channels::Keep if a.channels == 1 => 1,
        Channels::Keep => 2,
    }
}

impl Plan {
    /// Whether every stream is taken over as it is.
    pub(crate) fn takes_all_over(&self, scan: &Scan) -> bool {
        let video = self.video.is_none_or(|v| v == VideoPlan::Remux);
        let audio = self.audio.is_none_or(|a| a == Treatment::Remuxed);
        let turned = scan.video.as_ref().is_some_and(|v| v.rotation != self.rotation);
        self.mp4 && video && audio && !turned && self.even_mfps.is_none()
    }

    /// Whether a film made by this plan is the one that another asks for. Remarks apart, and what the
    /// encoder is told of the rate: a quarter more or less moves its quantizer by less than one step,
    /// which nobody sees; frames and times stay the same.
    pub(crate) fn check_same(&self, whole: &Self) -> Result<(), Error> {
        let mut other = whole.clone();
        other.remarks.clone_from(&self.remarks);
        if let (
            Some(VideoPlan::Convert { fps, .. }),
            Some(VideoPlan::Convert { fps: other_fps, .. }),
        ) = (self.video, &mut other.video)
            && fps * 4 <= *other_fps * 5
            && *other_fps * 4 <= fps * 5
        {
            *other_fps = fps;
        }
        if *self == other {
            return Ok(());
        }
        Err(Error::NotLive("its beginning asked for another film than all of it does".into()))
    }

    /// What is left to do once the .mp4 is made.
    pub(crate) fn pictures_only(&self) -> Self {
        let video = (self.snapshot || self.filmstrip).then_some(VideoPlan::PicturesOnly);
        Self { video, audio: None, mp4: false, ..self.clone() }
    }

    /// What to do instead where something that was taken over made the film fail: it is converted, and no
    /// more than that. Nothing where nothing was taken over that may be at fault.
    pub(crate) fn instead(&self, error: &Error, scan: &Scan) -> Option<Self> {
        match error {
            Error::Drift { .. } => self.converting_sound(),
            Error::Internal(_) | Error::Damaged(_) | Error::Length(_) => self.converting(scan),
            _ => None,
        }
    }

    /// The same plan with the video converted, for H.264 that turned out too damaged to be taken
    /// over: decoders bridge what players stumble over.
    fn converting(&self, scan: &Scan) -> Option<Self> {
        let v = scan.video.as_ref().filter(|_| self.video == Some(VideoPlan::Remux))?;
        let mut plan = self.clone();
        plan.convert(v);
        plan.remarks.push("The video is damaged and was converted for that reason.".to_owned());
        Some(plan)
    }

    /// The same plan with the sound converted, which puts it where the recording has it.
    fn converting_sound(&self) -> Option<Self> {
        if self.audio != Some(Treatment::Remuxed) {
            return None;
        }
        let mut plan = self.clone();
        plan.audio = Some(Treatment::Converted);
        plan.remarks
            .push("The sound's own times overlap; it was converted for that reason.".to_owned());
        Some(plan)
    }

    fn treat_audio(&mut self, a: &AudioScan, measured: Option<Measured>) {
        self.channels = channels(a, self.want.audio.channels);
        // Loudness is measured as the film has it: mixed down, where there are more channels.
        let mut as_heard = true;
        if self.want.audio.loudness == Loudness::R128 {
            let (gain, remark) = loudness::decide(measured);
            self.gain = gain;
            as_heard = remark.is_some() || a.channels == self.channels;
            self.remarks.extend(remark);
        }
        let kept = self.want.audio.channels == Channels::Keep || a.channels == self.channels;
        let right = self.gain.is_none() && as_heard;
        let takes_over = a.codec.name == "aac" && !a.pts_missing && kept && right;
        self.audio = Some(if takes_over { Treatment::Remuxed } else { Treatment::Converted });
    }

    fn treat_video(&mut self, v: &VideoScan) {
        self.rotation = Orientation::turned(v.rotation)
            .then(Orientation::turned(self.want.video.rotate))
            .degrees;
        if !self.mp4 {
            self.video = Some(VideoPlan::PicturesOnly);
            self.change(v);
            return;
        }
        self.max_fps = self.want.video.max_fps.filter(|&fps| exceeds(v, fps));
        self.even_mfps = self.even_rate(v);
        let one_size = v.sizes.len() <= 1;
        let plain =
            v.codec.name == "h264" && one_size && v.plain_h264 && !v.pts_missing && !v.lost_sets;
        let even = self.even_mfps.is_none_or(|want| v.even.is_some_and(|have| have.is_at(want)));
        if plain && even && self.max_fps.is_none() && !self.is_changed(v) {
            self.video = Some(VideoPlan::Remux);
            return;
        }
        self.convert(v);
        if v.lost_sets {
            self.remarks.push(
                "The picture's size changes, but the recorder did not write down to what; from \
                 there on the picture is damaged."
                    .to_owned(),
            );
        }
        if !one_size && let Some(VideoPlan::Convert { width, height, .. }) = self.video {
            self.remarks.push(format!(
                "The picture's size changes {} times; the film is {width}x{height} throughout.",
                v.sizes.len() - 1
            ));
        }
    }

    /// The rate of a film with even distances, where one is wanted and does not take frames without
    /// number to reach over a gap.
    fn even_rate(&mut self, v: &VideoScan) -> Option<u32> {
        if !self.want.video.constant_fps {
            return None;
        }
        let mfps = match self.want.video.max_fps {
            Some(fps) => fps.saturating_mul(1000),
            None => v.even.map_or_else(|| own_fps(v).clamp(1, 120) * 1000, |even| even.mfps),
        };
        let frames = i128::from(v.end_ns - v.first_ns) * i128::from(mfps) / 1_000_000_000_000;
        if frames <= EVEN_FRAMES_MAX || frames <= i128::from(v.packets) * EVEN_TIMES_MAX {
            return Some(mfps);
        }
        self.remarks.push(format!(
            "The recording has {} frames in {}; at even distances (video.constant_fps) they would be \
             {frames}, so they kept their own times.",
            v.packets,
            at(v.end_ns - v.first_ns)
        ));
        None
    }

    fn convert(&mut self, v: &VideoScan) {
        self.change(v);
        let (width, height) = match &self.changes {
            Some(changes) => changes.size,
            None => even(squared(largest(&v.sizes), v.par)),
        };
        let own = self.max_fps.map_or(own_fps(v), |max| max.min(own_fps(v)));
        // 25 is x264's own middle: below it more bits go into each frame, for no gain to the eye.
        self.video = Some(VideoPlan::Convert { width, height, fps: own.clamp(25, 120) });
    }

    /// Decides what happens to frames. What is turned in them is not left to be turned by players.
    fn change(&mut self, v: &VideoScan) {
        if self.want.video.rotate == 0 && !self.is_changed(v) && v.curve().is_none() {
            return;
        }
        self.changes = Some(Changes {
            crop: self.want.video.aspect.filter(|_| self.want.video.size == SizePolicy::Crop),
            turn: self.turn(v),
            size: wanted_size(self.shown(v), &self.want.video),
        });
        self.rotation = 0;
    }

    fn turn(&self, v: &VideoScan) -> Orientation {
        let wanted = Orientation::wanted(self.want.video.rotate, self.want.video.flip);
        v.orientation().then(wanted)
    }

    /// The recording's size as it is shown.
    fn shown(&self, v: &VideoScan) -> Size {
        swapped_by(squared(largest(&v.sizes), v.par), self.turn(v))
    }

    /// Whether frames look different afterwards, turning apart.
    fn is_changed(&self, v: &VideoScan) -> bool {
        let want = &self.want;
        let shown = self.shown(v);
        let wanted = wanted_size(shown, &want.video);
        // Two pixels are the rounding to even numbers.
        let cut = shown.0.abs_diff(wanted.0) > 2 || shown.1.abs_diff(wanted.1) > 2;
        let limited = (want.video.size != SizePolicy::Keep)
            && (want.video.max_width.is_some_and(|w| shown.0 > w)
                || want.video.max_height.is_some_and(|h| shown.1 > h));
        let marked = want.watermark.as_ref().is_some_and(|mark| mark.opacity > 0.0);
        cut || limited || v.mirrored || want.video.flip != Flip::None || marked
    }
}

/// Frames a second on average, to the nearest: x264 spends more on each frame the fewer there are.
fn own_fps(v: &VideoScan) -> u32 {
    let span = i128::from(v.end_ns - v.first_ns);
    if span <= 0 {
        return 30;
    }
    let fps = (i128::from(v.packets) * 1_000_000_000 + span / 2) / span;
    u32::try_from(fps).unwrap_or(u32::MAX)
}

/// Whether a recording has more frames a second than this on average, beyond rounding.
fn exceeds(v: &VideoScan, fps: u32) -> bool {
    let span = i128::from((v.end_ns - v.first_ns).max(1));
    i128::from(v.packets) * 1_000_000_000 * 100 > span * i128::from(fps) * 101
}

#[cfg(test)]
mod tests;
