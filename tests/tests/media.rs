//! What a browser recorded comes out as a film that plays anywhere, with a snapshot and a filmstrip.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::Uploaded;
use holdfast_tests::tools::{output_of, sha256_of};
use holdfast_tests::{Node, Settings, media, sync};

/// Furthest that a film's length may be from its source's, in seconds.
const LENGTH_OFF_MAX: f64 = 0.100;
/// Furthest that picture and sound may have moved against each other, in milliseconds.
const SYNC_OFF_MS_MAX: i64 = 40;
/// Least spread of a picture's brightness that is no blank.
const CONTRAST_MIN: f64 = 8.0;

#[derive(Clone, Copy, PartialEq)]
enum With {
    /// `curl -T`: the file is the body.
    Put,
    /// `curl -F`: a form, as a browser or a script sends it.
    Form,
}

async fn curl(node: &Node, file: &Path, with: With) -> Result<Uploaded> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail-with-body", "--cacert"]).arg(node.certificate());
    match with {
        With::Put => {
            let url = node.url("/api/v1/ingest/upload?env_id=demo&env_hash=demo-hash");
            curl.arg("-T").arg(file).arg(url);
        }
        With::Form => {
            curl.args(["-F", "env_id=demo", "-F", "env_hash=demo-hash", "-F"]);
            curl.arg(format!("file=@{}", file.display())).arg(node.url("/api/v1/ingest/upload"));
        }
    }
    Uploaded::parse(std::str::from_utf8(&output_of(curl).await?)?)
}

async fn comes_out_as_a_film(name: &str, with: With) -> Result<()> {
    let source = media::file(name)?;
    let node = Node::start(Settings::new()).await?;
    let uploaded = curl(&node, &source, with).await?;
    ensure!(uploaded.sha256 == sha256_of(&source)?, "the node received other bytes");
    let recording = node.wait_for(&uploaded.id, "stored").await?;

    let film = node.delivered("demo", &uploaded.id, ".mp4");
    let (video, audio) = media::codecs(&source)?;
    let has_video = !video.is_empty();
    let expected = (if has_video { "h264" } else { "" }, if audio.is_empty() { "" } else { "aac" });
    let (video, audio) = media::codecs(&film)?;
    ensure!((video.as_str(), audio.as_str()) == expected, "{video:?} and {audio:?}");

    let boxes = media::boxes(&film)?;
    let place = |name: &str| boxes.iter().position(|found| found == name).context(name.to_owned());
    ensure!(place("moov")? < place("mdat")?, "moov is not in front: {boxes:?}");

    let (theirs, ours) = (media::extent(&source)?, media::extent(&film)?);
    let claimed = media::ffprobe(&film, &["-show_entries", "format=duration"])?;
    let claimed: f64 = claimed["format"]["duration"].as_str().context("no duration")?.parse()?;
    for length in [claimed, ours.last - ours.first.max(0.0)] {
        let off = length - (theirs.last - theirs.first);
        ensure!(
            off.abs() <= LENGTH_OFF_MAX,
            "length off by {off:.3} s: {theirs:?} {ours:?} {claimed}"
        );
    }

    if has_video {
        ensure!(media::sizes(&film)?.len() == 1, "several sizes: {:?}", media::sizes(&film)?);
        let (picture, sound) = (sync::of_picture(&source, &film)?, sync::of_sound(&source, &film)?);
        let off = [picture.at_begin_ms - sound.at_begin_ms, picture.at_end_ms - sound.at_end_ms];
        ensure!(
            off.iter().all(|off| off.abs() <= SYNC_OFF_MS_MAX),
            "out of sync by {off:?} ms: {picture:?} {sound:?}"
        );
    }
    // Sound alone has its waveform for a snapshot, and no filmstrip.
    let pictures: &[&str] = if has_video { &[".jpg", "_filmstrip.jpg"] } else { &[".jpg"] };
    for ending in pictures {
        let contrast = media::contrast(&node.delivered("demo", &uploaded.id, ending))?;
        ensure!(contrast >= CONTRAST_MIN, "{ending} is blank: {contrast:.1}");
    }
    node.gone_from_vault(&uploaded.id).await?;
    let delivered = std::fs::read_dir(node.storage().join("demo"))?.count();
    ensure!(delivered == 1 + pictures.len(), "{delivered} files: {recording}");
    Ok(())
}

macro_rules! films {
    ($($test:ident: $name:literal, $with:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> Result<()> {
            comes_out_as_a_film($name, With::$with).await
        }
    )*};
}

films! {
    audio_only_comes_out_as_a_film: "audio.webm", Put;
    av1_comes_out_as_a_film: "av1.webm", Form;
    avc1_with_opus_comes_out_as_a_film: "avc1_opus.mp4", Put;
    avc3_with_opus_comes_out_as_a_film: "avc3_opus.mp4", Form;
    h264_in_matroska_comes_out_as_a_film: "h264.mkv", Put;
    avc1_that_changes_size_comes_out_as_a_film: "reschange_avc1.mp4", Form;
    vp8_that_changes_size_comes_out_as_a_film: "reschange_vp8.webm", Put;
    vp8_comes_out_as_a_film: "vp8.webm", Form;
    vp9_comes_out_as_a_film: "vp9.webm", Put;
    vp9_in_mp4_comes_out_as_a_film: "vp9_opus_default.mp4", Form;
}
