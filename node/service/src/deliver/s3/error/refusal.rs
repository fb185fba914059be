//! What a store says when it says no.

use std::fmt;
use std::path::PathBuf;

use holdfast_core::attempts::Fault;
use reqwest::header::HeaderMap;

use crate::config::{KeySource, S3Destination};
use crate::deliver::s3::answer;

/// Most characters of a store's own words.
const MESSAGE_CHARS_MAX: usize = 200;

/// Reading a file, as a request that may fail. It takes another right than pushing does.
pub(in crate::deliver::s3) const READ: &str = "read the file";

/// What a store says when it says no.
#[derive(Debug)]
pub(in crate::deliver::s3) struct Refusal {
    what: &'static str,
    /// HTTP status.
    pub(in crate::deliver::s3) status: u16,
    /// S3's word for it; empty where there is none.
    pub(in crate::deliver::s3) code: String,
    message: String,
    /// The region that the bucket is in, where the store says so.
    region: Option<String>,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Clock,
    NoBucket,
    Denied,
    UnknownKey,
    WrongSecret,
    WrongRegion,
    StorageClass,
    Full,
    TooLarge,
    Account,
    Busy,
    Interrupted,
    Altered,
    Gone,
    Archived,
    Misused,
    NotAStore,
    Other,
}

impl Refusal {
    /// Reads a refusal from an answer.
    pub(in crate::deliver::s3) fn read(
        what: &'static str,
        status: u16,
        headers: &HeaderMap,
        body: &str,
    ) -> Self {
        let header = |name: &str| headers.get(name)?.to_str().ok().map(String::from);
        let [code, message, region] =
            answer::records(body, None, ["Code", "Message", "Region"]).remove(0);
        let region = header("x-amz-bucket-region").or((!region.is_empty()).then_some(region));
        Self { what, status, code: plain(&code), message: plain(&message), region }
    }

    /// Whether the same request may well succeed in a second.
    pub(super) fn is_hiccup(&self) -> bool {
        matches!(self.meaning(), Meaning::Busy | Meaning::Altered | Meaning::Interrupted)
    }

    /// The region where the store says that the bucket is, if this is about that.
    pub(in crate::deliver::s3) fn other_region(&self) -> Option<&str> {
        self.region.as_deref().filter(|_| self.meaning() == Meaning::WrongRegion)
    }

    /// Whether newer keys of the same role may help.
    pub(in crate::deliver::s3) fn is_about_expired_keys(&self) -> bool {
        matches!(self.code.as_str(), "ExpiredToken" | "InvalidToken" | "ExpiredTokenException")
    }

    /// Whether the upload does not exist any more.
    pub(in crate::deliver::s3) fn is_no_upload(&self) -> bool {
        self.code == "NoSuchUpload"
    }

    /// Whether there is no such bucket.
    pub(in crate::deliver::s3) fn is_no_bucket(&self) -> bool {
        self.meaning() == Meaning::NoBucket
    }

    /// Whether the keys may not do it.
    pub(in crate::deliver::s3) fn is_denied(&self) -> bool {
        self.meaning() == Meaning::Denied
    }

    /// Whether a part is not there, or not as it was.
    pub(in crate::deliver::s3) fn is_about_parts(&self) -> bool {
        matches!(self.code.as_str(), "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall")
    }

    /// Whether something is there already that was not to be replaced.
    pub(in crate::deliver::s3) fn is_taken(&self) -> bool {
        self.status == 412 || self.code == "PreconditionFailed"
    }

    /// Whether it would be said to any other request to this bucket.
    pub(in crate::deliver::s3) fn holds_for_all_requests(&self) -> bool {
        matches!(
            self.meaning(),
            Meaning::Clock
                | Meaning::NoBucket
                | Meaning::UnknownKey
                | Meaning::WrongSecret
                | Meaning::WrongRegion
                | Meaning::Account
        )
    }

    /// Whether a store said that the object is not there, while its bucket is.
    pub(in crate::deliver::s3) fn is_gone(&self) -> bool {
        self.code == "NoSuchKey"
    }

    /// Whose fault it is, and what it means.
    pub(super) fn judge(&self) -> (Fault, Meaning) {
        let meaning = self.meaning();
        let fault = match meaning {
            Meaning::Clock | Meaning::Misused => Fault::Ours,
            Meaning::Busy | Meaning::Interrupted | Meaning::Altered | Meaning::Gone => {
                Fault::Networks
            }
            _ => Fault::Customers,
        };
        (fault, meaning)
    }

    fn meaning(&self) -> Meaning {
        match self.code.as_str() {
            // A signature in the query string that is too old or too young is denied, in words.
            "RequestTimeTooSkewed" | "RequestExpired" => Meaning::Clock,
            "AccessDenied" | "AuthorizationQueryParametersError" if self.is_about_time() => {
                Meaning::Clock
            }
            "NoSuchBucket" | "InvalidBucketName" => Meaning::NoBucket,
            "AccessDenied"
            | "AllAccessDisabled"
            | "Forbidden"
            | "MethodNotAllowed"
            | "ObjectLockConfigurationNotFoundError" => Meaning::Denied,
            "InvalidAccessKeyId" | "InvalidToken" | "ExpiredToken" => Meaning::UnknownKey,
            "SignatureDoesNotMatch" => Meaning::WrongSecret,
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "Redirect"
            | "AuthorizationHeaderMalformed"
            | "AuthorizationQueryParametersError"
            | "IllegalLocationConstraintException" => Meaning::WrongRegion,
            "InvalidStorageClass" => Meaning::StorageClass,
            "QuotaExceeded"
            | "XMinioStorageFull"
            | "XMinioAdminBucketQuotaExceeded"
            | "InsufficientCapacity"
            | "StorageFull"
            | "LimitExceeded" => Meaning::Full,
            "EntityTooLarge" => Meaning::TooLarge,
            "AccountProblem" | "NotSignedUp" | "UserSuspended" | "PaymentRequired" => {
                Meaning::Account
            }
            "SlowDown"
            | "ServiceUnavailable"
            | "InternalError"
            | "RequestLimitExceeded"
            | "TooManyRequests"
            | "ConditionalRequestConflict"
            | "OperationAborted" => Meaning::Busy,
            "RequestTimeout" | "IncompleteBody" => Meaning::Interrupted,
            "BadDigest" | "XAmzContentChecksumMismatch" => Meaning::Altered,
            "NoSuchUpload" | "NoSuchKey" => Meaning::Gone,
            "InvalidObjectState" => Meaning::Archived,
            "EntityTooSmall"
            | "InvalidPart"
            | "InvalidPartOrder"
            | "MalformedXML"
            | "MissingContentLength"
            | "InvalidDigest"
            | "InvalidURI"
            | "KeyTooLongError" => Meaning::Misused,
            _ => self.meaning_of_status(),
        }
    }

    fn meaning_of_status(&self) -> Meaning {
        match self.status {
            301 | 307 | 308 => Meaning::WrongRegion,
            401 | 403 => Meaning::Denied,
            // To a read a store says which of key and bucket is missing; others do not.
            404 if self.code.is_empty() && self.what != READ => Meaning::Gone,
            402 => Meaning::Account,
            408 => Meaning::Interrupted,
            413 => Meaning::TooLarge,
            429 | 500 | 502 | 503 | 504 => Meaning::Busy,
            507 => Meaning::Full,
            500.. => Meaning::Busy,
            _ if self.code.is_empty() => Meaning::NotAStore,
            _ => Meaning::Other,
        }
    }

    fn is_about_time(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        ["expired", "not yet valid", "not valid yet", "skewed", "in the future"]
            .iter()
            .any(|words| message.contains(words))
    }

    /// What to do about it.
    pub(super) fn advice(&self, settings: &S3Destination) -> String {
        let id = place(settings, &settings.access_key_file, "access_key", "AWS_ACCESS_KEY_ID");
        let secret =
            place(settings, &settings.secret_key_file, "secret_key", "AWS_SECRET_ACCESS_KEY");
        let bucket = &settings.bucket;
        let region = &settings.region;
        match self.meaning() {
            Meaning::Clock => "the node's clock is wrong: check its time synchronisation".into(),
            Meaning::NoBucket => {
                format!("make the bucket {bucket:?}, or check bucket, endpoint and path_style")
            }
            Meaning::Denied if self.what == READ => format!(
                "allow the key in {id} to s3:GetObject in {bucket:?}; to a key without \
                 s3:ListBucket some stores also say this of a file that is gone"
            ),
            Meaning::Denied => format!(
                "allow the key in {id} to s3:PutObject and s3:AbortMultipartUpload in {bucket:?}"
            ),
            Meaning::UnknownKey => format!("put a valid access key's id into {id}"),
            Meaning::WrongSecret => format!(
                "put the secret that belongs to the key in {id} into {secret}, and check region"
            ),
            Meaning::WrongRegion => match &self.region {
                Some(found) => format!(
                    "the bucket is in region {found:?}, not {region:?}: correct region and endpoint"
                ),
                None => format!("check region ({region:?}) and endpoint: it is somewhere else"),
            },
            Meaning::StorageClass => {
                "the store does not have the storage class: correct storage_class, or preset".into()
            }
            Meaning::Full => "the store is full or the quota is used up: make room there".into(),
            Meaning::TooLarge => {
                "the store or a proxy before it takes no requests this large: lower part_bytes"
                    .into()
            }
            Meaning::Account => "settle this with the store's provider".into(),
            Meaning::Busy => "the store is busy or broken at the moment".into(),
            Meaning::Interrupted => "the line is too slow or broke off".into(),
            Meaning::Altered => "what arrived is not what was sent: check the line".into(),
            Meaning::Gone => "something removed it meanwhile; the next attempt starts over".into(),
            Meaning::Archived => {
                "it lies in an archive: restore it there, or use another storage_class".into()
            }
            Meaning::Misused => "please report this to the node's vendor".into(),
            Meaning::NotAStore => {
                "this does not look like a store: check endpoint, its port, and http or https"
                    .into()
            }
            Meaning::Other => "see the store's documentation of this error".into(),
        }
    }
}

/// Where a key is.
fn place(settings: &S3Destination, file: &Option<PathBuf>, member: &str, variable: &str) -> String {
    match (settings.credentials, file) {
        (KeySource::Environment, _) => format!("{variable} of the node's environment"),
        (KeySource::Instance, _) => "the machine's role".into(),
        (KeySource::Static, Some(file)) => file.display().to_string(),
        (KeySource::Static, None) => format!("the destination's {member}"),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, status, code, message, .. } = self;
        write!(f, "cannot {what}: the store answers {status}")?;
        if !code.is_empty() {
            write!(f, " {code}")?;
        }
        if !message.is_empty() {
            write!(f, " ({message})")?;
        }
        Ok(())
    }
}

/// A store's own words: short, on one line, and without anything that is signed.
fn plain(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !word.contains("X-Amz-"));
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, message: &str) -> Refusal {
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        Refusal::read("test", status, &HeaderMap::new(), &body)
    }

    #[test]
    fn whose_fault_it_is() {
        for (status, code, message, fault, meaning) in [
            (404, "NoSuchBucket", "", Fault::Customers, Meaning::NoBucket),
            (403, "AccessDenied", "Access Denied", Fault::Customers, Meaning::Denied),
            (403, "AccessDenied", "Request has expired", Fault::Ours, Meaning::Clock),
            (403, "RequestTimeTooSkewed", "", Fault::Ours, Meaning::Clock),
            (403, "InvalidAccessKeyId", "", Fault::Customers, Meaning::UnknownKey),
            (403, "SignatureDoesNotMatch", "", Fault::Customers, Meaning::WrongSecret),
            (400, "InvalidStorageClass", "", Fault::Customers, Meaning::StorageClass),
            (400, "EntityTooSmall", "", Fault::Ours, Meaning::Misused),
            (503, "SlowDown", "", Fault::Networks, Meaning::Busy),
            (503, "", "", Fault::Networks, Meaning::Busy),
            (403, "QuotaExceeded", "", Fault::Customers, Meaning::Full),
            (507, "", "", Fault::Customers, Meaning::Full),
            (301, "PermanentRedirect", "", Fault::Customers, Meaning::WrongRegion),
            (400, "BadDigest", "", Fault::Networks, Meaning::Altered),
            (400, "", "", Fault::Customers, Meaning::NotAStore),
        ] {
            assert_eq!(refusal(status, code, message).judge(), (fault, meaning), "{code} {status}");
        }
    }

    #[test]
    fn a_signed_address_is_not_repeated() {
        let said = refusal(403, "X", "see https://b.s3/k?X-Amz-Signature=abc now").to_string();
        assert_eq!(said, "cannot test: the store answers 403 X (see now)");
    }
}
