//! A Tang server in the site's network: the box opens itself where it belongs, and nowhere else.
//!
//! What the server is asked about lies in the header, in a token of Clevis's (`clevis luks bind` makes it,
//! `clevis luks unlock` reads it too). This program has no network. It hands the token over at a
//! socket, to a process of another user's that runs `clevis decrypt` and has nothing but network
//! (`holdfast-volume-site@.service`), and gets the key back.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::{Asked, Found, Secret, Source};
use crate::luks::slots::CLEVIS;

/// Where systemd listens for it.
const SOCKET: &str = "/run/holdfast-volume-site.socket";
/// Longest wait for the network to be there and the server to answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// The parts of what Clevis encrypted, in the order of their compact form.
const PARTS: [&str; 5] = ["protected", "encrypted_key", "iv", "ciphertext", "tag"];

/// The servers that the header names.
#[derive(Debug)]
pub(super) struct Site;

impl Source for Site {
    fn fetch(&self, asked: &Asked<'_>) -> Result<Found, String> {
        let mut problem = "no slot is bound to a Tang server".to_owned();
        for (_, token) in asked.tokens.iter().filter(|(_, it)| it["type"] == CLEVIS) {
            match ask(&token["jwe"]) {
                Ok(key) => return Ok(Found { current: Some(key), next: None }),
                Err(why) => problem = why,
            }
        }
        Err(problem)
    }

    fn is_in_header(&self) -> bool {
        true
    }
}

fn ask(jwe: &Value) -> Result<Secret, String> {
    let parts: Vec<_> = PARTS.iter().map(|part| jwe[part].as_str().unwrap_or_default()).collect();
    let peer = UnixStream::connect(SOCKET);
    let mut peer =
        peer.map_err(|e| format!("{SOCKET}: {e}; is holdfast-volume-site.socket on?"))?;
    let sent = (|| -> io::Result<()> {
        peer.set_read_timeout(Some(PATIENCE))?;
        peer.set_write_timeout(Some(PATIENCE))?;
        peer.write_all(parts.join(".").as_bytes())?;
        peer.shutdown(Shutdown::Write)
    })();
    sent.map_err(|e| format!("asking clevis: {e}"))?;
    Secret::read_from(&mut peer).map_err(|why| {
        format!("the site's server gave no key ({why}); journalctl -u 'holdfast-volume-site@*'")
    })
}
