//! A node that is killed ten times while it pushes a large file goes on where it was: at most one part
//! or window is sent again each time, and the bytes arrive right. Real servers, a real process.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "../deliver_common/mod.rs"]
mod deliver_common;
#[path = "../deliver_dropbox/fake/mod.rs"]
#[allow(dead_code, reason = "the destination's own tests need all of it")]
mod fake;
#[path = "../deliver_ftp/server.rs"]
#[allow(dead_code, reason = "the destination's own tests need all of it")]
mod ftp;
#[allow(dead_code, reason = "a hanging share's test needs all of it")]
mod node;
#[path = "../deliver_s3/store.rs"]
#[allow(dead_code, reason = "the destination's own tests need all of it")]
mod s3;
#[path = "../deliver_sftp/server.rs"]
#[allow(dead_code, reason = "the destination's own tests need all of it")]
mod sftp;
#[path = "../deliver_directory/share.rs"]
#[allow(dead_code, reason = "the destination's own tests need all of it")]
mod share;

use holdfast::config::{
    Destination, DirectoryDestination, DropboxDestination, Existing, FtpDestination, S3Destination,
    SftpDestination,
};

use self::deliver_common::line::{Line, Then};
use self::fake::Fake;
use self::node::{Film, Node, sha256_of};
use self::share::Share;

/// Size of the film in bytes, unless `HOLDFAST_TEST_FILM_BYTES` says another.
const FILM_BYTES: u64 = 512 << 20;
const KILLS: usize = 10;
const MIB: u64 = 1 << 20;
/// What a protocol adds to the bytes that it carries: frames, message codes, handshakes.
const FRAMES_PER_MILLE: u64 = 10;

/// What the FTP server's own tests push with.
#[allow(dead_code, reason = "its module asks for it")]
fn quick() -> holdfast::deliver::ftp::Limits {
    holdfast::deliver::ftp::Limits::default()
}

/// What came of it.
struct Outcome {
    id: String,
    film: Film,
    /// Bytes that were sent beyond the file's own, frames left out.
    again_bytes: u64,
}

/// Pushes a film and kills the node at ten random places of it.
async fn push_and_kill(destination: &Destination, carried: impl Fn() -> u64) -> Outcome {
    let mut node = Node::laid_out(destination);
    node.start().await;
    let path = node.dir().join("film.webm");
    let film_bytes = film_bytes();
    let film = Film::make(&path, film_bytes);
    let id = node.upload(&path).await;
    std::fs::File::create(&path).unwrap();
    for place in places(film_bytes) {
        node.until("the push to get further", async |_| (carried() >= place).then_some(())).await;
        node.kill();
        node.start().await;
    }
    let recording = node.stored(&id).await;
    assert_eq!(recording["bytes"], film_bytes, "{recording}");
    let frames = film_bytes / 1_000 * FRAMES_PER_MILLE;
    let again_bytes = carried().saturating_sub(film_bytes + frames);
    println!("{again_bytes} bytes were sent again, over {KILLS} kills");
    Outcome { id, film, again_bytes }
}

fn film_bytes() -> u64 {
    let given = std::env::var("HOLDFAST_TEST_FILM_BYTES").ok();
    given.map_or(FILM_BYTES, |bytes| bytes.parse().expect("HOLDFAST_TEST_FILM_BYTES: a number"))
}

/// Ten places in the film, in order.
fn places(film_bytes: u64) -> Vec<u64> {
    let mut random = [0; KILLS * 8];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let place = |bytes| MIB + number(bytes) % (film_bytes - 64 * MIB);
    let mut places: Vec<u64> = random.chunks_exact(8).map(place).collect();
    places.sort_unstable();
    println!("killed at {places:?}");
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sftp_at_most_a_window_is_sent_again() {
    const WINDOW_BYTES: u64 = 4 * MIB;
    let server = sftp::Server::start("").await;
    let line = Line::to(server.port, u64::MAX, Then::Good).await;
    let settings = SftpDestination { port: line.address.port(), ..server.settings() };
    let destination = Destination::Sftp(Box::new(settings));
    let done = push_and_kill(&destination, || line.carried()).await;
    let name = format!("raw/{}_raw.webm", done.id);
    assert_eq!(sha256_of(&server.files().join(name)), done.film.sha256);
    assert!(done.again_bytes <= KILLS as u64 * WINDOW_BYTES, "{}", done.again_bytes);
    assert_eq!(server.names("raw").len(), 1, "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ftps_at_most_what_was_on_its_way_is_sent_again() {
    // What two sockets of this machine hold at most.
    const WINDOW_BYTES: u64 = 8 * MIB;
    let server = ftp::Server::start(ftp::Setup::of(ftp::Kind::Vsftpd)).await;
    let mut lines = Vec::new();
    for port in std::iter::once(server.port).chain(server.passive_ports()) {
        let address = format!("127.0.0.2:{port}");
        lines.push(Line::at(&address, port, u64::MAX, Then::Good, b"RNTO").await);
    }
    let settings = FtpDestination { host: "127.0.0.2".into(), ..server.settings() };
    let destination = Destination::Ftps(Box::new(settings));
    let done = push_and_kill(&destination, || lines.iter().map(Line::carried).sum()).await;
    let name = format!("raw/{}_raw.webm", done.id);
    assert_eq!(sha256_of(&server.path(&name)), done.film.sha256);
    assert!(done.again_bytes <= KILLS as u64 * WINDOW_BYTES, "{}", done.again_bytes);
    assert_eq!(server.names("raw").len(), 1, "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_s3_at_most_the_parts_on_their_way_are_sent_again() {
    const PART_BYTES: u64 = 8 * MIB;
    const PARTS_AT_ONCE: u32 = 2;
    let store = s3::Store::get().await;
    let held = store.make_bucket("killed").await;
    let line = Line::to(store.port, u64::MAX, Then::Good).await;
    let settings = S3Destination {
        endpoint: format!("http://{}", line.address),
        part_bytes: PART_BYTES,
        parts_at_once: PARTS_AT_ONCE,
        ..store.settings("killed")
    };
    let done = push_and_kill(&Destination::S3(Box::new(settings)), || line.carried()).await;
    assert_eq!(held.sha256(&format!("raw/{}_raw.webm", done.id)).await, done.film.sha256);
    let most = KILLS as u64 * PART_BYTES * u64::from(PARTS_AT_ONCE);
    assert!(done.again_bytes <= most, "{} of at most {most}", done.again_bytes);
    assert_eq!(held.uploads().await, [] as [String; 0], "an upload was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_dropbox_at_most_the_parts_on_their_way_are_sent_again() {
    let fake = Fake::start().await;
    fake.kept().keeps_hashes_only = true;
    let line = Line::to(fake.content_port, u64::MAX, Then::Good).await;
    let dir = tempfile::tempdir().unwrap();
    let content_url = Some(format!("https://localhost:{}", line.address.port()));
    let settings = DropboxDestination { content_url, ..fake.settings(dir.path()) };
    let done = push_and_kill(&Destination::Dropbox(Box::new(settings)), || line.carried()).await;
    let path = format!("/recordings/raw/{}_raw.webm", done.id);
    let content_hash = fake.kept().files[&path].bytes.content_hash();
    assert_eq!(content_hash, done.film.content_hash);
    let limits = holdfast::deliver::dropbox::Limits::default();
    let most = KILLS as u64 * limits.part_bytes * limits.parts_parallel_max as u64;
    assert!(done.again_bytes <= most, "{} of at most {most}", done.again_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_a_mounted_share_at_most_a_step_is_sent_again() {
    const STEP_BYTES: u64 = 16 * MIB;
    let share = Share::mount().await;
    let settings = DirectoryDestination {
        name: "share".into(),
        path: share.path(),
        mount_point: Some(share.mount_point()),
        existing: Existing::Refuse,
        limits: holdfast::config::Limits::default(),
    };
    let done = push_and_kill(&Destination::Directory(settings), || share.line.carried()).await;
    let name = format!("raw/{}_raw.webm", done.id);
    assert_eq!(sha256_of(&share.files().join(&name)), done.film.sha256);
    assert!(done.again_bytes <= KILLS as u64 * STEP_BYTES, "{}", done.again_bytes);
    assert_eq!(share::names(&share.files()), [name], "something was left behind");
}
