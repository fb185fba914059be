//! What a token in the header unseals, by the plugin that systemd installs for libcryptsetup.
//!
//! libcryptsetup opens volumes by tokens, but hands out no passphrase, and a volume that was opened
//! without one can neither be grown nor have its keys replaced. So the plugin is called as
//! libcryptsetup calls it; its interface is a public one (`crypt_token_open_func`, since 2.4). It brings in all of
//! systemd and the TPM's libraries: only [`crate::keys`]'s child does this, whose output is the key.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use libcryptsetup_rs_sys as sys;
use nix::errno::Errno;
use nix::libc;

use super::said;
use crate::keys::Secret;

type Open = unsafe extern "C" fn(
    *mut sys::crypt_device,
    c_int,
    *mut *mut c_char,
    *mut usize,
    *mut c_void,
) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void, usize);

/// What systemd's plugin takes beside the token where the TPM is not to be found by itself
/// (`systemd_tpm2_plugin_params`; systemd 252 has no last member, and reads past it).
#[repr(C)]
struct Where {
    search_pcr_mask: u32,
    device: *const c_char,
    signature_path: *const c_char,
    pcrlock_path: *const c_char,
}

/// The passphrase that a token of systemd's for the TPM2 unseals. `tpm` is a TPM for tests, in the TCTI's
/// words; without it the machine's is found.
///
/// # Errors
/// What went wrong as a number, `EPERM` where the TPM's state is not the one it was sealed to.
#[expect(unsafe_code, reason = "no safe wrapper of a token's plugin is among the crates here")]
pub fn unseal(header: &Path, token: i32, tpm: Option<&str>) -> Result<Secret, Errno> {
    said::listen();
    let text = |bytes: &OsStr| CString::new(bytes.as_bytes()).map_err(|_| Errno::EINVAL);
    let (header, tpm) = (text(header.as_os_str())?, tpm.map(|it| text(it.as_ref())).transpose()?);
    let mut at = tpm.as_ref().map(|device| Where {
        search_pcr_mask: u32::MAX,
        device: device.as_ptr(),
        signature_path: ptr::null(),
        pcrlock_path: ptr::null(),
    });
    let at = at.as_mut().map_or(ptr::null_mut(), |it| ptr::from_mut(it).cast());
    let mut crypt = ptr::null_mut();
    // SAFETY: each string ends with 0 and outlives the calls; `crypt` is used only after crypt_init
    // said that it is one, and freed once. The plugin stays loaded; its two functions have the
    // types that libcryptsetup.h declares for these names. What it gives is copied before it is
    // freed by the function that it brings for that.
    unsafe {
        is_done(sys::crypt_init(&raw mut crypt, header.as_ptr()))?;
        let secret = is_done(sys::crypt_load(crypt, c"LUKS2".as_ptr(), ptr::null_mut()))
            .and_then(|()| plugin())
            .and_then(|(open, free)| {
                let (mut key, mut length) = (ptr::null_mut(), 0);
                is_done(open(crypt, token, &raw mut key, &raw mut length, at))?;
                let secret = Secret::copied(std::slice::from_raw_parts(key.cast(), length));
                free(key.cast(), length);
                Ok(secret)
            });
        sys::crypt_free(crypt);
        secret
    }
}

/// The plugin's functions, from where this libcryptsetup has its plugins.
#[expect(unsafe_code, reason = "a plugin is found by its functions' names")]
fn plugin() -> Result<(Open, Free), Errno> {
    // SAFETY: the path is a constant of libcryptsetup; both symbols are tested before they are taken
    // for functions of their types.
    unsafe {
        let folder = CStr::from_ptr(sys::crypt_token_external_path()).to_bytes();
        let path = [folder, b"/libcryptsetup-token-systemd-tpm2.so"].concat();
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        if library.is_null() {
            return Err(Errno::ELIBACC);
        }
        let open = libc::dlsym(library, c"cryptsetup_token_open".as_ptr());
        let free = libc::dlsym(library, c"cryptsetup_token_buffer_free".as_ptr());
        if open.is_null() || free.is_null() {
            return Err(Errno::ELIBACC);
        }
        Ok((
            std::mem::transmute::<*mut c_void, Open>(open),
            std::mem::transmute::<*mut c_void, Free>(free),
        ))
    }
}

fn is_done(code: c_int) -> Result<(), Errno> {
    if code < 0 { Err(Errno::from_raw(-code)) } else { Ok(()) }
}
