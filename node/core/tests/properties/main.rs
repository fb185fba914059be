//! Whatever happens to a recording, in any order: the rules hold.
//!
//! `world` does to a recording what the node would do to it, as one random history tells, with
//! failures, restarts, wrong clocks and people in between. `law` watches from outside: it keeps its
//! own notes of what happened and works out from the text of the rules, without asking the core, what
//! may go when and what must be gone.

mod law;
mod world;

use proptest::prelude::*;
use world::{History, World, history};

/// Histories to live through; `PROPTEST_CASES` says otherwise.
const CASES: u32 = 100_000;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(CASES),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// Rules 2 to 8 and 10: nothing goes too early, nothing stays too long, attempts keep their number
    /// and their distance, nothing under a legal hold goes, and deleting twice is harmless.
    #[test]
    fn rules_2_to_10_hold_in_any_history(history in history()) {
        let History { policy, is_unknown, acts } = history;
        let mut world = World::new(policy, is_unknown);
        for act in acts {
            world.act(&act);
        }
        world.live_out();
    }
}
