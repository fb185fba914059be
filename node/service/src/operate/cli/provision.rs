//! `holdfast provision`

use super::arguments::{Provision, SetupPage, TakeFrom};
use super::failure::Failure;
use super::output::print;
use crate::operate::log;
use crate::provision::page::{self, Page};
use crate::provision::{Order, State, take};

/// Exit status of `take` where no configuration was found.
const NOTHING: u8 = 3;
/// Exit status of `take` where what was found cannot be used and there is nothing earlier.
const BROKEN: u8 = 4;

pub(super) fn act(asked: &Provision) -> anyhow::Result<()> {
    match asked {
        Provision::Take(asked) => take_from(asked),
        Provision::Page(asked) => serve(asked),
    }
}

fn take_from(asked: &TakeFrom) -> anyhow::Result<()> {
    let outcome = take(&Order {
        from: asked.from.clone(),
        inbox: asked.inbox.clone(),
        to: asked.to.clone(),
        esp: asked.esp.clone(),
        report: asked.report.clone(),
        remove_secrets: asked.remove_secrets,
        group: asked.group.clone(),
    })?;
    print(&outcome.text())?;
    let code = match outcome.state {
        State::Taken | State::Unchanged | State::Kept => return Ok(()),
        State::Nothing => NOTHING,
        State::Broken => BROKEN,
        State::Failed => 1,
    };
    Err(Failure { code, sentence: outcome.summary }.into())
}

fn serve(asked: &SetupPage) -> anyhow::Result<()> {
    log::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()?;
    runtime.block_on(page::run(Page {
        label: asked.code_sha256_from.clone(),
        certificate: asked.certificate.clone(),
        key: asked.key.clone(),
        listen: asked.listen,
        inbox: asked.inbox.clone(),
        outcome: asked.outcome.clone(),
    }))
}
