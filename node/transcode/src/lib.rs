//! What confines `holdfast-transcode`: in a library, so that tests enter the very same jail.

pub mod jail;
