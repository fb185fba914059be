//! What a change of a recording means to whoever looks on: customers' systems, for one.

use crate::push_order::{self, Success};
use crate::recording::{FileKind, Recording, State};

/// Something worth telling about a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// It was saved.
    Recorded,
    /// Its client never came back, and it was saved as far as its bytes reach.
    Recovered,
    /// Its `.mp4` was made.
    Converted,
    /// A destination has all that it is to get; or all that it ever will, where the main file is enough.
    Copied {
        /// The destination's name.
        destination: String,
    },
    /// A step used up its attempts, and what it did until then does not count as done.
    Failed,
    /// Nothing of it is left with us.
    Deleted,
}

/// What happened between two looks at a recording, in order.
#[must_use]
pub fn happenings(before: Option<&Recording>, after: &Recording) -> Vec<Happening> {
    let became = |is: fn(&Recording) -> bool| is(after) && !before.is_some_and(is);
    let mut told = Vec::new();
    if became(|rec| rec.saved_at.is_some()) {
        told.push(Happening::Recorded);
        if after.recovered {
            told.push(Happening::Recovered);
        }
    }
    if became(|rec| rec.policy.outputs.mp4 && rec.file(FileKind::Main).is_some()) {
        told.push(Happening::Converted);
    }
    for destination in &after.policy.destinations {
        if is_copied(after, destination) && !before.is_some_and(|rec| is_copied(rec, destination)) {
            told.push(Happening::Copied { destination: destination.clone() });
        }
    }
    if became(|rec| rec.state == State::Failed) {
        told.push(Happening::Failed);
    }
    if became(is_deleted) {
        told.push(Happening::Deleted);
    }
    told
}

/// A push that counts, with nothing of it still to come in this round of attempts. What is deleted here
/// before it was pushed makes none successful.
fn is_copied(rec: &Recording, destination: &str) -> bool {
    let is_over = matches!(rec.state, State::Stored | State::Delivered | State::Failed);
    let is_enough = is_over && rec.policy.success == Success::Main;
    let main = rec.file(push_order::main_kind(&rec.policy));
    !rec.is_ended()
        && main.is_some_and(|file| file.is_pushed_to(destination))
        && (is_enough || push_order::has_all(rec, destination))
}

fn is_deleted(rec: &Recording) -> bool {
    rec.saved_at.is_some()
        && matches!(rec.state, State::Deleted | State::Garbage | State::Failed)
        && rec.is_gone()
}
