//! What of `openssl-sys` libssh2-sys uses: its name, where the headers are, and [`init`].
//!
//! The node has one cryptography, aws-lc. The real `openssl-sys` would bring in a second one, or the
//! same once more in the older version that it is tied to. libssh2 itself knows aws-lc
//! (`OPENSSL_IS_AWSLC`); all it needs are the headers, whose names carry aws-lc's prefix. It declares
//! no function of C itself: libssh2 is compiled against the headers, so the two cannot disagree.
//!
//! That this stands in for the real one is said by `[patch.crates-io]` in the workspace's `Cargo.toml`
//! and held twice: cargo takes no second package that `links` to `openssl`, and so refuses the real one
//! where the patch does not fit any more; and `tests/tests/cryptography.rs` looks at what is built.
//!
//! What libssh2 does itself, slowly, is in `chacha.c`.

use aws_lc_rs as _;

/// Does nothing: aws-lc needs no beginning.
pub fn init() {}
