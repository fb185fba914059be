//! Sizes, shapes and orientations of a film. Pure: no frame is touched here.
//!
//! * *Stored* is how frames come from the decoder; *shown* is with square pixels, turned upright.
//! * Limits and shapes that people ask for are those of the film as it is shown.
//! * Nothing becomes larger than the largest frame of the recording. Sizes are even, because 4:2:0
//!   halves them.

use holdfast_core::transform::{Aspect, Flip, SizePolicy, VideoTransform};

/// Longest side that squaring pixels may lead to.
const SIDE_MAX: u32 = 16_384;

/// One of eight ways to look at a picture: turned clockwise, then mirrored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// Clockwise, in degrees: 0, 90, 180 or 270.
    pub(crate) degrees: u16,
    /// Whether left and right change places after turning.
    pub(crate) mirrored: bool,
}

impl Orientation {
    /// Turned only.
    pub(crate) fn turned(degrees: u16) -> Self {
        Self { degrees: degrees % 360, mirrored: false }
    }

    /// As a setting says.
    pub(crate) fn wanted(degrees: u16, flip: Flip) -> Self {
        match flip {
            Flip::None => Self::turned(degrees),
            Flip::Horizontal => Self { degrees: degrees % 360, mirrored: true },
            // Top and bottom change places in a picture that is turned by half and mirrored.
            Flip::Vertical => Self { degrees: (degrees + 180) % 360, mirrored: true },
        }
    }

    /// This one, then another.
    pub(crate) fn then(self, next: Self) -> Self {
        // Behind a mirror, clockwise is the other way round.
        let next_degrees = if self.mirrored { 360 - next.degrees } else { next.degrees };
        Self {
            degrees: (self.degrees + next_degrees) % 360,
            mirrored: self.mirrored != next.mirrored,
        }
    }

    /// Whether width and height change places.
    pub(crate) fn swaps(self) -> bool {
        self.degrees % 180 == 90
    }

    /// Whether it changes anything.
    pub(crate) fn is_upright(self) -> bool {
        self == Self::default()
    }

    /// What `videoflip` calls it.
    pub(crate) fn direction(self) -> &'static str {
        match (self.degrees, self.mirrored) {
            (90, false) => "90r",
            (180, false) => "180",
            (270, false) => "90l",
            (90, true) => "ul-lr",
            (180, true) => "vert",
            (270, true) => "ur-ll",
            (_, true) => "horiz",
            _ => "identity",
        }
    }
}

/// A size in pixels.
pub(crate) type Size = (u32, u32);

/// A size with its pixels made square: the longer way, so that neither direction loses any.
pub(crate) fn squared((w, h): Size, par: (u32, u32)) -> Size {
    let (n, d) = (u64::from(par.0.max(1)), u64::from(par.1.max(1)));
    if n >= d {
        ((u64::from(w) * n / d).min(u64::from(SIDE_MAX)) as u32, h)
    } else {
        (w, (u64::from(h) * d / n).min(u64::from(SIDE_MAX)) as u32)
    }
}

/// Rounded down to what 4:2:0 can hold.
pub(crate) fn even((w, h): Size) -> Size {
    ((w & !1).max(2), (h & !1).max(2))
}

/// The size with the largest area, the first of equals.
pub(crate) fn largest(sizes: &[Size]) -> Size {
    let area = |&(w, h): &Size| u64::from(w) * u64::from(h);
    let most = sizes.iter().map(area).max().unwrap_or(0);
    sizes.iter().copied().find(|s| area(s) == most).unwrap_or((2, 2))
}

/// Width and height in each other's places where an orientation says so.
pub(crate) fn swapped_by((w, h): Size, orientation: Orientation) -> Size {
    if orientation.swaps() { (h, w) } else { (w, h) }
}

/// The middle of a picture in another shape: how much of it there is.
pub(crate) fn cropped((w, h): Size, aspect: Aspect) -> Size {
    let (wide, high) = (
        u64::from(w) * u64::from(aspect.height.max(1)),
        u64::from(h) * u64::from(aspect.width.max(1)),
    );
    if wide > high {
        ((high / u64::from(aspect.height.max(1))) as u32, h)
    } else {
        (w, (wide / u64::from(aspect.width.max(1))) as u32)
    }
}

/// The size that a film gets, as it is shown, for a recording of this size as it is shown.
pub(crate) fn wanted_size(shown: Size, want: &VideoTransform) -> Size {
    let (w, h) = match (want.size, want.aspect) {
        (SizePolicy::Crop, Some(aspect)) => cropped(shown, aspect),
        _ => shown,
    };
    let limits = (want.size != SizePolicy::Keep)
        .then_some((want.max_width.unwrap_or(SIDE_MAX), want.max_height.unwrap_or(SIDE_MAX)));
    match limits {
        Some((max_w, max_h)) if w > max_w || h > max_h => {
            let (w, h) = (u64::from(w.max(1)), u64::from(h.max(1)));
            let (max_w, max_h) = (u64::from(max_w), u64::from(max_h));
            // To the nearest even number: rounding down would change the shape more.
            let near = |side: u64, of: u64, to: u64| ((side * to + of) / (of * 2) * 2) as u32;
            let (w, h) = if w * max_h > h * max_w {
                (max_w as u32, near(h, w, max_w))
            } else {
                (near(w, h, max_h), max_h as u32)
            };
            even((w.min(max_w as u32), h.min(max_h as u32)))
        }
        _ => even((w, h)),
    }
}

/// What to cut off a stored frame: left, right, top and bottom. What is kept is even, as the film is;
/// left and top are even, so that chroma stays in step.
pub(crate) fn margins(
    stored: Size,
    par: (u32, u32),
    turn: Orientation,
    aspect: Aspect,
) -> [u32; 4] {
    let whole = squared(stored, par);
    let shown = cropped(swapped_by(whole, turn), aspect);
    let kept = swapped_by(shown, turn);
    let cut = |stored: u32, whole: u32, kept: u32| {
        let kept = u64::from(kept) * u64::from(stored) / u64::from(whole.max(1));
        let all = stored.saturating_sub((kept as u32 & !1).max(2));
        let first = (all / 2) & !1;
        (first, all - first)
    };
    let (left, right) = cut(stored.0, whole.0, kept.0);
    let (top, bottom) = cut(stored.1, whole.1, kept.1);
    [left, right, top, bottom]
}

/// Whether two shapes differ by no more than rounding to even numbers does: by two pixels of one side,
/// at the size of either.
pub(crate) fn same_shape(a: Size, b: Size) -> bool {
    let near = |(w, h): Size, (other_w, other_h): Size| {
        let (across, down) = (u64::from(w) * u64::from(other_h), u64::from(h) * u64::from(other_w));
        let differs = across.abs_diff(down);
        differs <= 2 * u64::from(other_h) || differs <= 2 * u64::from(other_w)
    };
    near(a, b) || near(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(max_width: Option<u32>, max_height: Option<u32>) -> VideoTransform {
        VideoTransform { size: SizePolicy::Fit, max_width, max_height, ..Default::default() }
    }

    #[test]
    fn sizes_are_even_and_pixels_square() {
        assert_eq!(even(squared(largest(&[(641, 481)]), (1, 1))), (640, 480));
        assert_eq!(even(squared(largest(&[(720, 576)]), (16, 15))), (768, 576));
        assert_eq!(even(largest(&[(480, 640), (640, 480)])), (480, 640));
        assert_eq!(even(largest(&[(1, 1)])), (2, 2));
    }

    #[test]
    fn fitting_keeps_the_shape_and_never_enlarges() {
        assert_eq!(wanted_size((1280, 720), &fit(Some(640), None)), (640, 360));
        assert_eq!(wanted_size((1280, 720), &fit(None, Some(360))), (640, 360));
        assert_eq!(wanted_size((1280, 720), &fit(Some(500), Some(500))), (500, 282));
        assert_eq!(wanted_size((720, 1280), &fit(Some(640), Some(640))), (360, 640));
        assert_eq!(wanted_size((320, 240), &fit(Some(640), Some(640))), (320, 240));
        assert_eq!(wanted_size((10_000, 20), &fit(Some(16), None)), (16, 2));
    }

    #[test]
    fn cropping_cuts_about_the_middle() {
        let square = Aspect { width: 1, height: 1 };
        let want = VideoTransform {
            size: SizePolicy::Crop,
            aspect: Some(square),
            max_width: Some(360),
            ..Default::default()
        };
        assert_eq!(wanted_size((1280, 720), &want), (360, 360));
        assert_eq!(wanted_size((200, 300), &want), (200, 200));
        assert_eq!(margins((1280, 720), (1, 1), Orientation::default(), square), [280, 280, 0, 0]);
        // Lying on its side: what is shown as high is stored as wide.
        let tall = Aspect { width: 9, height: 16 };
        let turn = Orientation::turned(90);
        assert_eq!(margins((1280, 720), (1, 1), turn, tall), [0, 0, 0, 0]);
        let wide = Aspect { width: 16, height: 9 };
        let [left, right, top, bottom] = margins((1280, 720), (1, 1), turn, wide);
        assert_eq!((left, right, top, bottom), (438, 438, 0, 0));
        // Pixels that are not square: 720x576 at 16:15 is shown as 768x576.
        assert_eq!(margins((720, 576), (16, 15), Orientation::default(), square), [90, 90, 0, 0]);
    }

    #[test]
    fn what_is_kept_is_as_even_as_the_film() {
        let aspects = [(9, 16), (1, 1), (16, 9), (3, 4), (239, 100)];
        let aspects = aspects.map(|(width, height)| Aspect { width, height });
        for w in 30..90 {
            for h in [33, 48, 61, 90] {
                for aspect in aspects {
                    let want = VideoTransform {
                        size: SizePolicy::Crop,
                        aspect: Some(aspect),
                        ..Default::default()
                    };
                    let [left, right, top, bottom] =
                        margins((w, h), (1, 1), Orientation::default(), aspect);
                    let kept = (w - left - right, h - top - bottom);
                    assert_eq!(kept, wanted_size((w, h), &want), "{w}x{h} {aspect:?}");
                    assert!(left % 2 == 0 && top % 2 == 0);
                }
            }
        }
    }

    #[test]
    fn shapes_that_differ_by_rounding_only() {
        for (a, b) in [
            ((26, 48), (27, 48)),
            ((404, 720), (100, 180)),
            ((854, 480), (1280, 720)),
            ((64, 114), (404, 720)),
        ] {
            assert!(same_shape(a, b) && same_shape(b, a), "{a:?} {b:?}");
        }
        for (a, b) in
            [((640, 480), (1280, 720)), ((1280, 720), (1280, 740)), ((180, 320), (320, 180))]
        {
            assert!(!same_shape(a, b) && !same_shape(b, a), "{a:?} {b:?}");
        }
    }

    #[test]
    fn orientations_follow_each_other() {
        let all = || {
            [0, 90, 180, 270]
                .into_iter()
                .flat_map(|degrees| [false, true].map(|mirrored| Orientation { degrees, mirrored }))
        };
        // As a permutation of a square's corners, counted clockwise from the top left.
        let corners = |o: Orientation| {
            let turns = usize::from(o.degrees / 90);
            let turned = [0, 1, 2, 3].map(|i: usize| (i + 4 - turns) % 4);
            if o.mirrored { [1, 0, 3, 2].map(|i: usize| turned[i]) } else { turned }
        };
        for a in all() {
            for b in all() {
                let first = corners(a);
                assert_eq!(corners(a.then(b)), corners(b).map(|i| first[i]), "{a:?} {b:?}");
            }
        }
        let vertical = Orientation::wanted(0, Flip::Vertical);
        assert_eq!(corners(vertical), [3, 2, 1, 0]);
        assert_eq!(vertical.direction(), "vert");
    }
}
