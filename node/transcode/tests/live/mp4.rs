//! Fragmented MP4.

use holdfast_core::job::{FailureKind, Report};
use serde_json::json;

use crate::come_in::{Growing, even_named, live, made, refused, same};
use crate::common::{media, start};

#[test]
fn recordings_in_mp4_by_a_browser_come_out_as_afterwards() {
    for name in ["avc1_opus.mp4", "avc3_opus.mp4", "vp9_opus_default.mp4"] {
        let whole = media(name);
        let (report, folder) = made(&whole, &[1, 4_096, 65_537, 300_001]);
        same(&whole, (&report, folder.path()), name.starts_with("avc"));
    }
}

#[test]
fn fragments_of_all_kinds_come_out_as_afterwards() {
    const X264: &str = "-c:v libx264 -preset ultrafast -g 45 -bf 2 -b_strategy 0 -c:a aac";
    let folder = tempfile::tempdir().unwrap();
    for (name, codecs, flags, is_taken_over) in [
        ("usual.mp4", X264, "frag_keyframe+empty_moov+default_base_moof", true),
        // The first group lies in the index, places are counted from the file's beginning, edit lists.
        ("first_in_index.mp4", X264, "frag_keyframe", true),
        ("edit_lists.mp4", X264, "frag_keyframe+delay_moov+default_base_moof", true),
        ("each_frame.mp4", X264, "frag_every_frame+empty_moov+default_base_moof", true),
        ("track_by_track.mp4", X264, "frag_keyframe+empty_moov+separate_moof", true),
        ("negative_offsets.mp4", X264, "frag_keyframe+empty_moov+negative_cts_offsets", true),
        ("with_sidx.mp4", X264, "dash+frag_keyframe+default_base_moof", true),
    ] {
        let args = [&codecs.split(' ').collect::<Vec<_>>()[..], &["-movflags", flags]].concat();
        let whole = even_named(folder.path(), name, 12, &args);
        let (report, made) = made(&whole, &[7_001, 13, 50_001]);
        same(&whole, (&report, made.path()), is_taken_over);
    }
}

#[test]
fn tiles_of_a_long_recording_are_drawn_of_the_fragments_that_have_them() {
    // Groups of which most have no tile; frames that are shown in another order than they come.
    const X264: &str = "-c:v libx264 -preset ultrafast -g 60 -b_strategy 0 -c:a aac -bf";
    let folder = tempfile::tempdir().unwrap();
    for (name, reordered, flags) in [
        ("by_group.mp4", "3", "frag_keyframe+empty_moov+default_base_moof"),
        ("by_time.mp4", "3", "empty_moov+default_base_moof -frag_duration 200000"),
        ("by_place.mp4", "3", "frag_keyframe+delay_moov+separate_moof"),
    ] {
        let flags = [reordered, "-movflags"].into_iter().chain(flags.split(' '));
        let args: Vec<&str> = X264.split(' ').chain(flags).collect();
        let whole = even_named(folder.path(), name, 90, &args);
        let (report, made) = made(&whole, &[70_001, 13]);
        same(&whole, (&report, made.path()), true);
    }
}

#[test]
fn tracks_of_all_kinds_come_out_as_afterwards() {
    const FRAGMENTS: &str = "-movflags frag_keyframe+empty_moov+default_base_moof";
    let folder = tempfile::tempdir().unwrap();
    for (name, args, is_taken_over) in [
        (
            "hevc.mp4",
            "-c:v libx265 -preset ultrafast -x265-params log-level=0:keyint=60 -tag:v hvc1 -c:a aac",
            false,
        ),
        ("av1.mp4", "-c:v libaom-av1 -usage realtime -cpu-used 8 -g 60 -c:a libopus", false),
        ("vp9.mp4", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 60 -c:a libopus", false),
        (
            "sound_first.mp4",
            "-map 1:a -map 0:v -c:v libx264 -preset ultrafast -g 60 -c:a aac",
            true,
        ),
        ("picture_alone.mp4", "-an -c:v libx264 -preset ultrafast -g 60", true),
        (
            "begins_late.mp4",
            "-c:v libx264 -preset ultrafast -g 60 -c:a aac -output_ts_offset 40",
            true,
        ),
        (
            "in_short_fragments.mp4",
            "-c:v libx264 -preset ultrafast -g 250 -c:a aac -frag_duration 300000",
            true,
        ),
        (
            "sound_begins_late.mp4",
            "-c:v libx264 -preset ultrafast -g 30 -af atrim=1.5,asetpts=PTS-STARTPTS+1.5/TB -c:a aac",
            true,
        ),
    ] {
        let args: Vec<&str> = args.split(' ').chain(FRAGMENTS.split(' ')).collect();
        let whole = even_named(folder.path(), name, 12, &args);
        let (report, made) = made(&whole, &[7_001, 13, 50_001]);
        same(&whole, (&report, made.path()), is_taken_over);
    }
}

#[test]
fn what_is_not_written_in_fragments_is_left_for_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-c:a", "aac"];
    let usual = even_named(folder.path(), "usual.mp4", 12, &x264);
    let said = refused(&usual, &live(&json!({})));
    assert!(said.contains("its index does not come first"), "{said}");
    let front = [&x264[..], &["-movflags", "faststart"]].concat();
    let front = even_named(folder.path(), "front.mp4", 12, &front);
    let said = refused(&front, &live(&json!({})));
    assert!(said.contains("not written in fragments"), "{said}");
    let transport = even_named(folder.path(), "even.ts", 12, &x264);
    let said = refused(&transport, &live(&json!({})));
    assert!(said.contains("only WebM, Matroska and MP4"), "{said}");
}

#[test]
fn fragments_that_cannot_be_read_are_left_for_afterwards() {
    let (folder, raw) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut growing = Growing::new(raw.path(), &media("avc1_opus.mp4"));
    // Boxes within boxes where the last fragment was.
    let deep = (0..2_000).fold(Vec::new(), |inner, _| {
        [&(inner.len() as u32 + 8).to_be_bytes()[..], b"traf", &inner].concat()
    });
    let last = growing.bytes.windows(4).rposition(|name| name == b"moof").unwrap() - 4;
    growing.bytes.truncate(last);
    let size = (deep.len() as u32 + 8).to_be_bytes();
    growing.bytes.extend([&size[..], b"moof", &deep].concat());
    let running = start(&growing.path, folder.path(), &live(&json!({})));
    growing.grow_all(&running, &[100_000]);
    growing.end(&running);
    let Report::Failed(failure) = running.finish() else { panic!("it was made") };
    assert_eq!(failure.kind, FailureKind::NotLive, "{}", failure.message);
    assert!(failure.message.contains("deep in each other"), "{}", failure.message);
}
