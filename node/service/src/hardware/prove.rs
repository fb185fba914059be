//! Proofs, each by a child of its own with a time limit, in the background: recordings that come before
//! are done in software.
//!
//! A device whose time aside is over is proven here as well.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::hardware::{Candidate, Family, Listing, Proof};
use holdfast_core::job::Question;

use super::ask::ask;
use super::cache::Cache;
use super::{Hardware, Known};
use crate::node::Node;

/// Most candidates that are tried.
const CANDIDATES_MAX: usize = 64;
/// How often it is looked whether a device's time aside is over.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Proves what there is, then what was set aside, until the node stops. Calls `changed` when there may
/// be room for more jobs.
pub async fn run(node: Arc<Node>, mut changed: impl FnMut()) {
    let stop = node.stop.clone();
    let all = async {
        first(&node, &mut changed).await;
        loop {
            node.clock.sleep_until(None, LOOK_EVERY, LOOK_EVERY).await;
            again(&node, &mut changed).await;
        }
    };
    tokio::select! {
        () = all => {}
        () = stop.cancelled() => {}
    }
}

async fn first(node: &Node, changed: &mut impl FnMut()) {
    match ask::<Listing>(node, &Question::Candidates).await {
        Ok(listing) => {
            node.hardware.lock().gstreamer = Some(listing.gstreamer.clone());
            prove_all(node, listing, changed).await;
        }
        Err(problem) => {
            tracing::warn!(%problem, "what hardware there is cannot be found out; software does the work");
            node.hardware.lock().problem = Some(problem);
        }
    }
    node.hardware.lock().is_proving = false;
    changed();
}

async fn prove_all(node: &Node, listing: Listing, changed: &mut impl FnMut()) {
    let state_path = &node.config.node.state_path;
    let mut cache = Cache::load(state_path, &listing);
    let mut software_works = false;
    for candidate in listing.candidates.into_iter().take(CANDIDATES_MAX) {
        // The second software is there for where the first does not work.
        if candidate.family == Family::Openh264 && software_works {
            continue;
        }
        let known = match cache.get(&candidate) {
            Some(known) => known,
            None => {
                let known = prove(node, candidate).await;
                cache.keep(&known);
                cache.save(state_path);
                known
            }
        };
        software_works |= known.proof.encoder.works() && !known.is_hardware();
        node.hardware.note(known);
        changed();
    }
}

/// Proves one candidate anew.
async fn prove(node: &Node, candidate: Candidate) -> Known {
    let name = candidate.name.clone();
    let question = Question::Prove { name: name.clone() };
    let proof = match ask::<Proof>(node, &question).await {
        Ok(proof) if proof.candidate == candidate => proof,
        Ok(_) => Proof::failed(candidate, "the transcoder proved something else"),
        Err(reason) => Proof::failed(candidate, reason),
    };
    let known = Known::new(proof, node.clock.now());
    let (device, driver) = (known.proof.device.as_deref(), known.driver.as_deref());
    match &known.proof.encoder {
        holdfast_core::hardware::Verdict::Works { psnr_db } => {
            tracing::info!(chain = name, device, driver, psnr_db, "proven to encode");
        }
        holdfast_core::hardware::Verdict::Fails { reason } => {
            tracing::warn!(chain = name, device, driver, reason, "is not used: its proof failed");
        }
    }
    known
}

/// Proves devices whose time aside is over.
async fn again(node: &Node, changed: &mut impl FnMut()) {
    for (device, candidate) in node.hardware.due(node.clock.boottime()) {
        let known = prove(node, candidate).await;
        let works = known.proof.encoder.works();
        let why = match &known.proof.encoder {
            holdfast_core::hardware::Verdict::Fails { reason } => reason.clone(),
            holdfast_core::hardware::Verdict::Works { .. } => String::new(),
        };
        node.hardware.settle(&device, known, node.clock.boottime(), &why);
        if works {
            tracing::info!(device, "gets jobs again");
        }
        changed();
    }
}

impl Hardware {
    /// Devices to be proven anew, each by its best candidate that worked before.
    fn due(&self, now: Duration) -> Vec<(String, Candidate)> {
        let inner = self.lock();
        let due = inner.devices.iter().filter(|(_, device)| device.standing.is_due(now));
        due.filter_map(|(name, _)| {
            let known = {
                let mut all = inner.known.iter().filter(|known| known.device() == name);
                all.find(|known| known.chain().is_some())
            }?;
            Some((name.clone(), known.proof.candidate.clone()))
        })
        .collect()
    }

    /// Notes what a device's new proof showed: it is readmitted, or aside for longer.
    fn settle(&self, device: &str, known: Known, now: Duration, why: &str) {
        let works = known.proof.encoder.works();
        if works {
            self.note(known);
        }
        if let Some(device) = self.lock().devices.get_mut(device) {
            if works {
                device.standing.readmit();
            } else {
                device.standing.set_aside(now, why);
            }
        }
    }
}
