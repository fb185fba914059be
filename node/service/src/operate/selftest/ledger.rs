//! The ledger takes a commit. Format: table `selftest`, `0` to the sixteen random bytes of the newest test.

use aws_lc_rs::rand;
use redb::TableDefinition;

use super::{ANSWER_MAX, Check, SelftestCheck};
use crate::ledger::LedgerError;
use crate::node::Node;

const SELFTEST: TableDefinition<'_, u8, [u8; 16]> = TableDefinition::new("selftest");
const ADVICE: &str =
    "see the node's log and the disk of node.state_path; nothing is taken in until this is mended";

pub(super) async fn check(node: &Node) -> SelftestCheck {
    let began = node.clock.boottime();
    match tokio::time::timeout(ANSWER_MAX, commit(node)).await {
        Err(_) => SelftestCheck::late(Check::Ledger, ANSWER_MAX),
        Ok(Err(error)) => SelftestCheck::failed(Check::Ledger, &error.to_string(), ADVICE),
        Ok(Ok(false)) => {
            SelftestCheck::failed(Check::Ledger, "it does not have what was committed", ADVICE)
        }
        Ok(Ok(true)) => {
            let took = node.clock.boottime().saturating_sub(began);
            let found = format!("it took a commit in {} ms", took.as_millis());
            SelftestCheck::passed(Check::Ledger, &found)
        }
    }
}

/// Whether what was committed is there.
async fn commit(node: &Node) -> Result<bool, LedgerError> {
    let mut new = [0; 16];
    rand::fill(&mut new)
        .map_err(|_| LedgerError::Write("the kernel gives no randomness".into()))?;
    let write = node.ledger.write(move |write| {
        write.open_table(SELFTEST)?.insert(0, new)?;
        Ok(())
    });
    write.await?;
    node.ledger.read(|read| {
        let found = read.open_table(SELFTEST)?.get(0)?;
        Ok(found.is_some_and(|found| found.value() == new))
    })
}
