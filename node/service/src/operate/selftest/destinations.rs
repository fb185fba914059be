//! Each destination takes a file, gives it back and deletes it; see [`crate::deliver::check`].

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use holdfast_core::attempts::Fault;
use tokio::time::Instant;

use super::{Check, SelftestCheck, TIME_MAX};
use crate::deliver::Destination;
use crate::deliver::check::{self, CheckView, Step};
use crate::node::Node;

/// Destinations that are tried at once.
const AT_ONCE: usize = 8;

/// Those that are not done by the end are told to be late.
pub(super) async fn check(node: &Arc<Node>, end: Instant) -> Vec<SelftestCheck> {
    let all = node.settings.destinations().into_iter();
    let all = all.filter_map(|from| node.settings.destination(from.of.name()));
    let tried: Vec<_> = all.map(|destination| one(Arc::clone(node), destination, end)).collect();
    let found: Vec<_> = stream::iter(tried).buffered(AT_ONCE).collect().await;
    if found.is_empty() {
        let none = "no destination is set: recordings stay here";
        return vec![SelftestCheck::not_applicable(Check::Destination, none)];
    }
    found
}

async fn one(node: Arc<Node>, destination: Arc<dyn Destination>, end: Instant) -> SelftestCheck {
    let name = destination.name().to_owned();
    let tried = tokio::time::timeout_at(end, check::run(&node, &destination)).await;
    let found = tried.map_or_else(
        |_| SelftestCheck::late(Check::Destination, TIME_MAX),
        |tried| judge(&name, &tried),
    );
    found.of(&name)
}

fn judge(name: &str, tried: &CheckView) -> SelftestCheck {
    let failed = tried.steps.iter().find_map(|step| Some((step, step.error.as_deref()?)));
    let Some((step, error)) = failed else {
        let took: u64 = tried.steps.iter().map(|step| step.duration_ms).sum();
        let found = format!("a file was written, read back and deleted in {took} ms");
        return SelftestCheck::passed(Check::Destination, &found);
    };
    let what = match step.step {
        Step::Write => "writing a file",
        Step::ReadBack => "reading it back",
        Step::Delete => "deleting it",
    };
    let todo = match step.fault {
        Some(Fault::Customers) => "mend it there, or in the destination's settings",
        Some(Fault::Networks) => "see that the node reaches it: line, name server, firewall, proxy",
        Some(Fault::Ours) | None => "see the node's log",
    };
    let todo = format!("{todo}; then try `holdfast destinations test {name}`");
    SelftestCheck::failed(Check::Destination, &format!("{what} failed: {error}"), &todo)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use crate::deliver::check::CheckStep;

    #[test]
    fn the_step_that_failed_is_told_with_whose_it_is_to_mend() {
        let step = |step, error: Option<&str>| CheckStep {
            step,
            duration_ms: 20,
            fault: error.map(|_| Fault::Networks),
            error: error.map(Into::into),
        };
        let well = vec![step(Step::Write, None), step(Step::ReadBack, None)];
        let passed = judge("shelf", &CheckView { ok: true, steps: well.clone() });
        assert_eq!(passed.outcome, Outcome::Passed);
        assert!(passed.found.contains("40 ms"), "{}", passed.found);
        let mut steps = well;
        steps.push(step(Step::Delete, Some("no route to host")));
        let failed = judge("shelf", &CheckView { ok: false, steps });
        assert_eq!(failed.outcome, Outcome::Failed);
        assert_eq!(failed.found, "Deleting it failed: no route to host.");
        assert!(failed.todo.unwrap().contains("firewall"));
    }
}
