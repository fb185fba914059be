//! A pass over the sound alone: how loud it is.

use std::sync::{Arc, Mutex};

use ebur128::{EbuR128, Mode};
use gst::prelude::*;
use gstreamer as gst;

use super::audio::{decoded, rate_hz};
use super::connect;
use crate::error::Error;
use crate::limiter::Limiter;
use crate::loudness::{CEILING_DB, Gain, Measured, TRIES_MAX};
use crate::probe::{AudioScan, Scan};
use crate::retime::Sample as _;
use crate::source::{self, Input, add_row, make};
use crate::watch::{Activity, Watch};

/// What the sound goes through on its way to the end.
struct Meter {
    ebur128: EbuR128,
    limiter: Option<Limiter>,
}

impl Meter {
    fn new(channels: u32, rate_hz: u32, gain: Option<Gain>) -> Result<Self, Error> {
        let modes = Mode::I | Mode::TRUE_PEAK;
        let limiter =
            gain.map(|gain| Limiter::new(channels as usize, rate_hz, gain.db, CEILING_DB));
        let ebur128 = EbuR128::new(channels, rate_hz, modes)
            .map_err(Error::internal("cannot measure loudness"))?;
        Ok(Self { ebur128, limiter })
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut samples: Vec<f32> = bytes.chunks_exact(f32::BYTES).map(f32::read).collect();
        if let Some(limiter) = &mut self.limiter {
            samples = limiter.push(&samples);
        }
        self.ebur128.add_frames_f32(&samples).map_err(Error::internal("cannot measure loudness"))
    }

    fn read(&self, channels: u32) -> Option<Measured> {
        let peaks = (0..channels).filter_map(|c| self.ebur128.true_peak(c).ok());
        Some(Measured {
            lufs: self.ebur128.loudness_global().ok()?,
            peak_db: 20.0 * peaks.fold(0f64, f64::max).log10(),
            more_db: 0.0,
        })
    }
}

/// Measures the sound as a film would have it, in so many channels; `None` if it cannot be decoded.
pub(crate) fn measure(
    input: &Arc<Input>,
    scan: &Scan,
    a: &AudioScan,
    channels: u32,
    watch: &mut Watch<'_>,
) -> Result<Option<Measured>, Error> {
    let Some(mut measured) = pass(input, scan, a, channels, None, watch)? else { return Ok(None) };
    for _ in 0..TRIES_MAX {
        let Some(gain) = Gain::of(measured).filter(|gain| gain.is_limited(measured)) else { break };
        match pass(input, scan, a, channels, Some(gain), watch)? {
            Some(made) if made.is_short() => measured = measured.corrected(made),
            _ => break,
        }
    }
    Ok(Some(measured))
}

fn pass(
    input: &Arc<Input>,
    scan: &Scan,
    a: &AudioScan,
    channels: u32,
    gain: Option<Gain>,
    watch: &mut Watch<'_>,
) -> Result<Option<Measured>, Error> {
    let container = scan.container.ok_or_else(|| Error::Internal("no container".into()))?;
    let activity = Arc::new(Activity::default());
    let pipeline = gst::Pipeline::new();
    let meter = Arc::new(Mutex::new(Meter::new(channels, rate_hz(a), gain)?));
    let mut row = decoded::<f32>(a, channels)?;
    let sink = make("fakesink")?;
    sink.set_property("sync", false);
    sink.set_property("async", false);
    row.push(sink.clone());
    add_row(&pipeline, &row).map_err(Error::internal("cannot build the measuring"))?;
    if let Some(pad) = sink.static_pad("sink") {
        let (meter, activity) = (Arc::clone(&meter), Arc::clone(&activity));
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            // Progress is told by the pass that makes the film.
            activity.saw(None);
            let data = info.buffer().and_then(|b| b.map_readable().ok());
            if let (Some(data), Ok(mut meter)) = (data, meter.lock())
                && let Err(e) = meter.hear(&data)
            {
                activity.fail(e);
            }
            gst::PadProbeReturn::Ok
        });
    }
    let weak = pipeline.downgrade();
    let (head, name, told) = (row[0].clone(), a.pad.clone(), Arc::clone(&activity));
    source::attach(&pipeline, input, container, move |pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let head = (pad.name() == name).then_some(&head);
        if let Err(e) = connect(&pipeline, pad, head) {
            told.fail(e);
        }
    })?;
    // What could be decoded before an error is what the film will have.
    match watch.play(&pipeline, &activity, input, Some(scan.duration_ns()), |_, _| false) {
        Ok(_) => {}
        Err(e) => {
            // Stopping a wedged pipeline can hang; the process ends soon anyway.
            Box::leak(Box::new(pipeline));
            return Err(e);
        }
    }
    pipeline.set_state(gst::State::Null).map_err(Error::internal("cannot stop the measuring"))?;
    let meter = meter.lock().map_err(|e| Error::Internal(e.to_string()))?;
    Ok(meter.read(channels))
}
