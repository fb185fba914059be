//! Signatures, so that a receiver knows who sent a request: Standard Webhooks, and Pipe's.
//!
//! - `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`,
//!   keyed with the bytes of a secret. Several secrets give several signatures, separated by a space.
//!   The body is the one that is sent, byte for byte, in either format.
//! - `X-Pipe-Signature` is the base64 of HMAC-SHA1 over the address, as it was given, and the JSON:
//!   the body itself, or the value of `payload` in a form.
//!
//! A secret is written `whsec_` and the base64 of 24 to 64 bytes.

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that this node makes.
const NEW_BYTES: usize = 32;
/// Fewest and most bytes of a secret.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Longest key for `X-Pipe-Signature`, in bytes.
const PIPE_KEY_BYTES_MAX: usize = 256;

/// What a webhook's requests are signed with.
pub struct Signer {
    /// The first is today's; any other is still believed by receivers that have no new one yet.
    secrets: Vec<hmac::Key>,
    pipe: hmac::Key,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with at least one secret, today's first. Without a key of its own,
    /// `X-Pipe-Signature` is keyed with the text of today's secret.
    ///
    /// # Errors
    /// What is wrong with a secret, or that there is none.
    pub fn new(secrets: &[Zeroizing<String>], pipe_key: Option<&str>) -> Result<Self, String> {
        let today = secrets.first().ok_or("there is no secret")?;
        let pipe_key = pipe_key.unwrap_or(today);
        let keys = secrets.iter().map(|secret| {
            let bytes = secret_bytes(secret)?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        });
        Ok(Self {
            secrets: keys.collect::<Result<_, String>>()?,
            pipe: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pipe_key.as_bytes()),
        })
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn standard(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let signatures = self.secrets.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp_s}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// The value of `X-Pipe-Signature`.
    #[must_use]
    pub fn pipe(&self, url: &str, json: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.pipe);
        context.update(url.as_bytes());
        context.update(json);
        STANDARD.encode(context.sign())
    }
}

/// The bytes of a secret.
///
/// # Errors
/// What is wrong with it; never says what it is.
pub fn secret_bytes(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let wrong = || "must be whsec_ and the base64 of 24 to 64 bytes".to_owned();
    let encoded = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| wrong())?);
    if BYTES.contains(&bytes.len()) { Ok(bytes) } else { Err(wrong()) }
}

/// Checks a key for `X-Pipe-Signature`.
///
/// # Errors
/// What is wrong with it; never says what it is.
pub fn check_pipe_key(key: &str) -> Result<(), String> {
    let is_word = !key.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_word && (1..=PIPE_KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(format!("must be one word of 1 to {PIPE_KEY_BYTES_MAX} bytes"))
}

/// A secret that nobody had before.
///
/// # Errors
/// Where the machine gives no random numbers.
pub fn new_secret() -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new([0; NEW_BYTES]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| "the system gives no random numbers")?;
    Ok(Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(bytes.as_slice()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the Standard Webhooks libraries are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT_S: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signer(secrets: &[&str], pipe_key: Option<&str>) -> Signer {
        let secrets: Vec<_> =
            secrets.iter().map(|secret| Zeroizing::new((*secret).to_owned())).collect();
        Signer::new(&secrets, pipe_key).unwrap()
    }

    #[test]
    fn it_signs_as_the_published_vector_of_standard_webhooks_says() {
        assert_eq!(signer(&[SECRET], None).standard(ID, AT_S, BODY), SIGNATURE);
    }

    #[test]
    fn two_secrets_give_two_signatures_with_todays_first() {
        let new = new_secret().unwrap();
        let signed = signer(&[&new, SECRET], None).standard(ID, AT_S, BODY);
        let (first, second) = signed.split_once(' ').unwrap();
        assert_eq!(first, signer(&[&new], None).standard(ID, AT_S, BODY));
        assert_eq!(second, SIGNATURE);
    }

    #[test]
    fn the_pipe_signature_is_hmac_sha1_over_address_and_json() {
        // RFC 2202, test case 2: key "Jefe", data "what do ya want for nothing?".
        let signed = signer(&[SECRET], Some("Jefe")).pipe("what do ya want ", b"for nothing?");
        let known = [
            0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb, 0x2f, 0xa2, 0xd2, 0x74, 0x16, 0xd5, 0xf1, 0x84,
            0xdf, 0x9c, 0x25, 0x9a, 0x7c, 0x79,
        ];
        assert_eq!(signed, STANDARD.encode(known));
        // Without a key of its own it is the text of the secret.
        let with_secret = signer(&[SECRET], Some(SECRET)).pipe("u", b"{}");
        assert_eq!(signer(&[SECRET], None).pipe("u", b"{}"), with_secret);
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_its_prefix() {
        let of = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
        for length in [24, 32, 64] {
            assert_eq!(secret_bytes(&of(length)).unwrap().len(), length);
        }
        for wrong in [&of(23), &of(65), "", "whsec_", &of(32)[6..], "whsec_not base64 at all....."]
        {
            assert!(secret_bytes(wrong).is_err(), "{wrong}");
        }
        let (a, b) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(a, b);
        assert_eq!(secret_bytes(&a).unwrap().len(), NEW_BYTES);
        assert!(check_pipe_key("two words").is_err() && check_pipe_key("").is_err());
    }
}
