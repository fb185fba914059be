//! What libcryptsetup says goes wrong, kept for the error that follows. Without this it prints.

use std::cell::RefCell;

use libcryptsetup_rs::consts::vals::CryptLogLevel;
use libcryptsetup_rs::{c_logging_callback, set_log_callback};

/// Most that is kept, in bytes.
const BYTES_MAX: usize = 2000;

thread_local! {
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

c_logging_callback!(heard, (), hear);

#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn hear(level: CryptLogLevel, message: &str, _: Option<&mut ()>) {
    if level != CryptLogLevel::Error {
        return;
    }
    SAID.with_borrow_mut(|said| {
        if said.len() + message.len() < BYTES_MAX {
            if !said.is_empty() {
                said.push(' ');
            }
            said.push_str(message);
        }
    });
}

/// Listens from now on.
pub(super) fn listen() {
    set_log_callback::<()>(Some(heard), None);
    drop(taken());
}

/// What was said on this thread since the last time.
pub(super) fn taken() -> String {
    SAID.take()
}
