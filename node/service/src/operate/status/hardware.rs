//! What encodes and decodes, as it is told.

use holdfast_core::hardware::{DecoderProof, Family, Verdict};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hardware::Shown;
use crate::node::Node;

/// What encodes and decodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HardwareView {
    /// GStreamer's version, once the transcoder has told it.
    pub gstreamer: Option<String>,
    /// Whether proofs are still to come; software does the work meanwhile.
    pub proving: bool,
    /// Why nothing could be found out.
    pub problem: Option<String>,
    /// Jobs that can run at once now, on devices and in software.
    pub jobs_max: usize,
    /// Of these, jobs in software.
    pub software_jobs_max: usize,
    /// The candidates, best first.
    pub chains: Vec<ChainView>,
}

/// A way to encode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChainView {
    /// Its name, such as `va`, or `va:renderD129` for what is not the first device of its family.
    pub name: String,
    /// Its family.
    pub family: Family,
    /// Whether it is hardware.
    pub hardware: bool,
    /// The H.264 encoder's element in GStreamer.
    pub encoder: String,
    /// Its device.
    pub device: Option<String>,
    /// The kernel's driver of the device.
    pub driver: Option<String>,
    /// How it is.
    pub state: ChainState,
    /// Why, where it gets no jobs.
    pub why: Option<String>,
    /// When its device is proven anew, where it is set aside.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub aside_until: Option<Timestamp>,
    /// Likeness of what it encoded to the clip it was given, in decibels.
    pub psnr_db: Option<f32>,
    /// Pixels that it encoded in a second.
    pub pixels_per_s: u64,
    /// Jobs that its device carries at once by that measure.
    pub jobs_max: usize,
    /// Jobs that run on its device.
    pub jobs_running: usize,
    /// Failures among the last ten jobs of its device.
    pub failures: usize,
    /// Its decoders.
    pub decoders: Vec<DecoderProof>,
    /// When it was proven.
    #[schema(value_type = String, format = DateTime)]
    pub proven_at: Timestamp,
}

/// How a way to encode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChainState {
    /// It is used.
    Proven,
    /// Its proof failed, so it is not used.
    Failed,
    /// Its device failed too often, and is proven anew later.
    Aside,
}

/// What encodes and decodes.
#[must_use]
pub fn hardware(node: &Node) -> HardwareView {
    let overview = node.hardware.overview(node.clock.boottime());
    HardwareView {
        gstreamer: overview.gstreamer,
        proving: overview.is_proving,
        problem: overview.problem,
        jobs_max: node.hardware.jobs_max(),
        software_jobs_max: overview.software_jobs_max,
        chains: overview.chains.into_iter().map(|shown| chain(node, shown)).collect(),
    }
}

fn chain(node: &Node, shown: Shown) -> ChainView {
    let Shown { known, running, failures, aside } = shown;
    let (jobs_max, proof) = (known.jobs_max(), known.proof);
    let (state, why, psnr_db) = match (proof.encoder, &aside) {
        (Verdict::Fails { reason }, _) => (ChainState::Failed, Some(reason), None),
        (Verdict::Works { psnr_db }, Some((_, why))) => {
            (ChainState::Aside, Some(why.clone()), Some(psnr_db))
        }
        (Verdict::Works { psnr_db }, None) => (ChainState::Proven, None, Some(psnr_db)),
    };
    let until = |span| node.clock.now() + SignedDuration::try_from(span).unwrap_or_default();
    ChainView {
        name: proof.candidate.name,
        family: proof.candidate.family,
        hardware: proof.candidate.family.is_hardware(),
        encoder: proof.candidate.encoder,
        device: proof.device,
        driver: known.driver,
        state,
        why,
        aside_until: aside.map(|(span, _)| until(span)),
        psnr_db,
        pixels_per_s: proof.pixels_per_s,
        jobs_max,
        jobs_running: running,
        failures,
        decoders: proof.decoders,
        proven_at: known.proven_at,
    }
}
