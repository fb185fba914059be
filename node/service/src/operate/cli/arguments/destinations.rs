//! `holdfast destinations`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Settings, Sure};

/// What to do with destinations.
#[derive(Debug, Subcommand)]
pub enum Destinations {
    /// List destinations
    List,
    /// Show everything about a destination but its secrets
    Show {
        /// The destination
        name: String,
    },
    /// Make a destination
    Create {
        /// The name by which environments speak of it
        name: Option<String>,
        /// Its settings
        #[command(flatten)]
        flags: Box<DestinationFlags>,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
    },
    /// Change a destination; what is not named stays as it is
    Set {
        /// The destination
        name: String,
        /// What to change
        #[command(flatten)]
        flags: Box<DestinationFlags>,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
    },
    /// Try a destination: write a small file, read it back, delete it, and say which step failed
    Test {
        /// The destination
        name: String,
    },
    /// Delete a destination that no environment uses
    Delete {
        /// The destination
        name: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
}

/// A destination's settings. Secrets are read from files, never from the arguments: every user of
/// a machine can read those.
#[derive(Debug, Clone, Args)]
pub struct DestinationFlags {
    /// Which kind
    #[arg(long, value_parser = ["directory", "s3", "ftps", "ftp", "sftp", "dropbox"])]
    pub kind: Option<String>,
    /// The folder, for kinds `directory` and `sftp`
    #[arg(long, value_name = "DIR")]
    pub path: Option<String>,
    /// Where the file system is mounted that the folder lies in, for kind `directory`; without it
    /// nothing is pushed
    #[arg(long, value_name = "DIR")]
    pub mount_point: Option<String>,
    /// The store's address, for kind `s3`, such as https://s3.us-west-1.amazonaws.com
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The store's region, such as us-west-1
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The bucket
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,
    /// Whose store it is, for kind `s3`; without it the endpoint tells
    #[arg(long, value_parser = ["aws", "gcs", "spaces", "scaleway", "r2", "wasabi", "minio", "ceph", "other"])]
    pub preset: Option<String>,
    /// Put before every key; {env}, {year}, {month}, {day} and at its end {name} are filled in
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Whether the bucket's name is part of the path instead of the host's name
    #[arg(long, value_name = "BOOL")]
    pub path_style: Option<bool>,
    /// Storage class for every file
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// Storage class for a kind of file: main, raw, snapshot or filmstrip. May be repeated; all that
    /// were given before are replaced
    #[arg(long, value_name = "KIND=CLASS", value_parser = pair)]
    pub storage_class_of: Vec<(String, String)>,
    /// Have the store encrypt with keys that it manages, for kind `s3`
    #[arg(long, value_parser = ["s3"], conflicts_with = "kms_key")]
    pub sse: Option<String>,
    /// Have the store encrypt with this key of its key management
    #[arg(long, value_name = "KEY")]
    pub kms_key: Option<String>,
    /// Who else may do what with the files, for kind `s3`
    #[arg(long, value_parser = [
        "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read",
        "bucket-owner-read", "bucket-owner-full-control",
    ])]
    pub acl: Option<String>,
    /// Tag of every file, for kind `s3`, with the same placeholders. May be repeated; all that were
    /// given before are replaced
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub tag: Vec<(String, String)>,
    /// Which checksum goes with the bytes, for kind `s3`; without it the best that the store takes
    #[arg(long, value_parser = ["md5", "crc32c", "sha256"])]
    pub checksum: Option<String>,
    /// Size of the parts of large files, for kind `s3`
    #[arg(long, value_name = "BYTES")]
    pub part_bytes: Option<u64>,
    /// Parts of one file that are sent at once, for kind `s3`
    #[arg(long, value_name = "COUNT")]
    pub parts_at_once: Option<u32>,
    /// The server's host name or address, for kinds `ftps`, `ftp` and `sftp`
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The server's port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Who logs in at the server
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Folder at the server, for kinds `ftps` and `ftp`: from `/` or else from where the user is
    /// after logging in; for kind `dropbox` below the app's own folder
    #[arg(long, value_name = "DIR")]
    pub directory: Option<String>,
    /// What is done where another file with the same name is there already
    #[arg(long, value_parser = ["overwrite", "rename", "refuse"])]
    pub existing: Option<String>,
    /// Most files that are pushed there at once, 1 to 64
    #[arg(long, value_name = "N")]
    pub files_max: Option<u16>,
    /// How fast and when, such as `mon-fri 08:00-18:00 5 MiB/s`; the first that fits holds. Once per
    /// line, all lines together
    #[arg(long, value_name = "LINE")]
    pub bandwidth: Vec<String>,
    /// Read the password from this file; `-` for standard input. Without it and a private key,
    /// `create` asks for it at the terminal
    #[arg(long, value_name = "FILE")]
    pub password_from: Option<PathBuf>,
    /// Read the access key's id from this file; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub access_key_from: Option<PathBuf>,
    /// Read the secret access key from this file; `-` for standard input. Without it, `create`
    /// asks for both at the terminal
    #[arg(long, value_name = "FILE")]
    pub secret_key_from: Option<PathBuf>,
    /// Fingerprint of the server's key, for kind `sftp`, as SHA256:…
    #[arg(long, value_name = "TEXT")]
    pub host_key: Option<String>,
    /// Read the private key, for kind `sftp`, from this file; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub private_key_from: Option<PathBuf>,
    /// Read the private key's passphrase from this file; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub passphrase_from: Option<PathBuf>,
    /// How it is checked that a file arrived
    #[arg(long, value_parser = ["read_back", "size"])]
    pub verify: Option<String>,
    /// Mode of files, in octal
    #[arg(long, value_name = "MODE")]
    pub file_mode: Option<String>,
    /// Mode of folders that the node makes, in octal
    #[arg(long, value_name = "MODE")]
    pub folder_mode: Option<String>,
    /// The app's key, for kind `dropbox`
    #[arg(long, value_name = "TEXT")]
    pub app_key: Option<String>,
    /// Read the app's secret, for kind `dropbox`, from this file; `-` for standard input. An app that
    /// was connected with PKCE has none
    #[arg(long, value_name = "FILE")]
    pub app_secret_from: Option<PathBuf>,
    /// Read the refresh token, for kind `dropbox`, from this file; `-` for standard input. Without
    /// it, `create` asks for it at the terminal
    #[arg(long, value_name = "FILE")]
    pub refresh_token_from: Option<PathBuf>,
    /// Whether people's Dropbox clients say nothing of new files
    #[arg(long, value_name = "BOOL")]
    pub mute: Option<bool>,
    /// Id of the namespace that the folder lies in, for kind `dropbox`, such as a team's space
    #[arg(long, value_name = "ID")]
    pub path_root: Option<String>,
}

/// `name=value`
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be written as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
