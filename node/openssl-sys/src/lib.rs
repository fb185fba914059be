//! What of `openssl-sys` libssh2-sys uses: its name, where the headers are, and [`init`].
//!
//! The node has one cryptography, aws-lc. The real `openssl-sys` would bring in a second one, or the
//! same once more in the older version that it is tied to. libssh2 itself knows aws-lc
//! (`OPENSSL_IS_AWSLC`); all it needs are the headers, whose names carry aws-lc's prefix.

use aws_lc_sys as _;

/// Does nothing: aws-lc needs no beginning.
pub fn init() {}
