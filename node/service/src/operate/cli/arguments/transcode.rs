//! `holdfast transcode`

use std::path::PathBuf;

use clap::Args;

/// Which file to transcode, and into what.
#[derive(Debug, Clone, Args)]
pub struct TranscodeFile {
    /// The recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder for what is made: NAME.mp4, NAME.jpg, NAME_filmstrip.jpg; it is made where there is none
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Make no .mp4
    #[arg(long)]
    pub no_mp4: bool,
    /// Make no snapshot
    #[arg(long)]
    pub no_snapshot: bool,
    /// Make no filmstrip
    #[arg(long)]
    pub no_filmstrip: bool,
    /// A file with what is wanted of the film and the pictures, as JSON
    #[arg(long, value_name = "FILE")]
    pub transcoding: Option<PathBuf>,
    /// A PNG that is laid over the film and the pictures, at most 32 KiB
    #[arg(long, value_name = "PNG")]
    pub watermark: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// The transcoder, where it does not lie beside this program
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}
