//! Keeps from qtdemux how long an .mp4 says that it is.
//!
//! qtdemux of GStreamer 1.22 holds the film's length against times of the media, so it ends the sound of a
//! recording that was trimmed at its start too early, by as much as was trimmed; and it leaves tracks out
//! that are shorter than a fifth of the film. Told nothing of the length, as in a fragmented recording, it
//! gives out everything; what each track's edit list says still holds.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use gst::prelude::*;
use gstreamer as gst;

use super::reader::{u32_at, u64_at};

const BOXES_MAX: usize = 1024;

/// Makes `pad`, which gives out the bytes of an .mp4, give out zeros where its length stands.
pub(crate) fn without_length(pad: &gst::Pad, file: &File) {
    let Some((at, bytes)) = length(file) else { return };
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::PULL | gst::PadProbeType::PUSH;
    pad.add_probe(types, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        // (Where there is no offset, it is the greatest number.)
        let (from, size) = (buffer.offset(), buffer.size() as u64);
        if from < at + bytes
            && at < from + size
            && let Ok(mut data) = buffer.make_mut().map_writable()
        {
            let begin = at.saturating_sub(from) as usize;
            let end = (at + bytes - from).min(size) as usize;
            data[begin..end].fill(0);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Where the film's length stands, and on how many bytes.
fn length(file: &File) -> Option<(u64, u64)> {
    let moov = find(file, 0, u64::MAX, b"moov")?;
    let mvhd = find(file, moov.0, moov.1, b"mvhd")?.0;
    let mut version = [0];
    file.read_exact_at(&mut version, mvhd).ok()?;
    Some(if version == [1] { (mvhd + 24, 8) } else { (mvhd + 16, 4) })
}

/// Where a box's content begins and ends, among those from `at` on.
fn find(file: &File, mut at: u64, end: u64, name: &[u8; 4]) -> Option<(u64, u64)> {
    for _ in 0..BOXES_MAX {
        let mut head = [0; 16];
        let n = file.read_at(&mut head, at).ok()?;
        let (size, skip) = match u32_at(&head[..n], 0)? {
            0 => (end.checked_sub(at)?, 8),
            1 => (u64_at(&head[..n], 8)?, 16),
            size => (u64::from(size), 8),
        };
        let next = at.checked_add(size.max(skip))?;
        if head.get(4..8)? == name {
            return Some((at + skip, next.min(end)));
        }
        at = Some(next).filter(|&next| next < end)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_length_is_found_in_both_versions() {
        let boxed = |name: &[u8], body: &[u8]| {
            [&(body.len() as u32 + 8).to_be_bytes(), name, body].concat()
        };
        for (version, wanted) in [(0, (16, 4)), (1, (24, 8))] {
            let mut body = vec![0; 112];
            body[0] = version;
            let moov = boxed(b"moov", &[boxed(b"free", b""), boxed(b"mvhd", &body)].concat());
            let bytes = [boxed(b"ftyp", b"isom"), boxed(b"mdat", &[7; 99]), moov].concat();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let mvhd = bytes.windows(4).position(|w| w == b"mvhd").unwrap() as u64 + 4;
            assert_eq!(length(&file), Some((mvhd + wanted.0, wanted.1)));
            file.set_len(mvhd - 6).unwrap();
            assert_eq!(length(&file), None);
        }
        assert_eq!(length(&tempfile::tempfile().unwrap()), None);
    }
}
