//! Where the frames of a stream begin and end (RFC 9114, section 7.1): a type and a length, each a variable-length
//! integer (RFC 9000, section 16), then so many bytes.

/// `DATA`, which is passed on as it comes; every other frame is held whole.
const DATA: u64 = 0;
/// Longest frame other than `DATA`, in bytes. As much as a head of a request over HTTP/1 may have.
pub(super) const FRAME_BYTES_MAX: u64 = super::super::BUFFER_BYTES_MAX as u64;

/// What is wrong with what a client sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramesError {
    /// A frame other than DATA is too long.
    #[error("a frame of {0} bytes, and {FRAME_BYTES_MAX} are allowed")]
    Long(u64),
    /// One comes in too many pieces.
    #[error("a frame in too many pieces")]
    Pieces,
    /// The stream ends within a frame.
    #[error("the stream ended within a frame")]
    Cut,
    /// Too much on the control stream.
    #[error("too much on the control stream")]
    Control,
}

/// Follows a stream from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What is there of a frame's type and length.
    begun: [u8; 16],
    begun_len: usize,
    /// Bytes of the frame that are to come.
    left: u64,
}

impl Frames {
    /// The next bytes of the stream.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), FramesError> {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= here as u64;
                bytes = &bytes[here..];
                continue;
            }
            // There is room: both integers have 8 bytes at most, and whole ones are taken out.
            self.begun[self.begun_len] = *first;
            self.begun_len += 1;
            bytes = &bytes[1..];
            let Some((kind, length)) = self.header() else { continue };
            if kind != DATA && length > FRAME_BYTES_MAX {
                return Err(FramesError::Long(length));
            }
            self.begun_len = 0;
            self.left = length;
        }
        Ok(())
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.begun_len == 0
    }

    fn header(&self) -> Option<(u64, u64)> {
        let (kind, rest) = integer(&self.begun[..self.begun_len])?;
        let (length, _) = integer(rest)?;
        Some((kind, length))
    }
}

fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (whole, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = whole[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_the_standard() {
        // RFC 9000, appendix A.1.
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(integer(bytes), Some((value, &[][..])));
            assert_eq!(integer(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(integer(&[]), None);
        assert_eq!(integer(&[0x7b]), None);
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        // HEADERS of 3, DATA of 0, DATA of 300 with a longer length than needed, an unknown type of 2.
        let mut stream = vec![1, 3, 9, 9, 9, 0, 0, 0, 0x80, 0, 1, 0x2c];
        stream.extend([7; 300]);
        stream.extend([0x40, 0x21, 2, 5, 5]);
        let ends = [0, 5, 7, 312, 317];
        for cut in 1..=stream.len() {
            let mut frames = Frames::default();
            for piece in stream.chunks(cut) {
                frames.pass(piece).unwrap();
            }
            assert!(frames.is_between(), "pieces of {cut}");
            let mut frames = Frames::default();
            frames.pass(&stream[..cut]).unwrap();
            assert_eq!(frames.is_between(), ends.contains(&cut), "{cut} bytes");
        }
    }

    #[test]
    fn only_data_may_be_long() {
        let frame = |kind: u8, length: u32| {
            let mut bytes = vec![kind];
            bytes.extend((length | 0x8000_0000).to_be_bytes());
            Frames::default().pass(&bytes)
        };
        let most = u32::try_from(FRAME_BYTES_MAX).unwrap();
        assert_eq!(frame(0, 1 << 29), Ok(()));
        assert_eq!(frame(1, most), Ok(()));
        assert_eq!(frame(1, most + 1), Err(FramesError::Long(FRAME_BYTES_MAX + 1)));
        assert_eq!(frame(0x21, 1 << 29), Err(FramesError::Long(1 << 29)));
    }
}
