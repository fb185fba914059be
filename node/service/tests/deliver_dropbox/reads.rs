//! Reading what was pushed.

use holdfast::config::DropboxDestination;
use holdfast::deliver::{Destination, Reading};
use holdfast_core::attempts::Fault as Whose;

use super::deliver_common::{MIB, all, bytes, file};
use super::dropbox;
use super::fake::{Fake, Fault};

#[tokio::test]
async fn what_was_pushed_is_read_whole_and_in_part() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    let content = bytes(5 * MIB + 3);
    let name = "demo/ă 🎬.mp4";
    let location = dropbox.push(&file(dir.path(), name, &content)).await.unwrap();
    let Reading::Whole { size, pieces } = dropbox.read(&location, None).await.unwrap() else {
        panic!("it is not whole");
    };
    assert_eq!(size, content.len() as u64);
    assert!(all(pieces).await.unwrap() == content);
    for (range, part) in [
        ("bytes=5-9", 5..10),
        ("bytes=1000-", 1000..content.len()),
        ("bytes=-7", content.len() - 7..content.len()),
    ] {
        // An access token that is too old is no matter.
        fake.fault("files/download", Fault::Expire);
        let reading = dropbox.read(&location, Some(range)).await.unwrap();
        let Reading::Part { part: found, size, pieces } = reading else { panic!("{range}") };
        assert_eq!((found, size), (part.start as u64..part.end as u64, content.len() as u64));
        assert!(all(pieces).await.unwrap() == content[part]);
    }
    let beyond = dropbox.read(&location, Some("bytes=9999999-")).await.unwrap();
    assert!(matches!(beyond, Reading::Beyond { size: Some(size) } if size == content.len() as u64));
}

#[tokio::test]
async fn what_is_not_there_is_gone_and_what_lies_elsewhere_is_not_read() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = fake.settings(dir.path());
    let dropbox = dropbox(&settings);
    let gone = dropbox.read("dropbox:/Recordings/a.mp4", None).await.unwrap();
    assert!(matches!(gone, Reading::Gone));
    let before = fake.kept().got.len();
    for location in [
        "dropbox:/Elsewhere/a.mp4",
        "dropbox:/Recordings/../a.mp4",
        "dropbox:/Recordings/",
        "dropbox:",
        "s3://b/Recordings/a.mp4",
    ] {
        let error = dropbox.read(location, None).await.unwrap_err();
        assert_eq!(error.fault, Whose::Customers, "{error}");
        assert!(error.sentence.contains("does not lie in it"), "{error}");
    }
    assert_eq!(fake.kept().got.len(), before);
    // The app's own root.
    let root = DropboxDestination { directory: "/".into(), ..settings };
    let gone = super::dropbox(&root).read("dropbox:/a.mp4", None).await.unwrap();
    assert!(matches!(gone, Reading::Gone));
}

#[tokio::test]
async fn a_file_that_was_written_to_try_it_is_deleted_and_nothing_else() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    fake.put("/Recordings/d/other.mp4", b"another's");
    fake.put("/outside.mp4", b"another's");
    fake.kept().folders.insert("/recordings/d".into());
    for location in [true, false] {
        let pushed = dropbox.push(&file(dir.path(), "try.mp4", b"x")).await.unwrap();
        assert_eq!(fake.paths().len(), 3);
        // One that is gone is deleted.
        for _ in 0..2 {
            dropbox.withdraw("try.mp4", location.then_some(&pushed)).await.unwrap();
            assert_eq!(fake.paths(), ["/outside.mp4", "/Recordings/d/other.mp4"]);
        }
    }
    // One that is replaced between the look and the deletion stays.
    let pushed = dropbox.push(&file(dir.path(), "try.mp4", b"x")).await.unwrap();
    let stale = r#"{".tag":"file","name":"try.mp4","rev":"00000000aaaa","size":1}"#;
    fake.fault("files/get_metadata", Fault::Answer(200, Vec::new(), stale.into()));
    for (name, location, problem) in [
        ("try.mp4", Some(pushed.as_str()), "path_write/conflict/file"),
        ("d", None, "is no file"),
        ("../outside.mp4", None, "cannot use the name"),
        ("x", Some("dropbox:/outside.mp4"), "does not lie in it"),
    ] {
        let error = dropbox.withdraw(name, location).await.unwrap_err();
        assert!(error.sentence.contains(problem), "{error}");
    }
    assert_eq!(fake.paths().len(), 3);
    // Upload sessions end by themselves.
    dropbox.abandon(b"{}").await.unwrap();
}
