//! Lending a job's folder to a transcoder that is another user.
//!
//! An access list of the folder lets the group of the transcoder's socket make files in it, and its default list, which
//! the files inherit, lets the node's user read and remove them. So the node has to be no member of that group, has
//! no need of chown(2), and makes no folder whose group is passed on (setgid).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{XattrFlags, fsetxattr};

/// acl(5): a version, then entries of a tag, what is allowed, and whom; all in little endian.
const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// Whom the entries without a name are about.
const NOBODY: u32 = u32::MAX;

const ALL: u16 = 7;
const NONE: u16 = 0;

/// Lets the group of this socket make files in a folder of this process.
///
/// # Errors
/// Where the file system has no access lists, among others.
pub(super) fn to_the_group_of(folder: &Path, socket: &Path) -> io::Result<()> {
    lend(folder, nix::unistd::geteuid().as_raw(), std::fs::metadata(socket)?.gid())
}

fn lend(folder: &Path, owner: u32, group: u32) -> io::Result<()> {
    let lists: [(&CStr, &[_]); 2] = [
        (
            c"system.posix_acl_access",
            &[
                (USER_OBJ, ALL, NOBODY),
                (GROUP_OBJ, NONE, NOBODY),
                (GROUP, ALL, group),
                (MASK, ALL, NOBODY),
                (OTHER, NONE, NOBODY),
            ],
        ),
        (
            c"system.posix_acl_default",
            &[
                (USER_OBJ, ALL, NOBODY),
                (USER, ALL, owner),
                (GROUP_OBJ, NONE, NOBODY),
                (MASK, ALL, NOBODY),
                (OTHER, NONE, NOBODY),
            ],
        ),
    ];
    let file = File::open(folder)?;
    for (name, entries) in lists {
        fsetxattr(&file, name, &encoded(entries), XattrFlags::empty()).map_err(|error| {
            let error = io::Error::from(error);
            let what = format!("the folder of the job cannot be lent to the transcoder: {error}");
            io::Error::new(error.kind(), what)
        })?;
    }
    Ok(())
}

fn encoded(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, allowed, whom) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(allowed.to_le_bytes());
        bytes.extend(whom.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    const OWNER: u32 = 61_003;
    const TRANSCODER: u32 = 61_001;
    const SHARED: u32 = 61_002;
    const STRANGER: u32 = 61_004;

    /// Whether a script ends well that this user runs, in this group beside its own.
    fn as_user(user: u32, group: u32, script: &str, folder: &Path) -> bool {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={user}"), &format!("--regid={user}")]);
        command.arg(format!("--groups={group}")).args(["--", "sh", "-c", script, "sh"]).arg(folder);
        command.output().unwrap().status.success()
    }

    /// Needs root, to be other users.
    #[test]
    fn a_lent_folder_is_for_the_transcoder_to_write_and_for_the_node_to_read() {
        assert!(nix::unistd::geteuid().is_root(), "run as root: this test plays three users");
        let above = tempfile::tempdir().unwrap();
        std::fs::set_permissions(above.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let folder = above.path().join("work");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&folder, Some(OWNER), Some(OWNER)).unwrap();
        let write = "umask 077; echo film > $1/main.mp4 && echo more > $1/snapshot.jpg";
        assert!(!as_user(TRANSCODER, SHARED, write, &folder), "it was not lent yet");
        lend(&folder, OWNER, SHARED).unwrap();
        assert!(as_user(TRANSCODER, SHARED, write, &folder));
        let made = folder.join("main.mp4");
        assert_eq!(std::fs::metadata(&made).unwrap().uid(), TRANSCODER);
        assert!(as_user(OWNER, OWNER, "cat $1/main.mp4 && mv $1/main.mp4 $1/kept", &folder));
        assert!(as_user(OWNER, OWNER, "rm $1/kept $1/snapshot.jpg", &folder));
        assert!(as_user(TRANSCODER, SHARED, write, &folder));
        for (user, group) in [(STRANGER, STRANGER), (STRANGER, OWNER), (TRANSCODER, TRANSCODER)] {
            assert!(!as_user(user, group, "ls $1", &folder), "{user} in {group} lists it");
            assert!(
                !as_user(user, group, "cat $1/main.mp4", &folder),
                "{user} in {group} reads it"
            );
        }
    }
}
