//! Tokens that expire, and a Dropbox that is busy, broken or mistaken.

use holdfast::deliver::Destination;
use holdfast::deliver::dropbox::{Dropbox, Limits};
use holdfast_core::attempts::Fault as Whose;

use super::deliver_common::{MIB, bytes, file};
use super::fake::{Fake, Fault};
use super::{dropbox, fails, limits};

const APPEND: &str = "files/upload_session/append_v2";
const FINISH: &str = "files/upload_session/finish";

fn busy(retry_after: Option<&str>) -> Fault {
    let headers = retry_after.map(|seconds| ("retry-after", seconds.to_owned()));
    let body = r#"{"error_summary":"too_many_requests/..","error":
        {"reason":{".tag":"too_many_requests"},"retry_after":1}}"#;
    Fault::Answer(429, headers.into_iter().collect(), body.into())
}

#[tokio::test]
async fn an_access_token_that_expires_in_the_middle_is_made_anew() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    let content = bytes(15 * MIB);
    for route in ["files/get_metadata", "files/upload_session/start", APPEND, APPEND, FINISH] {
        fake.fault(route, Fault::Expire);
    }
    dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    // Parts in parallel whose token expired share the next one.
    let made = fake.kept().tokens_made;
    assert!((4..=6).contains(&made), "{made} tokens");
    // One that refuses without looking at the body.
    let body =
        r#"{"error_summary":"expired_access_token/..","error":{".tag":"expired_access_token"}}"#;
    fake.fault(APPEND, Fault::AnswerEarly(401, body.into()));
    let other = bytes(15 * MIB + 1);
    dropbox.push(&file(dir.path(), "b.mp4", &other)).await.unwrap();
    assert!(fake.content("/Recordings/b.mp4").unwrap() == other);
    assert!(fake.kept().tokens_made > made);
}

#[tokio::test]
async fn an_access_token_is_made_anew_before_it_expires() {
    let fake = Fake::start().await;
    fake.kept().token_life_s = 0;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    // One that lives for no time at all is tried, and said to be so.
    let error = fails(&dropbox, &file(dir.path(), "a.mp4", &bytes(10))).await;
    assert!(error.sentence.contains("expired_access_token"), "{error}");
    // One that lives shorter than the margin is used for a while.
    fake.kept().token_life_s = 60;
    let made = fake.kept().tokens_made;
    for number in 0..3 {
        dropbox.push(&file(dir.path(), &format!("{number}.mp4"), &bytes(10))).await.unwrap();
    }
    assert_eq!(fake.kept().tokens_made, made + 1);
}

#[tokio::test]
async fn a_refresh_token_can_be_replaced_at_any_time() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = fake.settings(dir.path());
    let dropbox = dropbox(&settings);
    dropbox.push(&file(dir.path(), "a.mp4", &bytes(10))).await.unwrap();
    fake.kept().refresh_tokens = ["another-token".to_owned()].into();
    std::fs::write(settings.refresh_token_file.as_ref().unwrap(), " another-token\n").unwrap();
    dropbox.push(&file(dir.path(), "b.mp4", &bytes(11))).await.unwrap();
    assert_eq!(fake.kept().tokens_made, 2);
}

#[tokio::test]
async fn a_busy_dropbox_is_given_the_time_that_it_asks_for() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    let content = bytes(9 * MIB);
    for route in ["oauth2/token", APPEND, FINISH] {
        fake.fault(route, busy(Some("1")));
    }
    // Without the header the body says it, or nobody does.
    fake.fault("files/upload", busy(None));
    let writes = r#"{"error_summary":"path/too_many_write_operations/..","error":
        {".tag":"path","reason":{".tag":"too_many_write_operations"}}}"#;
    fake.fault("files/upload", Fault::Answer(409, Vec::new(), writes.into()));
    let begun = tokio::time::Instant::now();
    dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
    assert!(begun.elapsed().as_secs() >= 3, "it did not wait");
    dropbox.push(&file(dir.path(), "b.mp4", &bytes(10))).await.unwrap();
    assert!(begun.elapsed().as_secs() >= 5, "it did not wait");
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    assert!(fake.kept().faults.is_empty());
}

#[tokio::test]
async fn a_dropbox_that_asks_for_too_much_patience_ends_the_attempt() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { wait_ms_max: 2_000, ..limits() };
    let dropbox = Dropbox::with_limits(&fake.settings(dir.path()), limits).unwrap();
    fake.fault("files/upload", busy(Some("601")));
    let error = fails(&dropbox, &file(dir.path(), "a.mp4", &bytes(10))).await;
    assert_eq!(error.fault, Whose::Networks);
    assert!(error.sentence.contains("601 s of patience"), "{error}");
    // The sum counts.
    for _ in 0..3 {
        fake.fault("files/upload", busy(Some("1")));
    }
    let error = fails(&dropbox, &file(dir.path(), "a.mp4", &bytes(10))).await;
    assert!(error.sentence.contains("1 s of patience"), "{error}");
    assert!(fake.kept().faults.is_empty());
}

#[tokio::test]
async fn a_broken_dropbox_is_asked_again_a_few_times() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    let broken = |status| Fault::Answer(status, Vec::new(), "<html>oh no</html>".into());
    let content = bytes(9 * MIB);
    for (route, status) in [("oauth2/token", 503), (APPEND, 500), (APPEND, 502), (FINISH, 504)] {
        fake.fault(route, broken(status));
    }
    let pushed = file(dir.path(), "a.mp4", &content);
    dropbox.push(&pushed).await.unwrap();
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    assert_eq!(pushed.progress.bytes(), content.len() as u64, "what did not arrive was counted");
    for _ in 0..4 {
        fake.fault("files/upload", broken(503));
    }
    let error = fails(&dropbox, &file(dir.path(), "b.mp4", &bytes(10))).await;
    assert_eq!(error.fault, Whose::Networks);
    assert!(error.sentence.contains("Dropbox answers 503"), "{error}");
}

#[tokio::test]
async fn other_bytes_than_those_sent_are_noticed() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    // On the way, once: they are sent again.
    for (route, length) in [("files/upload", 100), (APPEND, 9 * MIB)] {
        let content = bytes(length);
        fake.fault(route, Fault::Alter);
        dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
        assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
    }
    // Always: nothing is written.
    fake.kept().files.clear();
    for _ in 0..4 {
        fake.fault("files/upload", Fault::Alter);
    }
    let error = fails(&dropbox, &file(dir.path(), "a.mp4", &bytes(101))).await;
    assert_eq!(error.fault, Whose::Networks);
    assert!(error.sentence.contains("content_hash_mismatch"), "{error}");
    assert!(fake.paths().is_empty());
    // By Dropbox itself.
    for (route, length) in [("files/upload", 100), (FINISH, 9 * MIB)] {
        fake.fault(route, Fault::Lie);
        let error = fails(&dropbox, &file(dir.path(), "b.mp4", &bytes(length))).await;
        assert_eq!(error.fault, Whose::Networks);
        assert!(error.sentence.contains("other bytes as \"/Recordings/b.mp4\""), "{error}");
    }
}
