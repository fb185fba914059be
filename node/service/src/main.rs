//! The node's program.
use std::path::Path;

fn main() -> anyhow::Result<()> {
    holdfast::operate::log::start()?;
    let path = std::env::args().nth(3).unwrap_or_default();
    let config = holdfast::config::Config::load(Path::new(&path))?;
    tokio::runtime::Runtime::new()?.block_on(holdfast::service::run(config))
}
