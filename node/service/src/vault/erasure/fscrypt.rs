//! The kernel's encryption of folders (fscrypt), as far as the vault needs it.
//!
//! Policies of version 2, AES-256-XTS for contents and AES-256-CTS for names. Keys of such policies may
//! be added by any user, within `kernel.keys.maxkeys`. The structures are those of
//! `linux/fscrypt.h`; no crate that is kept up has them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use zeroize::{Zeroize, Zeroizing};

/// A recording's key, in bytes.
pub(super) const MASTER_KEY_BYTES: usize = 64;

/// A recording's key. Wiped when it goes.
pub(super) type MasterKey = Zeroizing<[u8; MASTER_KEY_BYTES]>;

/// What the kernel calls a key: a digest of it.
pub(super) type Identifier = [u8; 16];

const POLICY_VERSION: u8 = 2;
const MODE_AES_256_XTS: u8 = 1;
const MODE_AES_256_CTS: u8 = 4;
/// Names are padded to a multiple of 32 bytes.
const FLAGS_PAD_32: u8 = 3;
const SPECIFIER_IDENTIFIER: u32 = 2;
const STATUS_PRESENT: u32 = 2;
const REMOVAL_FILES_BUSY: u32 = 1;
const REMOVAL_OTHER_USERS: u32 = 2;

const READ: u32 = 2;
const READ_WRITE: u32 = 3;
const SET_POLICY: u32 = number(READ, 19, 12);
const GET_POLICY: u32 = number(READ_WRITE, 22, 9);
const ADD_KEY: u32 = number(READ_WRITE, 23, 80);
const REMOVE_KEY: u32 = number(READ_WRITE, 24, 64);
const KEY_STATUS: u32 = number(READ_WRITE, 26, 128);

const fn number(direction: u32, number: u32, bytes: u32) -> u32 {
    direction << 30 | bytes << 16 | (b'f' as u32) << 8 | number
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Policy {
    version: u8,
    contents_mode: u8,
    names_mode: u8,
    flags: u8,
    reserved: [u8; 4],
    identifier: Identifier,
}

#[repr(C)]
struct GetPolicy {
    bytes: u64,
    policy: Policy,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Specifier {
    kind: u32,
    reserved: u32,
    identifier: Identifier,
    rest: [u8; 16],
}

#[repr(C)]
struct AddKey {
    specifier: Specifier,
    raw_bytes: u32,
    key_id: u32,
    reserved: [u32; 8],
    raw: [u8; MASTER_KEY_BYTES],
}

#[repr(C)]
struct RemoveKey {
    specifier: Specifier,
    flags: u32,
    reserved: [u32; 5],
}

#[repr(C)]
struct KeyStatus {
    specifier: Specifier,
    reserved: [u32; 6],
    status: u32,
    flags: u32,
    users: u32,
    rest: [u32; 13],
}

/// What became of a key that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// The kernel has it no more.
    Gone,
    /// It is gone, but files that are open can be read until they are closed.
    FilesBusy,
    /// Another user added it too, and the kernel keeps it for them.
    OtherUsers,
    /// The kernel did not have it.
    Absent,
}

fn specifier(identifier: Identifier) -> Specifier {
    Specifier { kind: SPECIFIER_IDENTIFIER, reserved: 0, identifier, rest: [0; 16] }
}

/// Whether the file system of this folder can encrypt folders.
pub(super) fn is_supported(folder: &File) -> io::Result<bool> {
    match policy_of(folder) {
        Ok(_) => Ok(true),
        Err(error) if says_not_supported(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an error says that a file system cannot encrypt.
pub(super) fn says_not_supported(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EOPNOTSUPP | Errno::ENOTTY))
}

/// Which key a folder is encrypted with; `None` where it is not encrypted.
pub(super) fn policy_of(folder: &File) -> io::Result<Option<Identifier>> {
    let empty = policy([0; 16]);
    let mut get = GetPolicy { bytes: size_of::<Policy>() as u64, policy: empty };
    match call(folder, GET_POLICY, &mut get) {
        Ok(()) if get.policy.version == POLICY_VERSION => Ok(Some(get.policy.identifier)),
        Ok(()) => Err(io::Error::other("it is encrypted with a policy of another version")),
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => Ok(None),
        Err(error) => Err(error),
    }
}

fn policy(identifier: Identifier) -> Policy {
    Policy {
        version: POLICY_VERSION,
        contents_mode: MODE_AES_256_XTS,
        names_mode: MODE_AES_256_CTS,
        flags: FLAGS_PAD_32,
        reserved: [0; 4],
        identifier,
    }
}

/// Has everything in an empty folder encrypted with this key, which this user must have added. Nothing
/// is done where that is so already.
pub(super) fn set_policy(folder: &File, identifier: Identifier) -> io::Result<()> {
    call(folder, SET_POLICY, &mut policy(identifier))
}

/// Gives the kernel a key for the file system of this folder.
pub(super) fn add_key(folder: &File, key: &MasterKey) -> io::Result<Identifier> {
    let mut add = AddKey {
        specifier: specifier([0; 16]),
        raw_bytes: MASTER_KEY_BYTES as u32,
        key_id: 0,
        reserved: [0; 8],
        raw: **key,
    };
    let added = call(folder, ADD_KEY, &mut add);
    add.raw.zeroize();
    added.map(|()| add.specifier.identifier)
}

/// Has the kernel forget a key, and what it decrypted with it.
pub(super) fn remove_key(folder: &File, identifier: Identifier) -> io::Result<Removal> {
    let mut remove = RemoveKey { specifier: specifier(identifier), flags: 0, reserved: [0; 5] };
    match call(folder, REMOVE_KEY, &mut remove) {
        Ok(()) if remove.flags & REMOVAL_OTHER_USERS != 0 => Ok(Removal::OtherUsers),
        Ok(()) if remove.flags & REMOVAL_FILES_BUSY != 0 => Ok(Removal::FilesBusy),
        Ok(()) => Ok(Removal::Gone),
        Err(error) if error.raw_os_error() == Some(libc::ENOKEY) => Ok(Removal::Absent),
        Err(error) => Err(error),
    }
}

/// Whether the kernel has a key.
pub(super) fn has_key(folder: &File, identifier: Identifier) -> io::Result<bool> {
    let mut status = KeyStatus {
        specifier: specifier(identifier),
        reserved: [0; 6],
        status: 0,
        flags: 0,
        users: 0,
        rest: [0; 13],
    };
    call(folder, KEY_STATUS, &mut status)?;
    Ok(status.status == STATUS_PRESENT)
}

#[expect(unsafe_code, reason = "no crate wraps these calls")]
fn call<T>(folder: &File, request: u32, argument: &mut T) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the argument is the structure of `linux/fscrypt.h` that this
    // request reads and writes, with the room behind it that its sizes promise.
    let done =
        unsafe { libc::ioctl(folder.as_raw_fd(), request.into(), std::ptr::from_mut(argument)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_that_the_kernel_has() {
        let sizes = [
            (size_of::<Policy>(), 24),
            (size_of::<GetPolicy>(), 32),
            (size_of::<AddKey>(), 80 + MASTER_KEY_BYTES),
            (size_of::<RemoveKey>(), 64),
            (size_of::<KeyStatus>(), 128),
        ];
        for (ours, kernels) in sizes {
            assert_eq!(ours, kernels);
        }
    }
}
