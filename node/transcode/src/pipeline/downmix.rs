//! More than two channels as two or one, as ITU-R BS.775 says: the centre and the rear 3 dB down, the low
//! effects left out, and everything so much quieter that nothing can be cut off.
//!
//! audioconvert's own way gives the low effects to both sides at full strength.

use gst::prelude::*;
use gstreamer as gst;

const DOWN: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// How much of a channel goes left and right, by its place (a number of `GstAudioChannelPosition`).
fn sides(place: u32) -> (f32, f32) {
    match place {
        // Front left; left of the middle; wide left.
        0 | 6 | 24 => (1.0, 0.0),
        1 | 7 | 25 => (0.0, 1.0),
        // Rear, side, and above at the left.
        4 | 10 | 12 | 16 | 18 | 26 => (DOWN, 0.0),
        5 | 11 | 13 | 17 | 19 | 27 => (0.0, DOWN),
        // Low effects.
        3 | 9 => (0.0, 0.0),
        // The middle, in front; behind and above.
        2 => (DOWN, DOWN),
        _ => (0.5, 0.5),
    }
}

/// Rows of weights, one for each channel that comes out; `None` where it is not known what comes in.
fn weights(channels: u32, places: u64, out: u32) -> Option<Vec<Vec<f32>>> {
    match (channels, out) {
        (1, out) => return Some(vec![vec![1.0]; out as usize]),
        (2, 1) => return Some(vec![vec![0.5, 0.5]]),
        (2, 2) => return Some(vec![vec![1.0, 0.0], vec![0.0, 1.0]]),
        _ => {}
    }
    let named: Vec<u32> = (0..64).filter(|bit| places >> bit & 1 == 1).collect();
    if channels <= 2 || named.len() != channels as usize {
        return None;
    }
    let both: Vec<(f32, f32)> = named.into_iter().map(sides).collect();
    let sum = |side: fn(&(f32, f32)) -> f32| both.iter().map(side).sum::<f32>();
    let most = sum(|s| s.0).max(sum(|s| s.1)).max(f32::MIN_POSITIVE);
    let left = both.iter().map(|s| s.0 / most);
    let right = both.iter().map(|s| s.1 / most);
    Some(if out == 1 {
        vec![left.zip(right).map(|(l, r)| f32::midpoint(l, r)).collect()]
    } else {
        vec![left.collect(), right.collect()]
    })
}

/// Makes an `audioconvert` mix so, whatever comes in.
pub(super) fn set(convert: &gst::Element, out: u32) {
    let Some(pad) = convert.static_pad("sink") else { return };
    let convert = convert.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let (Some(event), Some(convert)) = (info.event(), convert.upgrade())
            && let gst::EventView::Caps(caps) = event.view()
            && let Some(s) = caps.caps().structure(0)
        {
            let channels = s.get::<i32>("channels").ok().and_then(|n| u32::try_from(n).ok());
            let places = s.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
            // Never empty rows: from GStreamer 1.26 on they mean that channels stay as they are, up to
            // then that nothing was set.
            if let Some(rows) = weights(channels.unwrap_or(0), places, out) {
                let rows = rows.into_iter().map(|row| gst::Array::new(row).to_send_value());
                convert.set_property("mix-matrix", gst::Array::from_values(rows));
            }
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_and_one() {
        let rows = weights(6, 0x3f, 2).unwrap();
        let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
        assert!(near(rows[0][0], 0.4142) && near(rows[0][2], 0.2929) && near(rows[0][4], 0.2929));
        assert!(rows[0][1] == 0.0 && rows[0][3] == 0.0 && rows[1][0] == 0.0);
        assert!(near(rows.iter().flatten().sum(), 2.0));
        assert_eq!(weights(6, 0x3f, 1).unwrap().len(), 1);
        // Without places: nothing of ours.
        assert_eq!(weights(6, 0, 2), None);
        assert_eq!(weights(0, 0, 2), None);
    }

    #[test]
    fn one_and_two() {
        // Whatever their places are called.
        for places in [0, 3, 4] {
            assert_eq!(weights(1, places, 1).unwrap(), [[1.0]]);
            assert_eq!(weights(1, places, 2).unwrap(), [[1.0], [1.0]]);
            assert_eq!(weights(2, places, 1).unwrap(), [[0.5, 0.5]]);
            assert_eq!(weights(2, places, 2).unwrap(), [[1.0, 0.0], [0.0, 1.0]]);
        }
    }
}
