//! What must be converted and what only taken over. Pure: facts and wishes in, a plan out.
//!
//! * H.264 of one size, 4:2:0 and 8 bits is taken over; every other picture is converted.
//! * AAC is taken over, every other sound is converted.
//! * A film whose size changes is shown in the size with the largest area seen (the first of
//!   equals), so that no detail is lost; smaller pictures are fitted in with black borders.
//! * Sizes are even, because 4:2:0 halves them.

use holdfast_core::job::{Outputs, Treatment};

use crate::probe::{Scan, VideoScan};

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

/// What to do with one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The video, where there is some and it is needed.
    pub(crate) video: Option<VideoPlan>,
    /// The audio, where there is some and it is needed: taken over or converted.
    pub(crate) audio: Option<Treatment>,
    /// Whether to make an .mp4.
    pub(crate) mp4: bool,
    /// Whether to make a snapshot.
    pub(crate) snapshot: bool,
    /// Whether to make a filmstrip.
    pub(crate) filmstrip: bool,
    /// Sentences for people.
    pub(crate) remarks: Vec<String>,
}

/// Makes the plan.
pub(crate) fn plan(scan: &Scan, outputs: Outputs) -> Plan {
    let mut remarks = scan.remarks.clone();
    let pictures = scan.video.is_some() && (outputs.snapshot || outputs.filmstrip);
    let video = scan.video.as_ref().and_then(|v| match (outputs.mp4, pictures) {
        (true, _) => Some(treat_video(v, &mut remarks)),
        (false, true) => Some(VideoPlan::PicturesOnly),
        (false, false) => None,
    });
    if scan.video.is_none() && (outputs.snapshot || outputs.filmstrip) {
        remarks.push("There is sound only, so no pictures were made.".to_owned());
    }
    if scan.audio.is_none() && outputs.mp4 {
        remarks.push("There is no sound in this recording.".to_owned());
    }
    let audio = scan.audio.as_ref().filter(|_| outputs.mp4).map(|a| {
        if a.codec.name == "aac" && !a.pts_missing {
            Treatment::Remuxed
        } else {
            Treatment::Converted
        }
    });
    Plan {
        video,
        audio,
        mp4: outputs.mp4,
        snapshot: pictures && outputs.snapshot,
        filmstrip: pictures && outputs.filmstrip,
        remarks,
    }
}

impl Plan {
    /// Whether every stream is taken over as it is.
    pub(crate) fn takes_all_over(&self) -> bool {
        let video = self.video.is_none_or(|v| v == VideoPlan::Remux);
        let audio = self.audio.is_none_or(|a| a == Treatment::Remuxed);
        self.mp4 && video && audio
    }

    /// What is left to do once the .mp4 is made.
    pub(crate) fn pictures_only(&self) -> Self {
        let video = (self.snapshot || self.filmstrip).then_some(VideoPlan::PicturesOnly);
        Self { video, audio: None, mp4: false, ..self.clone() }
    }

    /// The same plan with the video converted, for H.264 that turned out too damaged to be taken
    /// over: decoders bridge what players stumble over.
    pub(crate) fn converting(&self, scan: &Scan) -> Option<Self> {
        let v = scan.video.as_ref().filter(|_| self.video == Some(VideoPlan::Remux))?;
        let mut plan = self.clone();
        plan.video = Some(converted(v));
        plan.remarks.push("The video is damaged and was converted for that reason.".to_owned());
        Some(plan)
    }
}

fn converted(v: &VideoScan) -> VideoPlan {
    let (width, height) = film_size(&v.sizes, v.par);
    VideoPlan::Convert { width, height, fps: average_fps(v) }
}

fn treat_video(v: &VideoScan, remarks: &mut Vec<String>) -> VideoPlan {
    let one_size = v.sizes.len() <= 1;
    if v.codec.name == "h264" && one_size && v.plain_h264 && !v.pts_missing && !v.lost_sets {
        return VideoPlan::Remux;
    }
    let (width, height) = film_size(&v.sizes, v.par);
    if v.lost_sets {
        remarks.push(
            "The picture's size changes, but the recorder did not write down to what; from there \
             on the picture is damaged."
                .to_owned(),
        );
    }
    if !one_size {
        remarks.push(format!(
            "The picture's size changes {} times; the film is {width}x{height} throughout.",
            v.sizes.len() - 1
        ));
    }
    converted(v)
}

/// The one size of a film: the largest area seen, with square pixels, even.
pub(crate) fn film_size(sizes: &[(u32, u32)], par: (u32, u32)) -> (u32, u32) {
    let area = |&(w, h): &(u32, u32)| u64::from(w) * u64::from(h);
    let largest = sizes.iter().map(area).max().unwrap_or(0);
    let (w, h) = sizes.iter().copied().find(|s| area(s) == largest).unwrap_or((2, 2));
    let (n, d) = (u64::from(par.0.max(1)), u64::from(par.1.max(1)));
    // The longer way of squaring pixels, so that neither direction loses any.
    let (w, h) = if n >= d {
        ((u64::from(w) * n / d).min(16_384) as u32, h)
    } else {
        (w, (u64::from(h) * d / n).min(16_384) as u32)
    };
    ((w & !1).max(2), (h & !1).max(2))
}

fn average_fps(v: &VideoScan) -> u32 {
    let span = v.end_ns - v.first_ns;
    if span <= 0 {
        return 30;
    }
    let (packets, span) = (i128::from(v.packets), i128::from(span));
    // To the nearest: x264 spends more on each frame the fewer there are in a second.
    let fps = (packets * 1_000_000_000 + span / 2) / span;
    // 25 is x264's own middle: below it more bits go into each frame, for no gain to the eye.
    fps.clamp(25, 120) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{audio, video};

    const ALL: Outputs = Outputs { mp4: true, snapshot: true, filmstrip: true };

    fn scan(v: Option<&'static str>, a: Option<&'static str>) -> Scan {
        Scan { video: v.map(video), audio: a.map(audio), ..Scan::default() }
    }

    #[test]
    fn h264_and_aac_are_taken_over() {
        let p = plan(&scan(Some("video/x-h264"), Some("audio/mpeg,mpegversion=4")), ALL);
        assert_eq!((p.video, p.audio), (Some(VideoPlan::Remux), Some(Treatment::Remuxed)));
        assert!(p.remarks.is_empty());
    }

    #[test]
    fn other_codecs_are_converted() {
        let p = plan(&scan(Some("video/x-vp8"), Some("audio/x-opus")), ALL);
        assert_eq!(p.video, Some(VideoPlan::Convert { width: 640, height: 480, fps: 30 }));
        assert_eq!(p.audio, Some(Treatment::Converted));
    }

    #[test]
    fn h264_of_two_sizes_is_converted() {
        let mut s = scan(Some("video/x-h264"), None);
        s.video.as_mut().unwrap().sizes = vec![(640, 480), (1280, 720), (480, 640)];
        let p = plan(&s, ALL);
        assert!(matches!(p.video, Some(VideoPlan::Convert { width: 1280, height: 720, .. })));
        assert!(p.remarks.iter().any(|r| r.contains("1280x720")));
    }

    #[test]
    fn sound_alone_makes_no_pictures_and_says_so() {
        let p = plan(&scan(None, Some("audio/x-opus")), ALL);
        assert!(!p.snapshot && !p.filmstrip && p.video.is_none());
        assert_eq!(p.remarks.len(), 1);
    }

    #[test]
    fn without_an_mp4_only_pictures_are_decoded() {
        let outputs = Outputs { mp4: false, snapshot: true, filmstrip: false };
        let p = plan(&scan(Some("video/x-vp9"), Some("audio/x-opus")), outputs);
        assert_eq!((p.video, p.audio), (Some(VideoPlan::PicturesOnly), None));
        assert!(p.snapshot && !p.filmstrip);
    }

    #[test]
    fn sizes_are_even_and_pixels_square() {
        assert_eq!(film_size(&[(641, 481)], (1, 1)), (640, 480));
        assert_eq!(film_size(&[(720, 576)], (16, 15)), (768, 576));
        assert_eq!(film_size(&[(480, 640), (640, 480)], (1, 1)), (480, 640));
        assert_eq!(film_size(&[(1, 1)], (1, 1)), (2, 2));
    }
}
