//! The size of a JPEG (ITU-T T.81), if it is whole as far as its markers tell.

/// Width and height, in pixels.
pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?.strip_suffix(&[0xff, 0xd9])?;
    loop {
        let (&[0xff, marker, high, low], _) = rest.split_first_chunk()? else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        // Frames: all of SOF0 to SOF15 but the three that are tables.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let side = |at: usize| {
                let two = segment.get(at..)?.first_chunk()?;
                Some(u32::from(u16::from_be_bytes(*two)))
            };
            return Some((side(3)?, side(1)?));
        }
        rest = &rest[2 + length..];
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// As much of a JPEG as is looked at.
    pub(in super::super) fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
        let start = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 9, 8];
        [&start[..], &height, &width, &[1, 2, 3, 0xff, 0xd9]].concat()
    }

    #[test]
    fn a_picture_that_is_cut_has_no_size() {
        let whole = jpeg(640, 360);
        assert_eq!(super::size(&whole), Some((640, 360)));
        for length in 0..whole.len() {
            assert_eq!(super::size(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(super::size(&jpeg(1, 2)[2..]), None);
    }
}
