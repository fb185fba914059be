//! A mounted share that vanishes, and one that hangs.

use std::time::Duration;

use holdfast::config::DirectoryDestination;
use holdfast::deliver::directory::{Directory, Limits};
use holdfast::deliver::{Destination, Reading};
use holdfast_core::attempts::Fault;

use super::share::Share;
use super::{Tmpfs, fails, file, names, settings};

/// Threads of this process that make calls to directories.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let is_ours = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
        name.is_ok_and(|name| name.trim() == "directory")
    };
    tasks.filter_map(|task| is_ours(task).then_some(())).count()
}

#[tokio::test]
async fn a_share_that_is_not_mounted_leaves_the_disk_underneath_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Tmpfs::new(dir.path().join("disk"));
    let mount_point = Some(disk.0.clone());
    for path in [disk.0.clone(), disk.0.join("below")] {
        std::fs::create_dir_all(&path).unwrap();
        let settings = DirectoryDestination { mount_point: mount_point.clone(), ..settings(&path) };
        let directory = Directory::new(&settings).unwrap();
        let film = file(dir.path(), "demo/a.mp4", b"content");
        let location = directory.push(&film).await.unwrap();
        disk.unmount();
        std::fs::create_dir_all(&path).unwrap();
        let error = fails(&directory, &film).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("nothing is mounted at"), "{error}");
        assert!(error.sentence.contains(disk.0.to_str().unwrap()), "{error}");
        let unread = directory.read(&location, None).await.unwrap_err();
        assert!(unread.sentence.contains("nothing is mounted at"), "{unread}");
        assert!(names(&disk.0).is_empty(), "something was written underneath");
        disk.mount(&["-t", "tmpfs", "-o", "size=1M", "tmpfs"]);
        std::fs::create_dir_all(&path).unwrap();
        directory.push(&film).await.unwrap();
    }
}

#[test]
fn a_mount_point_that_cannot_be_right_is_refused() {
    for (path, mount_point) in [("/mnt/a", "/"), ("/mnt/a", "/mnt/ab"), ("/mnt/a", "mnt")] {
        let mount_point = Some(mount_point.into());
        let settings = DirectoryDestination { mount_point, ..settings(path.as_ref()) };
        let error = Directory::new(&settings).unwrap_err();
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("mount_point = "), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_share_that_hangs_are_given_up_and_do_not_pile_up() {
    const LEFT_MAX: usize = 3;
    let share = Share::mount().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { open_ms_max: 300, stall_ms_max: 600, left_max: LEFT_MAX };
    let directory = Directory::with_limits(&settings(&share.path()), limits).unwrap();
    let location = directory.push(&file(dir.path(), "first.mp4", b"first")).await.unwrap();
    share.hang();
    let begun = tokio::time::Instant::now();
    let mut said = Vec::new();
    for nr in 0..12 {
        let film = file(dir.path(), &format!("film {nr}.mp4"), b"content");
        let error = fails(&directory, &film).await;
        assert_eq!(error.fault, Fault::Networks);
        said.push(error.sentence);
    }
    assert!(said[0].contains("does not answer"), "{}", said[0]);
    assert!(said[11].contains("3 earlier calls to it still hang"), "{}", said[11]);
    let unread = directory.read(&location, None).await.unwrap_err();
    assert!(unread.sentence.contains("still hang"), "{unread}");
    directory.withdraw("first.mp4", None).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    assert_eq!(threads(), LEFT_MAX, "threads that hang");

    share.go_on();
    let film = file(dir.path(), "film 0.mp4", b"content");
    while let Err(error) = directory.push(&film).await {
        assert_eq!(error.fault, Fault::Networks, "{error}");
    }
    let reading = directory.read(&location, None).await.unwrap();
    assert!(matches!(reading, Reading::Path(_)));
    while threads() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(names(&share.files()), ["film 0.mp4", "first.mp4"], "what was given up came later");
}
