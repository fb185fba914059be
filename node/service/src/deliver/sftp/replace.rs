//! Gives a finished file the name that another one has.
//!
//! OpenSSH and others do it in one step (`posix-rename@openssh.com`). The library has no call for it,
//! so the three packets that it takes are written here, on a channel of their own (version 3 of
//! draft-ietf-secsh-filexfer; OpenSSH's PROTOCOL, section 4.3):
//!
//! ```text
//! u32 length, u8 1 (INIT), u32 3
//! u32 length, u8 200 (EXTENDED), u32 id, string name of the extension, string from, string to
//! answers: u8 2 (VERSION), u32 version, pairs of strings; u8 101 (STATUS), u32 id, u32 status, …
//! ```
//!
//! Elsewhere the old file is moved aside, and removed once the new one has its name: whatever happens
//! in between, both are there under some name, and the next push ends it.

use std::io::{Read, Write};

use ssh2::Channel;

use super::client::Session;
use super::error::Error;
use super::remote::Remote;
use super::status;

const EXTENSION: &str = "posix-rename@openssh.com";

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u32 = 64 << 10;

/// Replaces `to` by `from`.
pub(super) fn replace(
    session: &Session,
    remote: &Remote<'_>,
    from: &str,
    to: &str,
) -> Result<(), Error> {
    let replaced = in_one_step(session, from, to);
    remote.progress.advance(1);
    match replaced {
        Ok(Some(0)) => return Ok(()),
        Ok(Some(status)) if status::is_unsupported(status_of(status)) => {}
        Ok(Some(status)) => {
            return Err(Error::Refused {
                verb: "replace",
                path: to.into(),
                status: status_of(status),
            });
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "no second channel"),
    }
    let aside = aside(from);
    remote.remove(&aside)?;
    remote.rename(to, &aside)?;
    if let Err(error) = remote.rename(from, to) {
        if error.leaves_session() {
            remote.rename(&aside, to)?;
        }
        return Err(error);
    }
    remote.remove(&aside)
}

/// Where the old file is meanwhile.
pub(super) fn aside(temporary: &str) -> String {
    format!("{temporary}.old")
}

/// The server's status; `None` where it does not know the extension.
fn in_one_step(session: &Session, from: &str, to: &str) -> std::io::Result<Option<u32>> {
    let mut channel = session.ssh.channel_session()?;
    let asked = ask(&mut channel, from, to);
    drop(channel.close());
    asked
}

fn ask(channel: &mut Channel, from: &str, to: &str) -> std::io::Result<Option<u32>> {
    channel.subsystem("sftp")?;
    send(channel, &[&[1], &3_u32.to_be_bytes()])?;
    let version = receive(channel)?;
    let knows = version.first() == Some(&2)
        && version.windows(EXTENSION.len()).any(|window| window == EXTENSION.as_bytes());
    if !knows {
        return Ok(None);
    }
    let mut body = vec![200, 0, 0, 0, 1];
    for text in [EXTENSION, from, to] {
        body.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    send(channel, &[&body])?;
    let answer = receive(channel)?;
    match answer.as_slice() {
        [101, 0, 0, 0, 1, a, b, c, d, ..] => Ok(Some(u32::from_be_bytes([*a, *b, *c, *d]))),
        _ => Err(std::io::Error::other("an answer that is no status")),
    }
}

fn send(channel: &mut Channel, parts: &[&[u8]]) -> std::io::Result<()> {
    let body = parts.concat();
    let mut packet = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    packet.extend_from_slice(&body);
    channel.write_all(&packet)
}

fn receive(channel: &mut Channel) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    channel.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length).min(ANSWER_BYTES_MAX);
    let mut body = vec![0; length as usize];
    channel.read_exact(&mut body)?;
    Ok(body)
}

fn status_of(status: u32) -> i32 {
    i32::try_from(status).unwrap_or(i32::MAX)
}
