//! What the node says of itself.

mod hardware;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::names::VolumeId;
use holdfast_core::recording::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::health::{ANSWER_MAX, Missing, missing};
use crate::config::WhenFull;
use crate::deliver::gate::Health;
use crate::node::Node;
use crate::vault::{Encryption, Standing, Vault, Volume, VolumeState};
use crate::{config, settings};
pub use hardware::{ChainState, ChainView, HardwareView, hardware};

/// What the node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// Its name.
    pub node: String,
    /// Its version.
    pub version: String,
    /// How long it has been serving, in seconds.
    pub uptime_s: u64,
    /// The time zone in which the rules count days.
    pub zone: String,
    /// Its clock.
    pub clock: ClockView,
    /// The volumes of its vault.
    pub vault: Vec<VolumeView>,
    /// How many recordings are in each state.
    pub counts: BTreeMap<String, u64>,
    /// Streams and uploads that are arriving.
    pub arriving: u64,
    /// Where recordings can be pushed to.
    pub destinations: Vec<DestinationView>,
    /// What encodes: the proven, and hardware that is set aside or that failed its proof.
    pub encoders: Vec<EncoderView>,
    /// Whether it does its work.
    pub ready: bool,
    /// What it lacks for its work.
    pub missing: Vec<Missing>,
}

/// The node's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClockView {
    /// Node time, by which the rules go.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// What the machine's wall clock shows.
    #[schema(value_type = String, format = DateTime)]
    pub wall: Timestamp,
    /// Whether it is trusted; while it is not, nothing is deleted by a rule of time (rule 10).
    pub trusted: bool,
    /// Why it is not, and what to do about it.
    pub detail: Option<String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeView {
    /// What it is called.
    pub name: String,
    /// Which volume is there, or was last.
    pub id: Option<VolumeId>,
    /// How it is.
    pub state: VolumeState,
    /// Why, and what to do, where it is not ready.
    pub why: Option<String>,
    /// Where it is mounted.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Whether what lies on it is encrypted, by the kernel's own word.
    pub encrypted: bool,
    /// The same in words.
    pub encryption: String,
    /// The UUID in its LUKS2 header, in hex without dashes, by the kernel's own word.
    pub luks_uuid: Option<String>,
    /// Space that is free, in bytes; nothing where it cannot be measured.
    pub free_bytes: Option<u64>,
    /// Space that is to stay free, in bytes. Below it the volume takes nothing new.
    pub free_bytes_min: u64,
    /// Space that has to be free again until a full volume takes something new, in bytes.
    pub free_bytes_again: u64,
    /// What happens when space runs out.
    pub when_full: WhenFull,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DestinationName)]
pub struct DestinationView {
    /// The name by which environments speak of it.
    pub name: String,
    /// Which kind, such as `directory` or `s3`.
    pub kind: String,
    /// How it is doing.
    pub health: Health,
    /// What whoever uses it should know, such as that plain FTP can be read on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What encodes, in short; `/api/v1/hardware` has the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EncoderView {
    /// Its name, such as `va` or `x264`.
    pub name: String,
    /// Whether it is hardware.
    pub hardware: bool,
    /// Its device.
    pub device: Option<String>,
    /// How it is.
    pub state: ChainState,
    /// Why, where it gets no jobs.
    pub why: Option<String>,
}

/// What the node says of itself. It answers whatever is broken.
pub async fn status(node: &Arc<Node>, started: Duration) -> StatusView {
    let missing = missing(node).await;
    let counts = node.ledger.counts();
    let counts: BTreeMap<String, u64> =
        State::ALL.iter().map(|state| state.as_str().to_owned()).zip(counts).collect();
    StatusView {
        node: node.config.node_name(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: node.clock.boottime().saturating_sub(started).as_secs(),
        zone: node.config.node.zone.clone(),
        clock: clock_view(node),
        vault: volumes(node).await,
        arriving: counts.get(State::Receiving.as_str()).copied().unwrap_or(0),
        counts,
        destinations: destinations(node),
        encoders: encoders(node),
        ready: missing.is_empty(),
        missing,
    }
}

/// The node's clock, and whether it is trusted.
pub(super) fn clock_view(node: &Node) -> ClockView {
    let doubt = match node.clock_doubt() {
        Ok(doubt) => doubt.map(|doubt| doubt.to_string()),
        Err(error) => Some(error.to_string()),
    };
    ClockView {
        now: node.clock.now(),
        wall: node.clock.wall(),
        trusted: doubt.is_none(),
        detail: doubt,
    }
}

pub(super) async fn volumes(node: &Node) -> Vec<VolumeView> {
    let settings = node.config.vault.clone();
    let looked = node.with_vault(move |vault: &Vault| {
        let view = |volume| volume_view(vault, volume, &settings);
        Ok(vault.volumes().iter().map(view).collect())
    });
    // A disk that hangs must not take the status with it.
    match tokio::time::timeout(ANSWER_MAX, looked).await {
        Ok(Ok(volumes)) => volumes,
        _ => Vec::new(),
    }
}

fn volume_view(vault: &Vault, volume: &Volume, settings: &config::Vault) -> VolumeView {
    let Standing { state, why, id, encryption, .. } = volume.standing();
    VolumeView {
        name: volume.name().into(),
        id,
        state,
        why,
        path: volume.path().into(),
        encrypted: encryption.is_encrypted(),
        encryption: if state.is_there() {
            encryption.describe()
        } else {
            "not known while it is away".into()
        },
        luks_uuid: match encryption {
            Encryption::Luks2 { uuid, .. } => Some(uuid),
            Encryption::None => None,
        },
        free_bytes: vault.free_bytes(volume).ok(),
        free_bytes_min: settings.free_bytes_min,
        free_bytes_again: settings.free_bytes_again(),
        when_full: settings.when_full,
    }
}

fn encoders(node: &Node) -> Vec<EncoderView> {
    let chains = hardware(node).chains.into_iter();
    let view = |chain: ChainView| EncoderView {
        name: chain.name,
        hardware: chain.hardware,
        device: chain.device,
        state: chain.state,
        why: chain.why,
    };
    chains.map(view).collect()
}

fn destinations(node: &Node) -> Vec<DestinationView> {
    let view = |settings::From { of, .. }: settings::From<config::Destination>| DestinationView {
        name: of.name().into(),
        kind: of.kind().into(),
        health: node.pushing.gates.health(of.name()),
        warning: of.warning().map(Into::into),
    };
    node.settings.destinations().into_iter().map(view).collect()
}
