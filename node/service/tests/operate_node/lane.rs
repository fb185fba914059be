//! The work of a lane, done here and now by the node's own worker.

use holdfast::queue::Work;
use tokio_util::sync::CancellationToken;

use super::Home;

/// Claims in one go; more would be work that makes work for ever.
const CLAIMS_MAX: usize = 50;

/// Does what is due in a lane, as its workers do.
pub async fn run<W: Work>(home: &Home, work: &W) {
    let (node, lane) = (&home.node, work.lane());
    for _ in 0..CLAIMS_MAX {
        let now = node.clock.now();
        let lease = now + jiff::SignedDuration::from_secs(60);
        let Some((rec, effects)) = node.ledger.claim(lane, now, lease).await.unwrap() else {
            return;
        };
        let id = rec.id;
        if effects.is_empty() {
            continue;
        }
        let events = work.work(rec, effects, CancellationToken::new()).await;
        if !events.is_empty() {
            node.settle(&node.ledger.clone(), id, lane, events).await.unwrap();
        }
    }
    panic!("there is always more to do");
}
