//! Three seconds with flashes and beeps, and the tools that put them into all kinds of files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::common::{ffmpeg, held, text};

/// White for two frames at 0.4, 1.4 and 2.4 s, over a picture that moves.
const PICTURE: &str = "testsrc2=s=256x192:r=25:d=3,format=yuv420p,\
    drawbox=t=fill:color=white:enable='lt(mod(t+0.601,1),0.08)'";
/// Loud as long, over a tone that rises, so that no part of it is like another.
const SOUND: &str = "aevalsrc='0.1*sin(2*PI*(60+40*t)*t)\
    +0.6*sin(2*PI*250*t)*lt(mod(t+0.6,1),0.08)':s=48000:d=3:c=mono,\
    aformat=channel_layouts=stereo";

/// The clip, without loss.
fn clip() -> &'static Path {
    static CLIP: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.mkv");
        let inputs = ["-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SOUND];
        let codecs = ["-c:v", "ffv1", "-c:a", "pcm_s16le", text(&path)];
        ffmpeg(&[&inputs[..], &codecs].concat());
        (folder, path)
    });
    &CLIP.1
}

/// Runs the commands that make a recording; gives its path.
pub(crate) fn run(steps: &[&str], folder: &Path, name: &str) -> PathBuf {
    let out = folder.join(name);
    let on_the_way = |word: &str| word.starts_with("A.") || word.starts_with("B.");
    for step in steps {
        let words: Vec<String> = step
            .split_whitespace()
            .map(|word| match (word, word.split_once('=')) {
                ("CLIP", _) => text(clip()).to_owned(),
                ("OUT", _) => text(&out).to_owned(),
                _ if on_the_way(word) => format!("{}/{word}", text(folder)),
                (_, Some((key, file))) if on_the_way(file) => {
                    format!("{key}={}/{file}", text(folder))
                }
                _ => word.to_owned(),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[0] {
            "ffmpeg" => ffmpeg(&words[1..]),
            "held" => held(Path::new(words[1]), Path::new(words[2])),
            "list" => {
                let files = words[2..].iter().map(|file| format!("file '{file}'\n"));
                std::fs::write(words[1], files.collect::<String>()).unwrap();
            }
            "join" => {
                let parts: Vec<u8> =
                    words[2..].iter().flat_map(|p| std::fs::read(p).unwrap()).collect();
                std::fs::write(words[1], parts).unwrap();
            }
            "MP4Box" => tool(mp4box(), &words[1..]),
            program => tool(Command::new(program), &words[1..]),
        }
    }
    out
}

fn tool(mut program: Command, arguments: &[&str]) {
    let out = program.args(arguments).output();
    let out =
        out.unwrap_or_else(|e| panic!("{program:?} cannot be started ({e}): see scripts/test"));
    assert!(
        out.status.success(),
        "{program:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

/// GPAC's MP4Box, as `scripts/test` brings it.
pub(crate) fn mp4box() -> Command {
    let tools = std::env::var_os("HOLDFAST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"),
        PathBuf::from,
    );
    let program = tools.join("mp4box/MP4Box");
    assert!(program.exists(), "{} is missing: run scripts/test", program.display());
    Command::new(program)
}
