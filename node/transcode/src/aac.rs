//! Just enough of AAC's `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1) to time its frames.
//!
//! Containers give the rate after spectral band replication, or a wrong one; frames are counted
//! at the core's rate.

const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// What a configuration says of the core stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AacConfig {
    /// Samples per second.
    pub(crate) rate_hz: u32,
    /// Channels; 0 where the stream itself says.
    pub(crate) channels: u32,
    /// Samples in a frame.
    pub(crate) frame: u32,
}

/// Takes a configuration apart.
pub(crate) fn config(bytes: &[u8]) -> Option<AacConfig> {
    let mut at = 0usize;
    let mut bits = |n: usize| -> Option<u32> {
        let mut v = 0;
        for _ in 0..n {
            v = v << 1 | u32::from(*bytes.get(at / 8)? >> (7 - at % 8) & 1);
            at += 1;
        }
        Some(v)
    };
    let mut kind = bits(5)?;
    if kind == 31 {
        kind = 32 + bits(6)?;
    }
    let index = bits(4)?;
    let rate_hz = if index == 15 { bits(24)? } else { *RATES.get(index as usize)? };
    let channels = match bits(4)? {
        7 => 8,
        n => n,
    };
    if matches!(kind, 5 | 29) {
        // Explicit band replication: the core's object type follows behind the output rate.
        if bits(4)? == 15 {
            bits(24)?;
        }
        bits(5)?;
    }
    let frame = if bits(1)? == 1 { 960 } else { 1024 };
    (rate_hz > 0).then_some(AacConfig { rate_hz, channels, frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_configurations() {
        let lc = AacConfig { rate_hz: 44_100, channels: 2, frame: 1024 };
        assert_eq!(config(&[0x12, 0x10]), Some(lc));
        assert_eq!(config(&[0x12, 0x10, 0x56, 0xe5, 0x00]), Some(lc));
        assert_eq!(config(&[0x11, 0x88]).map(|c| (c.rate_hz, c.channels)), Some((48_000, 1)));
        assert_eq!(config(&[]), None);
    }
}
