//! The order of entries: which are missing, out of place or there twice.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::super::chain::BEGINNING;
use super::super::line::Hash;
use super::report::{Entry, Fault, FaultKind};

/// Places that wrong lines hold, as many as are kept in mind.
const HELD_MAX: usize = 1_000;
/// Keys' names, as many as are kept in mind.
const KEYS_MAX: usize = 16;

/// Entries that have not come, though later ones have.
#[derive(Debug, Clone, Copy)]
struct Gap {
    first: u64,
    last: u64,
    /// The entry that came instead.
    before: u64,
}

/// The entries so far.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) faults: Vec<Fault>,
    pub(super) entries: u64,
    pub(super) first: Option<Entry>,
    /// The one that is furthest along.
    pub(super) last: Option<Entry>,
    pub(super) keys: BTreeSet<String>,
    /// Which entry comes next, where that is known.
    next: Option<u64>,
    gaps: Vec<Gap>,
    /// Places that wrong lines hold since the last good one, as they say themselves.
    held: BTreeSet<u64>,
    /// How many wrong lines since then did not say.
    unnamed: u64,
}

impl Chain {
    /// Which entry comes first, as the head says.
    pub(super) fn begin(&mut self, first: Option<u64>) {
        self.next = first;
    }

    /// How much is wrong so far.
    pub(super) fn found(&self) -> usize {
        self.faults.len() + self.gaps.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn fault(
        &mut self,
        kind: FaultKind,
        line: Option<u64>,
        entry: Option<u64>,
        sentence: impl Display,
    ) {
        self.faults.push(Fault { kind, line, entry, sentence: sentence.to_string() });
    }

    /// A line that is no entry at all.
    pub(super) fn take_unreadable(&mut self, line: u64, reason: &str) {
        let place = self.next.map(|next| next + self.bad_lines());
        let sentence = match place {
            Some(seq) => format!("line {line}, where entry {seq} belongs, is no entry: {reason}"),
            None => format!("line {line} is no entry: {reason}"),
        };
        self.take_bad(line, None, FaultKind::NotAnEntry, sentence);
    }

    /// The entry that a line which does not pass stands for, as far as that can be said.
    pub(super) fn place_of(&self, seq: Option<u64>) -> Option<u64> {
        seq.or_else(|| self.next.map(|next| next + self.bad_lines()))
    }

    fn bad_lines(&self) -> u64 {
        self.held.len() as u64 + self.unnamed
    }

    /// A line that does not pass.
    pub(super) fn take_bad(
        &mut self,
        line: u64,
        seq: Option<u64>,
        kind: FaultKind,
        sentence: String,
    ) {
        let entry = self.place_of(seq);
        self.fault(kind, Some(line), entry, sentence);
        match seq {
            Some(seq) if self.held.len() < HELD_MAX => {
                // What comes late stands in its own gap.
                self.close(seq);
                self.held.insert(seq);
            }
            _ => self.unnamed += 1,
        }
    }

    /// An entry that passed by itself.
    pub(super) fn take(&mut self, line: u64, entry: Entry, prev: Hash, key: &str) {
        let seq = entry.seq;
        let next = self.next.unwrap_or(seq);
        if seq < next {
            return self.take_late(line, seq);
        }
        if seq > next {
            self.open(next, seq - 1, seq);
        } else {
            self.check_link(line, seq, prev);
        }
        self.held.clear();
        self.unnamed = 0;
        self.entries += 1;
        self.first.get_or_insert(entry);
        self.last = Some(entry);
        self.next = Some(seq + 1);
        if self.keys.len() < KEYS_MAX {
            self.keys.insert(key.to_owned());
        }
    }

    /// Whether it follows the entry that stands before it.
    fn check_link(&mut self, line: u64, seq: u64, prev: Hash) {
        let expected = match self.last {
            Some(last) if last.seq + 1 == seq => last.hash,
            _ if seq == 1 => BEGINNING,
            _ => return,
        };
        if prev != expected {
            let sentence = match seq {
                1 => "entry 1 names an entry before it; it is not the first of this log".into(),
                _ => format!(
                    "entry {seq} does not follow the entry {} that stands before it: they are of two \
                     histories of the log",
                    seq - 1
                ),
            };
            self.fault(FaultKind::OtherHistory, Some(line), Some(seq), sentence);
        }
    }

    fn take_late(&mut self, line: u64, seq: u64) {
        let last = self.last.map_or(seq, |last| last.seq);
        if self.close(seq) {
            self.entries += 1;
            let sentence = format!("entry {seq} is out of place: it stands after entry {last}");
            self.fault(FaultKind::Reordered, Some(line), Some(seq), sentence);
        } else {
            let sentence = format!("entry {seq} is there again, in line {line}");
            self.fault(FaultKind::Duplicated, Some(line), Some(seq), sentence);
        }
    }

    /// Notes that entries have not come, except those whose places wrong lines hold.
    fn open(&mut self, first: u64, last: u64, before: u64) {
        let held: Vec<u64> = self.held.range(first..=last).copied().collect();
        // A wrong line that does not say which it is stands for the earliest that has not come.
        let mut excused = self.unnamed;
        let mut from = first;
        for end in held.into_iter().map(|seq| seq - 1).chain(std::iter::once(last)) {
            // From here to before the next that is held.
            let length = (end + 1).saturating_sub(from);
            let skipped = excused.min(length);
            excused -= skipped;
            if skipped < length {
                self.gaps.push(Gap { first: from + skipped, last: end, before });
            }
            from = end + 2;
        }
    }

    /// Takes an entry out of the gap in which it is; says whether there was one.
    fn close(&mut self, seq: u64) -> bool {
        let Some(at) = self.gaps.iter().position(|gap| (gap.first..=gap.last).contains(&seq))
        else {
            return false;
        };
        let gap = self.gaps.swap_remove(at);
        if gap.first < seq {
            self.gaps.push(Gap { last: seq - 1, ..gap });
        }
        if seq < gap.last {
            self.gaps.push(Gap { first: seq + 1, ..gap });
        }
        true
    }

    /// There are no more lines. Says what has not come; `end` is the last entry that the head names.
    pub(super) fn end(&mut self, has_head: bool, end: Option<(u64, Hash)>) {
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.sort_unstable_by_key(|gap| gap.first);
        for Gap { first, last, before } in gaps {
            let sentence = format!("{} missing before entry {before}", entries(first, last));
            self.fault(FaultKind::Missing, None, Some(first), sentence);
        }
        if let Some((seq, hash)) = end {
            self.check_end(seq, hash);
        } else if has_head && let Some(first) = self.first {
            let sentence =
                format!("the head says that there are no entries, but there is {}", first.seq);
            self.fault(FaultKind::Surplus, None, Some(first.seq), sentence);
        }
    }

    fn check_end(&mut self, seq: u64, hash: Hash) {
        let next = self.next.unwrap_or(1);
        if next <= seq {
            self.open(next, seq, seq + 1);
            for Gap { first, last, .. } in std::mem::take(&mut self.gaps) {
                let sentence = format!("the end was cut off: {} missing", entries(first, last));
                self.fault(FaultKind::Truncated, None, Some(first), sentence);
            }
        } else if let Some(last) = self.last.filter(|last| last.seq > seq) {
            let sentence = format!(
                "the head says that entry {seq} is the last, but there is entry {}",
                last.seq
            );
            self.fault(FaultKind::Surplus, None, Some(last.seq), sentence);
        } else if self.last.is_some_and(|last| last.seq == seq && last.hash != hash) {
            let sentence = format!(
                "the head names another entry {seq} than the one that is there: they are of two \
                 histories of the log"
            );
            self.fault(FaultKind::OtherHistory, None, Some(seq), sentence);
        }
    }
}

fn entries(first: u64, last: u64) -> String {
    if first == last {
        format!("entry {first} is")
    } else {
        format!("entries {first} to {last} are")
    }
}
