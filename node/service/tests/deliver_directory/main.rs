//! Pushing to directories, on real file systems: whole, full, read-only, with traps in them, and ones
//! that vanish and hang.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../deliver_common/mod.rs"]
mod deliver_common;
mod existing;
mod resume;
#[allow(dead_code, reason = "a killed node's test needs all of it")]
mod share;
mod shares;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast::config::{DirectoryDestination, Existing, Limits};
use holdfast::deliver::directory::Directory;
use holdfast::deliver::{Destination, FileToPush, PushError, Reading};
use holdfast_core::attempts::Fault;

use self::deliver_common::file;
use self::share::names;

fn settings(path: &Path) -> DirectoryDestination {
    DirectoryDestination {
        name: "share".into(),
        path: path.into(),
        mount_point: None,
        existing: Existing::Overwrite,
        limits: Limits::default(),
    }
}

fn destination(path: &Path) -> Directory {
    Directory::new(&settings(path)).unwrap()
}

async fn fails(directory: &Directory, file: &FileToPush) -> PushError {
    let error = directory.push(file).await.expect_err("the push should fail");
    assert!(error.sentence.starts_with("destination \"share\" (directory /"), "{error}");
    println!("{:?}: {}", error.fault, error.sentence);
    error
}

/// A file system in memory, 1 MiB large, unmounted at the end. Needs root, as all mounts do.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let tmpfs = Self(path);
        tmpfs.mount(&["-t", "tmpfs", "-o", "size=1M", "tmpfs"]);
        tmpfs
    }

    fn mount(&self, options: &[&str]) {
        let done = Command::new("mount").args(options).arg(&self.0).status().unwrap();
        assert!(done.success(), "cannot mount: this test needs root");
    }

    fn unmount(&self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[tokio::test]
async fn a_file_arrives_whole_and_again_and_anew() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let directory = destination(&root);
    let name = "demo/clinic 7/Bună ziua, 世界.mp4";
    let large: Vec<u8> = (0..40_000_001_u32).map(|i| (i / 7) as u8).collect();
    for content in [b"first".as_slice(), b"first", b"second, longer", &large, b"x"] {
        let location = directory.push(&file(dir.path(), name, content)).await.unwrap();
        assert_eq!(location, root.join(name).to_str().unwrap());
        assert!(std::fs::read(&location).unwrap() == content);
        let reading = directory.read(&location, None).await.unwrap();
        assert!(matches!(reading, Reading::Path(path) if path == root.join(name)));
    }
    assert_eq!(names(&root), [name]);
}

#[tokio::test]
async fn whoever_reads_meanwhile_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let directory = destination(&root);
    directory.push(&file(dir.path(), "a.mp4", b"old")).await.unwrap();
    let before = std::fs::File::open(root.join("a.mp4")).unwrap();
    directory.push(&file(dir.path(), "a.mp4", b"anew")).await.unwrap();
    assert_eq!(std::io::read_to_string(&before).unwrap(), "old");
    let after = std::fs::metadata(root.join("a.mp4")).unwrap();
    assert_ne!(before.metadata().unwrap().ino(), after.ino());
}

#[tokio::test]
async fn what_a_killed_node_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("demo")).unwrap();
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "untouched").unwrap();
    std::fs::write(root.join("demo/.a.mp4.part"), "half of something much longer").unwrap();
    symlink(&outside, root.join("demo/.b.mp4.part")).unwrap();
    symlink(&outside, root.join("demo/b.mp4")).unwrap();
    let directory = destination(&root);
    for name in ["demo/a.mp4", "demo/b.mp4"] {
        directory.push(&file(dir.path(), name, b"whole")).await.unwrap();
        assert_eq!(std::fs::read(root.join(name)).unwrap(), b"whole");
    }
    assert_eq!(names(&root), ["demo/a.mp4", "demo/b.mp4"]);
    assert!(std::fs::symlink_metadata(root.join("demo/b.mp4")).unwrap().is_file());
    assert_eq!(std::fs::read(&outside).unwrap(), b"untouched");
}

#[tokio::test]
async fn a_missing_root_is_never_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "demo/a.mp4", b"content");
    for root in [dir.path().join("missing"), file.path.join("below a file"), file.path.clone()] {
        let error = fails(&destination(&root), &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("mount the file system"), "{error}");
        assert!(error.sentence.contains(root.to_str().unwrap()), "{error}");
    }
    assert!(!dir.path().join("missing").exists());
    let relative = settings(Path::new("here"));
    assert_eq!(Directory::new(&relative).unwrap_err().fault, Fault::Customers);
}

#[tokio::test]
async fn links_are_not_followed_out_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, root.join("away")).unwrap();
    symlink("/nonexistent", root.join("dangling")).unwrap();
    let directory = destination(&root);
    for name in ["away/a.mp4", "away/deeper/a.mp4", "dangling/a.mp4"] {
        let error = fails(&directory, &file(dir.path(), name, b"content")).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("is a symbolic link"), "{error}");
    }
    assert!(names(&outside).is_empty());
    for name in ["../a.mp4", "/etc/a.mp4", "a/../../a.mp4", "a//b", ""] {
        let error = fails(&directory, &file(dir.path(), name, b"content")).await;
        assert_eq!(error.fault, Fault::Ours, "{error}");
    }
    for location in [root.join("../a.mp4"), outside.join("a.mp4"), root.clone()] {
        let error = directory.read(location.to_str().unwrap(), None).await.unwrap_err();
        assert_eq!(error.fault, Fault::Customers, "{error}");
    }
    let link = dir.path().join("link to the root");
    symlink(&root, &link).unwrap();
    destination(&link).push(&file(dir.path(), "a.mp4", b"content")).await.unwrap();
    assert_eq!(std::fs::read(root.join("a.mp4")).unwrap(), b"content");
}

#[tokio::test]
async fn something_else_in_the_way_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("a.mp4")).unwrap();
    std::fs::write(root.join("demo"), "a file").unwrap();
    let directory = destination(&root);
    for name in ["a.mp4", "demo/a.mp4"] {
        let error = fails(&directory, &file(dir.path(), name, b"content")).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("something else stands under that name"), "{error}");
    }
    assert_eq!(names(&root), ["demo"]);
}

#[tokio::test]
async fn a_full_disk_keeps_what_it_had_and_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Tmpfs::new(dir.path().join("disk"));
    let directory = destination(&disk.0);
    directory.push(&file(dir.path(), "demo/a.mp4", b"old")).await.unwrap();
    let error = fails(&directory, &file(dir.path(), "demo/a.mp4", &vec![7; 3 << 20])).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("make room"), "{error}");
    assert_eq!(std::fs::read(disk.0.join("demo/a.mp4")).unwrap(), b"old");
    assert_eq!(names(&disk.0), ["demo/a.mp4"]);
    directory.push(&file(dir.path(), "demo/a.mp4", &vec![7; 500 << 10])).await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_is_the_customers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Tmpfs::new(dir.path().join("disk"));
    disk.mount(&["-o", "remount,ro"]);
    for name in ["a.mp4", "demo/a.mp4"] {
        let error = fails(&destination(&disk.0), &file(dir.path(), name, b"content")).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("mounted read-only"), "{error}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let good = file(dir.path(), "a.mp4", b"content");
    for bad in [
        file(dir.path(), "a.mp4", b""),
        FileToPush { bytes: 8, ..good.clone() },
        FileToPush { path: dir.path().join("missing"), ..good.clone() },
    ] {
        let error = fails(&destination(&root), &bad).await;
        assert_eq!(error.fault, Fault::Ours, "{error}");
    }
    assert!(names(&root).is_empty());
}

#[tokio::test]
async fn dropped_and_parallel_pushes_never_leave_a_half_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let directory = destination(&root);
    let large = file(dir.path(), "a.mp4", &vec![7; 60 << 20]);
    let small = file(dir.path(), "a.mp4", b"small");
    for _ in 0..5 {
        tokio::select! {
            biased;
            _ = directory.push(&large) => {}
            () = tokio::task::yield_now() => {}
        }
        let (one, other) = tokio::join!(directory.push(&small), directory.push(&small));
        one.unwrap();
        other.unwrap();
        assert_eq!(std::fs::read(root.join("a.mp4")).unwrap(), b"small");
        assert_eq!(names(&root), ["a.mp4"]);
    }
}
