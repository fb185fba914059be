//! The appliance: its image is built, flashed, started on a board that QEMU makes (UEFI with Secure Boot, a TPM, no
//! network but the tests' own), and everything is done to it that happens to a box in ten years.
//!
//! `scripts/test` runs the first start, `scripts/test image --full` all of it: a start takes two minutes here.

mod disks;
mod first;
mod inside;
mod life;
mod machine;
mod twice;
mod update;
mod updates;
mod world;
