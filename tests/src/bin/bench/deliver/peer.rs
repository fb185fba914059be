//! What others deliver with: rclone with the flags that make it fastest here, and OpenSSH's own client.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::server::{Protocol, Server};
use super::{Cost, PATIENCE};
use crate::process::costs;

/// Another sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Rclone,
    /// `sftp`, with a batch of one `put`.
    Openssh,
}

impl Peer {
    /// Those that speak this protocol. OpenSSH's client sends file after file, so it isn't measured with
    /// many.
    pub(crate) fn of(protocol: Protocol, is_many: bool) -> &'static [Self] {
        match protocol {
            Protocol::Sftp if !is_many => &[Self::Rclone, Self::Openssh],
            _ => &[Self::Rclone],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rclone => "rclone",
            Self::Openssh => "OpenSSH's sftp",
        }
    }

    /// Sends what lies in the folder.
    pub(crate) async fn send(
        self,
        folder: &Path,
        server: &Server,
        at: IpAddr,
        at_once: usize,
    ) -> Result<Cost> {
        let command = match self {
            Self::Rclone => rclone(folder, server, at, at_once)?,
            Self::Openssh => openssh(folder, server, at)?,
        };
        tokio::task::spawn_blocking(move || costs(command, PATIENCE)).await?
    }
}

fn rclone(folder: &Path, server: &Server, at: IpAddr, at_once: usize) -> Result<Command> {
    let protocol = server.protocol();
    let remote = match protocol {
        Protocol::S3 => ":s3:",
        Protocol::Sftp => ":sftp:",
        Protocol::Ftps => ":ftp:",
    };
    let mut command = Command::new("rclone");
    // With this in the environment it ends at once.
    command.env_remove("AWS_CA_BUNDLE");
    command.args(["--config", "/dev/null", "--retries", "1", "--log-level", "ERROR"]);
    // What it need not do where nothing is there yet and nobody compares afterwards.
    command.args(["--no-traverse", "--no-check-dest", "--ignore-checksum", "--no-update-modtime"]);
    command.args(["--transfers", &at_once.to_string(), "--checkers", &at_once.to_string()]);
    let mut set = |name: &str, value: &str| {
        command.arg(format!("--{name}")).arg(value);
    };
    let port = server.port().to_string();
    match protocol {
        Protocol::S3 => {
            let [id, secret] = server.key().context("no object store")?;
            set("s3-provider", "Other");
            set("s3-endpoint", &format!("https://{at}:{port}"));
            set("s3-access-key-id", id);
            set("s3-secret-access-key", secret);
            set("s3-upload-concurrency", "4");
            set("s3-chunk-size", "16M");
            set("ca-cert", &server.authority().display().to_string());
            command.args(["--s3-no-check-bucket", "--s3-disable-checksum", "--s3-no-head"]);
        }
        Protocol::Sftp => {
            set("sftp-host", &at.to_string());
            set("sftp-port", &port);
            set("sftp-user", &server.user()?);
            set("sftp-key-file", &server.file("id").display().to_string());
            set("sftp-chunk-size", "255Ki");
            set("sftp-concurrency", "64");
            command.args(["--sftp-disable-hashcheck", "--sftp-set-modtime=false"]);
        }
        Protocol::Ftps => {
            set("ftp-host", &at.to_string());
            set("ftp-port", &port);
            set("ftp-user", &server.user()?);
            // Obscured, as it wants a password to be; nothing that keeps it secret.
            set("ftp-pass", &obscured(server.password())?);
            command.args(["--ftp-explicit-tls", "--ftp-disable-tls13"]);
            command.env("SSL_CERT_FILE", server.authority());
        }
    }
    command.arg("copy").arg(folder).arg(format!("{remote}{}", server.folder()));
    Ok(command)
}

fn obscured(password: &str) -> Result<String> {
    let output = Command::new("rclone").args(["obscure", password]).output()?;
    ensure!(output.status.success(), "rclone obscure: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn openssh(folder: &Path, server: &Server, at: IpAddr) -> Result<Command> {
    let batch = server.file("batch");
    let to = server.folder();
    std::fs::write(&batch, format!("put {}/* {to}/\n", folder.display()))?;
    let mut command = Command::new("sftp");
    command.arg("-q").arg("-b").arg(batch).arg("-i").arg(server.file("id"));
    command.args(["-P", &server.port().to_string(), "-B", "261120", "-R", "256"]);
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"] {
        command.arg("-o").arg(option);
    }
    command.arg(format!("{}@{at}", server.user()?));
    Ok(command)
}
