//! `holdfast transcode`: what a technician with one file and no node gets.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use holdfast_tests::media;
use holdfast_tests::tools::bin_dir;
use serde_json::Value;

fn transcode(file: &Path, out: &Path, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(bin_dir().join("holdfast"));
    Ok(command.arg("transcode").arg(file).arg("--out").arg(out).args(more).output()?)
}

#[test]
fn a_file_comes_out_beside_others_and_replaces_none() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let talk = dir.path().join("talk.webm");
    fs::write(&talk, media::small_webm(dir.path(), 1.0)?)?;
    let out = dir.path().join("made");
    let wanted = dir.path().join("wanted.json");
    fs::write(&wanted, r#"{"video":{"rotate":90},"filmstrip":{"tiles":3,"vtt":true}}"#)?;
    let wanted = wanted.to_str().context("a path")?;
    let said = transcode(&talk, &out, &["--json", "--transcoding", wanted])?;
    ensure!(said.status.success(), "{said:?}");
    let said: Value = serde_json::from_slice(&said.stdout)?;
    ensure!(said["made"]["mp4"]["video"] == "converted", "{said}");
    let mut names: Vec<String> = fs::read_dir(&out)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    ensure!(
        names == ["talk.jpg", "talk.mp4", "talk_filmstrip.jpg", "talk_filmstrip.vtt"],
        "{names:?}"
    );
    let size = media::sizes(&out.join("talk.mp4"))?;
    ensure!(size.len() == 1 && size[0].0 < size[0].1, "it was not turned: {size:?}");
    let vtt = fs::read_to_string(out.join("talk_filmstrip.vtt"))?;
    ensure!(vtt.contains("talk_filmstrip.jpg#xywh="), "{vtt}");

    let film = fs::read(out.join("talk.mp4"))?;
    let said = transcode(&talk, &out, &["--no-snapshot"])?;
    ensure!(said.status.code() == Some(1), "{said:?}");
    ensure!(String::from_utf8_lossy(&said.stderr).contains("--force"), "{said:?}");
    ensure!(fs::read(out.join("talk.mp4"))? == film, "it was replaced");
    let said = transcode(&talk, &out, &["--force", "--no-snapshot", "--no-filmstrip"])?;
    ensure!(said.status.success(), "{said:?}");
    ensure!(fs::read(out.join("talk.mp4"))? != film, "it was not replaced");
    Ok(())
}

#[test]
fn what_cannot_be_made_is_said_and_leaves_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let text = dir.path().join("letter.webm");
    fs::write(&text, "Dear Nadia")?;
    let wrong = dir.path().join("wrong.json");
    fs::write(&wrong, r#"{"video":{"size":"fit"}}"#)?;
    let wrong = wrong.to_str().context("a path")?;
    let missing = dir.path().join("lettre.webm");
    let none = ["--no-mp4", "--no-snapshot", "--no-filmstrip"];
    for (file, more, code, words) in [
        (&text, &[][..], 1, "letter.webm: This is no recording"),
        (&missing, &[], 1, "lettre.webm"),
        (&dir.path().to_owned(), &[], 2, "is no file"),
        (&text, &["--transcoding", wrong], 2, "max_width"),
        (&text, &["--transcoding", "/nowhere.json"], 1, "/nowhere.json"),
        (&text, &none, 2, "nothing is to be made"),
    ] {
        let out = dir.path().join("out");
        let said = transcode(file, &out, more)?;
        let err = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.code() == Some(code) && err.contains(words), "{more:?}: {said:?}");
        let left = fs::read_dir(&out).map_or(0, Iterator::count);
        ensure!(left == 0, "{more:?}: {left} files are left");
    }
    Ok(())
}
