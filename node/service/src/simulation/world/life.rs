//! A life of the node: starting it the way the service does, and its workers' turns.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use holdfast_core::Lane;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::{Turn, World};
use crate::audit::AuditLog;
use crate::clock::{self, Clock};
use crate::deliver::abandon;
use crate::deliver::worker::Deliverer;
use crate::ingest::{self, Ingest, Streams};
use crate::ledger::{self, Place};
use crate::node::Node;
use crate::nodekey::NodeKey;
use crate::queue;
use crate::retain::{Expirer, Retainer};
use crate::service;
use crate::simulation::storage::Store;
use crate::transcode::Transcoder;
use crate::vault::{self, Vault};
use crate::webhooks;

/// A node that runs.
pub(in crate::simulation) struct Life {
    pub(in crate::simulation) node: Arc<Node>,
    pub(in crate::simulation) ingest: Arc<Ingest>,
    pub(in crate::simulation) router: Router,
    transcoder: Arc<Transcoder>,
    deliverer: Arc<Deliverer>,
    retainer: Arc<Retainer>,
    expirer: Arc<Expirer>,
    /// When each lane is due, as of so many commits.
    dues: Option<(u64, [Option<Timestamp>; Lane::ALL.len()])>,
}

impl World {
    pub(super) async fn start(&mut self) -> anyhow::Result<Life> {
        self.clock = Clock::driven(&self.hands).steered();
        let disk = vault::Disk::Simulated(self.disk.clone());
        let place = Place::Simulated(self.disk.ledger());
        let vault = Vault::open_on(disk, Path::new("/vault"), 0)?;
        let key = NodeKey::of(&[7; 32])?;
        if self.must_rebuild {
            let audit = AuditLog::new(&key)?;
            let report = ledger::from_vault(&vault, &place, (&audit, None), self.clock.now())?;
            self.note(format!("{report:?}"));
            (self.must_rebuild, self.is_rebuilt) = (false, true);
            self.oracle.witness.begin_anew();
        }
        let config = self.places.config(&self.stores, &self.receivers);
        let witness = Arc::clone(&self.oracle.witness);
        let node = Node::assemble(config, self.clock.clone(), vault, key, &place, vec![witness])?;
        node.audit.note_start(&node.ledger, &node.config, node.clock.now()).await?;
        clock::watch::look(&node).await?;
        node.settings.start(&node).await?;
        node.keys.start(&node).await?;
        if !self.is_made {
            self.places.make(&node).await;
            self.is_made = true;
        }
        let streams = Streams::new();
        service::reconcile(&node).await?;
        if std::mem::take(&mut self.is_rebuilt) {
            for line in self.oracle.begin_anew(&node.ledger) {
                self.note(line);
            }
            // With the memos of what was half-done there.
            self.stores.iter().for_each(Store::forget_uploads);
        }
        // What changed while it was down is taken over at each start.
        self.sweep_is_due = true;
        let ingest = Ingest::new(Arc::clone(&node), Arc::clone(&streams), TaskTracker::new());
        drop(tokio::spawn(clock::watch::run(Arc::clone(&node))));
        drop(tokio::spawn(abandon::run(Arc::clone(&node))));
        drop(tokio::spawn(webhooks::worker::run(Arc::clone(&node))));
        drop(tokio::spawn(ingest::run_commits(Arc::clone(&node), Arc::clone(&streams))));
        let of = || Arc::clone(&node);
        Ok(Life {
            router: ingest::router(Arc::clone(&ingest)),
            ingest,
            transcoder: Arc::new(Transcoder::simulated(of(), self.decoder.clone())),
            deliverer: Arc::new(Deliverer::new(of())),
            retainer: Arc::new(Retainer::new(of(), streams)),
            expirer: Arc::new(Expirer::new(of())),
            dues: None,
            node,
        })
    }
}

impl Life {
    /// When a lane is due. Asking the ledger each time is most of what a world would do.
    pub(super) fn due(&mut self, lane: Lane, is_well: bool) -> Option<Timestamp> {
        let commits = *self.node.ledger.changes().borrow();
        let dues = match self.dues.filter(|(as_of, _)| is_well && *as_of == commits) {
            Some((_, dues)) => dues,
            None => self.node.ledger.next_dues().unwrap_or_default(),
        };
        self.dues = Some((commits, dues));
        Lane::ALL.iter().zip(dues).find(|(of, _)| **of == lane).and_then(|(_, due)| due)
    }

    /// Whether the worker of the rules of time would decide anything now.
    pub(super) fn expires(&self) -> bool {
        queue::Work::is_open(&*self.expirer)
    }

    /// A worker's turn in a lane; nothing where no worker would take one now.
    pub(super) fn turn(&self, lane: Lane) -> Option<Turn> {
        match lane {
            Lane::Copy => None,
            Lane::Process => self.work(&self.transcoder),
            Lane::Deliver => self.work(&self.deliverer),
            Lane::Retain => self.work(&self.retainer),
            Lane::Expire => self.work(&self.expirer),
        }
    }

    fn work<W: queue::Work>(&self, work: &Arc<W>) -> Option<Turn> {
        if !work.is_open() {
            return None;
        }
        let (node, work) = (Arc::clone(&self.node), Arc::clone(work));
        Some(tokio::spawn(async move { queue::once(&node, &node.ledger, &*work).await }))
    }
}
