//! Two builds of one version.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::world::images;

/// Only `scripts/test image --full` builds one version twice.
#[test]
fn two_builds_are_the_same_up_to_their_signatures() -> Result<()> {
    let made = |build: &str| -> Result<Value> {
        let provenance = fs::read(images()?.join(build).join("holdfast_0.1.0.provenance.json"))?;
        let provenance: Value = serde_json::from_slice(&provenance)?;
        Ok(provenance["predicate"]["buildDefinition"]["internalParameters"].clone())
    };
    let (one, again) = (made("one")?, made("again")?);
    ensure!(one["root_hash"].as_str().is_some_and(|it| it.len() == 64), "{one}");
    ensure!(one == again, "{one}\n{again}");
    Ok(())
}
