//! What runs inside of a guest beside the program under test: it writes what will be looked for,
//! and speaks to the socket as the service does.
//!
//! `guest fill FILE BYTES SEED`: writes known bytes and syncs them ·
//! `guest same FILE BYTES SEED`: fails unless they are there ·
//! `guest write DIR SEED`: writes files until it is killed; each is on its way to a console as
//! `ack NUMBER` once file and folder are synced ·
//! `guest check DIR SEED COUNT`: fails unless the first COUNT are there, whole ·
//! `guest ask SOCKET UID JSON`: sends a request as this user and prints the answer ·
//! `guest holds PID TEXT`: fails unless the text is in the memory of a process.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Bytes of the files of `write`: from a small manifest to some chunks of a stream.
const WRITE_BYTES: std::ops::Range<usize> = 1..400_000;

/// Bytes of memory that are looked through at once.
const PIECE_BYTES: usize = 1 << 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fill", file, bytes, seed] => {
            let mut out = File::create(file)?;
            out.write_all(&known(seed.parse()?, bytes.parse()?))?;
            Ok(out.sync_all()?)
        }
        ["same", file, bytes, seed] => {
            let is = fs::read(file)?;
            ensure!(is == known(seed.parse()?, bytes.parse()?), "{file} is not as it was written");
            Ok(())
        }
        ["write", dir, seed] => write(Path::new(dir), seed.parse()?),
        ["check", dir, seed, count] => check(Path::new(dir), seed.parse()?, count.parse()?),
        ["ask", socket, uid, json] => ask(socket, uid.parse()?, json),
        ["holds", pid, text] => holds(pid, text.as_bytes()),
        _ => bail!("called wrongly: {arguments:?}"),
    }
}

/// Looks through what a process has in memory, apart from files that are mapped there.
fn holds(pid: &str, text: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut seen = 0;
    for map in maps.lines() {
        let mut words = map.split_whitespace();
        let (range, rights) = (words.next().context("no range")?, words.next().unwrap_or(""));
        let (from, to) = range.split_once('-').context("no range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        if !rights.starts_with("rw") || map.contains('/') {
            continue;
        }
        // Pieces overlap, so that none hides the text across two of them.
        for at in (from..to).step_by(PIECE_BYTES) {
            let mut bytes = vec![0; PIECE_BYTES + text.len()];
            let read = memory.read_at(&mut bytes, at).unwrap_or(0);
            seen += read;
            let found = |at: usize| bytes[at..read].starts_with(text);
            if (0..read).any(|at| bytes[at] == text[0] && found(at)) {
                return Ok(());
            }
        }
    }
    ensure!(seen > 1 << 20, "only {seen} bytes of its memory could be read");
    bail!("not in {seen} bytes")
}

/// Bytes that follow from a seed, and that nobody else has.
fn known(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

fn numbered(dir: &Path, seed: u64, number: u64) -> (std::path::PathBuf, Vec<u8>) {
    let seed = seed.wrapping_mul(1 << 20).wrapping_add(number);
    let bytes = fastrand::Rng::with_seed(seed).usize(WRITE_BYTES);
    (dir.join(number.to_string()), known(seed, bytes))
}

fn write(dir: &Path, seed: u64) -> Result<()> {
    for number in 0.. {
        let (path, bytes) = numbered(dir, seed, number);
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()?;
        println!("ack {number} end");
    }
    Ok(())
}

fn check(dir: &Path, seed: u64, count: u64) -> Result<()> {
    for number in 0..count {
        let (path, bytes) = numbered(dir, seed, number);
        let is = fs::read(&path).with_context(|| format!("{number} of {count} is lost"))?;
        ensure!(is == bytes, "{number} of {count} is not as it was written");
    }
    Ok(())
}

fn ask(socket: &str, uid: u32, json: &str) -> Result<()> {
    nix::unistd::setuid(uid.into())?;
    let mut peer = UnixStream::connect(socket).context(socket.to_owned())?;
    peer.write_all(&u32::try_from(json.len())?.to_be_bytes())?;
    peer.write_all(json.as_bytes())?;
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer)?;
    let (length, answer) = answer.split_at_checked(4).context("no answer")?;
    ensure!(u32::from_be_bytes(length.try_into()?) as usize == answer.len(), "cut off");
    println!("{}", String::from_utf8_lossy(answer));
    Ok(())
}
