//! Sizes that frames say themselves, whatever their container says.

/// Size of a VP8 key frame (RFC 6386, 9.1).
pub(crate) fn vp8_key_size(frame: &[u8]) -> Option<(u32, u32)> {
    let head = frame.get(..10)?;
    if head[0] & 1 != 0 || head[3..6] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let size = |i: usize| u32::from(u16::from_le_bytes([head[i], head[i + 1]]) & 0x3fff);
    Some((size(6), size(8)))
}

/// Size of a VP9 key frame of the usual profile, before a parser has an opinion of the rest.
pub(crate) fn vp9_key_size(frame: &[u8]) -> Option<(u32, u32)> {
    let head: [u8; 9] = frame.get(..9)?.try_into().ok()?;
    // Marker, profile 0, no repetition, key frame; then the code that says so.
    if head[0] & 0xfc != 0x80 || head[1..4] != [0x49, 0x83, 0x42] {
        return None;
    }
    let bits = head[4..].iter().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
    let side = |shift: u32| (bits >> shift & 0xffff) as u32 + 1;
    Some((side(20), side(4)))
}

/// Size of a JPEG by its frame header (ITU T.81, B.2.2).
pub(crate) fn jpeg_size(jpeg: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let head = jpeg.get(at..at + 9)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        match head[..2] {
            [0xff, 0xff] => at += 1,
            // All frame headers; the three others of this range are tables.
            [0xff, kind @ 0xc0..=0xcf] if ![0xc4, 0xc8, 0xcc].contains(&kind) => {
                let side = |i: usize| u32::from(u16::from_be_bytes([head[i], head[i + 1]]));
                return Some((side(7), side(5)));
            }
            // The picture itself begins: no header came.
            [0xff, 0xda] => return None,
            [0xff, _] => at += 2 + length,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_vp9_key_frames() {
        let key = [0x82, 0x49, 0x83, 0x42, 0x20, 0x27, 0xf0, 0x1d, 0xf6];
        assert_eq!(vp9_key_size(&key), Some((640, 480)));
        assert_eq!(vp9_key_size(&key[..8]), None);
        assert_eq!(vp9_key_size(&[0x86, 0x49, 0x83, 0x42, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn sizes_of_jpegs() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x04JF\xff\xff\xc0\0\x11\x08\x01\xe0\x02\x80\x03";
        assert_eq!(jpeg_size(jpeg), Some((640, 480)));
        assert_eq!(jpeg_size(&jpeg[..14]), None);
        assert_eq!(jpeg_size(b"\xff\xd8\xff\xda\0\x04JFxxxxxxxx"), None);
    }

    #[test]
    fn sizes_of_vp8_key_frames() {
        let key = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01, 0];
        assert_eq!(vp8_key_size(&key), Some((640, 480)));
        assert_eq!(vp8_key_size(&[0x11, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]), None);
        assert_eq!(vp8_key_size(&key[..9]), None);
    }
}
