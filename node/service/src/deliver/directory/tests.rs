//! What comes into a directory while a file is on its way there, and what a reader must not wait for.

use std::fs;

use super::*;
use crate::config::Limits as Shares;
use crate::deliver::bandwidth::Limiter;

const FILE: &[u8] = &[7; 600_000];
const OTHER: &[u8] = b"someone else's";

struct Here {
    dir: tempfile::TempDir,
    directory: Directory,
}

impl Here {
    fn new(existing: Existing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("there")).unwrap();
        fs::write(dir.path().join("film"), FILE).unwrap();
        let settings = DirectoryDestination {
            name: "shelf".into(),
            path: dir.path().join("there"),
            mount_point: None,
            existing,
            limits: Shares::default(),
        };
        let directory = Directory::new(&settings).unwrap();
        Self { dir, directory }
    }

    /// Pushes so slowly that another file comes meanwhile, under the same name.
    async fn push_while_another_comes(&self) -> Result<String, PushError> {
        let date = jiff::civil::date(2026, 3, 2);
        let film = self.dir.path().join("film");
        let limiter = Arc::new(Limiter::fixed(Some(FILE.len() as u64)));
        let progress = Progress::limited(vec![limiter]);
        let file = FileToPush {
            progress,
            ..FileToPush::alone(film, "a.mp4".into(), FILE.len() as u64, date)
        };
        let there = self.dir.path().join("there");
        let comes = async {
            while !there.join(".a.mp4.part").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            fs::write(there.join("a.mp4"), OTHER).unwrap();
        };
        tokio::join!(self.directory.push(&file), comes).0
    }

    fn content(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.dir.path().join("there").join(name)).ok()
    }
}

#[tokio::test]
async fn what_comes_meanwhile_is_treated_as_what_was_there() {
    let here = Here::new(Existing::Overwrite);
    let location = here.push_while_another_comes().await.unwrap();
    assert!(location.ends_with("/a.mp4"), "{location}");
    assert_eq!(here.content("a.mp4").as_deref(), Some(FILE));

    let here = Here::new(Existing::Rename);
    let location = here.push_while_another_comes().await.unwrap();
    assert!(location.ends_with("/a (2).mp4"), "{location}");
    assert_eq!(here.content("a.mp4").as_deref(), Some(OTHER));
    assert_eq!(here.content("a (2).mp4").as_deref(), Some(FILE));

    let here = Here::new(Existing::Refuse);
    let error = here.push_while_another_comes().await.unwrap_err();
    assert_eq!(error.fault, holdfast_core::attempts::Fault::Customers);
    assert!(error.sentence.contains("another file is called"), "{}", error.sentence);
    assert_eq!(here.content("a.mp4").as_deref(), Some(OTHER));
    assert_eq!(here.content(".a.mp4.part"), None);
}

#[tokio::test]
async fn a_reader_waits_for_no_pipe_and_follows_no_link() {
    let here = Here::new(Existing::Overwrite);
    let there = here.dir.path().join("there");
    nix::unistd::mkfifo(&there.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    nix::unistd::mkfifo(&here.dir.path().join("outside"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink(here.dir.path().join("outside"), there.join("link")).unwrap();
    for name in ["pipe", "link"] {
        let location = there.join(name).display().to_string();
        let reading = here.directory.read(&location, None).await.unwrap();
        assert!(matches!(reading, Reading::Path(_)));
    }
    assert_eq!(here.directory.threads.left(), 0);
}
