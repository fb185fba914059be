//! Keeps a pipeline honest while it runs: stall, wall time, memory, the service's socket.
//!
//! A pipeline that stands still says nothing; only this loop notices. Getting on is measured by
//! what cannot grow for ever: the position in the recording, the furthest byte of it that was read,
//! the bytes written, which have a limit. Buffers that go round and round move none of them. When it gives up, the
//! pipeline is left as it is (stopping a wedged element can hang too) and the process ends soon.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use holdfast_core::job::{Limits, Report};

use crate::clock::Stopwatch;
use crate::error::{Error, at};
use crate::growth::Growth;
use crate::source::Input;

const TICK: Duration = Duration::from_millis(200);
const PROGRESS_EVERY: Duration = Duration::from_millis(1000);

/// Signs of life that streaming threads leave.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Furthest position reached in the recording, in nanoseconds.
    pub(crate) position_ns: AtomicI64,
    /// Bytes written to any output.
    pub(crate) bytes_written: AtomicU64,
    fault: std::sync::Mutex<Option<Error>>,
}

impl Activity {
    /// A buffer passed, at this position where it has one.
    pub(crate) fn saw(&self, position_ns: Option<i64>) {
        if let Some(ns) = position_ns {
            self.position_ns.fetch_max(ns, Ordering::Relaxed);
        }
    }

    /// A streaming thread cannot go on; the first reason given wins.
    pub(crate) fn fail(&self, error: Error) {
        if let Ok(mut fault) = self.fault.lock() {
            fault.get_or_insert(error);
        }
    }

    fn take_fault(&self) -> Option<Error> {
        self.fault.lock().ok()?.take()
    }
}

/// Where reports go.
pub(crate) trait Reporter: Send {
    /// Sends one report; an error means that nobody listens any more.
    fn send(&mut self, report: &Report) -> Result<(), Error>;
    /// Whether somebody still listens.
    fn is_open(&self) -> bool;
    /// Whether that is another process.
    fn is_remote(&self) -> bool;
}

/// Nobody is told.
struct Silent;

impl Reporter for Silent {
    fn send(&mut self, _: &Report) -> Result<(), Error> {
        Ok(())
    }

    fn is_open(&self) -> bool {
        true
    }

    fn is_remote(&self) -> bool {
        false
    }
}

/// The watch over one job.
pub(crate) struct Watch<'a> {
    /// Limits of the job.
    pub(crate) limits: Limits,
    started: Stopwatch,
    reported: Stopwatch,
    wall_ms: u64,
    /// How long nothing could be done for want of a recording that is still coming in.
    idle: Duration,
    /// That recording, and its pixels in a second.
    growing: Option<(Arc<Growth>, u64)>,
    memory: File,
    /// In which the kernel counts memory; more than 4 KiB on some ARM systems.
    page_bytes: u64,
    reporter: &'a mut dyn Reporter,
}

/// How a pipeline ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All of it came through.
    Eos,
    /// An element gave up.
    Error {
        /// Its factory's name.
        element: String,
        /// What it said.
        message: String,
        /// It only passes on that something after it failed and did not say why.
        is_passed_on: bool,
    },
}

impl<'a> Watch<'a> {
    /// Starts watching. To be called before files are out of reach.
    pub(crate) fn new(limits: Limits, reporter: &'a mut dyn Reporter) -> Result<Self, Error> {
        let memory = File::open("/proc/self/statm")
            .map_err(Error::internal("cannot watch this process's memory"))?;
        let (started, reported) = (Stopwatch::start(), Stopwatch::start());
        // Asked now: the answer is in a file.
        let page_bytes = rustix::param::page_size() as u64;
        let wall_ms = limits.wall_ms_max;
        let idle = Duration::ZERO;
        let growing = None;
        Ok(Self { limits, started, reported, wall_ms, idle, growing, memory, page_bytes, reporter })
    }

    /// The watch over a part of the job that another thread does, with the same limits.
    pub(crate) fn beside(&self) -> Result<Watch<'static>, Error> {
        let memory = self.memory.try_clone();
        let memory = memory.map_err(Error::internal("cannot watch this process's memory"))?;
        Ok(Watch {
            limits: self.limits,
            started: self.started,
            reported: self.reported,
            wall_ms: self.wall_ms,
            idle: self.idle,
            growing: self.growing.clone(),
            memory,
            page_bytes: self.page_bytes,
            // Of no size, so nothing is leaked.
            reporter: Box::leak(Box::new(Silent)),
        })
    }

    /// Waits a while for so many bytes of a recording that is still coming in, or for its end; says
    /// whether either came. The time is not counted.
    pub(crate) fn wait(&mut self, growth: &Growth, bytes: u64) -> Result<bool, Error> {
        let waiting = Stopwatch::start();
        let told = growth.wait(bytes, TICK);
        self.idle += waiting.elapsed();
        self.tick(0, None)?;
        Ok(told.ended || told.durable >= bytes)
    }

    /// From now on the job may take as long as a recording of this size and length, with so many
    /// pixels in a second of it, may.
    pub(crate) fn expect(&mut self, bytes: u64, length_ns: i64, pixels_per_s: u64) {
        self.wall_ms = self.limits.wall_ms(bytes, ms(length_ns), pixels_per_s);
    }

    /// From now on the job may take as long as what has come of a recording may, with so many pixels in
    /// a second of it.
    pub(crate) fn grow(&mut self, growth: Arc<Growth>, pixels_per_s: u64) {
        self.growing = Some((growth, pixels_per_s));
    }

    /// Whether another process listens.
    pub(crate) fn is_remote(&self) -> bool {
        self.reporter.is_remote()
    }

    /// The last word on this job.
    pub(crate) fn report(&mut self, report: &Report) -> Result<(), Error> {
        self.reporter.send(report)
    }

    /// Checks what holds at any time, and says that the job gets on.
    pub(crate) fn tick(&mut self, position_ns: i64, duration_ns: Option<i64>) -> Result<(), Error> {
        if !self.reporter.is_open() {
            return Err(Error::Abandoned);
        }
        if let Some((growth, pixels_per_s)) = &self.growing {
            let (bytes, length_ms) = (growth.told().durable, ms(position_ns));
            self.wall_ms = self.wall_ms.max(self.limits.wall_ms(bytes, length_ms, *pixels_per_s));
        }
        let spent = self.started.elapsed().saturating_sub(self.idle);
        if spent.as_millis() > u128::from(self.wall_ms) {
            return Err(Error::Limit(format!(
                "it took longer than the {} s allowed; it had come to {}",
                self.wall_ms / 1000,
                at(position_ns)
            )));
        }
        if let Some(resident) = resident_bytes(&self.memory, self.page_bytes)
            && resident > self.limits.memory_bytes_max
        {
            return Err(Error::Limit(format!(
                "it needed more than the {} MiB of memory allowed, at {}",
                self.limits.memory_bytes_max >> 20,
                at(position_ns)
            )));
        }
        if self.reported.elapsed() >= PROGRESS_EVERY {
            self.reported = Stopwatch::start();
            self.reporter.send(&Report::Progress {
                position_ms: ms(position_ns),
                duration_ms: duration_ns.map(ms),
            })?;
        }
        Ok(())
    }

    /// Plays a pipeline to its end. After an error `on_error` may ask for the rest to be drained.
    pub(crate) fn play(
        &mut self,
        pipeline: &gst::Pipeline,
        activity: &Arc<Activity>,
        input: &Arc<Input>,
        duration_ns: Option<i64>,
        mut on_error: impl FnMut(&Ended, &gst::Message) -> bool,
    ) -> Result<Ended, Error> {
        let bus = pipeline.bus().ok_or_else(|| Error::Internal("a pipeline without bus".into()))?;
        // Everything before has been read once already, by the probe.
        input.furthest.store(0, Ordering::Relaxed);
        let mut seen = [0u64; 3];
        let mut still = Stopwatch::start();
        let mut lap = Stopwatch::start();
        let mut ended = None;
        if pipeline.set_state(gst::State::Playing).is_err() {
            // Why is told on the bus, which the loop below reads.
            activity.saw(None);
        }
        loop {
            let types = [gst::MessageType::Error, gst::MessageType::Eos];
            let message = bus.timed_pop_filtered(Some(clock_time(TICK)), &types);
            if let Some(fault) = activity.take_fault() {
                return Err(fault);
            }
            match message.as_ref().map(|m| m.view()) {
                Some(gst::MessageView::Eos(_)) => return Ok(ended.unwrap_or(Ended::Eos)),
                Some(gst::MessageView::Error(e)) if ended.is_none() => {
                    let end = Ended::Error {
                        element: source_name(e),
                        message: e.error().to_string(),
                        is_passed_on: e.details().is_some_and(|d| d.has_field("flow-return")),
                    };
                    if let Some(m) = &message
                        && !on_error(&end, m)
                    {
                        return Ok(end);
                    }
                    ended = Some(end);
                }
                _ => {}
            }
            let position = activity.position_ns.load(Ordering::Relaxed);
            if input.is_awaited() {
                self.idle += lap.elapsed();
                still = Stopwatch::start();
            }
            lap = Stopwatch::start();
            self.tick(position, duration_ns)?;
            let now = [
                position.unsigned_abs(),
                activity.bytes_written.load(Ordering::Relaxed),
                input.furthest.load(Ordering::Relaxed),
            ];
            if now != seen {
                seen = now;
                still = Stopwatch::start();
            } else if let Some(end) = ended.take_if(|_| still.elapsed() > Duration::from_secs(5)) {
                return Ok(end);
            } else if still.elapsed().as_millis() > u128::from(self.limits.stall_ms_max) {
                return Err(Error::Stalled(format!(
                    "it stood still for {} s at {} of the recording",
                    self.limits.stall_ms_max / 1000,
                    at(position)
                )));
            }
        }
    }
}

fn source_name(e: &gst::message::Error) -> String {
    e.src()
        .and_then(|s| s.downcast_ref::<gst::Element>())
        .and_then(ElementExt::factory)
        .map_or_else(|| "source".to_owned(), |f| f.name().to_string())
}

/// A nanosecond position in milliseconds, never negative.
pub(crate) fn ms(ns: i64) -> u64 {
    (ns.max(0) as u64 + 500_000) / 1_000_000
}

fn clock_time(d: Duration) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(d.as_millis() as u64)
}

fn resident_bytes(statm: &File, page: u64) -> Option<u64> {
    let mut text = [0; 128];
    let n = statm.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..n]).ok()?;
    text.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages.saturating_mul(page))
}
