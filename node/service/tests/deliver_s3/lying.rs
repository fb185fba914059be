//! How files lie at a store: classes, encryption, tags, keys, and what lies there already.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast::config::{Acl, Checksum, Existing, Preset, S3Destination, Sse, StorageClasses};
use holdfast::deliver::Destination;
use holdfast::deliver::s3::S3;
use holdfast_core::attempts::Fault;
use holdfast_core::recording::FileKind;
use holdfast_core::storage::Region;

use super::deliver_common::line::{Line, Then};
use super::store::Store;
use super::{MIB, at_line, bytes, fails, file, quick};

#[tokio::test]
async fn each_kind_of_file_has_its_class_and_all_have_tags_and_encryption() {
    let store = Store::get().await;
    let held = store.make_bucket("classes").await;
    let dir = tempfile::tempdir().unwrap();
    let class = |class: &str| Some(class.to_owned());
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings = S3Destination {
        preset: Some(Preset::Aws),
        storage_class: class("STANDARD_IA"),
        storage_classes: StorageClasses {
            raw: class("GLACIER_IR"),
            snapshot: class("STANDARD"),
            ..StorageClasses::default()
        },
        sse: Some(Sse::S3),
        acl: Some(Acl::BucketOwnerFullControl),
        tags: BTreeMap::from([
            tag("team", "a & b=c".replace('&', "+").as_str()),
            tag("when", "{year}-{month}-{day}"),
            tag("of", "{env}: {name}"),
        ]),
        prefix: "{env}/{year}/{month}/{day}/".into(),
        ..store.settings("classes")
    };
    let s3 = S3::new(&settings).unwrap();
    for (kind, length, expected) in [
        (FileKind::Main, 10, "STANDARD_IA"),
        (FileKind::Main, 5 * MIB + 1, "STANDARD_IA"),
        (FileKind::Raw, 6 * MIB, "GLACIER_IR"),
        (FileKind::Snapshot, 11, "STANDARD"),
        (FileKind::Filmstrip, 12, "STANDARD_IA"),
    ] {
        let content = bytes(length);
        let mut file = file(dir.path(), &format!("demo/{}-{length}é", kind.as_str()), &content);
        (file.kind, file.env_id) = (kind, "acme".into());
        let location = s3.push(&file).await.unwrap();
        let key = format!("acme/2026/03/02/{}", file.name);
        assert_eq!(location, format!("s3://classes/{key}"));
        assert!(held.read(&key).await.unwrap() == content);
        // A store leaves the usual class unsaid.
        let class = held.header(&key, "x-amz-storage-class").await;
        assert_eq!(class.as_deref().unwrap_or("STANDARD"), expected, "{key}");
        let encrypted = held.header(&key, "x-amz-server-side-encryption").await;
        assert_eq!(encrypted.as_deref(), Some("AES256"), "{key}");
        let tags = held.tags(&key).await;
        let named = format!("acme: {}", file.name);
        for (name, value) in [("team", "a + b=c"), ("when", "2026-03-02"), ("of", &named)] {
            assert!(tags.contains(&format!("<Key>{name}</Key><Value>{value}</Value>")), "{tags}");
        }
    }
}

#[tokio::test]
async fn every_checksum_is_checked_by_the_store_and_by_us() {
    let store = Store::get().await;
    let held = store.make_bucket("checksums").await;
    let dir = tempfile::tempdir().unwrap();
    for checksum in [Checksum::Md5, Checksum::Crc32c, Checksum::Sha256] {
        for length in [4 * MIB, 11 * MIB] {
            let name = format!("{}-{length}", checksum.as_str());
            let content = bytes(length);
            let file = file(dir.path(), &name, &content);
            let checksum = Some(checksum);
            let settings = S3Destination { checksum, ..store.settings("checksums") };
            let line = Line::to(store.port, MIB as u64, Then::Flip).await;
            let s3 = S3::with_limits(&at_line(settings, &line), quick()).unwrap();
            s3.push(&file).await.unwrap();
            assert!(!line.is(Then::Flip), "no byte was altered");
            assert!(held.read(&name).await.unwrap() == content, "{name}");
            assert!(held.uploads().await.is_empty());
        }
    }
}

#[tokio::test]
async fn another_file_of_the_name_stays_where_that_is_wanted() {
    let store = Store::get().await;
    let held = store.make_bucket("existing").await;
    let dir = tempfile::tempdir().unwrap();
    for (preset, length) in [
        (Preset::Other, 1_000),
        (Preset::Other, 11 * MIB),
        (Preset::Aws, 1_000),
        (Preset::Aws, 11 * MIB),
    ] {
        let folder = format!("{preset:?}-{length}");
        let name = format!("{folder}/a.mp4");
        let with = |existing| {
            let preset = Some(preset);
            S3::new(&S3Destination { existing, preset, ..store.settings("existing") }).unwrap()
        };
        let content = bytes(length);
        let file = file(dir.path(), &name, &content);
        held.put(&name, Some(b"another".to_vec())).await;

        let error = fails(&with(Existing::Refuse), &file).await;
        assert_eq!(error.fault, Fault::Customers);
        let expected =
            format!("another file is called \"{name}\" already, and existing = \"refuse\"");
        assert!(error.sentence.contains(&expected), "{error}");
        assert_eq!(held.read(&name).await.unwrap(), b"another");

        for _ in 0..2 {
            let location = with(Existing::Rename).push(&file).await.unwrap();
            assert_eq!(location, format!("s3://existing/{folder}/a (2).mp4"), "and not once more");
        }
        assert_eq!(held.read(&name).await.unwrap(), b"another");
        assert!(held.read(&format!("{folder}/a (2).mp4")).await.unwrap() == content);

        with(Existing::Overwrite).push(&file).await.unwrap();
        assert!(held.read(&name).await.unwrap() == content);
        // It is this very file now: nobody is in its way.
        with(Existing::Refuse).push(&file).await.unwrap();
        assert_eq!(
            with(Existing::Rename).push(&file).await.unwrap(),
            format!("s3://existing/{name}")
        );
    }
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn what_comes_there_during_a_push_stays_where_the_store_can_tell() {
    let store = Store::get().await;
    let held = store.make_bucket("raced").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(12 * MIB);
    let file = file(dir.path(), "a.mp4", &content);
    let line = Line::to(store.port, 7 * MIB as u64, Then::Stall).await;
    let settings = S3Destination {
        preset: Some(Preset::Aws),
        existing: Existing::Rename,
        ..store.settings("raced")
    };
    let s3 = S3::new(&at_line(settings, &line)).unwrap();
    let meanwhile = async {
        while line.carried() < 6 * MIB as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        held.put("a.mp4", Some(b"another".to_vec())).await;
        line.mend();
    };
    let (pushed, ()) = tokio::join!(s3.push(&file), meanwhile);
    assert_eq!(pushed.unwrap(), "s3://raced/a (2).mp4");
    assert_eq!(held.read("a.mp4").await.unwrap(), b"another");
    assert!(held.read("a (2).mp4").await.unwrap() == content);
    assert!(held.uploads().await.is_empty(), "half a push is left");
}

#[tokio::test]
async fn a_lost_answer_is_not_another_file() {
    let store = Store::get().await;
    let held = store.make_bucket("lost-answers").await;
    let dir = tempfile::tempdir().unwrap();
    for (preset, length) in [(Preset::Other, 11 * MIB), (Preset::Aws, 11 * MIB)] {
        let file = file(dir.path(), &format!("{preset:?}.mp4"), &bytes(length));
        let line = Line::to(store.port, u64::MAX, Then::LoseCompletion).await;
        let (preset, existing) = (Some(preset), Existing::Rename);
        let settings = S3Destination { preset, existing, ..store.settings("lost-answers") };
        let s3 = S3::with_limits(&at_line(settings, &line), quick()).unwrap();
        let location = s3.push(&file).await.unwrap();
        assert!(!line.is(Then::LoseCompletion), "no answer was lost");
        assert_eq!(location, format!("s3://lost-answers/{}", file.name));
    }
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn what_a_store_does_not_take_is_refused_before_anything_is_pushed() {
    let store = Store::get().await;
    let good = || store.settings("refused");
    let with = |preset| S3Destination { preset: Some(preset), ..good() };
    let class = |class: &str| Some(class.to_owned());
    let tags = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let scaleway = || with(Preset::Scaleway);
    let by_host = || S3Destination { endpoint: "https://s3.nl-ams.scw.cloud".into(), ..good() };
    let ours = || S3Destination { ours: Some(Region::Us1), ..good() };
    let raw = |raw: &str| StorageClasses { raw: class(raw), ..StorageClasses::default() };
    for (settings, problem) in [
        (
            S3Destination { storage_class: class("GLACIER_IR"), ..scaleway() },
            "storage_class: Scaleway has no class GLACIER_IR; it has STANDARD, ONEZONE_IA, GLACIER",
        ),
        (
            S3Destination { storage_class: class("GLACIER_IR"), ..by_host() },
            "Scaleway has no class",
        ),
        (
            S3Destination { storage_classes: raw("DEEP_ARCHIVE"), ..with(Preset::R2) },
            "storage_classes.raw: Cloudflare R2 has no class DEEP_ARCHIVE",
        ),
        (S3Destination { sse: Some(Sse::S3), ..scaleway() }, "sse: Scaleway does not take it"),
        (
            S3Destination { sse: Some(Sse::KmsKey("k".into())), ..with(Preset::Wasabi) },
            "sse: Wasabi does not take it",
        ),
        (S3Destination { sse: Some(Sse::KmsKey(String::new())), ..good() }, "sse.kms_key: must be"),
        (
            S3Destination { acl: Some(Acl::AwsExecRead), ..with(Preset::Spaces) },
            "acl: DigitalOcean Spaces does not take aws-exec-read; it takes private, public-read",
        ),
        (
            S3Destination { acl: Some(Acl::Private), ..with(Preset::R2) },
            "it takes none; leave it out",
        ),
        (S3Destination { tags: tags("a", "b"), ..with(Preset::Gcs) }, "tags: Google Cloud Storage"),
        (S3Destination { tags: tags("a", "{week}"), ..good() }, "tags.a: {week} is no placeholder"),
        (S3Destination { tags: tags("a", "x;y"), ..good() }, "tags.a: must be at most 256"),
        (S3Destination { tags: tags("", "x"), ..good() }, "tags: the name \"\""),
        (
            S3Destination { checksum: Some(Checksum::Crc32c), ..with(Preset::Gcs) },
            "checksum: Google Cloud Storage does not take crc32c; it takes md5",
        ),
        (
            S3Destination { prefix: "{week}/".into(), ..good() },
            "there are {env}, {year}, {month}, {day}",
        ),
        (S3Destination { parts_at_once: 0, ..good() }, "parts_at_once: must be 1 to 32"),
        (S3Destination { sse: Some(Sse::S3), ..ours() }, "sse: our own storage goes by rule 9"),
        (
            S3Destination { storage_class: Some("STANDARD".into()), ..ours() },
            "storage_class: our own storage goes by rule 9",
        ),
        (
            S3Destination {
                storage_classes: StorageClasses {
                    raw: Some("STANDARD".into()),
                    ..StorageClasses::default()
                },
                ..ours()
            },
            "storage_classes: our own storage goes by rule 9",
        ),
        (S3Destination { preset: Some(Preset::Gcs), ..ours() }, "preset: our own storage"),
        (S3Destination { existing: Existing::Rename, ..ours() }, "existing: in our own storage"),
        (S3Destination { prefix: "{year}/".into(), ..ours() }, "prefix: placeholders are not"),
    ] {
        let error = S3::new(&settings).expect_err(problem);
        assert!(error.sentence.contains(problem), "{error}");
    }
}
