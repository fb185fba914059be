//! Hands the headers of aws-lc on to libssh2-sys.

use std::env;

fn main() {
    // aws-lc-sys has its version in the name under which it says where its headers are.
    let found = env::vars().find_map(|(name, value)| {
        let version = name.strip_prefix("DEP_AWS_LC_")?.strip_suffix("_INCLUDE")?;
        version.starts_with(|first: char| first.is_ascii_digit()).then_some(value)
    });
    let include = found.expect("aws-lc-sys says where its headers are");
    println!("cargo::metadata=include={include}");
    println!("cargo::rerun-if-changed=build.rs");
}
