//! Where another file has the name.

use std::path::Path;

use holdfast::config::{DirectoryDestination, Existing};
use holdfast::deliver::Destination;
use holdfast::deliver::directory::Directory;
use holdfast_core::attempts::Fault;

use super::{file, names, settings};

fn destination(root: &Path, existing: Existing) -> Directory {
    Directory::new(&DirectoryDestination { existing, ..settings(root) }).unwrap()
}

#[tokio::test]
async fn another_file_is_replaced_or_numbered_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let push = async |existing, content: &[u8]| {
        let file = file(dir.path(), "demo/a.mp4", content);
        destination(&root, existing).push(&file).await
    };
    let at = |name: &str| root.join("demo").join(name);
    push(Existing::Refuse, b"first").await.unwrap();
    let refused = push(Existing::Refuse, b"other").await.unwrap_err();
    assert_eq!(refused.fault, Fault::Customers);
    assert!(refused.sentence.contains("existing = \"refuse\""), "{refused}");
    assert!(refused.sentence.contains("demo/a.mp4"), "{refused}");
    assert_eq!(std::fs::read(at("a.mp4")).unwrap(), b"first");

    let second = push(Existing::Rename, b"other").await.unwrap();
    assert_eq!(second, at("a (2).mp4").to_str().unwrap());
    let third = push(Existing::Rename, b"a third").await.unwrap();
    assert_eq!(third, at("a (3).mp4").to_str().unwrap());
    assert_eq!(std::fs::read(at("a.mp4")).unwrap(), b"first");
    assert_eq!(std::fs::read(at("a (2).mp4")).unwrap(), b"other");

    // The same bytes are there already: the answer to an earlier push was lost.
    let before = std::fs::metadata(at("a (2).mp4")).unwrap().modified().unwrap();
    assert_eq!(push(Existing::Rename, b"other").await.unwrap(), second);
    assert_eq!(push(Existing::Refuse, b"first").await.unwrap(), at("a.mp4").to_str().unwrap());
    assert_eq!(std::fs::metadata(at("a (2).mp4")).unwrap().modified().unwrap(), before);

    push(Existing::Overwrite, b"last!").await.unwrap();
    assert_eq!(std::fs::read(at("a.mp4")).unwrap(), b"last!");
    assert_eq!(names(&root), ["demo/a (2).mp4", "demo/a (3).mp4", "demo/a.mp4"]);
}

#[tokio::test]
async fn a_link_or_a_folder_of_that_name_is_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("b.mp4")).unwrap();
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "content").unwrap();
    std::os::unix::fs::symlink(&outside, root.join("a.mp4")).unwrap();
    for name in ["a.mp4", "b.mp4"] {
        let file = file(dir.path(), name, b"content");
        let refused = destination(&root, Existing::Refuse).push(&file).await.unwrap_err();
        assert!(refused.sentence.contains("existing = \"refuse\""), "{refused}");
        let location = destination(&root, Existing::Rename).push(&file).await.unwrap();
        assert!(location.ends_with(" (2).mp4"), "{location}");
    }
    assert_eq!(std::fs::read(&outside).unwrap(), b"content");
    assert_eq!(names(&root), ["a (2).mp4", "a.mp4", "b (2).mp4"]);
}

#[tokio::test]
async fn a_file_of_the_same_size_that_differs_in_its_middle_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let mut content = vec![7; 5_000_000];
    let overwriting = destination(&root, Existing::Overwrite);
    overwriting.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
    content[2_500_000] ^= 1;
    let altered = file(dir.path(), "a.mp4", &content);
    destination(&root, Existing::Refuse).push(&altered).await.unwrap_err();
    overwriting.push(&altered).await.unwrap();
    assert!(std::fs::read(root.join("a.mp4")).unwrap() == content);
}
