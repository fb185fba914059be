//! The audit log of a world: its chain holds, and each deletion has its receipt, and only one.

use std::collections::BTreeMap;

use holdfast_core::RecordingId;
use holdfast_core::recording::FileKind;
use serde_json::Value;

use super::Oracle;
use crate::audit::verify::{With, verify};
use crate::node::Node;

impl Oracle {
    /// Holds an export against the public key: asked once, at the end, of all that was ever written.
    pub(in crate::simulation) fn audit_log_holds(&self, node: &Node) {
        let export = export(node);
        let keys = vec![node.audit.public_key().clone()];
        let report = verify(export.as_slice(), With { keys, known: None }).expect("it can be read");
        assert!(report.faults.is_empty(), "the audit log: {:?}", report.faults);
    }

    /// What was deleted has a receipt, and nothing else has.
    pub(in crate::simulation) fn receipts_are_right(&self, node: &Node) {
        let receipts = receipts(&export(node));
        for ((id, kind), rules) in &receipts {
            assert_eq!(rules.len(), 1, "{id}: receipts for its {kind:?} by {rules:?}");
            let known = self.known.get(id).expect("receipts are for what is known");
            let file = known.rec.file(*kind);
            assert!(
                known.is_lost || file.is_none_or(|file| file.deleted_at.is_some()),
                "{id}: a receipt for its {kind:?}, which is there"
            );
        }
        for (id, known) in self.known.iter().filter(|(_, known)| !known.is_lost) {
            for file in known.rec.files.iter().filter(|file| file.deleted_at.is_some()) {
                let place = (*id, file.kind);
                let has = receipts.contains_key(&place) || self.without_receipt.contains(&place);
                assert!(has, "{id}: no receipt for its {:?}", file.kind);
            }
        }
    }
}

fn export(node: &Node) -> Vec<u8> {
    let stretch = node.audit.stretch(&node.ledger, None, None).expect("the log can be read");
    let mut export = node.audit.head_line(&stretch, node.clock.now()).expect("a head");
    let mut from = 1;
    while let Some((lines, next)) =
        node.audit.page(&node.ledger, &stretch, from).expect("the log can be read")
    {
        export.extend_from_slice(&lines);
        from = next;
    }
    export
}

/// By which rules each file was deleted, as receipts have it.
fn receipts(export: &[u8]) -> BTreeMap<(RecordingId, FileKind), Vec<String>> {
    let mut receipts: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in export.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty()) {
        let entry: Value = serde_json::from_slice(line).expect("JSON");
        let what = &entry["what"];
        if what["act"] != "files_deleted" {
            continue;
        }
        let id = what["recording"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        for file in what["files"].as_array().expect("files") {
            let kind = file["kind"].as_str().and_then(FileKind::from_word).expect("a kind");
            receipts.entry((id, kind)).or_default().push(what["rule"].to_string());
        }
    }
    receipts
}
