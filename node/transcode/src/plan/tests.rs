use holdfast_core::transform::{AudioTransform, VideoTransform, Watermark};

use super::*;
use crate::even::tests::exactly;
use crate::probe::tests::{audio, video};

const ALL: Outputs = Outputs { mp4: true, snapshot: true, filmstrip: true };
const H264: &str = "video/x-h264";
const AAC: &str = "audio/mpeg,mpegversion=4";

fn scan(v: Option<&'static str>, a: Option<&'static str>) -> Scan {
    Scan { video: v.map(video), audio: a.map(audio), ..Scan::default() }
}

fn plain(scan: &Scan, outputs: Outputs) -> Plan {
    plan(scan, outputs, &Transform::default(), None).unwrap()
}

fn of_video(v: VideoTransform) -> Transform {
    Transform { video: v, ..Transform::default() }
}

/// What becomes of H.264 (640x480, 30 fps) and AAC (mono).
fn treatments(want: &Transform) -> (Option<VideoPlan>, Option<Treatment>) {
    let p = plan(&scan(Some(H264), Some(AAC)), ALL, want, None).unwrap();
    (p.video, p.audio)
}

const TAKEN_OVER: (Option<VideoPlan>, Option<Treatment>) =
    (Some(VideoPlan::Remux), Some(Treatment::Remuxed));

fn converted(width: u32, height: u32) -> Option<VideoPlan> {
    Some(VideoPlan::Convert { width, height, fps: 30 })
}

#[test]
fn rule_4_h264_and_aac_are_taken_over() {
    let p = plain(&scan(Some(H264), Some(AAC)), ALL);
    assert_eq!((p.video, p.audio), TAKEN_OVER);
    assert!(p.remarks.is_empty() && p.takes_all_over(&scan(Some(H264), Some(AAC))));
}

#[test]
fn rule_4_other_codecs_are_converted() {
    let p = plain(&scan(Some("video/x-vp8"), Some("audio/x-opus")), ALL);
    assert_eq!(p.video, converted(640, 480));
    assert_eq!((p.audio, p.changes), (Some(Treatment::Converted), None));
}

#[test]
fn h264_of_two_sizes_is_converted() {
    let mut s = scan(Some(H264), None);
    s.video.as_mut().unwrap().sizes = vec![(640, 480), (1280, 720), (480, 640)];
    let p = plain(&s, ALL);
    assert!(matches!(p.video, Some(VideoPlan::Convert { width: 1280, height: 720, .. })));
    assert!(p.remarks.iter().any(|r| r.contains("1280x720")));
}

#[test]
fn sound_alone_is_drawn_and_says_so() {
    let p = plain(&scan(None, Some("audio/x-opus")), ALL);
    assert!(!p.snapshot && !p.filmstrip && p.video.is_none() && p.waveform);
    assert_eq!(p.remarks.len(), 2);
}

#[test]
fn without_an_mp4_only_pictures_are_decoded() {
    let outputs = Outputs { mp4: false, snapshot: true, filmstrip: false };
    let p = plain(&scan(Some("video/x-vp9"), Some("audio/x-opus")), outputs);
    assert_eq!((p.video, p.audio), (Some(VideoPlan::PicturesOnly), None));
    assert!(p.snapshot && !p.filmstrip);
}

#[test]
fn a_limit_that_is_kept_converts_nothing() {
    let fit = |w, h| {
        of_video(VideoTransform {
            size: SizePolicy::Fit,
            max_width: w,
            max_height: h,
            ..Default::default()
        })
    };
    assert_eq!(treatments(&fit(Some(640), Some(480))), TAKEN_OVER);
    let (v, a) = treatments(&fit(Some(320), None));
    assert_eq!((v, a), (converted(320, 240), Some(Treatment::Remuxed)));
    // Limits are those of what is shown: on its side it is 480 wide.
    let mut s = scan(Some(H264), None);
    s.video.as_mut().unwrap().rotation = 90;
    assert_eq!(plan(&s, ALL, &fit(Some(480), None), None).unwrap().video, Some(VideoPlan::Remux));
    let p = plan(&s, ALL, &fit(Some(240), None), None).unwrap();
    assert_eq!((p.video, p.rotation), (converted(240, 320), 0));
    assert_eq!(p.changes.unwrap().turn, Orientation::turned(90));
}

#[test]
fn a_shape_that_it_has_converts_nothing() {
    let crop = |text: &str| {
        of_video(VideoTransform {
            size: SizePolicy::Crop,
            aspect: Some(text.parse().unwrap()),
            ..Default::default()
        })
    };
    assert_eq!(treatments(&crop("4:3")), TAKEN_OVER);
    assert_eq!(treatments(&crop("1:1")).0, converted(480, 480));
    assert_eq!(treatments(&crop("9:16")).0, converted(270, 480));
}

#[test]
fn turning_is_written_down_and_mirroring_is_done() {
    let want = of_video(VideoTransform { rotate: 90, ..Default::default() });
    let mut s = scan(Some(H264), Some(AAC));
    s.video.as_mut().unwrap().rotation = 270;
    let p = plan(&s, ALL, &want, None).unwrap();
    assert_eq!((p.video, p.rotation, p.changes), (Some(VideoPlan::Remux), 0, None));
    assert!(!p.takes_all_over(&s), "the index is not copied as it is");
    // What is converted anyway is turned.
    let p = plan(&scan(Some("video/x-vp8"), None), ALL, &want, None).unwrap();
    assert_eq!((p.video, p.rotation), (converted(480, 640), 0));
    let want = of_video(VideoTransform { flip: Flip::Vertical, ..Default::default() });
    assert_eq!(treatments(&want), (converted(640, 480), Some(Treatment::Remuxed)));
}

#[test]
fn rates_that_are_kept_convert_nothing() {
    let rate = |max_fps, constant_fps| {
        of_video(VideoTransform { max_fps, constant_fps, ..Default::default() })
    };
    assert_eq!(treatments(&rate(Some(30), false)), TAKEN_OVER);
    assert_eq!(
        treatments(&rate(Some(25), false)).0,
        Some(VideoPlan::Convert { width: 640, height: 480, fps: 25 })
    );
    assert_eq!(treatments(&rate(None, true)).0, converted(640, 480));
    let mut s = scan(Some(H264), None);
    s.video.as_mut().unwrap().even = Some(exactly(29_970));
    let p = plan(&s, ALL, &rate(None, true), None).unwrap();
    assert_eq!((p.video, p.even_mfps), (Some(VideoPlan::Remux), Some(29_970)));
    let p = plan(&s, ALL, &rate(Some(30), true), None).unwrap();
    assert_eq!((p.video, p.even_mfps), (converted(640, 480), Some(30_000)));
}

#[test]
fn sound_alone_is_touched_by_what_changes_sound() {
    let sound = |a| Transform { audio: a, ..Transform::default() };
    let mono = AudioTransform { channels: Channels::Mono, ..Default::default() };
    assert_eq!(treatments(&sound(mono.clone())), TAKEN_OVER);
    let stereo = AudioTransform { channels: Channels::Stereo, ..Default::default() };
    let (v, a) = treatments(&sound(stereo));
    assert_eq!((v, a), (Some(VideoPlan::Remux), Some(Treatment::Converted)));
    let mute = sound(AudioTransform { mute: true, ..Default::default() });
    assert_eq!(treatments(&mute), (Some(VideoPlan::Remux), None));
    assert!(matches!(
        plan(&scan(None, Some(AAC)), ALL, &mute, None),
        Err(Error::NoMedia(said)) if said.contains("audio.mute")
    ));
    let loud = sound(AudioTransform { loudness: Loudness::R128, ..Default::default() });
    let with = |lufs| {
        let measured = Some(Measured { lufs, peak_db: -20.0, more_db: 0.0 });
        plan(&scan(Some(H264), Some(AAC)), ALL, &loud, measured).unwrap()
    };
    // Six channels that are loud enough once they are two are too loud for players as they are.
    let mut six = scan(None, Some(AAC));
    six.audio.as_mut().unwrap().channels = 6;
    let measured = Measured { lufs: -16.0, peak_db: -20.0, more_db: 0.0 };
    let p = plan(&six, ALL, &loud, Some(measured)).unwrap();
    assert_eq!((p.audio, p.channels, p.gain), (Some(Treatment::Converted), 2, None));
    assert_eq!(plan(&six, ALL, &loud, None).unwrap().audio, Some(Treatment::Remuxed));
    assert_eq!(with(-30.0).audio, Some(Treatment::Converted));
    assert_eq!((with(-16.1).audio, with(-16.1).gain), (Some(Treatment::Remuxed), None));
    // Silence stays what it is, and that is said.
    let p = with(f64::NEG_INFINITY);
    assert_eq!((p.audio, p.gain, p.remarks.len()), (Some(Treatment::Remuxed), None, 1));
}

#[test]
fn a_watermark_converts_the_picture_only() {
    let mark: Watermark = serde_json::from_str("{}").unwrap();
    let want = Transform { watermark: Some(mark), ..Transform::default() };
    assert_eq!(treatments(&want), (converted(640, 480), Some(Treatment::Remuxed)));
    // One that is not seen converts nothing.
    let mark: Watermark = serde_json::from_str(r#"{"opacity": 0.0}"#).unwrap();
    let want = Transform { watermark: Some(mark), ..Transform::default() };
    assert_eq!(treatments(&want), TAKEN_OVER);
}

#[test]
fn even_distances_do_not_fill_a_gap_of_hours() {
    let even =
        of_video(VideoTransform { constant_fps: true, max_fps: Some(60), ..Default::default() });
    let with = |packets, seconds: i64| {
        let mut s = scan(Some("video/x-vp8"), None);
        let v = s.video.as_mut().unwrap();
        (v.packets, v.end_ns) = (packets, seconds * 1_000_000_000);
        plan(&s, ALL, &even, None).unwrap()
    };
    let p = with(600, 36_010);
    assert_eq!(p.even_mfps, None);
    assert!(p.remarks.iter().any(|r| r.contains("600 frames in 10:00:10.0")), "{:?}", p.remarks);
    // Slow for long, and with a gap of half an hour.
    assert_eq!(with(36_010 * 4, 36_010).even_mfps, Some(60_000));
    assert_eq!(with(600, 1600).even_mfps, Some(60_000));
}

#[test]
fn slow_recordings_get_one_frame_a_second() {
    let even = of_video(VideoTransform { constant_fps: true, ..Default::default() });
    let mut s = scan(Some(H264), None);
    let v = s.video.as_mut().unwrap();
    (v.packets, v.end_ns) = (20, 600_000_000_000);
    let p = plan(&s, ALL, &even, None).unwrap();
    assert_eq!(p.even_mfps, Some(1000));
    assert!(matches!(p.video, Some(VideoPlan::Convert { .. })));
}
