//! The disk of a box on a technician's machine: real LUKS in a guest kernel, recordings of a real node,
//! and the box's disk as it was before, whatever was done with it.

mod export;
mod headers;
mod machine;
mod plan;
mod status;
mod vault;
