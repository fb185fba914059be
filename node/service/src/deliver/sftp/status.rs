//! The numbers with which a server answers (draft-ietf-secsh-filexfer), and what they mean to an admin.

use std::io;

const NO_SUCH_FILE: i32 = 2;
const PERMISSION_DENIED: i32 = 3;
const FAILURE: i32 = 4;
const OP_UNSUPPORTED: i32 = 8;
const NO_SUCH_PATH: i32 = 10;
const FILE_ALREADY_EXISTS: i32 = 11;
const WRITE_PROTECT: i32 = 12;
const NO_SPACE_ON_FILESYSTEM: i32 = 14;
const QUOTA_EXCEEDED: i32 = 15;
const INVALID_FILENAME: i32 = 20;
/// The last that the library knows.
const STATUS_MAX: i32 = 21;

/// What an admin can make of an answer.
pub(super) fn describe(status: i32) -> String {
    let (said, advice) = match status {
        NO_SUCH_FILE | NO_SUCH_PATH => {
            ("no such file or folder", "was it moved away while the node was at work?")
        }
        PERMISSION_DENIED => ("permission denied", "let the user write and read there"),
        WRITE_PROTECT => ("it is write-protected", "let the user write there"),
        FAILURE => (
            "the server only says \"failure\"",
            "most often its disk or the user's quota is full, or it does not take the name; its log says more",
        ),
        OP_UNSUPPORTED => ("the server cannot do this", "its log says more"),
        FILE_ALREADY_EXISTS => ("something of this name is there", "move it away"),
        INVALID_FILENAME => ("the server does not take this name", "choose another folder or name"),
        _ => return format!("the server answers with status {status}; its log says more"),
    };
    format!("{said}; {advice}")
}

pub(super) fn is_missing(status: i32) -> bool {
    matches!(status, NO_SUCH_FILE | NO_SUCH_PATH)
}

pub(super) fn is_no_room(status: i32) -> bool {
    matches!(status, NO_SPACE_ON_FILESYSTEM | QUOTA_EXCEEDED)
}

pub(super) fn is_failure(status: i32) -> bool {
    status == FAILURE
}

pub(super) fn is_unsupported(status: i32) -> bool {
    status == OP_UNSUPPORTED
}

/// The status in an error of reading or writing: the library leaves nothing of it but its words.
pub(super) fn of(error: &io::Error) -> Option<i32> {
    let said = error.to_string();
    (1..=STATUS_MAX).find(|status| {
        let code = ssh2::ErrorCode::SFTP(*status);
        ssh2::Error::from_errno(code).message() == said
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_librarys_way_through_io_errors() {
        for status in [2, 3, 4, 8, 14, 15] {
            let error = io::Error::from(ssh2::Error::from_errno(ssh2::ErrorCode::SFTP(status)));
            assert_eq!(of(&error), Some(status));
        }
        let broken = ssh2::Error::from_errno(ssh2::ErrorCode::Session(-13));
        assert_eq!(of(&broken.into()), None);
    }
}
