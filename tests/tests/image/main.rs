//! The appliance: its image is built, flashed, started on a board that QEMU makes (UEFI with Secure Boot, a TPM, no
//! network but the tests' own), and everything is done to it that happens to a box in ten years.
//!
//! Run by `scripts/test image`, not by `scripts/test`: a start takes one to two minutes here.

mod inside;
mod life;
mod machine;
mod update;
mod world;
