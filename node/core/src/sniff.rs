//! What a recording is, told by its first bytes; the name's ending is not believed.
//!
//! The service asks at its door and the transcoder once more, before any demuxer sees a byte.

use crate::names::Container;

/// Bytes that are enough to tell every container.
pub const HEAD_BYTES: usize = 4_096;

/// Fewest bytes that can tell anything; a recording that ends before them is none.
pub const HEAD_BYTES_MIN: usize = 12;

/// The container that begins with `head`, or `None` where it is no recording.
///
/// `head` holds the first [`HEAD_BYTES`], or the whole recording where it is shorter.
#[must_use]
pub fn sniff(head: &[u8]) -> Option<Container> {
    if head.len() < HEAD_BYTES_MIN {
        return None;
    }
    match head {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(ebml(head)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Some(Container::Avi),
        [b'R', b'I', b'F', b'F' | b'X', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
            Some(Container::Wav)
        }
        [b'O', b'g', b'g', b'S', 0, ..] => Some(Container::Ogg),
        [b'F', b'L', b'V', 1, ..] => Some(Container::Flv),
        [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, ..] => Some(Container::Asf),
        [0, 0, 1, 0xba, ..] => Some(Container::MpegPs),
        [b'I', b'D', b'3', 2..=4, ..] => Some(after_id3(head)),
        _ => iso_bmff(head).or_else(|| transport_stream(head)).or_else(|| audio_frames(head)),
    }
}

fn ebml(head: &[u8]) -> Container {
    let start = &head[..head.len().min(64)];
    if start.windows(4).any(|word| word == b"webm") { Container::Webm } else { Container::Matroska }
}

fn iso_bmff(head: &[u8]) -> Option<Container> {
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let kind = &head[4..8];
    match kind {
        b"ftyp" if size >= 8 => Some(match &head[8..12] {
            b"qt  " => Container::Mov,
            [b'3', b'g', b'p' | b'2', _] => Container::ThreeGp,
            _ => Container::Mp4,
        }),
        // QuickTime files of before 2001 have no `ftyp`.
        b"moov" | b"mdat" | b"wide" | b"pnot" | b"free" | b"skip" if size == 1 || size >= 8 => {
            Some(Container::Mov)
        }
        b"styp" | b"moof" | b"sidx" if size >= 8 => Some(Container::Mp4),
        _ => None,
    }
}

fn transport_stream(head: &[u8]) -> Option<Container> {
    // 188 bytes a packet; 192 with the time code that cameras put before each.
    let repeats = |start: usize, step: usize| {
        let marks: Vec<u8> = head.iter().skip(start).step_by(step).take(4).copied().collect();
        marks.len() >= 3 && marks.iter().all(|mark| *mark == 0x47)
    };
    (repeats(0, 188) || repeats(4, 192)).then_some(Container::MpegTs)
}

/// What follows a tag that may be longer than the head is mostly MPEG audio.
fn after_id3(head: &[u8]) -> Container {
    let start = id3_bytes(head).and_then(|bytes| usize::try_from(bytes).ok());
    match start.and_then(|start| head.get(start..)) {
        Some([0xff, second, ..]) if second & 0xf6 == 0xf0 => Container::Adts,
        _ => Container::Mp3,
    }
}

/// Length in bytes of the ID3 tag that the head begins with, if it begins with one.
#[must_use]
pub fn id3_bytes(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', 2..=4, _, flags, size @ ..] = head else { return None };
    let size = size.get(..4)?.iter().fold(0u64, |sum, &b| (sum << 7) | u64::from(b & 0x7f));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + size + footer)
}

/// MPEG audio and ADTS have no magic number: two frames must stand where the first one says.
#[must_use]
pub fn audio_frames(head: &[u8]) -> Option<Container> {
    let (container, length) = audio_frame(head)?;
    let next = head.get(length..)?;
    audio_frame(next).filter(|(same, _)| *same == container).map(|_| container)
}

fn audio_frame(bytes: &[u8]) -> Option<(Container, usize)> {
    let [0xff, b1, b2, b3, b4, b5, ..] = *bytes else { return None };
    if b1 & 0xf6 == 0xf0 {
        let length = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
        return (length >= 7 && b2 >> 2 & 0xf < 13).then_some((Container::Adts, length));
    }
    const KBPS_V1: [usize; 16] =
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
    const KBPS_V2: [usize; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
    const HZ_V1: [usize; 4] = [44_100, 48_000, 32_000, 0];
    let layer_3 = b1 & 0xe6 == 0xe2;
    let version_1 = b1 & 0x18 == 0x18;
    let divisor = match b1 & 0x18 {
        0x18 => 1,
        0x10 => 2,
        0x00 => 4,
        _ => return None,
    };
    let kbps = if version_1 { KBPS_V1 } else { KBPS_V2 }[usize::from(b2 >> 4)];
    let hz = HZ_V1[usize::from(b2 >> 2 & 3)] / divisor;
    if !layer_3 || kbps == 0 || hz == 0 {
        return None;
    }
    let per_frame = if version_1 { 144_000 } else { 72_000 };
    Some((Container::Mp3, per_frame * kbps / hz + usize::from(b2 >> 1 & 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(start: &[u8]) -> Vec<u8> {
        let mut head = start.to_vec();
        head.resize(64, 0);
        head
    }

    #[test]
    fn containers_are_told_by_their_first_bytes() {
        for (start, expected) in [
            (&b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm"[..], Some(Container::Webm)),
            (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", Some(Container::Matroska)),
            (b"\0\0\0\x20ftypisom", Some(Container::Mp4)),
            (b"\0\0\0\x14ftypqt  ", Some(Container::Mov)),
            (b"\0\0\0\x14ftyp3gp4", Some(Container::ThreeGp)),
            (b"RIFF\x10\0\0\0AVI LIST", Some(Container::Avi)),
            (b"RIFF\x10\0\0\0WAVEfmt ", Some(Container::Wav)),
            (b"OggS\0\x02", Some(Container::Ogg)),
            (b"FLV\x01\x05", Some(Container::Flv)),
            (b"\0\0\x01\xba", Some(Container::MpegPs)),
            (b"ID3\x03\0\0\0\0\0\0\xff\xfb", Some(Container::Mp3)),
            (b"PK\x03\x04", None),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", None),
            (b"<!doctype html>", None),
            (b"", None),
            (&[0; 64], None),
        ] {
            assert_eq!(sniff(&head(start)), expected, "{start:02x?}");
        }
        assert_eq!(sniff(b"\x1a\x45\xdf\xa3"), None, "too short to tell");
    }

    #[test]
    fn tags_are_measured() {
        assert_eq!(id3_bytes(b"ID3\x03\0\0\0\0\x01\x02rest"), Some(140));
        assert_eq!(id3_bytes(b"ID3\x04\0\x10\0\0\0\x05"), Some(25));
        assert_eq!(id3_bytes(b"ID3\x03\0\0\0"), None);
    }

    #[test]
    fn streams_without_a_magic_number_must_repeat() {
        let mut packets = vec![0; 188 * 4];
        packets.iter_mut().step_by(188).for_each(|byte| *byte = 0x47);
        assert_eq!(sniff(&packets), Some(Container::MpegTs));
        packets[188] = 0;
        assert_eq!(sniff(&packets), None);
        let mut timed = vec![0; 192 * 4];
        timed.iter_mut().skip(4).step_by(192).for_each(|byte| *byte = 0x47);
        assert_eq!(sniff(&timed), Some(Container::MpegTs));
        let mut frames = vec![0; 1_000];
        for at in [0, 417] {
            frames[at..at + 4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        }
        assert_eq!(sniff(&frames), Some(Container::Mp3));
        frames[417] = 0;
        assert_eq!(sniff(&frames), None);
    }
}
