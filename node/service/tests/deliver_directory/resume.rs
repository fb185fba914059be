//! A copy that was cut short goes on where it stopped.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast::clock::Clock;
use holdfast::config::Timetable;
use holdfast::deliver::bandwidth::Limiter;
use holdfast::deliver::directory::Directory;
use holdfast::deliver::progress::Progress;
use holdfast::deliver::{Destination, FileToPush};

use super::deliver_common::{MIB, bytes};
use super::{destination, file, names};

const FILM_BYTES: usize = 64 * MIB;

struct Cut {
    dir: tempfile::TempDir,
    directory: Directory,
    film: FileToPush,
    content: Vec<u8>,
}

impl Cut {
    /// A push that was dropped half-way.
    async fn half_way() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let directory = destination(&dir.path().join("root"));
        let content = bytes(FILM_BYTES);
        let film = file(dir.path(), "demo/a.mp4", &content);
        let cut = Self { dir, directory, film, content };
        let slow = FileToPush { progress: slow(), ..cut.film.clone() };
        tokio::select! {
            _ = cut.directory.push(&slow) => panic!("it was not slow"),
            () = cut.until_it_has(40 * MIB as u64) => {}
        }
        // Whoever takes the name next waits until the thread has ended.
        cut.directory.withdraw("demo/a.mp4", None).await.unwrap();
        cut
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn part(&self) -> PathBuf {
        self.root().join("demo/.a.mp4.part")
    }

    async fn until_it_has(&self, least: u64) {
        while std::fs::metadata(self.part()).map_or(0, |part| part.len()) < least {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What was there of it, held open so that its inode is nobody else's.
    fn held(&self) -> (File, u64) {
        let part = File::options().write(true).open(self.part()).unwrap();
        let inode = part.metadata().unwrap().ino();
        (part, inode)
    }

    fn inode(&self) -> u64 {
        std::fs::metadata(self.root().join("demo/a.mp4")).unwrap().ino()
    }

    fn is_whole(&self) -> bool {
        std::fs::read(self.root().join("demo/a.mp4")).unwrap() == self.content
    }
}

fn slow() -> Progress {
    let timetable = Timetable::try_from(vec!["100 MiB/s".to_owned()]).unwrap();
    let limiter = Limiter::by_timetable(timetable, Clock::new(), jiff::tz::TimeZone::UTC);
    Progress::limited(vec![Arc::new(limiter)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_cut_short_goes_on() {
    let cut = Cut::half_way().await;
    let (part, inode) = cut.held();
    assert!(part.metadata().unwrap().len() < FILM_BYTES as u64);
    cut.directory.push(&cut.film).await.unwrap();
    assert_eq!(cut.inode(), inode, "it began anew");
    assert!(cut.is_whole());
    assert_eq!(names(&cut.root()), ["demo/a.mp4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_power_cut_took_from_its_end_is_copied_again() {
    let cut = Cut::half_way().await;
    let (part, inode) = cut.held();
    let bytes = part.metadata().unwrap().len();
    part.write_all_at(&vec![0; 5 * MIB], bytes - 5 * MIB as u64).unwrap();
    cut.directory.push(&cut.film).await.unwrap();
    assert_eq!(cut.inode(), inode, "it began anew");
    assert!(cut.is_whole());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_to_be_this_files_is_never_gone_on_with() {
    for alter in ["its beginning", "its size", "its end", "the file"] {
        let cut = Cut::half_way().await;
        let (part, inode) = cut.held();
        let mut film = cut.film.clone();
        match alter {
            "its beginning" => part.write_all_at(b"other", 1_000).unwrap(),
            "its size" => part.set_len(FILM_BYTES as u64 + 1).unwrap(),
            "its end" => {
                let bytes = part.metadata().unwrap().len();
                part.write_all_at(&vec![0; 33 * MIB], bytes - 33 * MIB as u64).unwrap();
            }
            _ => film.sha256 = Some("of another file".into()),
        }
        cut.directory.push(&film).await.unwrap();
        let now = cut.inode();
        assert_ne!(now, inode, "{alter} is another, and it was gone on with");
        assert!(cut.is_whole(), "{alter}");
        assert_eq!(names(&cut.root()), ["demo/a.mp4"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_push_comes_back_for_is_removed() {
    let cut = Cut::half_way().await;
    assert!(cut.part().exists());
    let memo: serde_json::Value = cut.film.memo.read().unwrap();
    cut.directory.abandon(&serde_json::to_vec(&memo).unwrap()).await.unwrap();
    assert_eq!(names(&cut.root()), [] as [&str; 0]);
    cut.directory.abandon(&serde_json::to_vec(&memo).unwrap()).await.unwrap();
}
