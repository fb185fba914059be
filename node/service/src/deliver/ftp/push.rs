//! Pushing one file: look what is there, send the rest, check it, give it its name.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use suppaftp::Status;
use tokio::io::AsyncWriteExt;

use super::client::{Connection, Transfer, Way};
use super::error::Error;
use super::source::Source;
use super::{Ftp, Place, Protection, compare};
use crate::config::Existing;
use crate::deliver::FileToPush;
use crate::deliver::names::{NUMBER_MAX, numbered};
use crate::deliver::progress::Progress;

/// How much is read from the disk at once, in bytes. A push holds one of these.
const PIECE_BYTES: u64 = 256 << 10;
/// A push that gained this many bytes since the last hiccup is getting on.
const GAIN_BYTES: u64 = 1 << 20;
/// Longest name that has room for what makes it a temporary one, in bytes.
const NAME_BYTES_MAX: usize = 240;
/// How slowly a server may read its own file to hash it, in bytes per millisecond.
const HASH_BYTES_PER_MS: u64 = 20_000;

/// One push, over as many connections as it takes.
struct Job<'a> {
    ftp: &'a Ftp,
    source: Source,
    name: &'a str,
    sha256: Option<&'a str>,
    progress: Progress,
    /// The name that the server was asked to give last. It may have done so and its answer be lost.
    renamed: Option<String>,
    /// Bytes that were there, and alike, when the last connection began.
    had: u64,
}

/// What a connection found.
enum Found {
    /// The file, under this name.
    Whole(String),
    /// As many bytes of it, alike.
    Part(u64),
}

/// Pushes a file; answers its location.
pub(super) async fn push(ftp: &Ftp, file: &FileToPush) -> Result<String, Error> {
    ftp.place("/", &file.name)?;
    let mut job = Job {
        ftp,
        source: Source::open(&file.path, file.bytes).await?,
        name: &file.name,
        sha256: file.sha256.as_deref(),
        progress: file.progress.clone(),
        renamed: None,
        had: 0,
    };
    let (mut hiccups, mut best) = (0, 0);
    loop {
        // Boxed, or the future of every caller is as large as this one.
        match Box::pin(job.attempt()).await {
            Err(error) if error.is_hiccup() => {
                if job.had >= best + GAIN_BYTES {
                    (hiccups, best) = (0, job.had);
                }
                if hiccups >= ftp.limits.hiccups_max {
                    return Err(error);
                }
                hiccups += 1;
                tracing::debug!(name = job.name, %error, "a hiccup of the server");
                tokio::time::sleep(Duration::from_millis(ftp.limits.hiccup_ms)).await;
            }
            Err(error) => return Err(error),
            Ok(name) => {
                let folders = file.name.rsplit_once('/').map(|(folders, _)| folders);
                let at = folders.map_or(name.clone(), |folders| format!("{folders}/{name}"));
                return Ok(ftp.location(&at));
            }
        }
    }
}

/// The name under which a file lies until it is whole.
pub(super) fn temporary(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return format!(".{name}.part");
    }
    let hash = digest(&SHA256, name.as_bytes());
    let hex: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!(".{hex}.part")
}

impl Job<'_> {
    /// Does it over one connection; answers the name that it got.
    async fn attempt(&mut self) -> Result<String, Error> {
        let ftp = self.ftp;
        let mut connection = ftp.connection().await?;
        let place = ftp.place(&connection.home, self.name)?;
        let temporary = place.beside(&temporary(&place.name));
        let progress = self.progress.clone();
        let looking = self.look(&mut connection, &place, &temporary);
        let name = match ftp.watch("look what is there", &progress, looking).await? {
            Found::Whole(name) => name,
            Found::Part(had) => {
                self.had = had;
                if had < self.source.bytes {
                    self.send(&mut connection, &temporary, had).await?;
                }
                let checking = self.check(&mut connection, &temporary);
                ftp.watch("look at what was sent", &progress, checking).await?;
                if had > 0 || ftp.protection == Protection::None {
                    self.check_hash(&mut connection, &temporary).await?;
                }
                let naming = self.give_name(&mut connection, &place, &temporary);
                ftp.watch("give the file its name", &progress, naming).await?
            }
        };
        ftp.give_back(connection);
        Ok(name)
    }

    async fn look(
        &mut self,
        connection: &mut Connection,
        place: &Place,
        temporary: &str,
    ) -> Result<Found, Error> {
        connection.make_folder(&place.folder).await?;
        let size = connection.size(temporary).await?;
        if let Some(name) = self.renamed.clone()
            && size.is_none()
            && compare::is_same(connection, &place.beside(&name), &self.source).await?
        {
            return Ok(Found::Whole(name));
        }
        // Before anything is sent: a name that is taken may mean that nothing is.
        if let (name, true) = self.choose(connection, place).await? {
            return Ok(Found::Whole(name));
        }
        let Some(size) = size else { return Ok(Found::Part(0)) };
        let is_alike = if (1..=self.source.bytes).contains(&size) {
            let alike = compare::ends_alike(connection, temporary, &self.source, size).await?;
            // A server that lets nobody read, but knows checksums, will tell at the end.
            alike.unwrap_or(self.sha256.is_some() && compare::knows_sha256(connection))
        } else {
            false
        };
        if !is_alike {
            // Some servers write to nothing that exists.
            let _ = connection.delete(temporary).await?;
        }
        Ok(Found::Part(if is_alike { size } else { 0 }))
    }

    /// The name that the file is to get, and whether the file has it already.
    async fn choose(
        &self,
        connection: &mut Connection,
        place: &Place,
    ) -> Result<(String, bool), Error> {
        let existing = self.ftp.settings.existing;
        if existing == Existing::Overwrite {
            return Ok((place.name.clone(), false));
        }
        for number in 1..=NUMBER_MAX {
            let name = numbered(&place.name, number);
            let path = place.beside(&name);
            if !exists(connection, &path).await? {
                return Ok((name, false));
            }
            if compare::is_same(connection, &path, &self.source).await? {
                return Ok((name, true));
            }
            if existing == Existing::Refuse {
                return Err(Error::Exists { path });
            }
        }
        Err(Error::Taken { path: place.path(), tried: NUMBER_MAX })
    }

    /// Sends what is missing.
    async fn send(&self, connection: &mut Connection, path: &str, had: u64) -> Result<(), Error> {
        let opening = async {
            // Some servers take no REST before a STOR, some not even an APPE.
            if had > 0 {
                for (way, offset) in [(Way::Put, had), (Way::Append, 0)] {
                    match connection.transfer("send", way, path, offset).await {
                        Ok(transfer) => return Ok((transfer, had)),
                        Err(Error::Refused(refusal)) if refusal.code >= 450 => {}
                        Err(error) => return Err(error),
                    }
                }
                let _ = connection.delete(path).await?;
            }
            Ok((connection.transfer("send", Way::Put, path, 0).await?, 0))
        };
        let (mut transfer, at) = self.ftp.watch("send the file", &self.progress, opening).await?;
        let filling = self.fill(&mut transfer, at);
        match self.ftp.watch("send the file", &self.progress, filling).await {
            Ok(()) => {}
            Err(error @ Error::Broken { .. }) => {
                // A server that cannot take more closes the data connection, and then says why.
                let reason = connection.reason("send", path, transfer).await;
                return Err(reason.unwrap_or(error));
            }
            Err(error) => return Err(error),
        }
        let wait_ms = self.ftp.limits.stall_ms_max;
        let finishing = tokio::time::timeout(Duration::from_millis(wait_ms), transfer.finish());
        match finishing.await {
            Ok(finished) => finished.map_err(|error| connection.error("send", path, error)),
            Err(_) => Err(Error::Unconfirmed { wait_ms }),
        }
    }

    async fn fill(&self, transfer: &mut Transfer, mut at: u64) -> Result<(), Error> {
        let broken = |error: std::io::Error| Error::Broken {
            what: "send the file",
            problem: error.to_string(),
        };
        let mut buffer = Vec::new();
        self.progress.start_at(at);
        while at < self.source.bytes {
            let piece_bytes = self.progress.piece_bytes(PIECE_BYTES).min(self.source.bytes - at);
            self.progress.leave(piece_bytes).await;
            let length = usize::try_from(piece_bytes).unwrap_or(1);
            buffer = self.source.read(buffer, at, length).await?;
            let mut rest = &buffer[..];
            while !rest.is_empty() {
                let sent = transfer.write(rest).await.map_err(broken)?;
                if sent == 0 {
                    return Err(broken(std::io::ErrorKind::WriteZero.into()));
                }
                self.progress.moved(sent as u64);
                rest = &rest[sent..];
            }
            at += length as u64;
        }
        transfer.flush().await.map_err(broken)
    }

    async fn check(&self, connection: &mut Connection, path: &str) -> Result<(), Error> {
        let expected = self.source.bytes;
        match connection.size(path).await? {
            Some(found) if found < expected => {
                Err(Error::Short { path: path.to_owned(), expected, found })
            }
            Some(found) if found > expected => self.take_away(connection, path).await,
            Some(_) => Ok(()),
            None => {
                tracing::debug!(path, "the server does not say how large the file is");
                Ok(())
            }
        }
    }

    /// Compares checksums, where the server has any. TLS has checked what went over it.
    async fn check_hash(&self, connection: &mut Connection, path: &str) -> Result<(), Error> {
        let Some(expected) = self.sha256 else { return Ok(()) };
        let limit = self.ftp.limits.stall_ms_max + self.source.bytes / HASH_BYTES_PER_MS;
        let limit = Duration::from_millis(limit);
        let asked = tokio::time::timeout(limit, compare::sha256(connection, path)).await;
        let Ok(found) = asked else {
            let stall_ms = self.ftp.limits.stall_ms_max;
            return Err(Error::Stalled { what: "ask for the checksum", stall_ms });
        };
        match found? {
            Some(found) if !found.eq_ignore_ascii_case(expected) => {
                self.take_away(connection, path).await
            }
            _ => Ok(()),
        }
    }

    /// Takes away what is not the file, so that nobody goes on with it.
    async fn take_away(&self, connection: &mut Connection, path: &str) -> Result<(), Error> {
        let _ = connection.delete(path).await?;
        Err(Error::Altered { path: path.to_owned() })
    }

    /// Gives the file its name.
    async fn give_name(
        &mut self,
        connection: &mut Connection,
        place: &Place,
        temporary: &str,
    ) -> Result<String, Error> {
        let (name, _) = self.choose(connection, place).await?;
        let path = place.beside(&name);
        self.renamed = Some(name.clone());
        let Err(error) = rename(connection, temporary, &path).await else { return Ok(name) };
        let Error::Refused(_) = &error else { return Err(error) };
        let is_taken =
            self.ftp.settings.existing == Existing::Overwrite && exists(connection, &path).await?;
        if !is_taken {
            return Err(error);
        }
        // Servers that replace nothing: the old one steps aside until the new one has its name.
        let aside = place.beside(&format!(".{}.old", temporary_stem(&name)));
        let _ = connection.delete(&aside).await?;
        rename(connection, &path, &aside).await?;
        if let Err(error) = rename(connection, temporary, &path).await {
            rename(connection, &aside, &path).await?;
            return Err(error);
        }
        let _ = connection.delete(&aside).await?;
        Ok(name)
    }
}

fn temporary_stem(name: &str) -> String {
    temporary(name).trim_start_matches('.').trim_end_matches(".part").to_owned()
}

async fn rename(connection: &mut Connection, from: &str, to: &str) -> Result<(), Error> {
    let pending = [Status::RequestFilePending];
    connection.ask("rename", from, format!("RNFR {from}"), &pending).await?;
    let done = [Status::RequestedFileActionOk, Status::CommandOk];
    connection.ask("rename a file to", to, format!("RNTO {to}"), &done).await?;
    Ok(())
}

/// Whether something is there, also where it may not be read.
async fn exists(connection: &mut Connection, path: &str) -> Result<bool, Error> {
    if connection.size(path).await?.is_some() {
        return Ok(true);
    }
    let pending = [Status::RequestFilePending];
    match connection.ask("look for", path, format!("RNFR {path}"), &pending).await {
        Ok(_) => {
            // Whatever comes next forgets the renaming that was begun.
            connection.ask("look for", path, "NOOP".into(), &[Status::CommandOk]).await?;
            Ok(true)
        }
        Err(Error::Refused(refusal)) if refusal.may_be_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_fit_where_the_name_fits() {
        assert_eq!(temporary("a.mp4"), ".a.mp4.part");
        let (long, other) = ("ă".repeat(127), "â".repeat(127));
        assert!(temporary(&long).len() < 64);
        assert_ne!(temporary(&long), temporary(&other));
    }
}
