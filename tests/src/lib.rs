//! End-to-end tests: what they share.
//!
//! Nothing in here stands in for a part of the product. A [`node::Node`] is the real program, run
//! from the build folder with a configuration and folders of its own; clients speak to it over TLS
//! as strangers would; what it made is judged by other people's tools (ffmpeg, OpenSSL, a real
//! object store). Only the line between them is ours ([`proxy::Proxy`]), so that it can be cut.
//!
//! Waiting is polling with a deadline far beyond what is needed ([`wait`]): no test asserts that
//! something was quick.

pub mod clock;
pub mod datagrams;
pub mod guest;
pub mod http;
pub mod http3;
pub mod media;
pub mod mount;
pub mod node;
pub mod proxy;
pub mod settings;
pub mod stream;
pub mod sync;
pub mod tools;
pub mod wait;
pub mod weed;

pub use clock::TestClock;
pub use guest::Guest;
pub use node::Node;
pub use settings::{Environment, Settings};
pub use stream::{Stream, StreamError};
pub use wait::until;
