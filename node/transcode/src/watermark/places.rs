//! How large a watermark is and where it lies. Pure: no pixel is touched here.

use holdfast_core::transform::{Length, Position, Watermark};

use crate::geometry::Size;

/// Copies of a tiled mark.
const TILES_MAX: usize = 4096;

/// As wide as wanted, never wider than it is, and within the frame.
pub(super) fn mark_size(own: Size, width: Length, frame: Size) -> Size {
    let width = width.of(frame.0).min(own.0).min(frame.0).max(1);
    let height = |w: u32| (u64::from(w) * u64::from(own.1) / u64::from(own.0.max(1))) as u32;
    let tall = height(width).max(1);
    if tall <= frame.1 {
        return (width, tall);
    }
    let width = u64::from(frame.1) * u64::from(own.0) / u64::from(own.1.max(1));
    ((width as u32).max(1), frame.1)
}

/// Where copies of a mark lie: even numbers from the top left.
pub(super) fn places(size: Size, want: &Watermark, frame: Size) -> Vec<Size> {
    let shorter = frame.0.min(frame.1);
    let margin = want.margin.of(shorter);
    if want.tiled {
        // Beyond half a side there would be no place for the first.
        return tiles(size, margin.min(shorter / 2), frame);
    }
    let room = (frame.0.saturating_sub(size.0), frame.1.saturating_sub(size.1));
    let side = |which: i8, room: u32| match which {
        -1 => margin.min(room),
        0 => room / 2,
        _ => room.saturating_sub(margin),
    };
    let (x, y) = match want.position {
        Position::TopLeft => (-1, -1),
        Position::Top => (0, -1),
        Position::TopRight => (1, -1),
        Position::Left => (-1, 0),
        Position::Center => (0, 0),
        Position::Right => (1, 0),
        Position::BottomLeft => (-1, 1),
        Position::Bottom => (0, 1),
        Position::BottomRight => (1, 1),
    };
    vec![(side(x, room.0) & !1, side(y, room.1) & !1)]
}

/// Copies all over a frame; farther apart than wanted where they would be too many.
fn tiles(size: Size, margin: u32, frame: Size) -> Vec<Size> {
    let mut step = (size.0 + margin, size.1 + margin);
    let starts = |step: u32, of: u32| ((margin / 2) & !1..of).step_by((step & !1).max(2) as usize);
    while starts(step.0, frame.0).len() * starts(step.1, frame.1).len() > TILES_MAX {
        step = (step.0 + step.0 / 8 + 2, step.1 + step.1 / 8 + 2);
    }
    let rows = starts(step.1, frame.1);
    rows.flat_map(|y| starts(step.0, frame.0).map(move |x| (x, y))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(json: serde_json::Value) -> Watermark {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn sizes_and_places() {
        assert_eq!(mark_size((400, 200), Length::Percent(10.0), (1280, 720)), (128, 64));
        assert_eq!(mark_size((100, 50), Length::Percent(50.0), (1280, 720)), (100, 50));
        assert_eq!(mark_size((100, 1000), Length::Pixels(100), (640, 360)), (36, 360));
        let at = |position: &str| {
            places(
                (100, 50),
                &want(serde_json::json!({"position": position, "margin": "10px"})),
                (640, 360),
            )
        };
        assert_eq!(at("top-left"), [(10, 10)]);
        assert_eq!(at("top"), [(270, 10)]);
        assert_eq!(at("right"), [(530, 154)]);
        assert_eq!(at("bottom-right"), [(530, 300)]);
        let tiled = places(
            (100, 50),
            &want(serde_json::json!({"tiled": true, "margin": "20px"})),
            (640, 360),
        );
        assert_eq!((tiled.len(), tiled[0], tiled[1]), (6 * 5, (10, 10), (130, 10)));
    }

    #[test]
    fn tiles_cover_the_whole_frame_however_small_they_are() {
        for frame in [(3840, 2160), (640, 360), (16, 2160), (2, 2)] {
            for margin in ["0px", "1px", "3px", "100%", "4000px"] {
                let want = want(serde_json::json!({"tiled": true, "margin": margin}));
                let all = places((1, 1), &want, frame);
                assert!((1..=TILES_MAX).contains(&all.len()), "{frame:?} {margin} {}", all.len());
                let last = (all.iter().map(|p| p.0).max(), all.iter().map(|p| p.1).max());
                let (x, y) = (last.0.unwrap(), last.1.unwrap());
                assert!(x < frame.0 && y < frame.1, "{frame:?} {margin}");
                if margin != "100%" && margin != "4000px" {
                    assert!(
                        frame.0 - x <= frame.0 / 8 + 8 && frame.1 - y <= frame.1 / 8 + 8,
                        "{frame:?} {margin} {x} {y}"
                    );
                }
            }
        }
    }
}
