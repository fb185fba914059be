//! Proofs that were made before, in `hardware.json` of the state folder.
//!
//! They count only for the same GStreamer, kernel, drivers and devices. Failures are not kept: a start
//! is when somebody has mended something. What cannot be read is made anew.

use std::path::{Path, PathBuf};

use holdfast_core::hardware::{Candidate, Listing, Proof};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Known, machine};

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// What proofs count for, and the proofs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cache {
    identity: Identity,
    proofs: Vec<(Timestamp, Proof)>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    program: String,
    gstreamer: String,
    machine: Vec<String>,
}

impl Identity {
    fn of(listing: &Listing) -> Self {
        Self {
            program: env!("CARGO_PKG_VERSION").into(),
            gstreamer: listing.gstreamer.clone(),
            machine: machine::identity(),
        }
    }
}

fn path(state_path: &Path) -> PathBuf {
    state_path.join("hardware.json")
}

impl Cache {
    /// What was proven for this listing on this machine.
    pub(super) fn load(state_path: &Path, listing: &Listing) -> Self {
        let identity = Identity::of(listing);
        let path = path(state_path);
        let small = std::fs::metadata(&path).is_ok_and(|data| data.len() <= BYTES_MAX);
        let read = small.then(|| std::fs::read(&path).ok()).flatten();
        read.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|cache| cache.identity == identity)
            .unwrap_or(Self { identity, proofs: Vec::new() })
    }

    /// The proof of a candidate.
    pub(super) fn get(&self, candidate: &Candidate) -> Option<Known> {
        let (at, proof) = self.proofs.iter().find(|(_, proof)| proof.candidate == *candidate)?;
        Some(Known::new(proof.clone(), *at))
    }

    /// Keeps a proof, if it showed that all of it works.
    pub(super) fn keep(&mut self, known: &Known) {
        self.proofs.retain(|(_, proof)| proof.candidate != known.proof.candidate);
        let decodes = known.proof.decoders.iter().all(|decoder| decoder.decode.works());
        if known.proof.encoder.works() && decodes {
            self.proofs.push((known.proven_at, known.proof.clone()));
        }
    }

    /// Writes it down. A file that is cut off is as good as none.
    pub(super) fn save(&self, state_path: &Path) {
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .and_then(|bytes| std::fs::write(path(state_path), bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "proofs of hardware are not kept; they are made anew at the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::hardware::{DecoderProof, Family, Verdict};

    use super::*;

    fn listing(gstreamer: &str) -> Listing {
        let candidate =
            Candidate { name: "va".into(), family: Family::Va, encoder: "vah264enc".into() };
        Listing { gstreamer: gstreamer.into(), candidates: vec![candidate] }
    }

    #[test]
    fn proofs_count_for_the_same_machine_alone() {
        let folder = tempfile::tempdir().unwrap();
        let known = |verdict| {
            let candidate = listing("1.22.0").candidates.remove(0);
            let proof = Proof { encoder: verdict, ..Proof::failed(candidate, "") };
            Known::new(proof, Timestamp::UNIX_EPOCH)
        };
        let candidate = &listing("1.22.0").candidates[0];
        let mut cache = Cache::load(folder.path(), &listing("1.22.0"));
        cache.keep(&known(Verdict::Works { psnr_db: 40.0 }));
        cache.save(folder.path());
        let same = Cache::load(folder.path(), &listing("1.22.0"));
        assert!(same.get(candidate).unwrap().proof.encoder.works());
        assert!(Cache::load(folder.path(), &listing("1.26.0")).get(candidate).is_none());
        let mut failed = same;
        failed.keep(&known(Verdict::fails("it is gone")));
        assert!(failed.get(candidate).is_none(), "failures are tried again");
        // A decoder that failed is a reason to look again as well.
        let candidate_of_all = listing("1.22.0").candidates.remove(0);
        let decoder = |decode| DecoderProof {
            codec: "vp8".into(),
            element: "vavp8dec".into(),
            decode,
            whole: Verdict::fails("it cannot scale"),
        };
        for (decode, is_kept) in
            [(Verdict::Works { psnr_db: 50.0 }, true), (Verdict::fails("it hung"), false)]
        {
            let mut proof = Proof::failed(candidate_of_all.clone(), "");
            proof.encoder = Verdict::Works { psnr_db: 40.0 };
            proof.decoders = vec![decoder(decode)];
            failed.keep(&Known::new(proof, Timestamp::UNIX_EPOCH));
            assert_eq!(failed.get(candidate).is_some(), is_kept);
        }
        std::fs::write(path(folder.path()), b"{\"identity\":").unwrap();
        assert!(Cache::load(folder.path(), &listing("1.22.0")).get(candidate).is_none());
    }
}
