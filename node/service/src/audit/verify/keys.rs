//! Keys of deleted recordings: for how many the log says that they ceased to exist.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Epochs that are kept in mind; with one a day, those of eleven years.
const EPOCHS_MAX: usize = 4_096;

/// What became of keys of deleted recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErasedKeys {
    /// Receipts that say that a recording's key was erased.
    pub receipts: u64,
    /// For how many of them the log says that the key ceased to exist.
    pub ceased: u64,
    /// The newest epoch that was destroyed.
    pub destroyed: Option<Destroyed>,
}

/// The end of an epoch, and of all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Destroyed {
    /// Which one.
    pub epoch: u64,
    /// When it was gone for certain.
    pub at: Timestamp,
}

/// What entries that passed say of keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Receipts by epoch, as far as these are kept in mind.
    receipts: BTreeMap<u64, u64>,
    destroyed: Option<Destroyed>,
}

impl Keys {
    pub(super) fn take(&mut self, what: Option<&Value>, at: Timestamp) {
        let Some(what) = what else { return };
        let number = |name: &str| what.get(name).and_then(Value::as_u64);
        match what.get("act").and_then(Value::as_str) {
            Some("files_deleted") => {
                let Some(epoch) = number("key_epoch") else { return };
                *self.receipts.entry(epoch).or_default() += 1;
                if self.receipts.len() > EPOCHS_MAX {
                    self.join_oldest();
                }
            }
            Some("epoch_destroyed") => {
                let Some(epoch) = number("epoch") else { return };
                // The first that says so: later ones say nothing new.
                if self.destroyed.is_none_or(|destroyed| destroyed.epoch < epoch) {
                    self.destroyed = Some(Destroyed { epoch, at });
                }
            }
            _ => {}
        }
    }

    /// Counts the oldest two as the newer of them: it is not destroyed before the older.
    fn join_oldest(&mut self) {
        if let Some((_, count)) = self.receipts.pop_first()
            && let Some(mut next) = self.receipts.first_entry()
        {
            *next.get_mut() += count;
        }
    }

    pub(super) fn report(&self) -> Option<ErasedKeys> {
        if self.receipts.is_empty() && self.destroyed.is_none() {
            return None;
        }
        let until = self.destroyed.map_or(0, |destroyed| destroyed.epoch);
        let ceased = self.receipts.range(..=until).map(|(_, count)| count).sum();
        let receipts = self.receipts.values().sum();
        Some(ErasedKeys { receipts, ceased, destroyed: self.destroyed })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receipt(epoch: u64) -> Value {
        json!({"act": "files_deleted", "key_epoch": epoch})
    }

    #[test]
    fn a_key_has_ceased_to_exist_once_its_epoch_or_a_later_one_was_destroyed() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let mut keys = Keys::default();
        keys.take(Some(&json!({"act": "files_deleted"})), at(0));
        assert_eq!(keys.report(), None);
        for epoch in [1, 1, 2, 3] {
            keys.take(Some(&receipt(epoch)), at(1));
        }
        for (epoch, ms) in [(2, 5), (2, 9), (1, 11)] {
            keys.take(Some(&json!({"act": "epoch_destroyed", "epoch": epoch})), at(ms));
        }
        let destroyed = Some(Destroyed { epoch: 2, at: at(5) });
        assert_eq!(keys.report(), Some(ErasedKeys { receipts: 4, ceased: 3, destroyed }));
    }

    #[test]
    fn more_epochs_than_are_kept_in_mind_never_make_a_key_cease_too_early() {
        let mut keys = Keys::default();
        for epoch in 1..=2 * EPOCHS_MAX as u64 {
            keys.take(Some(&receipt(epoch)), Timestamp::UNIX_EPOCH);
        }
        let gone = json!({"act": "epoch_destroyed", "epoch": 10});
        keys.take(Some(&gone), Timestamp::UNIX_EPOCH);
        let report = keys.report().unwrap();
        assert_eq!(report.receipts, 2 * EPOCHS_MAX as u64);
        assert!(report.ceased <= 10, "{report:?}");
    }
}
