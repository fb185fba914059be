//! What the service may ask for: six verbs over a Unix socket.
//!
//! One request and one answer for each connection. Both are frames: the length of what follows as
//! four bytes, big end first, then that many bytes of JSON; 8 KiB at most for a request and 64 KiB
//! for an answer.
//!
//! ```text
//! "status"                                         every volume
//! {"open":    {"volume": "data0"}}
//! {"close":   {"volume": "data0"}}
//! {"grow":    {"volume": "data0"}}
//! {"recover": {"volume": "data0", "key": "cbde…"}}  opens, and makes the machine's slot anew
//! {"erase":   {"volume": "data0", "uuid": "…"}}     the UUID says which of them is meant
//!
//! {"ok": …}                                        status: volumes; erase: its receipt; else null
//! {"error": {"code": 7, "message": "…"}}           the code is the command line's exit code
//! ```
//!
//! systemd listens and starts one process for each connection (`Accept=yes`), whose standard input
//! the connection is. The kernel says who is at the other end: root or the service's user.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::config::{Config, Name};
use crate::error::Error;
use crate::keys::{RecoveryKey, Secret};
use crate::luks::Closing;
use crate::status::{self, TriesTpm};
use crate::volume::Volume;

/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most that is read of what a request has too much, in bytes.
const UNREAD_BYTES_MAX: u64 = 64 << 10;
/// Longest wait for the other end, for each read and write.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request. Tagged from outside: any other tagging makes serde copy what may be a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Say how every volume is.
    Status,
    /// Open and mount.
    Open(OfVolume),
    /// Unmount and close.
    Close(OfVolume),
    /// Grow to the end of the device.
    Grow(OfVolume),
    /// Open with the recovery key, then give the machine a slot again.
    Recover(Recover),
    /// Destroy.
    Erase(Erase),
}

/// A request that says no more than which volume.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfVolume {
    /// Which.
    pub volume: Name,
}

/// See [`Request::Recover`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// Which.
    pub volume: Name,
    /// The recovery key, as a person typed it.
    pub key: Secret,
}

/// See [`Request::Erase`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// Which.
    pub volume: Name,
    /// The UUID in its header, from `status`.
    pub uuid: String,
}

/// Reads one frame and what it says.
///
/// # Errors
/// If it is too long, cut off, or no request. The words never have any of it in them.
pub fn read_request(from: &mut impl Read) -> Result<Request, Error> {
    let cut = |e: std::io::Error| Error::Request(format!("the request cannot be read: {e}"));
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(cut)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > REQUEST_BYTES_MAX {
        return Err(Error::Request(format!("a request has {REQUEST_BYTES_MAX} bytes at most")));
    }
    let mut frame = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut frame).map_err(cut)?;
    // serde's message may quote what it read.
    serde_json::from_slice(&frame)
        .map_err(|e| Error::Request(format!("no request that is known, at column {}", e.column())))
}

/// Writes one frame.
///
/// # Errors
/// If the other end does not take it.
pub fn write_answer(to: &mut impl Write, answer: &Result<Value, Error>) -> std::io::Result<()> {
    let answer = match answer {
        Ok(value) => json!({ "ok": value }),
        Err(e) => json!({ "error": { "code": e.code(), "message": e.to_string() } }),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    if bytes.len() > ANSWER_BYTES_MAX {
        let message = "the answer is too long";
        bytes = serde_json::to_vec(&json!({ "error": { "code": 1, "message": message } }))?;
    }
    // At most 64 KiB.
    to.write_all(&(bytes.len() as u32).to_be_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Serves the one request of a connection.
///
/// # Errors
/// If the other end may not ask, or goes away. What a verb failed at is answered, and returned.
pub fn serve(config: &Config, mut peer: UnixStream) -> Result<(), Error> {
    let io = |e: std::io::Error| Error::failed("speaking with the other end", e);
    peer.set_read_timeout(Some(PATIENCE))
        .and(peer.set_write_timeout(Some(PATIENCE)))
        .map_err(io)?;
    // Read in any case: what is left unread at the end would reset the connection, answer and all.
    let (allowed, request) = (is_allowed(config, &peer), read_request(&mut peer));
    let (answer, erased) = match allowed.and(request) {
        Err(e) => (Err(e), None),
        Ok(request) => {
            let answer = carry_out(config, &request);
            let erased = if let (Request::Erase(it), true) = (request, answer.is_ok()) {
                Some(it)
            } else {
                None
            };
            (answer, erased)
        }
    };
    write_answer(&mut peer, &answer).and_then(|()| peer.shutdown(Shutdown::Write)).map_err(io)?;
    if let Some(it) = erased {
        crate::erasing::end(config, &it.volume, &it.uuid);
    }
    let _ = std::io::copy(&mut peer.take(UNREAD_BYTES_MAX), &mut std::io::sink());
    answer.map(drop)
}

fn is_allowed(config: &Config, peer: &UnixStream) -> Result<(), Error> {
    let who = getsockopt(peer, PeerCredentials)
        .map_err(|e| Error::failed("asking who is at the other end", e))?;
    let service = crate::volume::owner(config).ok().map(|(uid, _)| uid);
    if who.uid() == 0 || Some(who.uid()) == service {
        return Ok(());
    }
    let user = &config.service_user;
    Err(Error::Request(format!("user {} may not ask, only root and {user}", who.uid())))
}

fn carry_out(config: &Config, request: &Request) -> Result<Value, Error> {
    let volume = |name: &Name| {
        let volume = Volume::new(config, config.volume(name.as_str())?);
        Ok::<_, Error>((crate::state::lock(volume.name())?, volume))
    };
    match request {
        Request::Status => Ok(json!(status::all(config, TriesTpm::IfClosed))),
        Request::Open(it) => volume(&it.volume)?.1.open().map(|_| Value::Null),
        Request::Close(it) => volume(&it.volume)?.1.close(Closing::Gently).map(|()| Value::Null),
        Request::Grow(it) => volume(&it.volume)?.1.grow().map(|_| Value::Null),
        Request::Recover(it) => {
            let key = RecoveryKey::parse(it.key.bytes())
                .map_err(|e| Error::Request(format!("the recovery key: {e}")))?;
            volume(&it.volume)?.1.recover(&key, true).map(|_| Value::Null)
        }
        Request::Erase(it) => {
            let (_lock, volume) = volume(&it.volume)?;
            volume.erase(&it.uuid, &volume.shown()?).map(|receipt| json!(receipt))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &[u8]) -> Result<Request, Error> {
        let mut frame = (json.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(json);
        read_request(&mut frame.as_slice())
    }

    #[test]
    fn each_verb_is_read() {
        assert!(matches!(read(br#""status""#), Ok(Request::Status)));
        assert!(matches!(read(br#"{"open":{"volume":"a"}}"#), Ok(Request::Open(_))));
        assert!(matches!(read(br#"{"close":{"volume":"a"}}"#), Ok(Request::Close(_))));
        assert!(matches!(read(br#"{"grow":{"volume":"a"}}"#), Ok(Request::Grow(_))));
        let recover = read(br#"{"recover":{"volume":"a","key":"cbde"}}"#).unwrap();
        assert!(matches!(recover, Request::Recover(it) if it.key.bytes() == b"cbde"));
        assert!(matches!(read(br#"{"erase":{"volume":"a","uuid":"u"}}"#), Ok(Request::Erase(_))));
    }

    #[test]
    fn what_is_no_verb_or_has_a_path_is_refused() {
        for json in [
            &br#""format""#[..],
            br#"{"open":{"volume":"/dev/sda"}}"#,
            br#"{"open":{"volume":"a","device":"/dev/sda"}}"#,
            br#"{"open":{"volume":"../a"}}"#,
            br#"{"recover":{"volume":"a","key":"\u0063"}}"#,
            b"",
            b"\xff",
        ] {
            assert_eq!(read(json).unwrap_err().code(), 2, "{json:?}");
        }
    }

    #[test]
    fn a_refusal_never_repeats_what_may_be_a_key() {
        for json in [
            &br#"{"recover":{"volume":"a","key":"\u0063secretsecret"}}"#[..],
            br#"{"recover":{"volume":"secretsecret"}}"#,
            br#"{"secretsecret":{}}"#,
        ] {
            let message = read(json).unwrap_err().to_string();
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_it_is_read() {
        let mut frame: &[u8] = &[0x7f, 0xff, 0xff, 0xff];
        assert_eq!(read_request(&mut frame).unwrap_err().code(), 2);
    }

    proptest! {
        #[test]
        fn whatever_comes_gets_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let _ = read_request(&mut bytes.as_slice());
            let _ = read(&bytes[..bytes.len().min(REQUEST_BYTES_MAX)]);
        }

        #[test]
        fn whatever_is_made_of_the_words_of_requests_gets_an_answer(
            words in proptest::collection::vec(prop::sample::select(vec![
                "{", "}", "\"", ":", ",", "[", "null", "1e999", "\\u0000", "\"open\"", "\"status\"",
                "\"recover\"", "\"volume\"", "\"key\"", "\"a\"", "\"erase\"", "\"uuid\"", "\u{1f512}",
            ]), 0..40),
        ) {
            let text = words.concat();
            if let Ok(Request::Open(it)) = read(text.as_bytes()) {
                prop_assert!(it.volume.as_str().len() <= 16);
            }
        }

        #[test]
        fn an_answer_is_a_frame_within_its_limit(message in "\\PC{0,400}", times in 1_usize..300) {
            let mut bytes = Vec::new();
            let answer = Err(Error::Request(message.repeat(times)));
            write_answer(&mut bytes, &answer).unwrap();
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            prop_assert_eq!(length, bytes.len() - 4);
            prop_assert!(length <= ANSWER_BYTES_MAX);
            let json: Value = serde_json::from_slice(&bytes[4..]).unwrap();
            prop_assert!(json["error"]["message"].is_string());
        }
    }
}
