//! `holdfast-volume`: see [`holdfast_volume`], and `docs/volumes.md` for who uses it.

use std::process::ExitCode;

use clap::Parser;
use holdfast_volume::{cli, harden};

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match harden::this_process().and_then(|()| cli::run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("holdfast-volume: {e}");
            ExitCode::from(e.code())
        }
    }
}
