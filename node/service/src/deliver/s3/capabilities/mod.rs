//! What each store takes, as its provider documents it. Nothing is asked of a store that it does not
//! take, and settings that ask for it are refused before anything is pushed.
//!
//! | what | why it differs |
//! | --- | --- |
//! | checksums | Google refuses `x-amz-checksum-*`, R2 takes no CRC32C of a whole; all take `Content-MD5` |
//! | classes | each provider has its own; at Ceph and others they are the admin's |
//! | parts | S3 takes 10,000, Scaleway 1,000 |
//! | conditional | `If-None-Match: *`: at MinIO and Amazon for both ways, at R2 for single requests only |

mod check;

use holdfast_core::storage::{Provider, Region};
use reqwest::Url;

pub(crate) use self::check::check;
pub(super) use self::check::{TAG_VALUE_CHARS_MAX, is_of_tags};
use crate::config::{Acl, Checksum, Preset, S3Destination};

/// Which writes a store makes only where nothing is there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conditional {
    /// None.
    Never,
    /// Those of one request.
    Put,
    /// These, and putting parts together.
    Always,
}

/// What a store takes.
#[derive(Debug)]
pub(crate) struct Capabilities {
    preset: Preset,
    /// What people call it.
    name: &'static str,
    /// The ends of its hosts' names.
    hosts: &'static [&'static str],
    /// Checksums; the first is used where none is chosen.
    checksums: &'static [Checksum],
    /// Storage classes; any word where there is no list.
    classes: Option<&'static [&'static str]>,
    /// Most parts of a file.
    pub(super) parts_max: u64,
    /// Whether buckets are usually part of the path.
    path_style: bool,
    has_sse_s3: bool,
    has_sse_kms: bool,
    acls: &'static [Acl],
    has_tags: bool,
    pub(super) conditional: Conditional,
}

use Checksum::{Crc32c, Md5, Sha256};

const ALL_ACLS: &[Acl] = &[
    Acl::Private,
    Acl::PublicRead,
    Acl::PublicReadWrite,
    Acl::AuthenticatedRead,
    Acl::AwsExecRead,
    Acl::BucketOwnerRead,
    Acl::BucketOwnerFullControl,
];
const USUAL_ACLS: &[Acl] =
    &[Acl::Private, Acl::PublicRead, Acl::PublicReadWrite, Acl::AuthenticatedRead];

/// Only what every store takes, and whatever else its admin asks for.
const OTHER: Capabilities = Capabilities {
    preset: Preset::Other,
    name: "this store",
    hosts: &[],
    checksums: &[Md5, Crc32c, Sha256],
    classes: None,
    parts_max: 1_000,
    path_style: false,
    has_sse_s3: true,
    has_sse_kms: true,
    acls: ALL_ACLS,
    has_tags: true,
    conditional: Conditional::Never,
};

const ALL: &[Capabilities] = &[
    Capabilities {
        preset: Preset::Aws,
        name: "Amazon S3",
        hosts: &["amazonaws.com", "amazonaws.com.cn"],
        checksums: &[Crc32c, Sha256, Md5],
        classes: Some(&[
            "STANDARD",
            "STANDARD_IA",
            "INTELLIGENT_TIERING",
            "ONEZONE_IA",
            "GLACIER_IR",
            "GLACIER",
            "DEEP_ARCHIVE",
            "REDUCED_REDUNDANCY",
        ]),
        parts_max: 10_000,
        conditional: Conditional::Always,
        ..OTHER
    },
    Capabilities {
        preset: Preset::Gcs,
        name: "Google Cloud Storage",
        hosts: &["storage.googleapis.com"],
        checksums: &[Md5],
        classes: Some(&["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"]),
        parts_max: 10_000,
        has_sse_s3: false,
        has_sse_kms: false,
        acls: &[
            Acl::Private,
            Acl::PublicRead,
            Acl::PublicReadWrite,
            Acl::AuthenticatedRead,
            Acl::BucketOwnerRead,
            Acl::BucketOwnerFullControl,
        ],
        has_tags: false,
        ..OTHER
    },
    Capabilities {
        preset: Preset::Spaces,
        name: "DigitalOcean Spaces",
        hosts: &["digitaloceanspaces.com"],
        checksums: &[Md5],
        classes: Some(&["STANDARD"]),
        parts_max: 10_000,
        has_sse_s3: false,
        has_sse_kms: false,
        acls: &[Acl::Private, Acl::PublicRead],
        has_tags: false,
        ..OTHER
    },
    Capabilities {
        preset: Preset::Scaleway,
        name: "Scaleway",
        hosts: &["scw.cloud"],
        checksums: &[Md5],
        classes: Some(&["STANDARD", "ONEZONE_IA", "GLACIER"]),
        has_sse_s3: false,
        has_sse_kms: false,
        acls: USUAL_ACLS,
        ..OTHER
    },
    Capabilities {
        preset: Preset::R2,
        name: "Cloudflare R2",
        hosts: &["r2.cloudflarestorage.com"],
        checksums: &[Md5],
        classes: Some(&["STANDARD", "STANDARD_IA"]),
        parts_max: 10_000,
        has_sse_s3: false,
        has_sse_kms: false,
        acls: &[],
        has_tags: false,
        conditional: Conditional::Put,
        ..OTHER
    },
    Capabilities {
        preset: Preset::Wasabi,
        name: "Wasabi",
        hosts: &["wasabisys.com"],
        checksums: &[Md5],
        classes: Some(&["STANDARD"]),
        parts_max: 10_000,
        has_sse_kms: false,
        acls: USUAL_ACLS,
        ..OTHER
    },
    Capabilities {
        preset: Preset::Minio,
        name: "MinIO",
        checksums: &[Crc32c, Sha256, Md5],
        classes: Some(&["STANDARD", "REDUCED_REDUNDANCY"]),
        parts_max: 10_000,
        path_style: true,
        acls: &[],
        conditional: Conditional::Always,
        ..OTHER
    },
    Capabilities {
        preset: Preset::Ceph,
        name: "Ceph",
        checksums: &[Md5],
        parts_max: 10_000,
        path_style: true,
        acls: USUAL_ACLS,
        ..OTHER
    },
    OTHER,
];

impl Capabilities {
    /// Those of a destination's store.
    pub(super) fn of(settings: &S3Destination) -> &'static Self {
        let by_preset = |preset| ALL.iter().find(|one| one.preset == preset).unwrap_or(&OTHER);
        match (settings.ours.map(Region::provider), settings.preset) {
            (Some(Provider::Amazon), _) => by_preset(Preset::Aws),
            (Some(Provider::Scaleway), _) => by_preset(Preset::Scaleway),
            (None, Some(preset)) => by_preset(preset),
            (None, None) => by_endpoint(&settings.endpoint),
        }
    }

    /// The checksum that goes with a destination's bytes.
    pub(super) fn checksum(&self, settings: &S3Destination) -> Checksum {
        settings.checksum.or_else(|| self.checksums.first().copied()).unwrap_or(Md5)
    }

    /// Whether the bucket's name goes into the path.
    pub(super) fn path_style(&self, settings: &S3Destination) -> bool {
        settings.path_style.unwrap_or(self.path_style)
    }
}

/// Whether a host belongs to a provider of this table.
pub(super) fn is_known(host: &str) -> bool {
    !by_host(host).hosts.is_empty()
}

fn by_endpoint(endpoint: &str) -> &'static Capabilities {
    let url = endpoint.parse::<Url>().ok();
    by_host(url.as_ref().and_then(Url::host_str).unwrap_or_default())
}

fn by_host(host: &str) -> &'static Capabilities {
    let ends = |end: &str| host.strip_suffix(end).is_some_and(|r| r.is_empty() || r.ends_with('.'));
    ALL.iter().find(|one| one.hosts.iter().any(|end| ends(end))).unwrap_or(&OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sse;

    fn of(toml: &str) -> S3Destination {
        let usual = "name = 'a'\nbucket = 'b'\nregion = 'r'\n";
        toml::from_str(&format!("{usual}{toml}")).unwrap()
    }

    #[test]
    fn every_preset_is_in_the_table_once_and_takes_what_all_take() {
        for preset in [
            Preset::Aws,
            Preset::Gcs,
            Preset::Spaces,
            Preset::Scaleway,
            Preset::R2,
            Preset::Wasabi,
            Preset::Minio,
            Preset::Ceph,
            Preset::Other,
        ] {
            let found: Vec<_> = ALL.iter().filter(|one| one.preset == preset).collect();
            let [one] = found.as_slice() else { panic!("{preset:?}: {found:?}") };
            assert!(one.checksums.contains(&Md5), "{preset:?}");
            assert!(one.classes.is_none_or(|all| all.contains(&"STANDARD")), "{preset:?}");
        }
    }

    #[test]
    fn the_endpoint_tells_whose_store_it_is_where_nothing_else_does() {
        for (endpoint, preset, parts_max, checksum) in [
            ("https://s3.eu-central-1.amazonaws.com", Preset::Aws, 10_000, Crc32c),
            ("https://s3.amazonaws.com", Preset::Aws, 10_000, Crc32c),
            ("https://s3.cn-north-1.amazonaws.com.cn", Preset::Aws, 10_000, Crc32c),
            ("https://s3.nl-ams.scw.cloud", Preset::Scaleway, 1_000, Md5),
            ("https://storage.googleapis.com", Preset::Gcs, 10_000, Md5),
            ("https://fra1.digitaloceanspaces.com", Preset::Spaces, 10_000, Md5),
            ("https://x.r2.cloudflarestorage.com", Preset::R2, 10_000, Md5),
            ("https://s3.eu-central-1.wasabisys.com", Preset::Wasabi, 10_000, Md5),
            ("https://notamazonaws.com", Preset::Other, 1_000, Md5),
            ("https://s3.example.com", Preset::Other, 1_000, Md5),
            ("not an address", Preset::Other, 1_000, Md5),
        ] {
            let settings = of(&format!("endpoint = '{endpoint}'"));
            let found = Capabilities::of(&settings);
            assert_eq!((found.preset, found.parts_max), (preset, parts_max), "{endpoint}");
            assert_eq!(found.checksum(&settings), checksum, "{endpoint}");
        }
        let said = of("endpoint = 'https://s3.amazonaws.com'\npreset = 'ceph'");
        assert_eq!(Capabilities::of(&said).preset, Preset::Ceph);
        let ours = of("endpoint = 'https://s3.example.com'\nours = 'EU2'");
        assert_eq!(Capabilities::of(&ours).preset, Preset::Scaleway);
    }

    #[test]
    fn the_bucket_goes_where_the_store_usually_has_it() {
        for (toml, expected) in [
            ("preset = 'aws'", false),
            ("preset = 'minio'", true),
            ("preset = 'ceph'", true),
            ("", false),
            ("preset = 'minio'\npath_style = false", false),
            ("path_style = true", true),
        ] {
            let settings = of(&format!("endpoint = 'https://s3.example.com'\n{toml}"));
            assert_eq!(Capabilities::of(&settings).path_style(&settings), expected, "{toml}");
        }
    }

    #[test]
    fn encryption_is_said_in_one_word_or_with_its_key() {
        let with = |sse: &str| of(&format!("endpoint = 'https://s3.amazonaws.com'\nsse = {sse}"));
        assert_eq!(with("'s3'").sse, Some(Sse::S3));
        assert_eq!(with("{ kms_key = 'alias/a' }").sse, Some(Sse::KmsKey("alias/a".into())));
        assert!(check(&with("{ kms_key = 'alias/a' }")).is_ok());
    }
}
