//! The key that signs the audit log, and what checks its signatures.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use crate::digest::hex;
use crate::nodekey::{KeyError, NodeKey};

/// What stands before the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
/// Bytes of the key's digest that name it.
const ID_BYTES: usize = 8;

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Signs.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.public.id()).finish()
    }
}

impl Signer {
    pub(super) fn new(key: &NodeKey) -> Result<Self, KeyError> {
        let failed = KeyError::Failed("Ed25519");
        let pair = Ed25519KeyPair::from_seed_unchecked(key.signing_seed()).map_err(|_| failed)?;
        let public = pair.public_key().as_ref().try_into();
        let public = PublicKey(public.map_err(|_| KeyError::Failed("Ed25519"))?);
        Ok(Self { pair, public })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(message))
    }
}

/// The public half of an audit log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The keys in a text: one or more as PEM (`SubjectPublicKeyInfo`), or one in base64.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn all_of(text: &str) -> Result<Vec<Self>, String> {
        if !text.contains("-----BEGIN") {
            let key = Self::from_base64(text.trim());
            return key.map(|key| vec![key]).ok_or_else(|| "this is no public key".into());
        }
        let mut keys = Vec::new();
        for found in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
            let der = found.map_err(|error| format!("this is no PEM: {error}"))?;
            let raw = der.strip_prefix(&SPKI_HEAD).and_then(|raw| raw.try_into().ok());
            keys.push(Self(raw.ok_or("this is a public key, but none of Ed25519")?));
        }
        if keys.is_empty() { Err("there is no public key in it".into()) } else { Ok(keys) }
    }

    /// The key in these 44 characters of base64.
    pub(super) fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Its 32 bytes in base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// As `openssl` reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let der = [&SPKI_HEAD[..], &self.0].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// What entries call it: the first 16 hex digits of its bytes' SHA-256.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&sha256(&self.0)[..ID_BYTES])
    }

    /// Whether a signature, in base64, is this key's for this message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ED25519, self.0).verify(message, &signature).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_as_it_is_told() {
        let key = NodeKey::load_or_make(tempfile::tempdir().unwrap().path()).unwrap();
        let signer = Signer::new(&key).unwrap();
        let public = signer.public();
        let one = std::slice::from_ref(public);
        assert_eq!(PublicKey::all_of(&public.to_pem()).unwrap(), one);
        assert_eq!(PublicKey::all_of(&public.to_base64()).unwrap(), one);
        let two = PublicKey::all_of(&format!("{0}\n{0}", public.to_pem())).unwrap();
        assert_eq!(two.len(), 2);
        assert!(public.has_signed(b"text", &signer.sign(b"text")));
        assert!(!public.has_signed(b"test", &signer.sign(b"text")));
        assert!(!public.has_signed(b"text", "no base64"));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        // An X25519 key: of the same length, and for something else.
        let other = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VuAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert!(PublicKey::all_of(other).unwrap_err().contains("Ed25519"));
        let certificate =
            "-----BEGIN CERTIFICATE-----\nMCowBQYDK2VuAyEA\n-----END CERTIFICATE-----\n";
        assert!(PublicKey::all_of(certificate).unwrap_err().contains("no public key"));
        assert!(PublicKey::all_of("AAAA").is_err());
        assert!(PublicKey::all_of("").is_err());
    }
}
