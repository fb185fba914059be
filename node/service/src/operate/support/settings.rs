//! The configuration as the node goes by it, without what it names and without secrets.
//!
//! What is in the file's own tables is written down here member by member; what has JSON of its own is
//! shown by rules. Either way a member that nobody put here is left out.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::shown::{As, Kind, Rule, Shown};
use crate::config::{self, Config, Erasure, PrivateTargets, Profile};
use crate::deliver::secret;
use crate::node::Node;

/// Most destinations, environments and accounts that are listed, each.
const LISTED_MAX: usize = 500;

/// Members of destinations of all kinds. Secrets and files that hold them are not among them.
const DESTINATION: [Rule; 38] = [
    ("kind", As::Is),
    ("name", As::Number(Kind::Destination)),
    ("host", As::Given),
    ("port", As::Is),
    ("user", As::Given),
    ("path", As::Given),
    ("directory", As::Given),
    ("mount_point", As::Given),
    ("endpoint", As::Given),
    ("region", As::Given),
    ("bucket", As::Given),
    ("prefix", As::Given),
    ("host_key", As::Given),
    ("app_key", As::Given),
    ("path_root", As::Given),
    ("api_url", As::Given),
    ("content_url", As::Given),
    ("tags", As::Given),
    ("sse", As::Given),
    ("preset", As::Is),
    ("path_style", As::Is),
    ("credentials", As::Is),
    ("part_bytes", As::Is),
    ("parts_at_once", As::Is),
    ("existing", As::Is),
    ("checksum", As::Is),
    ("ours", As::Is),
    ("storage_class", As::Given),
    ("storage_classes", As::Given),
    ("acl", As::Is),
    ("mute", As::Is),
    ("verify", As::Is),
    ("file_mode", As::Given),
    ("folder_mode", As::Given),
    ("limits.files_max", As::Is),
    ("limits.bandwidth", As::Given),
    ("origin", As::Is),
    ("warning", As::Text),
];

const ENVIRONMENT: [Rule; 31] = [
    ("id", As::Number(Kind::Environment)),
    ("account", As::Number(Kind::Account)),
    ("region", As::Is),
    ("mp4", As::Is),
    ("snapshot", As::Is),
    ("filmstrip", As::Is),
    ("push_raw", As::Is),
    ("destinations", As::Number(Kind::Destination)),
    ("folder", As::Given),
    ("store_nothing", As::Is),
    ("success", As::Is),
    ("lifecycle_days", As::Is),
    ("personal_data.camera", As::Is),
    ("personal_data.microphone", As::Is),
    ("personal_data.referrer", As::Is),
    ("personal_data.user_agent", As::Is),
    ("personal_data.ip", As::Is),
    ("transcoding.video.size", As::Is),
    ("transcoding.video.max_width", As::Is),
    ("transcoding.video.max_height", As::Is),
    ("transcoding.video.aspect", As::Is),
    ("transcoding.video.quality", As::Is),
    ("transcoding.video.max_fps", As::Is),
    ("transcoding.video.constant_fps", As::Is),
    ("transcoding.video.rotate", As::Is),
    ("transcoding.video.flip", As::Is),
    ("transcoding.audio.channels", As::Is),
    ("transcoding.audio.loudness", As::Is),
    ("transcoding.audio.mute", As::Is),
    ("transcoding.watermark", As::Given),
    ("origin", As::Is),
];

/// What may be told of this node, and what its things are called in the bundle. Opens secrets, only to
/// leave them out of texts. Blocks.
pub(super) fn known(node: &Node) -> Shown {
    let mut shown = Shown::default();
    for destination in node.settings.destinations() {
        shown.number(Kind::Destination, destination.of.name());
        let settings = serde_json::to_value(&destination.of).unwrap_or_default();
        shown.hide_rest(&settings, &DESTINATION);
    }
    let made = node.settings.made_destinations();
    for destination in node.config.destinations.iter().chain(&made) {
        for secret in secret::open(destination, &node.key).iter().flat_map(secret::Secrets::all) {
            if let Ok(secret) = secret.text() {
                secret.lines().for_each(|line| shown.plain.hide(line));
            }
        }
    }
    for environment in node.settings.environments() {
        shown.number(Kind::Environment, &environment.of.id);
        let mut settings = serde_json::to_value(&*environment.of).unwrap_or_default();
        // Words of the node's own, which its sentences have too.
        settings["transcoding"] = Value::Null;
        shown.hide_rest(&settings, &ENVIRONMENT);
    }
    for account in node.settings.accounts() {
        shown.number(Kind::Account, &account.of.id);
        account.of.name.iter().for_each(|name| shown.plain.hide(name));
    }
    for webhook in node.settings.webhooks() {
        shown.number(Kind::Webhook, &webhook.of.id);
        shown.hide_rest(&json!({ "url": webhook.of.url }), &[]);
    }
    for (key, _) in node.keys.all() {
        shown.plain.hide(&key.name);
        shown.plain.hide(&key.id);
    }
    shown.plain.hide(&node.config.node_name());
    node.config.tls.names.iter().for_each(|name| shown.plain.hide(name));
    node.vault.volumes().iter().for_each(|volume| shown.plain.keep(volume.name()));
    shown
}

/// The places that the node uses, each with what for.
pub(super) fn places(node: &Node, shown: &Shown) -> Vec<(PathBuf, String)> {
    let mut places = vec![(node.config.node.state_path.clone(), "state".to_owned())];
    for volume in node.vault.volumes() {
        places.push((volume.path().into(), format!("volume {}", volume.name())));
    }
    for destination in node.settings.destinations() {
        if let config::Destination::Directory(directory) = &destination.of {
            let name = shown.name(Kind::Destination, &directory.name);
            places.push((directory.path.clone(), name.to_owned()));
        }
    }
    places
}

/// The whole configuration.
pub(super) fn settings(node: &Node, shown: &Shown) -> Value {
    let mut keys = std::collections::BTreeMap::<&str, u64>::new();
    for (key, _) in node.keys.all() {
        *keys.entry(key.scope.as_str()).or_default() += 1;
    }
    json!({
        "file": file(&node.config),
        "destinations": destinations(node, shown),
        "environments": environments(node, shown),
        "accounts": node.settings.accounts().iter().take(LISTED_MAX).map(|account| json!({
            "id": shown.name(Kind::Account, &account.of.id), "plan": account.of.plan,
            "expires_at": account.of.expires_at, "origin": account.origin,
        })).collect::<Vec<_>>(),
        "counts": {
            "destinations": node.settings.destinations().len(),
            "environments": node.settings.environments().len(),
            "accounts": node.settings.accounts().len(),
            "listed_max": LISTED_MAX,
        },
        "keys_by_scope": keys,
    })
}

fn destinations(node: &Node, shown: &Shown) -> Vec<Value> {
    let all = node.settings.destinations().into_iter();
    let view = |config_from: crate::settings::From<config::Destination>| {
        let mut settings = serde_json::to_value(&config_from.of).unwrap_or_default();
        settings["origin"] = json!(config_from.origin);
        settings["warning"] = json!(config_from.of.warning());
        shown.thing(&settings, &DESTINATION)
    };
    all.take(LISTED_MAX).map(view).collect()
}

fn environments(node: &Node, shown: &Shown) -> Vec<Value> {
    let all = node.settings.environments().into_iter();
    let view = |environment: crate::settings::From<_>| {
        let of: &std::sync::Arc<config::Environment> = &environment.of;
        let mut settings = serde_json::to_value(&**of).unwrap_or_default();
        settings["origin"] = json!(environment.origin);
        shown.thing(&settings, &ENVIRONMENT)
    };
    all.take(LISTED_MAX).map(view).collect()
}

/// The tables of the configuration file, with what holds where nothing is said.
fn file(config: &Config) -> Value {
    let Config { node, vault, tls, ingest, transcode, deliver, operate, notify, .. } = config;
    let usual = config::Node::default();
    json!({
        "node": {
            "name": node.name.is_some(),
            "profile": match node.profile {
                Profile::Development => "development",
                Profile::Appliance => "appliance",
            },
            "zone": node.zone,
            "state_path_is_usual": node.state_path == usual.state_path,
            "listen": node.listen.iter().map(|address| json!({
                "port": address.port(), "family": if address.is_ipv6() { "ipv6" } else { "ipv4" },
                "any_address": address.ip().is_unspecified(),
            })).collect::<Vec<_>>(),
            "http3": node.http3,
            "stop_ms_max": node.stop_ms_max,
            "connections_per_address_max": node.connections_per_address_max,
            "idle_ms_max": node.idle_ms_max,
            "clock": match node.clock {
                config::ClockSource::Synchronised => "synchronised",
                config::ClockSource::AsIs => "as_is",
            },
        },
        "vault": {
            "path": vault.path.is_some(),
            "volumes": vault.volumes.iter().map(|volume| json!({
                "name": volume.name, "mount_point": volume.mount_point,
            })).collect::<Vec<_>>(),
            "free_bytes_min": vault.free_bytes_min,
            "free_bytes_again": vault.free_bytes_again(),
            "when_full": vault.when_full.as_str(),
            "erasure": match vault.erasure { Erasure::Unlink => "unlink", Erasure::Keys => "keys" },
            "erasure_epoch_ms": vault.erasure_epoch_ms,
        },
        "tls": {
            "certificate": tls.certificate.is_some(), "key": tls.key.is_some(), "names": tls.names.len(),
        },
        "ingest": {
            "recording_bytes_max": ingest.recording_bytes_max, "stall_ms_max": ingest.stall_ms_max,
            "recordings_max": ingest.recordings_max, "reconnect_ms": ingest.reconnect_ms,
            "playback_ms": ingest.playback_ms, "commit_ms": ingest.commit_ms,
            "chunk_bytes_max": ingest.chunk_bytes_max, "window_bytes_max": ingest.window_bytes_max,
            "origins": ingest.origins.len(),
            "any_origin": ingest.origins.iter().any(|origin| origin == "*"),
        },
        "transcode": {
            "program": transcode.program.is_some(), "socket": transcode.socket.is_some(),
            "jail": transcode.jail(node.profile), "jobs_max": transcode.jobs_max,
            "wall_ms_max": transcode.wall_ms_max, "wall_factor": transcode.wall_factor,
            "stall_ms_max": transcode.stall_ms_max, "memory_bytes_max": transcode.memory_bytes_max,
        },
        "deliver": {
            "pushes_max": deliver.pushes_max, "bandwidth": !deliver.bandwidth.is_empty(),
            "directories": deliver.directories.len(), "plain_http": deliver.plain_http,
        },
        "operate": {
            "requests_per_minute": operate.requests_per_minute, "requests_burst": operate.requests_burst,
            "keys": operate.keys.len(), "demo_environment": operate.demo_environment.is_some(),
        },
        "notify": {
            "private_targets": match &notify.private_targets {
                PrivateTargets::All(all) => json!(all),
                PrivateTargets::Nets(nets) => json!(nets.len()),
            },
            "plain_http": notify.plain_http, "ca_file": notify.ca_file.is_some(),
        },
    })
}
