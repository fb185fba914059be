//! The node has one cryptography, aws-lc, for TLS and for SSH: no OpenSSL comes in with an update, nor
//! from the machine that it is built on.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{bin_dir, output, repo};
use serde_json::Value;

fn metadata() -> Result<Value> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]).current_dir(repo());
    // What other platforms would need is not fetched, and not delivered.
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    Ok(serde_json::from_slice(&output(&mut cargo)?)?)
}

/// The one package of this name.
fn only<'a>(metadata: &'a Value, name: &str) -> Result<&'a Value> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let found: Vec<_> = packages.iter().filter(|package| package["name"] == name).collect();
    let versions: Vec<_> = found.iter().map(|package| &package["version"]).collect();
    ensure!(found.len() == 1, "{name} is there in the versions {versions:?} instead of in one");
    Ok(found[0])
}

#[test]
fn what_libssh2_takes_for_openssl_is_our_own_and_nothing_else_takes_it() -> Result<()> {
    let metadata = metadata()?;
    let stand_in = only(&metadata, "openssl-sys")?;
    let path = stand_in["manifest_path"].as_str().context("it has no path")?;
    ensure!(
        stand_in["source"].is_null()
            && path == repo().join("node/openssl-sys/Cargo.toml").to_string_lossy(),
        "openssl-sys is the real one: {stand_in}"
    );
    let nodes = metadata["resolve"]["nodes"].as_array().context("no dependencies")?;
    let takes = |node: &&Value| {
        let takes = node["dependencies"].as_array();
        takes.is_some_and(|ids| ids.contains(&stand_in["id"]))
    };
    let users: Vec<_> = nodes.iter().filter(takes).map(|node| &node["id"]).collect();
    ensure!(users == [&only(&metadata, "libssh2-sys")?["id"]], "it is used by {users:?}");
    Ok(())
}

#[test]
fn there_is_one_cryptography_in_one_version() -> Result<()> {
    // Not from the metadata: that also lists what features which are off would bring.
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--workspace", "--locked", "--offline", "--prefix", "none"]);
    cargo.args(["--format", "{p}", "--target", "x86_64-unknown-linux-gnu"]).current_dir(repo());
    let tree = String::from_utf8(output(&mut cargo)?)?;
    let built: BTreeSet<Vec<&str>> =
        tree.lines().map(|line| line.split(' ').take(2).collect()).collect();
    let versions = |name: &str| built.iter().filter(|package| package[0] == name).count();
    for ours in ["aws-lc-rs", "aws-lc-sys", "openssl-sys"] {
        ensure!(versions(ours) == 1, "{ours} is built in {} versions", versions(ours));
    }
    for other in ["openssl", "openssl-src", "native-tls", "ring", "aws-lc-fips-sys"] {
        ensure!(versions(other) == 0, "{other} is built");
    }
    Ok(())
}

#[test]
fn the_built_node_takes_no_cryptography_from_the_machine() -> Result<()> {
    let node = bin_dir().join("holdfast");
    let linked = output(Command::new("ldd").arg(&node))?;
    let linked = String::from_utf8(linked)?;
    ensure!(linked.contains("libc.so"), "ldd says of {}: {linked}", node.display());
    for foreign in ["libssh2", "libcrypto", "libssl", "libgcrypt", "libmbedcrypto"] {
        ensure!(!linked.contains(foreign), "{} is linked with {foreign}: {linked}", node.display());
    }
    Ok(())
}

#[test]
fn the_built_node_has_libssh2_encipher_by_aws_lc() -> Result<()> {
    let node = bin_dir().join("holdfast");
    let names = String::from_utf8(output(Command::new("nm").arg(&node))?)?;
    let has = |name: &str| names.lines().any(|line| line.ends_with(&format!(" {name}")));
    for function in ["chacha_encrypt_bytes", "poly1305_auth"] {
        ensure!(has(&format!("__wrap_{function}")), "{function} is not led to aws-lc");
        ensure!(!has(function), "libssh2's own {function} is linked, so something calls it");
    }
    Ok(())
}
