//! Hands the headers of aws-lc on to libssh2-sys, and builds what libssh2 lacks.

use std::env;

/// Has libssh2-sys take the machine's libssh2, which brings another cryptography with it.
const SYSTEM_LIBSSH2: &str = "LIBSSH2_SYS_USE_PKG_CONFIG";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={SYSTEM_LIBSSH2}");
    assert!(
        env::var_os(SYSTEM_LIBSSH2).is_none(),
        "{SYSTEM_LIBSSH2} is set: unset it, so that libssh2 is built on the node's own cryptography"
    );
    // aws-lc-rs has its version in the name under which it says where aws-lc's headers are.
    let found = env::vars().find_map(|(name, value)| {
        let version = name.strip_prefix("DEP_AWS_LC_RS_")?.strip_suffix("_SYS_INCLUDE")?;
        version.starts_with(|first: char| first.is_ascii_digit()).then_some(value)
    });
    let include = found.expect("aws-lc-rs says where aws-lc's headers are");
    println!("cargo::rerun-if-changed=src/chacha.c");
    cc::Build::new().file("src/chacha.c").include(&include).opt_level(2).compile("holdfast_chacha");
    println!("cargo::metadata=include={include}");
}
