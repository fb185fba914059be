//! Every dependency comes under a licence that `deny.toml` allows.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::process::Command;
use std::slice::Iter;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{output, repo};
use serde_json::Value;
use toml::Table;

/// Whether one of the choices that an SPDX expression leaves is allowed throughout.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.iter().peekable();
    any_of(&mut words, allowed) && words.next().is_none()
}

fn any_of(words: &mut Peekable<Iter<&str>>, allowed: &BTreeSet<String>) -> bool {
    let mut is = all_of(words, allowed);
    while words.next_if(|word| **word == "OR").is_some() {
        is |= all_of(words, allowed);
    }
    is
}

fn all_of(words: &mut Peekable<Iter<&str>>, allowed: &BTreeSet<String>) -> bool {
    let mut is = one(words, allowed);
    while words.next_if(|word| **word == "AND").is_some() {
        is &= one(words, allowed);
    }
    is
}

fn one(words: &mut Peekable<Iter<&str>>, allowed: &BTreeSet<String>) -> bool {
    match words.next() {
        Some(&"(") => any_of(words, allowed) && words.next() == Some(&")"),
        Some(name) => {
            let mut name = (*name).to_owned();
            if words.next_if(|word| **word == "WITH").is_some() {
                name = format!("{name} WITH {}", words.next().unwrap_or(&""));
            }
            allowed.contains(&name)
        }
        None => false,
    }
}

fn allowed() -> Result<BTreeSet<String>> {
    let deny: Table = std::fs::read_to_string(repo().join("deny.toml"))?.parse()?;
    let names = deny["licenses"]["allow"].as_array().context("licenses.allow is no list")?;
    Ok(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
}

#[test]
fn every_dependency_comes_under_a_licence_that_is_allowed() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]).current_dir(repo());
    // What other platforms would need is not fetched, and not delivered.
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let metadata: Value = serde_json::from_slice(&output(&mut cargo)?)?;
    let allowed = allowed()?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    ensure!(packages.len() > 100, "only {} packages", packages.len());
    let refused: Vec<_> = packages
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or(""), &allowed))
        .map(|package| format!("{} {}", package["name"], package["license"]))
        .collect();
    ensure!(refused.is_empty(), "not allowed by deny.toml: {refused:?}");
    Ok(())
}

#[test]
fn an_expression_is_read_as_spdx_means_it() -> Result<()> {
    let allowed = BTreeSet::from(["MIT".to_owned(), "A WITH x".to_owned()]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("GPL-3.0 OR MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND MIT", true),
        ("A WITH x", true),
        ("A WITH y OR A", false),
        ("", false),
        ("(MIT", false),
    ] {
        ensure!(is_allowed(expression, &allowed) == expected, "{expression}");
    }
    Ok(())
}
