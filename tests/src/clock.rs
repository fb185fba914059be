//! The clock of a machine whose node was built with the feature `test-clock`: a test moves it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::node::Node;
use crate::settings::Settings;
use crate::tools::tools_dir;
use crate::wait::until;

/// A clock that stands still until it is moved. It outlives the node, as a machine's does.
#[derive(Debug)]
pub struct TestClock {
    dir: TempDir,
    wall: Timestamp,
    boot: SignedDuration,
    boot_id: u64,
    is_synchronised: bool,
}

impl TestClock {
    /// A clock that shows an instant, and that a time service keeps.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn at(wall: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-clock-").tempdir()?;
        let wall = wall.parse().with_context(|| wall.to_owned())?;
        let boot = SignedDuration::from_secs(60);
        let clock = Self { dir, wall, boot, boot_id: 1, is_synchronised: true };
        clock.show()?;
        Ok(clock)
    }

    /// Settings of a node that goes by this clock.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::new()
            .program(tools_dir().join("holdfast-test-clock"))
            .variable("HOLDFAST_TEST_CLOCK", &self.path().to_string_lossy())
            .set("node.clock", "synchronised")
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.wall
    }

    /// Time passes, and the node has seen it.
    ///
    /// # Errors
    /// If the node does not see it.
    pub async fn pass(&mut self, node: &Node, time: SignedDuration) -> Result<()> {
        self.wall += time;
        self.boot += time;
        self.seen_by(node).await
    }

    /// Time passes until an instant, and the node has seen it.
    ///
    /// # Errors
    /// If it has passed, or the node does not see it.
    pub async fn pass_until(&mut self, node: &Node, at: Timestamp) -> Result<()> {
        let time = at.duration_since(self.wall);
        ensure!(!time.is_negative(), "{at} is before {}", self.wall);
        self.pass(node, time).await
    }

    /// Someone sets the clock, and says whether a time service keeps it from now on.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn set(&mut self, wall: Timestamp, is_synchronised: bool) -> Result<()> {
        self.wall = wall;
        self.is_synchronised = is_synchronised;
        self.show()
    }

    /// The machine was off, and starts with its clock at an instant. The node must not run.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn reboot(&mut self, wall: Timestamp, is_synchronised: bool) -> Result<()> {
        self.boot = SignedDuration::from_secs(30);
        self.boot_id += 1;
        self.set(wall, is_synchronised)
    }

    async fn seen_by(&self, node: &Node) -> Result<()> {
        self.show()?;
        until("the node to see its clock move", async || {
            let shows = node.get("/status").await?["clock"]["wall"].clone();
            Ok((instant(&shows)? == self.wall).then_some(()))
        })
        .await
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("clock")
    }

    fn show(&self) -> Result<()> {
        let (boot_ms, boot_id) = (self.boot.as_millis(), self.boot_id);
        let kept = if self.is_synchronised { "synchronised" } else { "unsynchronised" };
        let new = self.dir.path().join("new");
        fs::write(&new, format!("{} {boot_ms} {boot_id} {kept}\n", self.wall))?;
        fs::rename(new, self.path())?;
        Ok(())
    }
}

/// An instant in an answer of the API.
///
/// # Errors
/// If it is none.
pub fn instant(value: &serde_json::Value) -> Result<Timestamp> {
    let text = value.as_str().with_context(|| format!("no instant: {value}"))?;
    text.parse().with_context(|| text.to_owned())
}
