//! From when until when a certificate is valid (RFC 5280, 4.1.2.5). What stands around these two instants
//! is skipped, not judged.

use jiff::Timestamp;
use yasna::models::{GeneralizedTime, UTCTime};
use yasna::tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, Tag};

/// From when until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// Of a certificate in DER.
    pub(super) fn of(der: &[u8]) -> Result<Self, String> {
        let certificate = |reader: BERReader<'_, '_>| {
            reader.read_sequence(|parts| {
                let validity = parts.next().read_sequence(|parts| {
                    // Its version, its number, how it is signed, by whom.
                    parts.read_optional(|version| version.read_tagged(Tag::context(0), skip))?;
                    for _ in 0..3 {
                        skip(parts.next())?;
                    }
                    let validity = parts.next().read_sequence(|both| {
                        Ok(Self { from: instant(both.next())?, until: instant(both.next())? })
                    })?;
                    // For whom, with which key, and what more there is.
                    while parts.read_optional(skip)?.is_some() {}
                    Ok(validity)
                })?;
                skip(parts.next())?;
                skip(parts.next())?;
                Ok(validity)
            })
        };
        yasna::parse_der(der, certificate).map_err(|error| error.to_string())
    }
}

/// Whatever it is.
fn skip(part: BERReader<'_, '_>) -> ASN1Result<()> {
    part.read_der().map(drop)
}

/// Either of the two kinds of instants.
fn instant(reader: BERReader<'_, '_>) -> ASN1Result<Timestamp> {
    let at = match reader.lookahead_tag()? {
        TAG_UTCTIME => *UTCTime::datetime(&reader.read_utctime()?),
        TAG_GENERALIZEDTIME => *GeneralizedTime::datetime(&reader.read_generalized_time()?),
        _ => return Err(ASN1Error::new(ASN1ErrorKind::Invalid)),
    };
    Timestamp::from_second(at.unix_timestamp()).map_err(|_| ASN1Error::new(ASN1ErrorKind::Invalid))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn both_ways_in_which_a_certificate_writes_instants_are_read() {
        // From 2050 on they are written differently.
        let der = made((2026, 3, 1), (2051, 12, 31));
        let validity = Validity::of(&der).unwrap();
        assert_eq!(validity.from, "2026-03-01T00:00:00Z".parse().unwrap());
        assert_eq!(validity.until, "2051-12-31T00:00:00Z".parse().unwrap());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let der = made((2026, 3, 1), (2027, 3, 1));
        for wrong in [&der[..der.len() - 1], &der[1..], &[], b"text"] {
            assert!(Validity::of(wrong).is_err());
        }
    }
}
