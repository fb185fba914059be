//! Where the bucket is: at the endpoint of the settings, or in another region of the same provider
//! that a store pointed to.
//!
//! A store that names another region is believed, and asked there from then on. The address of that
//! region is made from the endpoint of the settings; an address that a store names is never gone to.

use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::Url;
use rusty_s3::{Bucket, BucketError, UrlStyle};

use super::capabilities::{self, Capabilities};
use super::error::Error;
use crate::config::S3Destination;

/// Longest name of a region, in bytes.
const REGION_BYTES_MAX: usize = 40;

/// Where the bucket is, as far as is known.
pub(super) struct Place {
    endpoint: Url,
    style: UrlStyle,
    /// That of the settings.
    region: String,
    now: RwLock<Arc<Bucket>>,
}

impl Place {
    /// # Errors
    /// [`Error::Settings`] where they make no sense.
    pub(super) fn new(settings: &S3Destination) -> Result<Self, Error> {
        let example = "give it like https://s3.eu-central-1.amazonaws.com";
        let endpoint: Url = settings
            .endpoint
            .parse()
            .map_err(|_| Error::Settings(format!("endpoint is not an address; {example}")))?;
        let is_plain = endpoint.username().is_empty()
            && endpoint.password().is_none()
            && endpoint.query().is_none()
            && endpoint.fragment().is_none();
        if !is_plain {
            let problem = format!("endpoint must have no user, query or fragment; {example}");
            return Err(Error::Settings(problem));
        }
        let (name, region) = (&settings.bucket, &settings.region);
        if name.is_empty() || name.contains('/') || region.is_empty() {
            let problem = "bucket and region must not be empty, and bucket has no slash";
            return Err(Error::Settings(problem.into()));
        }
        let is_in_path = Capabilities::of(settings).path_style(settings);
        let style = if is_in_path { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = Bucket::new(endpoint.clone(), style, name.clone(), region.clone());
        let bucket = bucket.map_err(|error| {
            Error::Settings(match error {
                BucketError::ParseError(_) => {
                    "bucket cannot go before the endpoint's host; set path_style = true".into()
                }
                _ => format!("endpoint must begin with https:// (or http://); {example}"),
            })
        })?;
        let region = region.clone();
        Ok(Self { endpoint, style, region, now: RwLock::new(Arc::new(bucket)) })
    }

    /// Where to ask.
    pub(super) fn now(&self) -> Arc<Bucket> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks in another region from now on. Answers whether that is somewhere else than where it was
    /// `asked`.
    pub(super) fn turn(&self, asked: &Bucket, region: &str) -> bool {
        let is_name = region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if region.is_empty() || region.len() > REGION_BYTES_MAX || !is_name {
            return false;
        }
        if region == asked.region() {
            // Another request may have been told meanwhile.
            return self.now().region() != region;
        }
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let endpoint = moved(&self.endpoint, &self.region, region);
        let name = asked.name().to_owned();
        match Bucket::new(endpoint, self.style, name, region.to_owned()) {
            Ok(bucket) => {
                tracing::info!(region, was = asked.region(), "the bucket is in another region");
                *now = Arc::new(bucket);
                true
            }
            Err(_) => false,
        }
    }
}

/// The endpoint of another region: the part of the host's name that is the region is another. A host
/// without such a part serves all regions; Amazon's does not, to who has the wrong one.
///
/// At providers whose hosts are known it is what looks like one, else what is the settings' region.
fn moved(endpoint: &Url, was: &str, region: &str) -> Url {
    let mut moved = endpoint.clone();
    let Some(host) = endpoint.host_str().filter(|_| endpoint.domain().is_some()) else {
        return moved;
    };
    let is_known = capabilities::is_known(host);
    let labels: Vec<&str> = host.split('.').collect();
    let host = match labels.as_slice() {
        ["s3", "amazonaws", rest @ ..] => format!("s3.{region}.amazonaws.{}", rest.join(".")),
        _ => {
            let changed = labels.iter().enumerate().map(|(index, label)| {
                // The last two belong to the provider.
                let is_free = index + 2 < labels.len();
                let is_region = *label == was || is_known && is_region(label);
                if is_free && is_region { region } else { *label }
            });
            changed.collect::<Vec<_>>().join(".")
        }
    };
    // What is no host's name leaves the endpoint as it is.
    let _ = moved.set_host(Some(&host));
    moved
}

/// `eu-central-1`, `fr-par`, `nyc3`.
fn is_region(label: &str) -> bool {
    let is_letters = |part: &str, lengths: RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase())
    };
    match label.split_once('-') {
        Some((first, _)) => is_letters(first, 2..=4),
        None => {
            let letters = label.trim_end_matches(|c: char| c.is_ascii_digit());
            letters.len() < label.len() && is_letters(letters, 3..=3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_region_has_an_address_of_the_same_provider() {
        for (endpoint, region, expected) in [
            ("https://s3.amazonaws.com", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/"),
            (
                "https://s3.us-east-1.amazonaws.com",
                "eu-west-1",
                "https://s3.eu-west-1.amazonaws.com/",
            ),
            (
                "https://s3.dualstack.us-east-1.amazonaws.com",
                "us-west-2",
                "https://s3.dualstack.us-west-2.amazonaws.com/",
            ),
            ("https://s3.fr-par.scw.cloud", "nl-ams", "https://s3.nl-ams.scw.cloud/"),
            ("https://nyc3.digitaloceanspaces.com", "fra1", "https://fra1.digitaloceanspaces.com/"),
            (
                "https://s3.eu-central-1.wasabisys.com",
                "us-east-1",
                "https://s3.us-east-1.wasabisys.com/",
            ),
            ("https://my-host.example.com", "eu-1", "https://my-host.example.com/"),
            ("https://s3.old.example.com", "eu-1", "https://s3.eu-1.example.com/"),
            ("https://minio.example.com:9000", "eu-1", "https://minio.example.com:9000/"),
            ("http://127.0.0.1:9000", "eu-1", "http://127.0.0.1:9000/"),
        ] {
            let found = moved(&endpoint.parse().unwrap(), "old", region);
            assert_eq!(found.as_str(), expected, "{endpoint}");
        }
    }

    fn place(toml: &str) -> Place {
        let usual = "name = 'a'\nendpoint = 'https://s3.us-east-1.amazonaws.com'\nbucket = 'b-1'\n";
        Place::new(&toml::from_str(&format!("{usual}{toml}")).unwrap()).unwrap()
    }

    #[test]
    fn the_bucket_is_in_the_hosts_name_or_in_the_path_also_elsewhere() {
        for (path_style, here, there) in [
            (
                false,
                "https://b-1.s3.us-east-1.amazonaws.com/",
                "https://b-1.s3.eu-west-1.amazonaws.com/",
            ),
            (
                true,
                "https://s3.us-east-1.amazonaws.com/b-1/",
                "https://s3.eu-west-1.amazonaws.com/b-1/",
            ),
        ] {
            let place = place(&format!("region = 'us-east-1'\npath_style = {path_style}"));
            let asked = place.now();
            assert_eq!(asked.base_url().as_str(), here);
            assert!(place.turn(&asked, "eu-west-1"));
            assert_eq!(place.now().base_url().as_str(), there);
            assert_eq!(place.now().region(), "eu-west-1");
            // Another request that was under way to the old place is told the same.
            assert!(place.turn(&asked, "eu-west-1"));
        }
    }

    #[test]
    fn only_a_region_is_gone_to() {
        let place = place("region = 'us-east-1'");
        let asked = place.now();
        for region in ["", "us-east-1", "evil.example.com", "a/b", "x@y", &"a".repeat(50)] {
            assert!(!place.turn(&asked, region), "{region}");
        }
        assert_eq!(place.now().base_url().as_str(), "https://b-1.s3.us-east-1.amazonaws.com/");
    }
}
