//! Where an appliance has its time from: its own `chrony.conf`, and the script that tells chrony of a site's servers.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::tools::{output, repo, tools_dir};
use holdfast_tests::weed::certificates;

#[test]
fn a_sites_time_server_is_asked_with_authentication_and_what_dhcp_names_too() -> Result<()> {
    let chrony = tools_dir().join("chrony");
    ensure!(chrony.join("usr/sbin/chronyd").exists(), "no {}: run scripts/test", chrony.display());
    let dir = tempfile::tempdir()?;
    certificates(dir.path())?;
    let script = repo().join("tests/tests/time_servers/inside.sh");
    let said = output(
        Command::new("unshare")
            .args(["--mount", "--net", "--kill-child", "sh"])
            .arg(script)
            .args([dir.path(), repo(), &chrony]),
    )?;
    let said = String::from_utf8(said)?;
    for line in [
        "authenticated: server localhost iburst nts ntsport 14460",
        "then: server 127.0.0.7 iburst,server 127.0.0.8 iburst,server fd00::1 iburst,server fd00::2 iburst nts,",
        "asks 127.0.0.7",
        "asks 127.0.0.8",
        "asks fd00::1",
        "asks fd00::2",
    ] {
        ensure!(said.contains(line), "{line:?} is missing: {said}");
    }
    let log = fs::read_to_string(dir.path().join("client.log"))?;
    ensure!(!log.contains("Could not parse"), "{log}");
    Ok(())
}
