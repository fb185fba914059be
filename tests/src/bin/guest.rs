//! What runs inside of a guest beside the program under test: it writes what will be looked for,
//! and speaks to the socket as the service does.
//!
//! `guest fill FILE BYTES SEED`: writes known bytes and syncs them ·
//! `guest same FILE BYTES SEED`: fails unless they are there ·
//! `guest write DIR SEED`: writes files until it is killed; each is on its way to a console as
//! `ack NUMBER` once file and folder are synced ·
//! `guest check DIR SEED COUNT`: fails unless the first COUNT are there, whole ·
//! `guest ask SOCKET UID JSON`: sends a request as this user and prints the answer ·
//! `guest holds PID TEXT`: fails unless the text is in the memory of a process ·
//! `guest tpm SOCKET SWTPM`: stands before a simulated TPM as the kernel does: what a process left loaded is gone
//! when the next one comes. The TPM has room for three of a kind.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

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
        ["tpm", socket, swtpm] => tpm(socket, swtpm),
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

fn tpm(socket: &str, swtpm: &str) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    let mut last = 0;
    for peer in listener.incoming() {
        let mut peer = peer?;
        let pid = getsockopt(&peer, PeerCredentials)?.pid();
        let mut tpm = UnixStream::connect(swtpm)?;
        if pid != last {
            unload(&mut tpm)?;
            last = pid;
        }
        // A client that goes away is no failure.
        while let Ok(command) = message(&mut peer) {
            let answer = exchange(&mut tpm, &command)?;
            if peer.write_all(&answer).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Flushes what is loaded: sessions, then objects.
fn unload(tpm: &mut UnixStream) -> Result<()> {
    const GET_CAPABILITY: u32 = 0x017a;
    const HANDLES: u32 = 1;
    const FLUSH_CONTEXT: u32 = 0x0165;
    const HANDLES_AT: usize = 19;
    for first in [0x0200_0000_u32, 0x8000_0000] {
        let loaded = exchange(tpm, &command(GET_CAPABILITY, &[HANDLES, first, 16]))?;
        for handle in loaded.get(HANDLES_AT..).unwrap_or_default().chunks_exact(4) {
            let handle = u32::from_be_bytes(handle.try_into()?);
            exchange(tpm, &command(FLUSH_CONTEXT, &[handle]))?;
        }
    }
    Ok(())
}

/// A command without a session.
fn command(code: u32, parameters: &[u32]) -> Vec<u8> {
    let length = 10 + 4 * u32::try_from(parameters.len()).unwrap_or_default();
    let mut command = vec![0x80, 0x01];
    for word in [length, code].iter().chain(parameters) {
        command.extend_from_slice(&word.to_be_bytes());
    }
    command
}

fn exchange(tpm: &mut UnixStream, command: &[u8]) -> Result<Vec<u8>> {
    tpm.write_all(command)?;
    message(tpm)
}

/// A command or an answer: a tag, its length, and the rest.
fn message(from: &mut UnixStream) -> Result<Vec<u8>> {
    let mut message = vec![0; 6];
    from.read_exact(&mut message)?;
    let length = u32::from_be_bytes(message[2..].try_into()?) as usize;
    ensure!((6..=4096).contains(&length), "no message of a TPM: {length} bytes");
    message.resize(length, 0);
    from.read_exact(&mut message[6..])?;
    Ok(message)
}
