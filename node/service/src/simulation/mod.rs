//! A simulation: the real node in a world of make-believe, for thousands of lives of forty days.
//!
//! Real are the core, the ledger with its tables and its writer, the queue and its turns, the workers,
//! ingest with its protocol, settings, start-up, the rebuild of a ledger, and the vault down to its
//! file operations. Make-believe are what they stand on: the clock's hands, the disk ([`disk`]), the
//! destinations ([`storage`]), what decodes ([`decoder`]), who is told by webhooks ([`receivers`]), and
//! everyone who uses a node ([`people`], [`chores`]).
//! [`faults`] breaks things; [`world`] puts it all together and lets time pass; [`oracle`] watches,
//! with [`law`], its own reading of the rules.
//!
//! Everything that a world does follows from its seed: one thread, no real time, no real randomness.
//! A world that goes wrong prints its journal and its seed; `HOLDFAST_SIM_SEED=N cargo nextest run -p
//! holdfast --lib simulation` lives it again, `HOLDFAST_SIM_WORLDS=1000` lives through so many.
//! What worlds found wrong with the node is in [`regressions`], each by itself.

mod chance;
mod chores;
pub(crate) mod decoder;
pub(crate) mod disk;
mod faults;
mod law;
mod line;
mod oracle;
mod people;
mod places;
pub(crate) mod receivers;
mod regressions;
pub(crate) mod storage;
mod tests;
mod world;

use std::cell::{Cell, RefCell};

use chance::Chance;

thread_local! {
    /// The chance of the world that lives in this thread, if one does: for what asks from inside the
    /// node, so that the world's own plans do not depend on it.
    static HERE: RefCell<Option<Chance>> = const { RefCell::new(None) };
    /// Whether the ledger of this thread writes with each commit what a crash has to know, as a node's
    /// does. Where it does not, redb walks through all of it after a crash.
    static REPAIRS_QUICKLY: Cell<bool> = const { Cell::new(true) };
}

/// Whether a world lives in this thread.
pub(crate) fn is_here() -> bool {
    HERE.with_borrow(Option::is_some)
}

/// A world begins to live in this thread, or ends.
fn set_here(chance: Option<Chance>) {
    let is_one_of_eight = |mut chance: Chance| chance.from(0, 8) == 0;
    REPAIRS_QUICKLY.set(chance.clone().is_none_or(is_one_of_eight));
    HERE.set(chance);
}

/// Whether a commit of the ledger is to be one after which a crash needs no long repair.
pub(crate) fn repairs_quickly() -> bool {
    REPAIRS_QUICKLY.get()
}

/// Fills in what would be random bytes; `false` where no world lives in this thread.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    HERE.with_borrow_mut(|here| here.as_mut().map(|chance| chance.fill(bytes)).is_some())
}

fn asked(of_a_hundred: u64) -> bool {
    HERE.with_borrow_mut(|here| here.as_mut().is_some_and(|chance| chance.percent(of_a_hundred)))
}

/// Others may go first, as if this took a while.
async fn others() {
    while asked(40) {
        tokio::task::yield_now().await;
    }
}

/// Makes a call that would block, among whatever else goes on.
pub(crate) async fn in_between<T>(act: impl FnOnce() -> T) -> T {
    others().await;
    let done = act();
    others().await;
    done
}
