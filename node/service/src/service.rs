//! Building a node from its configuration, running it, and bringing it to an orderly end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use holdfast_core::recording::{Event, Metadata, Recording, Source, State};
use holdfast_core::step;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::clock::{self, Clock};
use crate::config::{Config, Environment};
use crate::deliver;
use crate::deliver::worker::Deliverer;
use crate::ingest::{self, Ingest, Streams};
use crate::ledger::{self, Filter};
use crate::listen::{self, Http3Listener, Http3Shared, Listener, Places, Sockets};
use crate::node::Node;
use crate::retain::{Expirer, Retainer};
use crate::transcode::Transcoder;
use crate::vault::erasure::ErasureError;
use crate::vault::{Home, Vault, VaultError};
use crate::volumes::{self, Watch};
use crate::{hardware, operate, queue, retain, settings, tls, watchdog, web, webhooks};

/// Recordings looked at in one go while the vault and the ledger are compared.
const PAGE: usize = 500;

/// Runs a node until it is asked to stop by SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting; once it serves, it only ends by being asked to.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let node = Node::open(config, Clock::new().steered())?;
    // First of all that is signed: it says where the node's key is another one.
    let starting = node.audit.note_start(&node.ledger, &node.config, node.clock.now());
    starting.await.context("writing the start into the audit log")?;
    clock::watch::look(&node).await.context("finding out what the clock is worth")?;
    node.settings.start(&node).await.context("starting with the settings of the last time")?;
    node.keys.start(&node).await.context("noting which keys the configuration declares")?;
    let streams = Streams::new();
    let volumes =
        Watch::begin(&node, &streams).await.context("finding out which volumes are there")?;
    reconcile(&node).await.context("comparing the vault with the ledger")?;
    let tls = tls::server(&node.config)?;
    let sockets = listen::sockets(&node.config.node.listen, node.config.node.http3).await?;
    let tasks = TaskTracker::new();
    let transcoder = Arc::new(Transcoder::new(Arc::clone(&node)));
    if let Err(error) = transcoder.warm().await {
        tracing::error!(%error, "transcoding will fail until this is mended");
    }
    let workers = start_workers(&node, &streams, &transcoder);
    workers.spawn(volumes.run());
    prove_hardware(&workers, &node, &transcoder);
    let ingest = Ingest::new(Arc::clone(&node), Arc::clone(&streams), tasks.clone());
    let router = ingest::router(ingest)
        .merge(web::router())
        .merge(operate::health::router(Arc::clone(&node)))
        .merge(operate::api::router(Arc::clone(&node)));
    let router: Router = operate::api::with_fallbacks(router);
    listen_at(&node, sockets, &tls, &tasks, &router)?;
    let socket = Arc::clone(&node);
    tasks.spawn(async move {
        if let Err(error) = operate::socket::serve(socket).await {
            tracing::error!(%error, "the command line cannot reach this node");
        }
    });
    // Outside systemd there is nobody to tell.
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    // Goes on while the others are waited for.
    tokio::spawn(watchdog::run(Arc::clone(&node)));
    asked_to_stop().await?;
    drain(&node, tasks, workers).await;
    Ok(())
}

/// Serves https, and HTTP/3 where there is a socket for it; they share all places for connections.
fn listen_at(
    node: &Node,
    sockets: Vec<Sockets>,
    tls: &Arc<rustls::ServerConfig>,
    tasks: &TaskTracker,
    router: &Router,
) -> anyhow::Result<()> {
    let shared = Http3Shared {
        places: Places::new(
            node.config.ingest.recordings_max,
            node.config.node.connections_per_address_max,
        ),
        idle_max: Duration::from_millis(node.config.node.idle_ms_max),
        clock: node.clock.clone(),
        stop: node.stop.clone(),
    };
    for Sockets { tcp, udp } in sockets {
        let address = tcp.local_addr()?;
        let mut alt_svc = None;
        if let Some(udp) = udp {
            let http3 = Http3Listener::new(udp, tls, shared.clone(), node.halt.clone())
                .with_context(|| format!("cannot serve HTTP/3 at UDP {address}"))?;
            alt_svc = Some(http3.alt_svc()?);
            tasks.spawn(http3.run(router.clone()));
            tracing::info!(%address, "listening for HTTP/3");
        }
        let listener = Listener {
            tcp,
            tls: Arc::clone(tls),
            places: Arc::clone(&shared.places),
            idle_max: shared.idle_max,
            alt_svc,
            tasks: tasks.clone(),
            stop: node.stop.clone(),
        };
        tasks.spawn(listener.run(router.clone()));
        tracing::info!(%address, "listening");
    }
    Ok(())
}

/// What the node's last end left: bytes that reached the disk but not the ledger, which nobody was told
/// of and which may be anything, and folders that the ledger does not know.
pub(crate) async fn reconcile(node: &Arc<Node>) -> anyhow::Result<()> {
    let mut before = None;
    let arriving = Filter { state: Some(State::Receiving), ..Filter::default() };
    loop {
        let (page, next) = node.ledger.list(&arriving, before, PAGE)?;
        for recording in page {
            cut_back(node, recording).await?;
        }
        match next {
            Some(_) => before = next,
            None => break,
        }
    }
    for home in node.with_vault(Vault::homes).await? {
        if node.ledger.get(home.id)?.is_none() {
            take_in(node, home).await?;
        }
    }
    Ok(())
}

async fn cut_back(node: &Arc<Node>, recording: Recording) -> anyhow::Result<()> {
    let cut = node.with_vault(move |vault| {
        volumes::cut_back(vault, &recording);
        Ok(())
    });
    Ok(cut.await?)
}

/// A folder that the ledger does not know. Its manifest tells what it is; without one its status is
/// unknown (rule 3.3).
pub(crate) async fn take_in(node: &Arc<Node>, home: Home) -> anyhow::Result<()> {
    let id = home.id;
    let manifest = node.with_vault(move |vault| {
        Ok(vault.manifest(home).and_then(|mut recording| {
            recording.volume = home.volume;
            vault.with_length(recording)
        }))
    });
    let manifest = manifest.await?;
    match manifest {
        Ok(recording) if recording.id == id => {
            tracing::warn!(recording = %id, "in the vault, but not in the ledger: taken in again");
            node.ledger.insert(ledger::after_restart(&recording, node.clock.now())).await?;
            Ok(())
        }
        // Its deletion was begun before the ledger was lost.
        Err(VaultError::Erasure(ErasureError::Erased { .. })) => {
            node.with_vault(move |vault| vault.delete(home, &[], true)).await?;
            tracing::warn!(recording = %id, "its key was erased, and its folder is gone now as well");
            Ok(())
        }
        // Unknown is what is not understood, not what cannot be read yet (rule 3.3).
        Err(error) if !is_unknown(&error) => {
            tracing::error!(recording = %id, %error, "in the vault, but not in the ledger: left alone");
            Ok(())
        }
        _ => match node
            .with_vault(move |vault| vault.confirm(home).and(vault.is_foreign(home)))
            .await
        {
            Ok(false) => take_in_unknown(node, home).await,
            Ok(true) => {
                tracing::error!(
                    recording = %id,
                    "in the vault, but not in the ledger, and encrypted with a key of another node, or \
                     of this one before its state folder was lost: left alone"
                );
                Ok(())
            }
            Err(error) => {
                tracing::error!(recording = %id, %error, "in the vault, but not in the ledger: left alone");
                Ok(())
            }
        },
    }
}

/// Whether nothing can be made of a folder, however often it is read.
fn is_unknown(error: &VaultError) -> bool {
    match error {
        VaultError::Manifest { .. } => true,
        VaultError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

async fn take_in_unknown(node: &Arc<Node>, home: Home) -> anyhow::Result<()> {
    let id = home.id;
    let last_byte_at = node.with_vault(move |vault| Ok(vault.raw_modified(home).ok()));
    let now = node.clock.now();
    let last_byte_at = last_byte_at.await?.unwrap_or(now);
    tracing::warn!(recording = %id, %last_byte_at, "in the vault, but not in the ledger: kept for 6 hours after its last byte");
    let nobody = Environment::nobody();
    let policy = node.settings.policy(&nobody);
    let new =
        Recording::new(id, nobody.id, Source::Upload, policy, Metadata::default(), last_byte_at);
    let mut unknown = step(&new, Event::Detached, now).0;
    unknown.state = State::Unknown;
    unknown.volume = home.volume;
    node.ledger.insert(unknown).await?;
    Ok(())
}

fn start_workers(
    node: &Arc<Node>,
    streams: &Arc<Streams>,
    transcoder: &Arc<Transcoder>,
) -> TaskTracker {
    let workers = TaskTracker::new();
    start(&workers, node, node.hardware.jobs_max(), transcoder);
    workers.spawn(Arc::clone(transcoder).run_live(workers.clone()));
    let pushes_max = node.config.deliver.pushes_max;
    if pushes_max == 0 {
        tracing::warn!(
            "deliver.pushes_max is 0: nothing is pushed until it is raised, nor deleted from our own storage"
        );
    }
    start(&workers, node, pushes_max, &Arc::new(Deliverer::new(Arc::clone(node))));
    start(&workers, node, 1, &Arc::new(Retainer::new(Arc::clone(node), Arc::clone(streams))));
    start(&workers, node, 1, &Arc::new(Expirer::new(Arc::clone(node))));
    workers.spawn(retain::epochs::run(Arc::clone(node)));
    workers.spawn(volumes::erased::run(Arc::clone(node)));
    workers.spawn(retain::room::run(Arc::clone(node)));
    workers.spawn(clock::watch::run(Arc::clone(node)));
    workers.spawn(deliver::abandon::run(Arc::clone(node)));
    workers.spawn(settings::sweep::run(Arc::clone(node)));
    workers.spawn(webhooks::worker::run(Arc::clone(node)));
    workers.spawn(ingest::run_commits(Arc::clone(node), Arc::clone(streams)));
    workers
}

fn start<W: queue::Work>(workers: &TaskTracker, node: &Arc<Node>, count: usize, work: &Arc<W>) {
    for _ in 0..count {
        workers.spawn(queue::run(Arc::clone(node), node.ledger.clone(), Arc::clone(work)));
    }
}

/// Finds out what hardware there is, and starts as many workers more as it carries.
fn prove_hardware(workers: &TaskTracker, node: &Arc<Node>, transcoder: &Arc<Transcoder>) {
    let (tracker, more, work) = (workers.clone(), Arc::clone(node), Arc::clone(transcoder));
    let mut started = node.hardware.jobs_max();
    workers.spawn(hardware::run(Arc::clone(node), move || {
        let wanted = more.hardware.jobs_max();
        start(&tracker, &more, wanted.saturating_sub(started), &work);
        started = started.max(wanted);
    }));
}

async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Clients are told to come back, requests finish, work that runs is given most of the time there is
/// and then left for the next start. Being asked once more to stop ends the wait.
async fn drain(node: &Arc<Node>, tasks: TaskTracker, workers: TaskTracker) {
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    tracing::info!("stopping");
    node.stop.cancel();
    tasks.close();
    workers.close();
    let most = Duration::from_millis(node.config.node.stop_ms_max);
    let ended = async || {
        tasks.wait().await;
        workers.wait().await;
    };
    let patient = async {
        tokio::select! {
            () = ended() => {}
            _ = asked_to_stop() => {}
        }
    };
    if tokio::time::timeout(most * 3 / 4, patient).await.is_err() {
        tracing::info!("breaking off what still runs; it goes on at the next start");
    }
    node.halt.cancel();
    if tokio::time::timeout(most / 4, ended()).await.is_err() {
        tracing::warn!(
            "not everything came to an end in time; what is durable goes on at the next start"
        );
    }
    tracing::info!("stopped");
}
