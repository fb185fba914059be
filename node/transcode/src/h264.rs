//! Just enough of H.264 (ITU-T H.264, 7.3) to tell what a remux may do: parameter sets and sizes.
//!
//! Works on NAL units without start codes. Reads untrusted bytes: never panics, never allocates
//! more than the unit it was given.

/// NAL unit type of a sequence parameter set.
pub(crate) const SPS: u8 = 7;
/// NAL unit type of a picture parameter set.
pub(crate) const PPS: u8 = 8;

/// The size an SPS declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpsSize {
    /// Width after cropping, in pixels.
    pub(crate) width: u32,
    /// Height after cropping, in pixels.
    pub(crate) height: u32,
    /// Macroblocks in one whole frame.
    pub(crate) macroblocks: u32,
}

struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    /// Strips emulation prevention from at most `max` bytes of a NAL unit's payload.
    fn of_nal(nal: &[u8], max: usize) -> Self {
        let mut bytes = Vec::with_capacity(nal.len().min(max));
        let mut zeros = 0;
        for &b in nal.iter().skip(1).take(max) {
            if zeros >= 2 && b == 3 {
                zeros = 0;
                continue;
            }
            zeros = if b == 0 { zeros + 1 } else { 0 };
            bytes.push(b);
        }
        Self { bytes, at: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn bits(&mut self, n: u32) -> Option<u32> {
        (0..n).try_fold(0u32, |v, _| Some(v << 1 | self.bit()?))
    }

    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    fn se(&mut self) -> Option<i64> {
        let v = i64::from(self.ue()?);
        Some(if v & 1 == 1 { (v + 1) / 2 } else { -v / 2 })
    }
}

fn skip_scaling_list(b: &mut Bits, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + b.se()? + 256) % 256;
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Reads past what only the higher profiles have; gives `chroma_format_idc`.
fn chroma_format(b: &mut Bits, profile: u32) -> Option<u32> {
    const HIGH: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
    if !HIGH.contains(&profile) {
        return Some(1);
    }
    let chroma = b.ue()?;
    if chroma == 3 {
        b.bit()?;
    }
    b.ue()?;
    b.ue()?;
    b.bit()?;
    if b.bit()? == 1 {
        for i in 0..if chroma == 3 { 12 } else { 8 } {
            if b.bit()? == 1 {
                skip_scaling_list(b, if i < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(chroma)
}

/// The size in a sequence parameter set, header byte included.
pub(crate) fn sps_size(nal: &[u8]) -> Option<SpsSize> {
    let mut b = Bits::of_nal(nal, 512);
    let profile = b.bits(8)?;
    b.bits(16)?;
    b.ue()?;
    let chroma = chroma_format(&mut b, profile)?;
    b.ue()?;
    match b.ue()? {
        0 => {
            b.ue()?;
        }
        1 => {
            b.bit()?;
            b.se()?;
            b.se()?;
            for _ in 0..b.ue()?.min(255) {
                b.se()?;
            }
        }
        _ => {}
    }
    b.ue()?;
    b.bit()?;
    let columns = b.ue()?.checked_add(1)?;
    let map_rows = b.ue()?.checked_add(1)?;
    let frame_only = b.bit()?;
    if frame_only == 0 {
        b.bit()?;
    }
    b.bit()?;
    let rows = map_rows.checked_mul(2 - frame_only)?;
    let (mut width, mut height) = (columns.checked_mul(16)?, rows.checked_mul(16)?);
    if b.bit()? == 1 {
        let unit_x = if chroma == 1 || chroma == 2 { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 } * (2 - frame_only);
        let (l, r, t, d) = (b.ue()?, b.ue()?, b.ue()?, b.ue()?);
        width = width.checked_sub(l.checked_add(r)?.checked_mul(unit_x)?)?;
        height = height.checked_sub(t.checked_add(d)?.checked_mul(unit_y)?)?;
    }
    Some(SpsSize { width, height, macroblocks: columns.checked_mul(rows)? })
}

/// The first macroblock of a slice, if this NAL unit is a slice.
pub(crate) fn first_macroblock(nal: &[u8]) -> Option<u32> {
    matches!(nal.first()? & 31, 1 | 5).then(|| Bits::of_nal(nal, 16).ue()).flatten()
}

/// The NAL units of one access unit with lengths of `length_bytes` before each (`avc` format).
pub(crate) fn nals(mut au: &[u8], length_bytes: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = au.get(..length_bytes)?;
        let len = head.iter().fold(0usize, |v, &b| v << 8 | usize::from(b));
        let nal = au.get(length_bytes..length_bytes.checked_add(len)?)?;
        au = &au[length_bytes + len..];
        Some(nal)
    })
    .filter(|nal| !nal.is_empty())
}

/// An `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1) taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AvcConfig {
    /// Bytes of the length before each NAL unit.
    pub(crate) length_bytes: usize,
    /// Sequence and picture parameter sets.
    pub(crate) sets: Vec<Vec<u8>>,
}

/// Takes a configuration record apart.
pub(crate) fn avc_config(record: &[u8]) -> Option<AvcConfig> {
    let length_bytes = usize::from(record.get(4)? & 3) + 1;
    let mut sets = Vec::new();
    let mut at = 5;
    for mask in [31, 255] {
        let count = record.get(at)? & mask;
        at += 1;
        for _ in 0..count {
            let len = usize::from(u16::from_be_bytes([*record.get(at)?, *record.get(at + 1)?]));
            sets.push(record.get(at + 2..at + 2 + len)?.to_vec());
            at += 2 + len;
        }
    }
    Some(AvcConfig { length_bytes, sets })
}

impl AvcConfig {
    /// The size that the first SPS declares.
    pub(crate) fn size(&self) -> Option<SpsSize> {
        self.sets
            .iter()
            .find(|s| s.first().is_some_and(|b| b & 31 == SPS))
            .and_then(|s| sps_size(s))
    }

    /// An access unit, in parts, less the parameter sets that this record has already: with `avc3` they
    /// come with every key frame, and h264parse of GStreamer 1.26 puts them before the first; some
    /// players stumble over them in `avc1`. `None` where there is a set that the record does not have:
    /// from there on those that it has may stand where they do to be in force again.
    pub(crate) fn without_sets<'a>(&self, au: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let n = self.length_bytes;
        let mut parts = Vec::new();
        let mut at = 0;
        for nal in nals(au, n) {
            let Some(part) = au.get(at..at + n + nal.len()) else { break };
            at += part.len();
            if !matches!(nal[0] & 31, SPS | PPS) {
                parts.push(part);
            } else if !self.sets.iter().any(|s| s.as_slice() == nal) {
                return None;
            }
        }
        Some(if parts.is_empty() || at != au.len() { vec![au] } else { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "0142c01fffe100126742c01f8c8d40501ed37010d0107844235001000468ce3c80";

    fn hex(s: &str) -> Vec<u8> {
        (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_browsers_configuration_is_640_by_480() {
        let c = avc_config(&hex(CHROME)).unwrap();
        assert_eq!((c.length_bytes, c.sets.len()), (4, 2));
        assert_eq!(c.size(), Some(SpsSize { width: 640, height: 480, macroblocks: 1200 }));
    }

    #[test]
    fn sets_that_the_record_has_are_left_out() {
        let config = avc_config(&hex(CHROME)).unwrap();
        let unit = |nal: &[u8]| [&(nal.len() as u32).to_be_bytes(), nal].concat();
        let slice = unit(&[0x65, 1, 2, 3]);
        let sets: Vec<u8> = config.sets.iter().flat_map(|s| unit(s)).collect();
        let au = [sets.clone(), slice.clone()].concat();
        assert_eq!(config.without_sets(&au).unwrap().concat(), slice);
        // Nothing else is: an access unit without them, one of nothing but sets, one that is cut.
        for au in [&slice, &sets, &au[..au.len() - 1].to_vec()] {
            assert_eq!(&config.without_sets(au).unwrap().concat(), au);
        }
        let another = [unit(&[0x68, 9, 9]), au].concat();
        assert_eq!(config.without_sets(&another), None);
    }

    #[test]
    fn cropped_high_profile() {
        // x264, 1920x1080: coded as 1088 lines.
        let sps = hex("67640028acd940780227e5c04400000fa40002ee00303c60c658");
        let s = sps_size(&sps).unwrap();
        assert_eq!((s.width, s.height), (1920, 1080));
    }

    #[test]
    fn nonsense_is_no_size() {
        for len in 0..40 {
            let _ = sps_size(&vec![0xff; len]);
            let _ = sps_size(&vec![0; len]);
            let _ = avc_config(&vec![0xff; len]);
            assert!(nals(&vec![0xff; len], 4).count() < 2);
        }
    }
}
