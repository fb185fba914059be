//! Hardware that encodes and decodes: what there is, what was proven of it, who works on it now.
//!
//! Invariants:
//! - Nothing is used that was not proven by a child of its own ([`prove`]), on this kernel, with these
//!   drivers and this GStreamer.
//! - A job has at most one place, on one device, and a device has no more jobs than its measured speed
//!   carries ([`share`]). Where no device has room, software does it.
//! - A device's failure counts only if software then did the same job ([`standing`]). It is forgotten
//!   with the process: a start is a new chance.

mod ask;
mod cache;
mod machine;
mod prove;
mod share;
mod standing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_core::hardware::{Chain, Proof};
use jiff::Timestamp;

pub use prove::run;
pub use share::{Place, Taken};
pub use standing::{Aside, Standing};

/// Pixels in a second that a job is reckoned with: 1920x1080 at 30 frames, as fast as it plays.
const PIXELS_PER_S_OF_A_JOB: u64 = 1920 * 1080 * 30;
/// Most jobs on one device, however fast it is.
const JOBS_OF_A_DEVICE_MAX: usize = 16;
/// Most jobs on all devices together.
pub const JOBS_ON_HARDWARE_MAX: usize = 64;

/// The node's hardware. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Hardware {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// GStreamer's version, once the transcoder has told it.
    gstreamer: Option<String>,
    /// What was proven, best first.
    known: Vec<Known>,
    /// Whether proofs are still to come.
    is_proving: bool,
    /// Why nothing is known.
    problem: Option<String>,
    devices: BTreeMap<String, Device>,
    /// Jobs that run, on hardware or not.
    running: usize,
    software_jobs_max: usize,
    jobs_max: Option<usize>,
}

/// A candidate after its proof.
#[derive(Debug, Clone)]
pub struct Known {
    /// The proof.
    pub proof: Proof,
    /// The kernel's driver of its device.
    pub driver: Option<String>,
    /// When it was proven.
    pub proven_at: Timestamp,
}

/// A device.
#[derive(Debug, Default)]
struct Device {
    standing: Standing,
    running: usize,
}

impl Known {
    fn new(proof: Proof, proven_at: Timestamp) -> Self {
        let driver = proof.device.as_deref().and_then(machine::driver);
        Self { proof, driver, proven_at }
    }

    /// What its device is called; several chains may share one.
    #[must_use]
    pub fn device(&self) -> &str {
        self.proof.device.as_deref().unwrap_or(&self.proof.candidate.name)
    }

    fn is_hardware(&self) -> bool {
        self.proof.candidate.family.is_hardware()
    }

    /// The chain for a job, where it is hardware that works.
    fn chain(&self) -> Option<Chain> {
        self.proof.chain().filter(|_| self.is_hardware())
    }

    /// Jobs at once that its speed carries.
    #[must_use]
    pub fn jobs_max(&self) -> usize {
        if !self.proof.encoder.works() {
            return 0;
        }
        let jobs = usize::try_from(self.proof.pixels_per_s / PIXELS_PER_S_OF_A_JOB);
        jobs.unwrap_or(JOBS_OF_A_DEVICE_MAX).clamp(1, JOBS_OF_A_DEVICE_MAX)
    }
}

/// A candidate as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its proof.
    pub known: Known,
    /// Jobs that run on its device.
    pub running: usize,
    /// Failures among its device's last ten jobs.
    pub failures: usize,
    /// That it is set aside: for how much longer, and why.
    pub aside: Option<(Duration, String)>,
}

/// All of it as it is shown.
#[derive(Debug, Clone)]
pub struct Overview {
    /// GStreamer's version.
    pub gstreamer: Option<String>,
    /// Whether proofs are still to come.
    pub is_proving: bool,
    /// Why nothing is known.
    pub problem: Option<String>,
    /// Jobs at once in software.
    pub software_jobs_max: usize,
    /// The candidates, best first.
    pub chains: Vec<Shown>,
}

impl Hardware {
    /// Nothing known yet; so many jobs in software, and at most so many of all.
    #[must_use]
    pub fn new(software_jobs_max: usize, jobs_max: Option<usize>) -> Self {
        let inner = Inner { software_jobs_max, jobs_max, is_proving: true, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands now, at this time since boot.
    #[must_use]
    pub fn overview(&self, now: Duration) -> Overview {
        let inner = self.lock();
        let shown = |known: &Known| {
            let device = inner.devices.get(known.device());
            let aside = device.and_then(|device| device.standing.aside());
            Shown {
                running: device.map_or(0, |device| device.running),
                failures: device.map_or(0, |device| device.standing.failures()),
                aside: aside.map(|aside| (aside.until.saturating_sub(now), aside.why.clone())),
                known: known.clone(),
            }
        };
        Overview {
            gstreamer: inner.gstreamer.clone(),
            is_proving: inner.is_proving,
            problem: inner.problem.clone(),
            software_jobs_max: inner.software_jobs_max,
            chains: inner.known.iter().map(shown).collect(),
        }
    }

    /// Notes what a proof showed.
    fn note(&self, known: Known) {
        let mut inner = self.lock();
        let name = &known.proof.candidate.name;
        match inner.known.iter_mut().find(|old| old.proof.candidate.name == *name) {
            Some(old) => *old = known,
            None => inner.known.push(known),
        }
        inner.known.sort_by_key(|known| known.proof.candidate.family);
    }
}
