//! Proofs, each by a child of its own with a time limit, in the background: recordings that come before
//! are done in software.
//!
//! A device whose time aside is over is proven here as well.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::hardware::{Candidate, Family, Listing, Proof};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::cache::Cache;
use super::{Hardware, Known};
use crate::node::Node;
use crate::transcode;

/// Longest that a proof may take: a driver that hangs is ended then.
const PROOF_MAX: Duration = Duration::from_secs(60);
/// Longest answer of a child, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
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
    match ask::<Listing>(node, &["--candidates"]).await {
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
    let proof = match ask::<Proof>(node, &["--prove", &name]).await {
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

/// Asks a child; what it does wrong is told in words.
async fn ask<T: DeserializeOwned>(node: &Node, arguments: &[&str]) -> Result<T, String> {
    let program = transcode::program(&node.config.transcode);
    let asked = answer(&program, &node.config.node.state_path, arguments);
    match tokio::time::timeout(PROOF_MAX, asked).await {
        Ok(Ok(bytes)) => serde_json::from_slice(&bytes)
            .map_err(|error| format!("the transcoder's answer is none: {error}")),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(format!("it did not end within {} s", PROOF_MAX.as_secs())),
    }
}

/// Dropping this ends the child.
async fn answer(program: &Path, state_path: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("GST_REGISTRY", state_path.join("gstreamer-registry.bin"))
        .env("GST_REGISTRY_FORK", "no")
        .env("GST_REGISTRY_UPDATE", "no")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("its answer cannot be read: {error}"))?;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() { Ok(bytes) } else { Err(format!("it ended with {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(script: &str) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        answer(Path::new("/bin/sh"), folder.path(), &["-c", script]).await
    }

    #[tokio::test]
    async fn a_child_that_crashes_is_told_by_its_signal() {
        assert_eq!(asked("echo {}").await.unwrap(), b"{}\n");
        assert!(asked("kill -SEGV $$").await.unwrap_err().contains("signal: 11"));
        assert!(asked("exit 3").await.unwrap_err().contains("exit status: 3"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let missing = answer(Path::new("/no/such/program"), Path::new("/"), &[]).await;
        assert!(missing.unwrap_err().contains("/no/such/program"));
    }
}
