//! Each volume is there, encrypted as it has to be, takes a file and has room.

use std::sync::Arc;

use aws_lc_rs::rand;
use futures_util::future::join_all;

use super::super::evidence::luks_fault;
use super::super::status::{VolumeView, volumes};
use super::{ANSWER_MAX, Check, Outcome, SelftestCheck};
use crate::node::Node;
use crate::vault::VolumeState;
use crate::volumes::helper::{self, LuksView};

/// Size of the file, in bytes.
const FILE_BYTES: usize = 64 << 10;
const DISK: &str = "see the kernel's log, and have the disk looked at";

pub(super) async fn check(node: &Arc<Node>) -> Vec<SelftestCheck> {
    let all = volumes(node).await;
    if all.is_empty() {
        let found = "the disks of the volumes do not answer";
        return vec![SelftestCheck::failed(Check::Volume, found, DISK)];
    }
    // What is not encrypted has no header; a node for development may have no helper.
    let luks = if all.iter().any(|volume| volume.encrypted) {
        helper::status().await.map_err(|error| error.to_string())
    } else {
        Ok(Vec::new())
    };
    join_all(all.iter().map(|volume| one(node, volume, luks.as_deref()))).await
}

async fn one(
    node: &Node,
    volume: &VolumeView,
    luks: Result<&[LuksView], &String>,
) -> SelftestCheck {
    if let Some((outcome, found, todo)) = standing(volume) {
        return SelftestCheck::new(Check::Volume, outcome, &found, Some(todo)).of(&volume.name);
    }
    let found = match tokio::time::timeout(ANSWER_MAX, write(node, volume)).await {
        Err(_) => SelftestCheck::late(Check::Volume, ANSWER_MAX),
        Ok(Err(error)) => SelftestCheck::failed(Check::Volume, &error, DISK),
        Ok(Ok(())) => kept(volume, luks),
    };
    found.of(&volume.name)
}

/// What is wrong with it as it was last looked at.
fn standing(volume: &VolumeView) -> Option<(Outcome, String, &'static str)> {
    let todo = match volume.state {
        VolumeState::Ready | VolumeState::Failing => return None,
        VolumeState::Away => "put its disk back, or open it: `holdfast volumes open`",
        VolumeState::Refused => "see docs/volumes.md; nothing is written to it as it is",
        VolumeState::ReadOnly => "close it and open it again, which checks its file system",
        VolumeState::Full => "have recordings delivered or deleted, or add a volume",
    };
    let why = volume.why.as_deref().unwrap_or("nothing says why");
    let found = format!("it is {}: {why}", volume.state.as_str().replace('_', "-"));
    Some((Outcome::Failed, found, todo))
}

async fn write(node: &Node, volume: &VolumeView) -> Result<(), String> {
    let id = volume.id.ok_or("it has no mark")?;
    let mut content = vec![0; FILE_BYTES];
    rand::fill(&mut content).map_err(|_| "the kernel gives no randomness")?;
    let wrote = node.with_vault(move |vault| vault.try_writing(id, &content)).await;
    wrote.map_err(|error| error.to_string())
}

/// It took a file. What is left to say is how it is encrypted, and what is free.
fn kept(volume: &VolumeView, luks: Result<&[LuksView], &String>) -> SelftestCheck {
    let VolumeView { free_bytes, free_bytes_min, .. } = volume;
    let Some(free) = free_bytes else {
        return SelftestCheck::failed(Check::Volume, "its free space cannot be measured", DISK);
    };
    let room =
        format!("{} MiB are free, and {} are to stay free", free >> 20, free_bytes_min >> 20);
    let how = format!("it took a file and gave it back; it is {}; {room}", volume.encryption);
    if volume.state == VolumeState::Failing {
        let why = volume.why.as_deref().unwrap_or("its disk had errors");
        return SelftestCheck::warning(Check::Volume, &format!("{how}; {why}"), DISK);
    }
    if !volume.encrypted {
        // Where that has to be, it would be refused.
        return SelftestCheck::passed(Check::Volume, &how);
    }
    match luks.map(|all| luks_fault(volume, all)) {
        Ok(None) => SelftestCheck::passed(Check::Volume, &how),
        Ok(Some(fault)) => SelftestCheck::failed(
            Check::Volume,
            &format!("it {fault}"),
            "see `holdfast volumes list` and docs/volumes.md",
        ),
        Err(why) => SelftestCheck::warning(
            Check::Volume,
            &format!("{how}; its header could not be looked at: {why}"),
            "see that holdfast-volume-ask.socket runs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WhenFull;

    fn volume(state: VolumeState, encrypted: bool) -> VolumeView {
        VolumeView {
            name: "data0".into(),
            id: None,
            state,
            why: Some("of this".into()),
            path: "/srv/data0".into(),
            encrypted,
            encryption: "not encrypted".into(),
            luks_uuid: None,
            free_bytes: Some(3 << 20),
            free_bytes_min: 1 << 20,
            free_bytes_again: 1 << 20,
            when_full: WhenFull::RefuseNew,
        }
    }

    #[test]
    fn what_cannot_take_recordings_has_failed_with_its_reason() {
        for state in
            [VolumeState::Away, VolumeState::Refused, VolumeState::ReadOnly, VolumeState::Full]
        {
            let (outcome, found, _) = standing(&volume(state, false)).unwrap();
            assert_eq!(outcome, Outcome::Failed);
            assert!(found.contains("of this"), "{found}");
        }
        assert_eq!(standing(&volume(VolumeState::Ready, false)), None);
    }

    #[test]
    fn a_disk_that_had_errors_is_warned_of_and_a_header_that_is_unknown_too() {
        let outcome = |volume: &VolumeView, luks| kept(volume, luks).outcome;
        let none: Result<&[LuksView], &String> = Ok(&[]);
        assert_eq!(outcome(&volume(VolumeState::Ready, false), none), Outcome::Passed);
        assert_eq!(outcome(&volume(VolumeState::Failing, false), none), Outcome::Warning);
        // Encrypted, and none of holdfast-volume's.
        assert_eq!(outcome(&volume(VolumeState::Ready, true), none), Outcome::Failed);
        let silent = "nobody answers".to_owned();
        let said = kept(&volume(VolumeState::Ready, true), Err(&silent));
        assert_eq!(said.outcome, Outcome::Warning);
        assert!(said.found.contains("nobody answers"), "{}", said.found);
    }
}
