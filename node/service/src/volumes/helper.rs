//! Asking `holdfast-volume`, the one program with root's powers, over its Unix socket.
//!
//! One request and one answer for each connection, both a frame: four bytes of length, big end first,
//! then JSON. `node/volume/src/protocol.rs` describes the verbs. A recovery key goes through here in
//! memory that is zeroised, and is never logged.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::blocking;

/// Where systemd listens for it.
pub const SOCKET: &str = "/run/holdfast-volume.socket";
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u32 = 64 << 10;
/// Longest wait for how the volumes are: a TPM may be asked what it unseals.
const STATUS_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a volume to open: two key derivations, a check of its file system.
const OPEN_MAX: Duration = Duration::from_secs(50);

/// Why it did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It cannot be reached.
    #[error(
        "holdfast-volume cannot be reached at {SOCKET}: {0}; start holdfast-volume.socket, or ask on the \
         box itself with `holdfast-volume status`"
    )]
    Unreachable(std::io::Error),
    /// It is still at it.
    #[error("holdfast-volume is still at work; look at `holdfast volumes list` in a minute")]
    Slow,
    /// It said no.
    #[error("{message}")]
    Refused {
        /// Its exit code for this.
        code: u8,
        /// Why, and what to do.
        message: String,
    },
}

/// A volume as `holdfast-volume` sees it: its header, the kernel's table, its key slots, never a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LuksView {
    /// Its name.
    pub volume: String,
    /// `open`, `closed`, `unmounted`, `unformatted`, `missing`, `damaged` or `foreign`. (`unmade` are those that the
    /// machine may do without and never had; they are shown nowhere.)
    pub state: String,
    /// What is wrong, and what to do.
    pub problem: Option<String>,
    /// Its block device now.
    pub device: Option<String>,
    /// What its header says.
    pub header: Option<HeaderView>,
    /// Its key slots.
    #[serde(default)]
    pub slots: Vec<SlotView>,
    /// Where it is mounted, or would be.
    pub mount: String,
    /// The mount's options, if it is.
    pub mount_options: Option<String>,
    /// How it was opened.
    pub opened: Option<OpenedView>,
    /// What the kernel does.
    pub kernel: Option<KernelView>,
    /// When the kept header backup was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub header_backup: Option<Timestamp>,
    /// How slots are bound to the TPM2.
    #[serde(default)]
    pub tpm2: Vec<BindingView>,
    /// How far it is re-encrypted, if that is under way.
    #[serde(default)]
    pub reencryption: Option<ReencryptionView>,
    /// Receipts of what had this name before and was erased, the newest first.
    #[serde(default)]
    pub erased: Vec<ErasedView>,
}

/// How a slot is bound to the TPM2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BindingView {
    /// The slot.
    pub slot: Option<u32>,
    /// PCRs that have to be as they were when it was sealed.
    pub pcrs: Vec<u8>,
    /// PCRs whose values have to be signed.
    pub signed_pcrs: Vec<u8>,
    /// The bank of the PCRs.
    pub bank: String,
    /// Whether the TPM that is there unseals it now; nothing where that was not tried: it is tried for volumes
    /// that are closed.
    pub unseals: Option<bool>,
    /// Why not.
    pub problem: Option<String>,
}

/// How far a volume is re-encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReencryptionView {
    /// Bytes that have the new key.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// The receipt of an erasure, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasedView {
    /// The UUID that the volume had; `unknown` where its header could not be read.
    pub uuid: String,
    /// When its key slots and header were gone.
    #[schema(value_type = String, format = DateTime)]
    pub erased_at: Timestamp,
    /// Key slots that were destroyed.
    pub slots_destroyed: usize,
    /// Keys that were tried afterwards, and opened nothing.
    pub keys_refused: usize,
    /// Bytes at the front that were overwritten.
    pub overwritten_bytes: u64,
    /// Kept header backups that were overwritten and removed.
    pub header_backups_destroyed: usize,
    /// Whether the device took a discard of all its blocks.
    pub discarded: bool,
}

/// A LUKS2 header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeaderView {
    /// Its UUID.
    pub uuid: String,
    /// Cipher and mode.
    pub cipher: String,
    /// Bits of the volume's key.
    pub key_bits: usize,
    /// Bytes of a sector.
    pub sector_bytes: u64,
    /// Integrity's algorithm, if any.
    pub integrity: Option<String>,
}

/// A key slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// Its number.
    pub number: u32,
    /// `machine`, `recovery`, `site` or `unknown`.
    pub purpose: String,
    /// Where the machine finds its key.
    pub source: Option<String>,
    /// When it was made.
    pub made: Option<String>,
}

/// How a volume was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenedView {
    /// Where the key came from: a source's name, or `recovery`.
    pub by: String,
    /// The key slot that it fitted.
    pub slot: u32,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why the sources that are asked before this one opened nothing, such as a TPM whose state is another.
    #[serde(default)]
    pub tried: Vec<String>,
}

/// What the kernel's table says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KernelView {
    /// Cipher and mode.
    pub cipher: String,
    /// Whether that is what the header says.
    pub is_as_header: bool,
    /// Whether discards are passed on.
    pub discards: bool,
    /// Whether the volume key lies in the kernel's keyring, not in the table.
    pub key_in_keyring: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Request<'a> {
    Status,
    Open { volume: &'a str },
    Recover { volume: &'a str, key: &'a str },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Ok(T),
    Error { code: u8, message: String },
}

/// What the state is called of a volume that the machine may do without and never had.
const UNMADE: &str = "unmade";

/// How every volume is that the machine has, had, or should have.
///
/// # Errors
/// [`HelperError`].
pub async fn status() -> Result<Vec<LuksView>, HelperError> {
    let mut all: Vec<LuksView> =
        run(|| ask(Path::new(SOCKET), &Request::Status, STATUS_MAX)).await?;
    all.retain(|volume| volume.state != UNMADE);
    Ok(all)
}

/// Whether this machine never had a volume of this name, by the word of what keeps the header backups. Waits 50
/// seconds at most; `false` where nobody answers.
#[must_use]
pub fn never_had(name: &str) -> bool {
    never_had_by(Path::new(SOCKET), name)
}

fn never_had_by(socket: &Path, name: &str) -> bool {
    let all = ask::<Vec<LuksView>>(socket, &Request::Status, OPEN_MAX).unwrap_or_default();
    all.iter().any(|volume| volume.volume == name && volume.state == UNMADE)
}

/// Opens a volume with the machine's key, and mounts it; nothing if it is open.
///
/// # Errors
/// [`HelperError`].
pub async fn open(volume: String) -> Result<(), HelperError> {
    run(move || ask::<()>(Path::new(SOCKET), &Request::Open { volume: &volume }, OPEN_MAX)).await
}

/// Opens a volume with its recovery key, and gives the machine a slot again.
///
/// # Errors
/// [`HelperError`].
pub async fn recover(volume: String, key: Zeroizing<String>) -> Result<(), HelperError> {
    run(move || {
        let request = Request::Recover { volume: &volume, key: &key };
        ask::<()>(Path::new(SOCKET), &request, OPEN_MAX)
    })
    .await
}

async fn run<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, HelperError> + Send + 'static,
) -> Result<T, HelperError> {
    let ended = |error| HelperError::Unreachable(std::io::Error::other(error));
    blocking::run(act).await.map_err(ended)?
}

fn ask<T: DeserializeOwned>(
    socket: &Path,
    request: &Request<'_>,
    patience: Duration,
) -> Result<T, HelperError> {
    let asked = || -> std::io::Result<Zeroizing<Vec<u8>>> {
        let mut peer = UnixStream::connect(socket)?;
        peer.set_read_timeout(Some(patience))?;
        peer.set_write_timeout(Some(STATUS_MAX))?;
        let json = Zeroizing::new(serde_json::to_vec(request)?);
        let length = u32::try_from(json.len()).map_err(std::io::Error::other)?;
        peer.write_all(&length.to_be_bytes())?;
        peer.write_all(&json)?;
        let mut length = [0; 4];
        peer.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > ANSWER_BYTES_MAX {
            return Err(std::io::Error::other("its answer is too long"));
        }
        let mut answer = Zeroizing::new(vec![0; length as usize]);
        peer.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => HelperError::Slow,
        _ => HelperError::Unreachable(error),
    })?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ok(value)) => Ok(value),
        Ok(Answer::Error { code, message }) => Err(HelperError::Refused { code, message }),
        Err(error) => Err(HelperError::Unreachable(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers one request with these volumes.
    fn answering(volumes: &serde_json::Value) -> (tempfile::TempDir, std::thread::JoinHandle<()>) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let json = serde_json::json!({ "ok": volumes }).to_string();
        let answers = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut length = [0; 4];
            peer.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            peer.read_exact(&mut request).unwrap();
            assert_eq!(request, br#""status""#);
            let length = u32::try_from(json.len()).unwrap();
            peer.write_all(&length.to_be_bytes()).unwrap();
            peer.write_all(json.as_bytes()).unwrap();
        });
        (dir, answers)
    }

    #[test]
    fn a_volume_was_never_here_only_by_the_helpers_word() {
        let of = |name: &str, state: &str| serde_json::json!({ "volume": name, "state": state, "mount": "/srv" });
        let volumes =
            serde_json::json!([of("data0", "open"), of("data1", "unmade"), of("data2", "missing")]);
        for (name, never) in [("data0", false), ("data1", true), ("data2", false), ("data3", false)]
        {
            let (dir, answers) = answering(&volumes);
            assert_eq!(never_had_by(&dir.path().join("socket"), name), never, "{name}");
            answers.join().unwrap();
        }
        assert!(!never_had_by(Path::new("/nonexistent/socket"), "data1"));
    }
}
