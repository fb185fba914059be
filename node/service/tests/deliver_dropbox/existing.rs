//! Where another file has the name already.

use holdfast::config::{DropboxDestination, Existing};
use holdfast::deliver::Destination;
use holdfast_core::attempts::Fault;

use super::deliver_common::{MIB, bytes, file};
use super::fake::Fake;
use super::{dropbox, fails};

#[tokio::test]
async fn another_file_is_replaced_numbered_or_kept_as_the_settings_say() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let with = |existing| dropbox(&DropboxDestination { existing, ..fake.settings(dir.path()) });
    // One that goes in one request, and others that go in parts.
    let (one, other, third) = (bytes(700), bytes(6 * MIB + 1), bytes(9 * MIB));
    let push = |content: &Vec<u8>| file(dir.path(), "d/a.mp4", content);
    for _ in 0..2 {
        with(Existing::Refuse).push(&push(&one)).await.unwrap();
    }
    for content in [&bytes(701), &other] {
        let error = fails(&with(Existing::Refuse), &push(content)).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("existing = \"refuse\""), "{error}");
        assert!(error.sentence.contains("\"/Recordings/d/a.mp4\""), "{error}");
    }
    assert!(fake.content("/Recordings/d/a.mp4").unwrap() == one);

    for (content, number) in [(&other, 2), (&other, 2), (&third, 3), (&bytes(70), 4), (&third, 3)] {
        let location = with(Existing::Rename).push(&push(content)).await.unwrap();
        assert_eq!(location, format!("dropbox:/Recordings/d/a ({number}).mp4"));
    }
    assert!(fake.content("/Recordings/d/a.mp4").unwrap() == one);
    assert!(fake.content("/Recordings/d/a (2).mp4").unwrap() == other);
    assert!(fake.content("/Recordings/d/a (3).mp4").unwrap() == third);

    for content in [&bytes(99), &third] {
        with(Existing::Overwrite).push(&push(content)).await.unwrap();
        assert!(fake.content("/Recordings/d/a.mp4").unwrap() == *content);
    }
    assert_eq!(fake.paths().len(), 4);
}

#[tokio::test]
async fn a_file_that_is_numbered_is_sent_once() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = DropboxDestination { existing: Existing::Rename, ..fake.settings(dir.path()) };
    fake.put("/Recordings/a.mp4", b"another's");
    fake.put("/Recordings/a (2).mp4", b"a third's");
    for content in [bytes(3 * MIB), bytes(7 * MIB)] {
        let before = fake.received();
        dropbox(&settings).push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
        assert_eq!(fake.received() - before, content.len());
    }
    assert_eq!(fake.content("/Recordings/a.mp4").unwrap(), b"another's");
}

#[tokio::test]
async fn where_many_names_are_taken_dropbox_chooses() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = DropboxDestination { existing: Existing::Rename, ..fake.settings(dir.path()) };
    fake.put("/Recordings/a.mp4", b"1");
    for number in 2..=9 {
        fake.put(&format!("/Recordings/a ({number}).mp4"), number.to_string().as_bytes());
    }
    let location = dropbox(&settings).push(&file(dir.path(), "a.mp4", b"new")).await.unwrap();
    assert_eq!(fake.paths().len(), 10);
    let path = location.strip_prefix("dropbox:").unwrap();
    assert_eq!(fake.content(path).unwrap(), b"new", "{location}");
}

#[tokio::test]
async fn what_is_no_file_is_not_replaced() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    fake.kept().folders.insert("/recordings/a.mp4".into());
    fake.put("/Recordings/b", b"no folder");
    for existing in [Existing::Overwrite, Existing::Rename, Existing::Refuse] {
        let dropbox = dropbox(&DropboxDestination { existing, ..fake.settings(dir.path()) });
        for (name, problem) in
            [("a.mp4", "path/conflict/folder"), ("b/c.mp4", "path/conflict/file_ancestor")]
        {
            for length in [10, 5 * MIB] {
                let error = fails(&dropbox, &file(dir.path(), name, &bytes(length))).await;
                assert_eq!(error.fault, Fault::Customers, "{error}");
                assert!(error.sentence.contains(problem), "{error}");
                assert!(error.sentence.contains("move"), "{error}");
            }
        }
    }
    assert_eq!(fake.paths(), ["/Recordings/b"]);
}
