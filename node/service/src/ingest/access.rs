//! Tokens: the secret with which a client comes back, and the address that plays its recording.
//!
//! The playback secret is derived from the token, so that a client that comes back is told the same
//! address again although the node keeps digests only.

use aws_lc_rs::{constant_time, hmac, rand};
use holdfast_core::RecordingId;
use holdfast_core::recording::{Access, Recording};
use jiff::Timestamp;

use crate::digest;

const TOKEN_BYTES: usize = 32;
const PLAYBACK_LABEL: &[u8] = b"holdfast playback v1";

/// A client's secrets for one recording.
#[derive(Clone)]
pub(super) struct Secrets {
    /// Sent once, when the recording begins.
    pub(super) token: String,
    playback: String,
}

/// The system has no randomness to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(super) struct NoRandomness;

impl Secrets {
    pub(super) fn new() -> Result<Self, NoRandomness> {
        let mut bytes = [0; TOKEN_BYTES];
        fill(&mut bytes)?;
        Ok(Self::from_token(digest::hex(&bytes)))
    }

    fn from_token(token: String) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        let playback = digest::hex(&hmac::sign(&key, PLAYBACK_LABEL).as_ref()[..16]);
        Self { token, playback }
    }

    /// What the ledger keeps of them.
    pub(super) fn access(&self) -> Access {
        Access {
            token_sha256: digest::of(self.token.as_bytes()),
            playback_sha256: digest::of(self.playback.as_bytes()),
        }
    }

    pub(super) fn playback_url(&self, id: RecordingId) -> String {
        format!("/api/v1/ingest/playback/{id}/{}", self.playback)
    }

    /// The secrets of whoever shows the recording's token.
    pub(super) fn of(recording: &Recording, token: &str) -> Option<Self> {
        matches(&recording.access.token_sha256, token).then(|| Self::from_token(token.into()))
    }
}

/// Whether this is the secret of the recording's playback address.
pub(super) fn may_play(recording: &Recording, secret: &str) -> bool {
    matches(&recording.access.playback_sha256, secret)
}

fn matches(sha256: &str, secret: &str) -> bool {
    let offered = digest::of(secret.as_bytes());
    constant_time::verify_slices_are_equal(sha256.as_bytes(), offered.as_bytes()).is_ok()
}

fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    #[cfg(test)]
    if crate::simulation::fill(bytes) {
        return Ok(());
    }
    rand::fill(bytes).map_err(|_| NoRandomness)
}

/// A new recording's id.
pub(super) fn new_id(now: Timestamp) -> Result<RecordingId, NoRandomness> {
    let mut random = [0; 10];
    fill(&mut random)?;
    Ok(RecordingId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_recording_only() {
        let (one, two) = (Secrets::new().unwrap(), Secrets::new().unwrap());
        assert!(matches(&one.access().token_sha256, &one.token));
        assert!(!matches(&one.access().token_sha256, &two.token));
        assert!(!matches("", ""), "a recording without a token opens to nobody");
        assert_eq!(Secrets::from_token(one.token.clone()).playback, one.playback);
        assert_ne!(one.playback, two.playback);
    }
}
