//! Whose fault a TLS error is.

use rustls::AlertDescription::{BadRecordMac, DecodeError, DecryptError};
use rustls::Error;

/// Whether bytes were altered on the way: records that do not decrypt, on this side or on the other.
/// That is the line's fault, whatever else may be wrong with certificates and versions.
pub(super) fn is_altered(error: &Error) -> bool {
    match error {
        Error::DecryptError => true,
        Error::AlertReceived(alert) => matches!(alert, BadRecordMac | DecodeError | DecryptError),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, PeerIncompatible};

    use super::*;

    #[test]
    fn what_does_not_decrypt_is_the_lines_and_a_certificate_is_not() {
        assert!(is_altered(&Error::DecryptError));
        assert!(is_altered(&Error::AlertReceived(BadRecordMac)));
        for other in [
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
        ] {
            assert!(!is_altered(&other), "{other}");
        }
    }
}
