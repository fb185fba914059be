//! What an environment wants of its films and pictures is what arrives at its destination.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::output;
use holdfast_tests::{Environment, Node, Settings, media};
use reqwest::Method;
use serde_json::json;

/// A place of a picture, as red, green and blue.
fn colour(picture: &Path, x: u32, y: u32) -> Result<[u8; 3]> {
    let filter = format!("crop=2:2:{x}:{y},scale=1:1,format=rgb24");
    let path = picture.to_str().context("a path that is text")?;
    let pixel =
        media::ffmpeg(["-i", path, "-vf", &filter, "-frames:v", "1", "-f", "rawvideo", "-"])?;
    pixel.get(..3).and_then(|it| it.try_into().ok()).context("no pixel")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_with_a_watermark_of_another_size_without_sound_and_tiles_with_their_times()
-> Result<()> {
    let node = Node::start(Settings::new().environment(Environment::new("shop"))).await?;
    let mark = node.dir().join("mark.png");
    media::ffmpeg([
        "-f",
        "lavfi",
        "-i",
        "color=magenta:s=64x64",
        "-frames:v",
        "1",
        mark.to_str().context("a path")?,
    ])?;
    let png = output(Command::new("base64").arg("-w0").arg(&mark))?;
    let png = String::from_utf8(png)?;
    let mut wanted = json!({
        "id": "logo", "hash": "logo-hash",
        "transcoding": {
            "video": { "size": "fit", "max_width": 160 },
            "audio": { "mute": true },
            "watermark": { "image": format!("data:image/png;base64,{png}"), "position": "top-left",
                           "margin": "0px", "width": "25%" },
            "filmstrip": { "tiles": 4, "columns": 2, "vtt": true },
        },
    });
    let names: Vec<String> = node.get("/destinations").await?["destinations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str().map(str::to_owned))
        .collect();
    wanted["destinations"] = json!(names);
    let made = node.api(Method::POST, "/environments")?.body(wanted.to_string());
    let made = made.header("content-type", "application/json").send().await?;
    ensure!(made.status() == 201, "{}", made.text().await?);

    let film = media::small_webm(node.dir(), 2.0)?;
    let id = node.upload("logo", film).await?.id;
    let recording = node.wait_for(&id, "stored").await?;
    let (video, audio) = media::codecs(&node.delivered("logo", &id, ".mp4"))?;
    ensure!((video.as_str(), audio.as_str()) == ("h264", ""), "{video} {audio}: {recording}");
    let sizes = media::sizes(&node.delivered("logo", &id, ".mp4"))?;
    ensure!(sizes.len() == 1 && sizes[0].0 == 160, "{sizes:?}");
    for ending in [".mp4", ".jpg"] {
        let [red, green, blue] = colour(&node.delivered("logo", &id, ending), 8, 8)?;
        ensure!(red > 180 && green < 90 && blue > 180, "{ending}: {red} {green} {blue}");
    }
    let strip = media::sizes(&node.delivered("logo", &id, "_filmstrip.jpg"))?;
    let vtt = std::fs::read_to_string(node.delivered("logo", &id, "_filmstrip.vtt"))?;
    ensure!(vtt.starts_with("WEBVTT\n") && vtt.matches("-->").count() == 4, "{vtt}");
    let (w, h) = (strip[0].0 / 2, strip[0].1 / 2);
    let last = format!("{id}_filmstrip.jpg#xywh={w},{h},{w},{h}");
    ensure!(vtt.contains(&last), "no {last} in {vtt}");
    Ok(())
}
