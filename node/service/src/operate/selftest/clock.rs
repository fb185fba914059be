//! The clock is right, as far as the node can tell (rule 10).

use super::{Check, SelftestCheck};
use crate::config::ClockSource;
use crate::node::Node;

pub(super) fn check(node: &Node) -> SelftestCheck {
    let shows = format!("it shows {:.0}", node.clock.wall());
    match node.clock_doubt() {
        Err(error) => SelftestCheck::failed(
            Check::Clock,
            &error.to_string(),
            "see the node's log; without its ledger the clock cannot be judged",
        ),
        Ok(Some(doubt)) => SelftestCheck::failed(
            Check::Clock,
            &format!("{shows}, and is not trusted: {doubt}"),
            "see docs/clock.md; until then nothing is deleted by a rule of time",
        ),
        Ok(None) if node.clock.is_synchronised() => {
            SelftestCheck::passed(Check::Clock, &format!("{shows}, and a time service keeps it"))
        }
        Ok(None) => match node.config.node.clock {
            ClockSource::AsIs => SelftestCheck::not_applicable(
                Check::Clock,
                &format!("{shows}; node.clock = \"as_is\" says that something else keeps it"),
            ),
            ClockSource::Synchronised => SelftestCheck::warning(
                Check::Clock,
                &format!("{shows}, and its time service has just been lost"),
                "see that a time service runs and reaches its servers",
            ),
        },
    }
}
