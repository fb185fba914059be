//! Who works on what: places for jobs, and the device for each.
//!
//! A job goes to the device with the most room by its own measure, there to the best family that works.

use std::time::Duration;

use holdfast_core::hardware::Chain;

use super::{Device, Hardware, Inner, JOBS_ON_HARDWARE_MAX, Known};

/// A place for one job, until it is dropped.
#[derive(Debug)]
pub struct Place(Hardware);

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.running = inner.running.saturating_sub(1);
    }
}

/// A job's share of a device, until it is dropped.
#[derive(Debug)]
pub struct Taken {
    hardware: Hardware,
    /// What it encodes with.
    pub chain: Chain,
    device: String,
}

impl Taken {
    /// The device's name.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The job ended well on it.
    pub fn worked(&self) {
        if let Some(device) = self.hardware.lock().devices.get_mut(&self.device) {
            device.standing.worked();
        }
    }

    /// The job failed on it and was then done in software. Answers for how long the device is set aside,
    /// if it is.
    #[must_use]
    pub fn failed(&self, now: Duration, why: &str) -> Option<Duration> {
        self.hardware.lock().devices.get_mut(&self.device)?.standing.failed(now, why)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(device) = self.hardware.lock().devices.get_mut(&self.device) {
            device.running = device.running.saturating_sub(1);
        }
    }
}

impl Inner {
    /// The chain of each device that gets jobs: the best family of those that work on it.
    fn best(&self) -> Vec<&Known> {
        let mut best: Vec<&Known> = Vec::new();
        for known in self.known.iter().filter(|known| known.chain().is_some()) {
            let device = self.devices.get(known.device());
            let is_aside = device.is_some_and(|device| device.standing.aside().is_some());
            if !is_aside && !best.iter().any(|other| other.device() == known.device()) {
                best.push(known);
            }
        }
        best
    }

    fn jobs_max(&self) -> usize {
        let on_hardware: usize = self.best().iter().map(|known| known.jobs_max()).sum();
        // Jobs that run on a device that was set aside take no place of software's.
        let aside = self.devices.values().filter(|device| device.standing.aside().is_some());
        let ending: usize = aside.map(|device| device.running).sum();
        let all = self.software_jobs_max + on_hardware.min(JOBS_ON_HARDWARE_MAX) + ending;
        self.jobs_max.map_or(all, |most| all.min(most)).max(1)
    }
}

impl Hardware {
    /// Jobs that can run at once now.
    #[must_use]
    pub fn jobs_max(&self) -> usize {
        self.lock().jobs_max()
    }

    /// Whether there is room for one job more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let inner = self.lock();
        inner.running < inner.jobs_max()
    }

    /// Room for one job more, if there is some.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        let mut inner = self.lock();
        if inner.running >= inner.jobs_max() {
            return None;
        }
        inner.running += 1;
        Some(Place(self.clone()))
    }

    /// A share of the device with the most room; nothing where software has to do it.
    #[must_use]
    pub fn take(&self) -> Option<Taken> {
        let mut inner = self.lock();
        let running = |known: &&Known| inner.devices.get(known.device()).map_or(0, |d| d.running);
        let room = |known: &&Known| (running(known), known.jobs_max());
        let free = inner.best().into_iter().filter(|known| running(known) < known.jobs_max());
        // The least of (running + 1) / most, without fractions; of equals the best family.
        let least = free.reduce(|a, b| {
            let ((a_runs, a_most), (b_runs, b_most)) = (room(&a), room(&b));
            if (b_runs + 1) * a_most < (a_runs + 1) * b_most { b } else { a }
        })?;
        let (chain, device) = (least.chain()?, least.device().to_owned());
        let entry: &mut Device = inner.devices.entry(device.clone()).or_default();
        entry.running += 1;
        drop(inner);
        Some(Taken { hardware: self.clone(), chain, device })
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::hardware::{Candidate, Family, Proof, Verdict};
    use jiff::Timestamp;

    use super::*;
    use crate::hardware::PIXELS_PER_S_OF_A_JOB;

    fn known(family: Family, device: &str, jobs: u64) -> Known {
        let candidate = Candidate {
            name: format!("{}:{device}", family.as_str()),
            family,
            encoder: "an encoder".into(),
        };
        let mut proof = Proof::failed(candidate, "");
        proof.encoder = Verdict::Works { psnr_db: 40.0 };
        proof.device = Some(device.to_owned());
        proof.pixels_per_s = jobs * PIXELS_PER_S_OF_A_JOB;
        Known { proof, driver: None, proven_at: Timestamp::UNIX_EPOCH }
    }

    fn hardware(all: Vec<Known>) -> Hardware {
        let hardware = Hardware::new(1, None);
        for known in all {
            hardware.note(known);
        }
        hardware
    }

    #[test]
    fn devices_share_the_work_by_what_they_carry() {
        let hardware = hardware(vec![known(Family::Va, "a", 2), known(Family::Nvcodec, "b", 4)]);
        assert_eq!(hardware.jobs_max(), 7);
        let taken: Vec<Taken> = std::iter::from_fn(|| hardware.take()).collect();
        let devices: Vec<&str> = taken.iter().map(Taken::device).collect();
        assert_eq!(devices, ["b", "a", "b", "b", "a", "b"]);
        drop(taken);
        assert_eq!(hardware.take().unwrap().device(), "b");
    }

    #[test]
    fn a_device_works_through_its_best_family_alone() {
        let hardware = hardware(vec![known(Family::Vaapi, "a", 3), known(Family::Va, "a", 1)]);
        let one = hardware.take().unwrap();
        assert_eq!(one.chain.name, "va:a");
        assert!(hardware.take().is_none(), "its other family is no other device");
    }

    #[test]
    fn a_device_that_is_aside_gets_no_jobs_and_carries_none() {
        let hardware = hardware(vec![known(Family::Va, "a", 2), known(Family::Va, "b", 1)]);
        let now = Duration::from_secs(60);
        for _ in 0..2 {
            let taken: Vec<Taken> = std::iter::from_fn(|| hardware.take()).collect();
            let a = taken.iter().find(|taken| taken.device() == "a").unwrap();
            let _ = a.failed(now, "it is lost");
        }
        assert_eq!(hardware.take().unwrap().device(), "b");
        assert_eq!(hardware.jobs_max(), 2);
        let aside = hardware.overview(now).chains[0].aside.clone().unwrap();
        assert_eq!(aside, (Duration::from_secs(30 * 60), "it is lost".into()));
    }

    #[test]
    fn places_are_counted_whatever_runs_in_them() {
        let hardware = Hardware::new(2, None);
        let places: Vec<Place> = std::iter::from_fn(|| hardware.enter()).collect();
        assert_eq!(places.len(), 2);
        assert!(!hardware.has_room());
        drop(places);
        assert!(hardware.has_room() && hardware.take().is_none());
        let few = Hardware::new(1, Some(2));
        few.note(known(Family::Va, "a", 9));
        assert_eq!(few.jobs_max(), 2, "what the configuration says holds");
    }
}
