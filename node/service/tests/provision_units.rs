//! The units of provisioning, judged by systemd's own tools.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SERVICES: [&str; 2] = ["holdfast-provision.service", "holdfast-provision-page.service"];
const OTHERS: [&str; 3] = [
    "holdfast-provision.path",
    "holdfast-setup-stick.service",
    "run-holdfast\\x2dprovision\\x2dstick.mount",
];
/// Highest exposure that `systemd-analyze security` may find, of 100.
const EXPOSURE_MAX: &str = "15";

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn text(name: &str) -> String {
    fs::read_to_string(units().join(name)).unwrap()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for name in SERVICES.into_iter().chain(OTHERS) {
        let text =
            text(name).replace("/usr/bin/holdfast ", concat!(env!("CARGO_BIN_EXE_holdfast"), " "));
        fs::write(folder.path().join(name), text).unwrap();
    }
    // What they start; the node's own units are tested where they are.
    let service = "[Unit]\nDescription=Node\n[Service]\nExecStart=/bin/true\n";
    fs::write(folder.path().join("holdfast.service"), service).unwrap();
    let socket = "[Unit]\nDescription=Node\n[Socket]\nListenStream=8443\n";
    fs::write(folder.path().join("holdfast.socket"), socket).unwrap();
    for name in SERVICES.into_iter().chain(OTHERS) {
        let mut verify = Command::new("systemd-analyze");
        let path = format!("{}:", folder.path().display());
        verify.args(["verify", "--man=no"]).env("SYSTEMD_UNIT_PATH", path);
        let done = verify.arg(folder.path().join(name)).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.trim().is_empty(), "{name}: {said}");
    }
    for name in SERVICES {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX]);
        let done = security.arg(folder.path().join(name)).output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stdout));
    }
}

/// What each unit calls is what the program knows.
#[test]
fn the_program_understands_what_the_units_call() {
    for name in SERVICES {
        let text = text(name).replace("\\\n", " ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/holdfast "))
            .unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(line.split_whitespace())
            .arg("--help")
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let help = String::from_utf8_lossy(&done.stdout);
        for flag in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{name}: {flag}");
        }
    }
}
