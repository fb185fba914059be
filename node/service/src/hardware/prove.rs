//! Proofs, each by a child of its own with a time limit, in the background: recordings that come before
//! are done in software.
//!
//! A device whose time aside is over is proven here as well, and what failed is tried again from time to time.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::hardware::{Candidate, Family, Listing, Proof};
use holdfast_core::job::Question;

use super::ask::ask;
use super::cache::Cache;
use super::{Hardware, Known};
use crate::node::Node;

/// When what failed is tried again for the first time; each further wait is twice as long.
const FAILED_WAIT: Duration = Duration::from_secs(300);
/// Longest such wait.
const FAILED_WAIT_MAX: Duration = Duration::from_secs(6 * 3600);
/// Most candidates that are tried.
const CANDIDATES_MAX: usize = 64;
/// How often it is looked whether a device's time aside is over.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Proves what there is, then what was set aside and what failed, until the node stops. Calls `changed` when there
/// may be room for more jobs.
pub async fn run(node: Arc<Node>, mut changed: impl FnMut()) {
    let stop = node.stop.clone();
    let all = async {
        let mut failed = first(&node, &mut changed).await;
        let mut wait = FAILED_WAIT;
        let mut due = node.clock.boottime() + wait;
        loop {
            node.clock.sleep_until(None, LOOK_EVERY, LOOK_EVERY).await;
            again(&node, &mut changed).await;
            if !failed.is_empty() && node.clock.boottime() >= due {
                failed = once_more(&node, failed, &mut changed).await;
                wait = (wait * 2).min(FAILED_WAIT_MAX);
                due = node.clock.boottime() + wait;
            }
        }
    };
    tokio::select! {
        () = all => {}
        () = stop.cancelled() => {}
    }
}

/// What did not work: a driver that is loaded later, a device that another program had.
enum Failed {
    /// Nobody said what there is.
    Listing,
    /// The proofs of these; what works of them then is kept here.
    Proofs(Cache, Vec<Candidate>),
}

impl Failed {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Proofs(_, these) if these.is_empty())
    }
}

async fn first(node: &Node, changed: &mut impl FnMut()) -> Failed {
    let failed = match ask::<Listing>(node, &Question::Candidates).await {
        Ok(listing) => {
            {
                let mut inner = node.hardware.lock();
                (inner.gstreamer, inner.problem) = (Some(listing.gstreamer.clone()), None);
            }
            prove_all(node, listing, changed).await
        }
        Err(problem) => {
            tracing::warn!(%problem, "what hardware there is cannot be found out; software does the work");
            node.hardware.lock().problem = Some(problem);
            Failed::Listing
        }
    };
    node.hardware.lock().is_proving = false;
    changed();
    failed
}

/// Tries what failed; says what failed again.
async fn once_more(node: &Node, failed: Failed, changed: &mut impl FnMut()) -> Failed {
    let (mut cache, candidates) = match failed {
        Failed::Listing => return first(node, changed).await,
        Failed::Proofs(cache, candidates) => (cache, candidates),
    };
    let mut still = Vec::new();
    for candidate in candidates {
        if !works(node, &mut cache, candidate.clone(), changed).await {
            still.push(candidate);
        }
    }
    Failed::Proofs(cache, still)
}

/// Proves all of a listing that may be of use; says what failed.
async fn prove_all(node: &Node, listing: Listing, changed: &mut impl FnMut()) -> Failed {
    let mut cache = Cache::load(&node.config.node.state_path, &listing);
    let (mut working, mut failed) = (Vec::new(), Vec::new());
    for candidate in listing.candidates.into_iter().take(CANDIDATES_MAX) {
        if is_spare(candidate.family, &working) {
            continue;
        }
        if works(node, &mut cache, candidate.clone(), changed).await {
            working.push(candidate.family);
        } else {
            failed.push(candidate);
        }
    }
    Failed::Proofs(cache, failed)
}

/// Whether a candidate works, as was proven before or is now; which is noted, and kept.
async fn works(
    node: &Node,
    cache: &mut Cache,
    candidate: Candidate,
    changed: &mut impl FnMut(),
) -> bool {
    let known = match cache.get(&candidate) {
        Some(known) => known,
        None => {
            let known = prove(node, candidate).await;
            cache.keep(&known);
            cache.save(&node.config.node.state_path);
            known
        }
    };
    let works = known.proof.encoder.works();
    node.hardware.note(known);
    changed();
    works
}

/// Whether a family is there only for where another does not work: the second software, and the older way to
/// the same devices, which would be counted as one device more.
fn is_spare(family: Family, working: &[Family]) -> bool {
    match family {
        Family::Openh264 => working.contains(&Family::X264),
        Family::Vaapi => working.iter().any(|it| matches!(it, Family::Va | Family::VaLp)),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_family_is_for_where_the_other_does_not_work() {
        assert!(is_spare(Family::Vaapi, &[Family::VaLp]));
        assert!(is_spare(Family::Openh264, &[Family::Va, Family::X264]));
        // A software encoder that did not work, or hardware alone.
        assert!(!is_spare(Family::Openh264, &[Family::Va]));
        assert!(!is_spare(Family::Vaapi, &[Family::Nvcodec, Family::X264]));
        assert!(!is_spare(Family::Nvcodec, &[Family::Va]));
    }
}
