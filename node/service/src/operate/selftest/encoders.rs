//! Something encodes, and no hardware that is there fails.

use std::time::Duration;

use tokio::time::Instant;

use super::super::status::{ChainState, HardwareView, hardware};
use super::{Check, SelftestCheck};
use crate::node::Node;

/// Between two looks at proofs that are still to come.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const ADVICE: &str = "see `holdfast hardware` and docs/hardware.md";

pub(super) async fn check(node: &Node, end: Instant) -> SelftestCheck {
    let mut shown = hardware(node);
    // Proofs of hardware that hangs are ended one after the other.
    while shown.proving && Instant::now() + LOOK_EVERY < end && !node.stop.is_cancelled() {
        tokio::time::sleep(LOOK_EVERY).await;
        shown = hardware(node);
    }
    judge(&shown)
}

fn judge(shown: &HardwareView) -> SelftestCheck {
    if let Some(problem) = &shown.problem {
        let found = format!("what encodes could not be found out: {problem}");
        return SelftestCheck::failed(Check::Encoders, &found, "install holdfast-transcode anew");
    }
    let of = |state| shown.chains.iter().filter(move |chain| chain.state == state);
    let proven: Vec<_> = of(ChainState::Proven).map(|chain| chain.name.as_str()).collect();
    let others = of(ChainState::Aside).chain(of(ChainState::Failed));
    let others: Vec<_> = others
        .map(|it| format!("{} is not used: {}", it.name, it.why.as_deref().unwrap_or("it failed")))
        .collect();
    if proven.is_empty() && !shown.proving {
        let found = format!("nothing encodes; {}", others.join("; "));
        return SelftestCheck::failed(Check::Encoders, found.trim_end_matches("; "), ADVICE);
    }
    let jobs = format!("{}; jobs at once: {}", proven.join(", "), shown.jobs_max);
    if shown.proving {
        let found = format!("proven so far: {jobs}; others are still being proven");
        return SelftestCheck::warning(Check::Encoders, &found, "try again in some minutes");
    }
    let found = format!("proven: {jobs}");
    if others.is_empty() {
        return SelftestCheck::passed(Check::Encoders, &found);
    }
    SelftestCheck::warning(Check::Encoders, &format!("{found}; {}", others.join("; ")), ADVICE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    fn shown(proving: bool, chains: &[(&str, &str)]) -> HardwareView {
        let chain = |(name, state): &(&str, &str)| {
            json!({"name": name, "family": "x264", "hardware": false, "encoder": "x264enc",
                "device": null, "driver": null, "state": state, "why": "it is green",
                "aside_until": null, "psnr_db": null, "pixels_per_s": 1, "jobs_max": 1,
                "jobs_running": 0, "failures": 0, "decoders": [],
                "proven_at": "2026-01-01T00:00:00Z"})
        };
        let chains: Vec<_> = chains.iter().map(chain).collect();
        serde_json::from_value(json!({"gstreamer": "1", "proving": proving, "problem": null,
            "jobs_max": 2, "software_jobs_max": 2, "chains": chains}))
        .unwrap()
    }

    #[test]
    fn one_that_works_is_enough_and_what_does_not_is_named() {
        let outcome = |shown: HardwareView| judge(&shown).outcome;
        assert_eq!(outcome(shown(false, &[("x264", "proven")])), Outcome::Passed);
        let mixed = judge(&shown(false, &[("x264", "proven"), ("va", "failed")]));
        assert_eq!(mixed.outcome, Outcome::Warning);
        assert!(mixed.found.contains("va is not used: it is green"), "{}", mixed.found);
        assert_eq!(outcome(shown(true, &[("x264", "proven")])), Outcome::Warning);
        assert_eq!(outcome(shown(false, &[("x264", "failed")])), Outcome::Failed);
        assert_eq!(outcome(shown(false, &[])), Outcome::Failed);
        let lost = HardwareView { problem: Some("no program".into()), ..shown(false, &[]) };
        assert_eq!(outcome(lost), Outcome::Failed);
    }
}
