//! Moves the index of a whole .mp4 to the front, for a recording that is H.264 and AAC already.
//!
//! No sample passes through a pipeline: boxes are copied as they are, and only the chunk offsets in
//! `moov` change. Everything else stays bit by bit: lead-in, edit lists, rotation, colours.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::reader::{atoms, u32_at, u64_at};
use crate::error::Error;
use crate::source::Input;

const MOOV_BYTES_MAX: u64 = 256 << 20;
/// Between two signs of life.
const PART_BYTES: u64 = 64 << 20;
const BOXES_MAX: usize = 1024;
const CONTAINERS: [&[u8; 4]; 4] = [b"trak", b"mdia", b"minf", b"stbl"];

/// An outermost box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outer {
    name: [u8; 4],
    at: u64,
    bytes: u64,
}

/// Writes the recording to `out` with its index in front. `Ok(false)`: this is not a plain whole
/// .mp4 with exactly `tracks` tracks; nothing was written.
pub(crate) fn move_index(
    input: &Arc<Input>,
    out: &File,
    tracks: usize,
    bytes_max: u64,
    alive: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<bool, Error> {
    let Some((boxes, mut moov)) = layout(input, tracks) else { return Ok(false) };
    let kept: Vec<Outer> = boxes
        .into_iter()
        .filter(|b| !matches!(&b.name, b"moov" | b"free" | b"skip" | b"wide"))
        .collect();
    let mut places = Vec::new();
    let mut end = 0;
    for b in &kept {
        places.push((*b, end));
        end += b.bytes;
        if &b.name == b"ftyp" {
            end += moov.len() as u64;
        }
    }
    if !move_chunks(&mut moov[8..], &places) {
        return Ok(false);
    }
    if end > bytes_max {
        return Err(Error::Limit(format!(
            "The .mp4 would exceed the {} MiB allowed.",
            bytes_max >> 20
        )));
    }
    let disk = || Error::disk("cannot write the .mp4");
    for (b, to) in &places {
        for part in (0..b.bytes).step_by(PART_BYTES as usize) {
            let bytes = PART_BYTES.min(b.bytes - part);
            copy(&input.file, b.at + part, out, to + part, bytes).map_err(disk())?;
            alive()?;
        }
        if &b.name == b"ftyp" {
            out.write_all_at(&moov, to + b.bytes).map_err(disk())?;
        }
    }
    out.sync_all().map_err(disk())?;
    Ok(true)
}

/// The outermost boxes, `ftyp` first, and the whole `moov`, if all is plain.
fn layout(input: &Input, tracks: usize) -> Option<(Vec<Outer>, Vec<u8>)> {
    let (mut at, mut boxes, mut moov) = (0, Vec::new(), None);
    while at < input.bytes && boxes.len() < BOXES_MAX {
        let mut head = [0; 16];
        let n = input.file.read_at(&mut head, at).ok()?;
        let bytes = match u32_at(&head[..n], 0)? {
            0 => input.bytes - at,
            1 => u64_at(&head[..n], 8)?,
            size => u64::from(size),
        };
        let name: [u8; 4] = head.get(4..8)?.try_into().ok()?;
        // A last box that reaches to the end of the file without saying how far cannot be moved.
        let sized = u32_at(&head, 0)? != 0;
        if bytes < 8 || bytes > input.bytes - at || &name == b"moof" || !sized {
            return None;
        }
        if &name == b"moov" {
            if moov.is_some() || bytes > MOOV_BYTES_MAX {
                return None;
            }
            let mut body = vec![0; bytes as usize];
            input.file.read_exact_at(&mut body, at).ok()?;
            moov = Some(body);
        }
        boxes.push(Outer { name, at, bytes });
        at += bytes;
    }
    let moov = moov?;
    let inner: Vec<[u8; 4]> = atoms(moov.get(8..)?).map(|(name, _)| name).collect();
    let plain = !inner.contains(b"mvex")
        && !inner.contains(b"cmov")
        && inner.iter().filter(|name| *name == b"trak").count() == tracks;
    (plain && at == input.bytes && boxes.first()?.name == *b"ftyp").then_some((boxes, moov))
}

/// Rewrites every chunk offset; `false` if one points nowhere or no longer fits.
fn move_chunks(bytes: &mut [u8], places: &[(Outer, u64)]) -> bool {
    let moved = |from: u64| {
        let (b, to) = places.iter().find(|(b, _)| (b.at..b.at + b.bytes).contains(&from))?;
        Some(from - b.at + to)
    };
    let mut at = 0;
    while let (Some(size), Some(name)) = (u32_at(bytes, at), bytes.get(at + 4..at + 8)) {
        let size = size as usize;
        let name: [u8; 4] = [name[0], name[1], name[2], name[3]];
        let Some(body) = at.checked_add(size).and_then(|end| bytes.get_mut(at + 8..end)) else {
            return false;
        };
        let wide = &name == b"co64";
        if CONTAINERS.contains(&&name) {
            if !move_chunks(body, places) {
                return false;
            }
        } else if wide || &name == b"stco" {
            let step = if wide { 8 } else { 4 };
            let count = u32_at(body, 4).unwrap_or(0) as usize;
            for row in body.get_mut(8..).unwrap_or(&mut []).chunks_exact_mut(step).take(count) {
                let from = if wide { u64_at(row, 0) } else { u32_at(row, 0).map(u64::from) };
                let Some(to) = from.and_then(moved) else { return false };
                if wide {
                    row.copy_from_slice(&to.to_be_bytes());
                } else {
                    let Ok(to) = u32::try_from(to) else { return false };
                    row.copy_from_slice(&to.to_be_bytes());
                }
            }
        }
        at += size;
    }
    true
}

/// Copies a part; the kernel does it, on file systems that can, without reading.
fn copy(mut source: &File, from: u64, mut target: &File, to: u64, bytes: u64) -> io::Result<()> {
    source.seek(SeekFrom::Start(from))?;
    target.seek(SeekFrom::Start(to))?;
    let copied = io::copy(&mut source.take(bytes), &mut target)?;
    if copied == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
