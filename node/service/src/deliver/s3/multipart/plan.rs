//! Which bytes go in which part.

use crate::deliver::source::Range;

/// How a file is cut: parts of one size, but for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver::s3) struct Plan {
    bytes: u64,
    part_bytes: u64,
}

impl Plan {
    /// Parts of at least `part_bytes`, and at most `parts_max` of them.
    pub(in crate::deliver::s3) fn new(bytes: u64, part_bytes: u64, parts_max: u64) -> Self {
        Self { bytes, part_bytes: part_bytes.max(bytes.div_ceil(parts_max)) }
    }

    /// The size of each part but the last, in bytes.
    pub(super) fn part_bytes(self) -> u64 {
        self.part_bytes
    }

    /// How many there are.
    pub(in crate::deliver::s3) fn count(self) -> u64 {
        self.bytes.div_ceil(self.part_bytes)
    }

    /// Their numbers, which count from 1, and their bytes.
    pub(in crate::deliver::s3) fn parts(self) -> impl Iterator<Item = (u16, Range)> {
        let Self { bytes, part_bytes } = self;
        (1..).map_while(move |number: u16| {
            let offset = u64::from(number - 1) * part_bytes;
            let left = bytes.checked_sub(offset).filter(|left| *left > 0)?;
            Some((number, Range { offset, bytes: left.min(part_bytes) }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: u64, part_bytes: u64, parts_max: u64, parts: usize, last: u64) {
        let plan = Plan::new(bytes, part_bytes, parts_max);
        let found: Vec<_> = plan.parts().collect();
        assert_eq!((found.len(), plan.count()), (parts, parts as u64));
        let mut offset = 0;
        for (index, (number, range)) in found.iter().enumerate() {
            assert_eq!(usize::from(*number), index + 1);
            assert_eq!(range.offset, offset);
            offset += range.bytes;
        }
        assert_eq!(offset, bytes);
        assert_eq!(found.last().map(|(_, range)| range.bytes), Some(last));
    }

    #[test]
    fn parts_cover_the_file_and_never_are_too_many() {
        check(1, 5, 1_000, 1, 1);
        check(10, 5, 1_000, 2, 5);
        check(11, 5, 1_000, 3, 1);
        let small = 5 << 20;
        check(small * 1_000, small, 1_000, 1_000, small);
        check(small * 1_000 + 1, small, 1_000, 1_000, small + 1 - 1_000 + 1);
        check(5 << 40, 16 << 20, 1_000, 1_000, (5 << 40) - 999 * (5u64 << 40).div_ceil(1_000));
    }

    #[test]
    fn fifty_gib_fit_into_a_thousand_parts_and_into_ten_thousand() {
        let fifty = 50 << 30;
        assert_eq!(Plan::new(fifty, 16 << 20, 10_000).part_bytes(), 16 << 20);
        assert_eq!(Plan::new(fifty, 5 << 20, 10_000).part_bytes(), 5_368_710);
        assert_eq!(Plan::new(fifty, 16 << 20, 1_000).part_bytes(), 53_687_092);
        check(fifty, 16 << 20, 10_000, 3_200, 16 << 20);
        check(fifty, 5 << 20, 1_000, 1_000, fifty - 999 * 53_687_092);
    }
}
