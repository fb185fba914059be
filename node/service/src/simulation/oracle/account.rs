//! The last days of a world: everything is accounted for, and then nothing is left.

use std::collections::BTreeMap;
use std::path::Path;

use holdfast_core::explain;
use holdfast_core::recording::{FileKind, Lane, Metadata, Recording, State};
use holdfast_core::retention::Rule;
use jiff::Timestamp;

use super::{KINDS, Known, Oracle, RECORDINGS, Sent, name_at};
use crate::ledger::Ledger;
use crate::simulation::decoder::made_of;
use crate::simulation::disk::Disk;
use crate::simulation::people::Client;
use crate::simulation::storage::Store;

impl Oracle {
    /// At the end of a world that has been well for a while: everything that was acknowledged is where
    /// it belongs, or there are words for why not.
    pub(in crate::simulation) fn everything_is_accounted_for(
        &self,
        now: Timestamp,
        ledger: &Ledger,
        disk: &Disk,
        stores: &[Store],
        sent: &Sent,
    ) {
        for (id, known) in &self.known {
            let Known { law, rec, .. } = known;
            if known.is_lost {
                continue;
            }
            let entry = ledger.get(*id).expect("the ledger can be read");
            let is_forgotten = entry.is_none();
            assert!(!is_forgotten || rec.state == State::Garbage, "{id}: its entry is gone");
            if is_forgotten || rec.saved_at.is_none() {
                assert!(!rec.is_in_progress() || rec.attached, "{id}: {:?} for ever", rec.state);
                continue;
            }
            let words = explain::explain(rec, now);
            assert!(!words.is_empty(), "{id}: there are no words for it");
            match rec.state {
                State::Stored | State::Delivered => {
                    assert!(law.push_counts(), "{id}: {:?}, but not everywhere", rec.state);
                }
                State::Failed => {
                    let is_over = law.is_over(Lane::Process) || law.is_over(Lane::Deliver);
                    assert!(is_over, "{id}: failed before its time: {words}");
                }
                State::Deleted => assert!(rec.ended.is_some(), "{id}: deleted by nothing"),
                other => panic!("{id}: {other:?} at the end: {words}"),
            }
            self.manifest_agrees(rec, disk);
        }
        self.stores_have_what_they_should(stores, sent);
    }

    /// What clients were told is so.
    pub(in crate::simulation) fn promises_to_clients(&self, clients: &[Client]) {
        for client in clients {
            let Some((id, _)) = &client.session else { continue };
            let number = client.number;
            let Known { law, rec, is_lost, .. } = &self.known[id];
            if *is_lost {
                continue;
            }
            assert!(
                !client.is_saved || rec.saved_at.is_some(),
                "client {number}: {id} is not saved"
            );
            assert!(!client.is_discarded || rec.is_ended(), "client {number}: {id} is still there");
            // With its account, what was never saved goes as well.
            let is_expired = rec.ended.as_ref().is_some_and(|e| e.rule == Rule::AccountExpired);
            let is_gone = law.asked_to_delete
                || is_expired
                || rec.state == State::Garbage && rec.container.is_none();
            let bytes = usize::try_from(rec.bytes).expect("a length");
            assert!(
                is_gone || rec.saved_at.is_some() && bytes >= client.acknowledged,
                "client {number}: {} bytes were acknowledged, {id} has {bytes}, {:?}",
                client.acknowledged,
                rec.state
            );
        }
    }

    fn manifest_agrees(&self, rec: &Recording, disk: &Disk) {
        let folder = Path::new(RECORDINGS).join(rec.id.to_string());
        let Some(bytes) = disk.bytes_of(&folder.join("manifest.json")) else { return };
        let manifest = Recording::from_json(&bytes).expect("a manifest");
        let id = rec.id;
        assert_eq!(manifest.saved_at, rec.saved_at, "{id}: its manifest differs");
        assert_eq!(manifest.hold, rec.hold, "{id}: its manifest differs");
        assert_eq!(manifest.terms, rec.terms, "{id}: its manifest differs");
        for file in &rec.files {
            let noted = manifest.file(file.kind).expect("a manifest with all files");
            assert_eq!(noted.sha256, file.sha256, "{id}: its manifest differs");
            assert_eq!(noted.pushed, file.pushed, "{id}: its manifest differs");
        }
    }

    /// A store has nothing but files of recordings that belong there, each under its own name.
    fn stores_have_what_they_should(&self, stores: &[Store], sent: &Sent) {
        for store in stores {
            let mut belongs = BTreeMap::new();
            for (id, Known { law, rec, client, .. }) in &self.known {
                let (Some(client), Some(_)) = (client, rec.saved_at) else { continue };
                if !rec.policy.destinations.iter().any(|to| to == store.name()) {
                    continue;
                }
                let raw = &sent[client][..usize::try_from(rec.bytes).expect("a length")];
                for kind in KINDS.into_iter().filter(|kind| law.is_wanted(*kind)) {
                    let bytes =
                        if kind == FileKind::Raw { raw.to_vec() } else { made_of(raw, kind) };
                    belongs.insert(name_at(rec, kind), (*id, bytes));
                }
            }
            for name in store.names() {
                let (id, bytes) =
                    belongs.get(&name).unwrap_or_else(|| panic!("{name} does not belong there"));
                assert_eq!(store.object(&name).as_ref(), Some(bytes), "{id}: {name} is not it");
            }
        }
    }

    /// After everything was deleted: nothing is left with us.
    pub(in crate::simulation) fn nothing_is_left(
        &self,
        ledger: &Ledger,
        disk: &Disk,
        stores: &[Store],
    ) {
        assert_eq!(disk.names(Path::new(RECORDINGS)), Vec::<String>::new(), "left on the disk");
        for store in stores {
            assert_eq!(store.uploads(), Vec::<String>::new(), "half-done in {}", store.name());
        }
        for (id, known) in self.known.iter().filter(|(_, known)| !known.is_lost) {
            let Some(rec) = ledger.get(*id).expect("the ledger can be read") else { continue };
            assert_eq!(rec.metadata, Metadata::default(), "{id}: personal data outlived it");
            assert!(rec.is_gone(), "{id}: something of it is left");
            let Some(own) = &known.rec.policy.own else { continue };
            for store in stores.iter().filter(|store| store.name() == own) {
                for kind in KINDS {
                    let name = name_at(&known.rec, kind);
                    assert!(store.object(&name).is_none(), "our storage still has {name}");
                }
            }
        }
    }
}
